/* manage: see manage.h. What is done is logged, with who did it. */
#include "daemon/methods/manage.h"
#include "daemon/base/settings.h"
#include <stdio.h>
#include <string.h>

static void refuse(struct session *s, const struct rpc *msg, enum fault_code code, const char *text)
{
    struct fault f;

    fault_set(&f, code, "%s", text);
    session_fault(s, msg->id, &f);
}

static void put_names(struct buf *out, const char *names)
{
    size_t at = pack_array_open(out);
    uint32_t n = 0;

    for (const char *p = names; *p; n++) {
        size_t len = strcspn(p, ",");
        pack_str(out, p, len);
        p += len + strspn(p + len, ", ");
    }
    pack_array_close(out, at, n);
}

void manage_reload(const struct manage_hooks *h, struct session *s, const struct rpc *msg)
{
    char taken[MANAGE_TEXT], left[MANAGE_TEXT], error[MANAGE_TEXT];

    if (h->reload(h->arg, taken, left, error, MANAGE_TEXT) < 0) {
        refuse(s, msg, FAULT_BAD_VALUE, error);
        return;
    }
    struct buf *out = session_result(s, msg->id);
    pack_map(out, 2);
    pack_cstr(out, "changed");
    put_names(out, taken);
    pack_cstr(out, "restart");
    put_names(out, left);
    session_done(s);
}

static int read_pair(const struct rpc *msg, char *name, char *value, size_t size)
{
    struct cursor in = msg->params;
    const char *text[2];
    size_t len[2];

    if (msg->nparams != 2)
        return -1;
    for (int i = 0; i < 2; i++)
        if (cursor_str(&in, &text[i], &len[i]) < 0 || len[i] >= size ||
            memchr(text[i], '\0', len[i]) != NULL)
            return -1;
    snprintf(name, size, "%.*s", (int)len[0], text[0]);
    snprintf(value, size, "%.*s", (int)len[1], text[1]);
    return 0;
}

void manage_set(const struct admin *a, const struct manage_hooks *h, struct session *s,
                const struct rpc *msg)
{
    char name[MANAGE_TEXT], value[MANAGE_TEXT], error[MANAGE_TEXT];
    const struct session_peer *peer = session_peer(s);

    if (read_pair(msg, name, value, sizeof name) < 0) {
        refuse(s, msg, FAULT_BAD_REQUEST,
               "admin.set takes [name, value], two strs, as \"limits.max_clients\" and \"2000\"");
        return;
    }
    const struct setting *setting = setting_named(name);
    if (setting == NULL) {
        snprintf(error, sizeof error, "there is no setting %.200s; admin.config lists them", name);
        refuse(s, msg, FAULT_BAD_VALUE, error);
        return;
    }
    if (!setting->reloadable) {
        snprintf(error, sizeof error,
                 "%.200s takes a restart to change: write it into the configuration file", name);
        refuse(s, msg, FAULT_BAD_VALUE, error);
        return;
    }
    if (h->set(h->arg, name, value, error, sizeof error) < 0) {
        refuse(s, msg, FAULT_BAD_VALUE, error);
        return;
    }
    setting_text(value, sizeof value, a->config, setting);
    log_about(LOG_LEVEL_NOTICE,
              &(struct log_about){.client = session_number(s),
                                  .program = peer->program,
                                  .pid = peer->pid,
                                  .uid = peer->uid,
                                  .request = &msg->id},
              "%s is %s until the next start", name, value);
    pack_cstr(session_result(s, msg->id), value);
    session_done(s);
}

void manage_upgrade(const struct manage_hooks *h, struct session *s, const struct rpc *msg)
{
    const struct session_peer *peer = session_peer(s);

    if (msg->nparams > 0) {
        refuse(s, msg, FAULT_BAD_REQUEST,
               "admin.upgrade takes no parameters; upgrade.program in the configuration file names "
               "the "
               "new program");
        return;
    }
    log_notice("an upgrade is asked for by %s, pid %ld, uid %ld", peer->program, (long)peer->pid,
               (long)peer->uid);
    h->upgrade(h->arg, s, msg->id);
}

void manage_rights(const struct admin *a, struct session *s, const struct rpc *msg)
{
    struct cursor in = msg->params;
    struct session *of = s;
    int64_t number;

    if (msg->nparams > 1 || (msg->nparams == 1 && cursor_int(&in, &number) < 0)) {
        refuse(s, msg, FAULT_BAD_REQUEST,
               "rights takes nothing, or [number], that of a connection in admin.clients");
        return;
    }
    if (msg->nparams == 1 && !permit_somewhere(session_permit(s), "rights", RIGHT_STATS)) {
        refuse(s, msg, FAULT_FORBIDDEN,
               "rights of others: the rules (rights.file) do not give this user \"stats\"");
        return;
    }
    if (msg->nparams == 1)
        of = sessions_find(a->sessions, (uint64_t)number);
    if (of == NULL) {
        refuse(s, msg, FAULT_NOT_FOUND, "no such client is connected");
        return;
    }
    admin_rights(of, session_result(s, msg->id));
    session_done(s);
}

void manage_kill(const struct admin *a, struct session *s, const struct rpc *msg)
{
    struct cursor in = msg->params;
    const struct session_peer *peer = session_peer(s);
    int64_t number;
    char why[160];

    if (msg->nparams != 1 || cursor_int(&in, &number) < 0 || number < 1) {
        refuse(s, msg, FAULT_BAD_REQUEST,
               "admin.kill takes [number], that of a connection in admin.clients");
        return;
    }
    struct session *found = sessions_find(a->sessions, (uint64_t)number);
    if (found == s) {
        refuse(s, msg, FAULT_BAD_REQUEST, "this is the connection that asks");
        return;
    }
    if (found != NULL) {
        snprintf(why, sizeof why, "ended by an administrator: %s, pid %ld, uid %ld", peer->program,
                 (long)peer->pid, (long)peer->uid);
        session_close(found, why);
    }
    pack_bool(session_result(s, msg->id), found != NULL);
    session_done(s);
}
