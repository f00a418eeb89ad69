/* reload: see reload.h. */
#include "daemon/reload.h"
#include "daemon/base/clock.h"
#include "daemon/base/settings.h"
#include "daemon/redis/credentials.h"
#include "protocol/value.h"
#include "protocol/work.h"
#include <limits.h>
#include <stdlib.h>
#include <systemd/sd-daemon.h>

static void limit_trees(const struct config *c)
{
    value_set_limit(c->max_value);
    work_set_limits(
        &(struct work_limits){.ns = (uint64_t)c->max_work * 1000000, .bytes = c->cache_memory / 2});
}

void reload_limits(struct daemon *d)
{
    limit_trees(&d->config);
    d->lock_limits =
        (struct locks_limits){.per_client = d->config.client_locks, .turns = d->config.lock_turns};
}

/* The file may say something else, also where its name is the same. Without it nobody may anything
 * more than before. */
static int reload_rules(struct daemon *d, const char *file, char *error, size_t size)
{
    struct rules *fresh = file[0] != '\0' ? rules_read(file, dispatch_ruled(), error, size) : NULL;
    if (file[0] != '\0' && fresh == NULL)
        return -1;
    struct rules *before = d->rules;
    d->rules = fresh;
    sessions_set_rules(d->sessions, fresh);
    publisher_close(exec_publisher(d->exec)); /* who has it may read all of it */
    rules_free(before);
    return 0;
}

static void apply(struct daemon *d)
{
    log_setup(d->config.log_level, d->config.log_format);
    exec_reloaded(d->exec);
    dispatch_reloaded(d->dispatch);
    reload_limits(d);
}

/* Takes over what can change of the file and the overrides. */
static int reload(struct daemon *d, char *taken, char *left, char *error, size_t size)
{
    struct config fresh;
    if (config_load(&fresh, d->config_file, d->overrides, d->noverrides, error, size) < 0)
        return -1;
    if (credentials_load(&fresh, error, size) < 0) {
        config_free(&fresh);
        return -1;
    }
    if ((d->rules != NULL || fresh.rights_file[0] != '\0') &&
        reload_rules(d, fresh.rights_file, error, size) < 0) {
        credentials_free(&fresh);
        config_free(&fresh);
        return -1;
    }
    credentials_take(&d->config, &fresh);
    credentials_free(&fresh);
    config_changes(&d->config, &fresh, taken, size);
    config_reload(&d->config, &fresh, left, size);
    config_free(&fresh);
    apply(d);
    return 0;
}

int reload_asked(void *arg, char *taken, char *left, char *error, size_t size)
{
    if (reload(arg, taken, left, error, size) < 0) {
        log_error("the configuration is not taken over: %s", error);
        return -1;
    }
    if (left[0] != '\0')
        log_warning("these settings take a restart to change: %s", left);
    log_notice("configuration taken over");
    return 0;
}

void reload_on_signal(struct daemon *d)
{
    char taken[MANAGE_TEXT], left[MANAGE_TEXT], error[MANAGE_TEXT];
    sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%lld", (long long)clock_mono_us());
    reload_asked(d, taken, left, error, sizeof(taken));
    sd_notify(0, "READY=1");
}

/* Where a setting of this name stands among the overrides; or a new place, the last one. */
static size_t override_at(const struct daemon *d, const char *name)
{
    size_t len = strlen(name), i = d->noverrides;
    while (i > 0 &&
           (strncmp(d->overrides[i - 1], name, len) != 0 || d->overrides[i - 1][len] != '='))
        i--;
    return i > 0 ? i - 1 : d->noverrides;
}

/* What names a file has it read, or stays as it was. */
static int set(struct daemon *d, const char *name, const char *value, char *error, size_t size)
{
    char before[PATH_MAX] = "", nobody[MANAGE_TEXT];
    bool rights = strcmp(name, "rights.file") == 0;
    bool file = rights || strncmp(name, "redis.tls_", 10) == 0;
    if (file && setting_named(name) != NULL)
        setting_text(before, sizeof(before), &d->config, setting_named(name));
    if (config_set(&d->config, name, value, error, size) < 0)
        return -1;
    if (!file || (rights ? reload_rules(d, d->config.rights_file, error, size)
                         : credentials_reload(&d->config, error, size)) == 0)
        return 0;
    config_set(&d->config, name, before, nobody, sizeof(nobody));
    return -1;
}

/* It stays over the file: a reload does not take it back. */
int reload_set(void *arg, const char *name, const char *value, char *error, size_t size)
{
    struct daemon *d = arg;
    struct buf text = BUF_INIT;
    size_t at = override_at(d, name);
    if (at == sizeof(d->overrides) / sizeof(*d->overrides)) {
        snprintf(error, size, "too many settings were changed; write them into the file");
        return -1;
    }
    if (set(d, name, value, error, size) < 0)
        return -1;
    buf_printf(&text, "%s=%s", name, value);
    buf_append(&text, "", 1);
    d->overrides[at] = (const char *)text.data;
    d->noverrides += at == d->noverrides;
    free(d->set[at]);
    d->set[at] = (char *)text.data;
    apply(d);
    return 0;
}
