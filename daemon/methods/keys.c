/* keys: see keys.h. SCAN gives the Redis keys in no order and may give one twice; what it gives
 * is passed on page by page, so that neither side holds more than a page. */
#include "daemon/methods/keys.h"
#include "daemon/documents/layout.h"
#include "protocol/alloc.h"
#include <inttypes.h>
#include <stdlib.h>

#define COUNT_DEFAULT 1000
#define COUNT_MAX 100000

struct page {
    struct session *session;
    uint64_t id;
    const char *prefix;
};

static void on_page(void *arg, unsigned index, redisReply *reply)
{
    struct page *p = arg;
    struct fault f;
    (void)index;
    if (reply != NULL && reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
        reply->element[1]->type == REDIS_REPLY_ARRAY) {
        const redisReply *keys = reply->element[1];
        struct buf *out = session_result(p->session, p->id);
        uint32_t n = 0;
        pack_map(out, 2);
        pack_cstr(out, "cursor");
        pack_str(out, reply->element[0]->str, reply->element[0]->len);
        pack_cstr(out, "keys");
        size_t at = pack_array_open(out);
        for (size_t i = 0; i < keys->elements; i++) {
            const char *key, *suffix;
            size_t key_len, suffix_len;
            if (layout_split(p->prefix, keys->element[i]->str, keys->element[i]->len, &key,
                             &key_len, &suffix, &suffix_len) &&
                suffix_len == 0) {
                pack_str(out, key, key_len);
                n++;
            }
        }
        pack_array_close(out, at, n);
        session_done(p->session);
    } else {
        fault_set(&f, FAULT_UNAVAILABLE, "Redis did not list the keys: %s",
                  reply == NULL                      ? "the connection was lost"
                  : reply->type == REDIS_REPLY_ERROR ? reply->str
                                                     : "its answer is no page of SCAN");
        session_fault(p->session, p->id, &f);
    }
    session_settle(p->session);
    session_unref(p->session);
    free(p);
}

static int options(struct cursor *in, bool present, uint64_t *cursor, int64_t *count,
                   struct fault *f)
{
    uint32_t n;
    if (!present || cursor_nil(in))
        return 0;
    if (cursor_map(in, &n) < 0)
        return fault_set(f, FAULT_BAD_REQUEST, "the options should be a map {cursor?, count?}");
    for (uint32_t i = 0; i < n; i++) {
        const char *name, *s;
        size_t len, s_len;
        if (cursor_str(in, &name, &len) < 0)
            return fault_set(f, FAULT_BAD_REQUEST, "an option's name should be a str");
        if (len == 6 && memcmp(name, "cursor", 6) == 0 && cursor_str(in, &s, &s_len) == 0 &&
            s_len > 0 && s_len < 21 && strspn(s, "0123456789") >= s_len)
            *cursor = strtoull(s, NULL, 10);
        else if (!(len == 5 && memcmp(name, "count", 5) == 0 && cursor_int(in, count) == 0 &&
                   *count > 0 && *count <= COUNT_MAX))
            return fault_set(f, FAULT_BAD_REQUEST,
                             "option '%.*s' is not cursor (a str that the last page gave) or count "
                             "(1 to %d)",
                             (int)len, name, COUNT_MAX);
    }
    return 0;
}

/* The characters that mean something to MATCH, made to mean themselves. */
static void glob_literal(struct buf *out, const char *s)
{
    for (; *s != '\0'; s++) {
        if (strchr("*?[]\\^-", *s) != NULL)
            buf_append(out, "\\", 1);
        buf_append(out, s, 1);
    }
}

void keys_request(struct upstream *up, const struct schema *schema, const char *prefix,
                  struct session *s, const struct rpc *msg)
{
    struct cursor in = msg->params;
    struct fault f;
    const char *name;
    size_t len;
    uint64_t cursor = 0;
    int64_t count = COUNT_DEFAULT;
    int rc = 0;
    if (msg->nparams < 1 || msg->nparams > 2 || cursor_str(&in, &name, &len) < 0)
        rc = fault_set(&f, FAULT_BAD_REQUEST, "doc.keys takes [model, {cursor?, count?}?]");
    else if (schema_model(schema, name, len) == NULL)
        rc = fault_set(&f, FAULT_UNKNOWN_MODEL, "no model %.*s is defined", (int)len, name);
    else
        rc = options(&in, msg->nparams == 2, &cursor, &count, &f);
    if (rc < 0) {
        session_fault(s, msg->id, &f);
        return;
    }
    struct buf match = BUF_INIT, out = BUF_INIT;
    char at[24], n[24];
    glob_literal(&match, prefix);
    buf_printf(&match, ":{%.*s:*}", (int)len, name);
    buf_append(&match, "", 1);
    snprintf(at, sizeof(at), "%" PRIu64, cursor);
    snprintf(n, sizeof(n), "%" PRId64, count);
    resp_words(&out, "SCAN", at, "MATCH", (char *)match.data, "COUNT", n, "TYPE", "hash", NULL);
    struct page *p = alloc_zeroed(1, sizeof(*p));
    *p = (struct page){.session = session_ref(s), .id = msg->id, .prefix = prefix};
    session_defer(s);
    if (!upstream_send(up, out.data, out.len, 1, on_page, p)) {
        fault_set(&f, FAULT_UNAVAILABLE, "%s", upstream_why(up));
        session_fault(s, msg->id, &f);
        session_settle(s);
        session_unref(s);
        free(p);
    }
    buf_free(&match);
    buf_free(&out);
}
