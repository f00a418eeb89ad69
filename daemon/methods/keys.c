/* keys: see keys.h. SCAN gives the Redis keys in no order and may give one twice; what it gives
 * is passed on page by page, so that neither side holds more than a page. A page is put together
 * from several SCANs, between which Redis serves others. */
#include "daemon/methods/keys.h"
#include "daemon/documents/layout.h"
#include "protocol/alloc.h"
#include <inttypes.h>
#include <stdlib.h>

#define COUNT_DEFAULT 1000
#define COUNT_MAX 100000

#define STEP 1000 /* keys that one SCAN looks at: 3 ms of Redis' time at most */

struct page {
    struct session *session;
    uint64_t id;
    struct upstream *up;
    const struct names *names;
    struct buf match; /* with a NUL */
    int64_t left;     /* keys to look at */
    struct buf keys;  /* MessagePack */
    struct buf key;   /* one of them */
    uint32_t count;
};

static void page_free(struct page *p)
{
    session_settle(p->session);
    session_unref(p->session);
    buf_free(&p->match);
    buf_free(&p->keys);
    buf_free(&p->key);
    free(p);
}

static void refuse(struct page *p, const char *why)
{
    struct fault f;
    fault_set(&f, FAULT_UNAVAILABLE, "Redis did not list the keys: %s", why);
    session_fault(p->session, p->id, &f);
    page_free(p);
}

static void answer(struct page *p, const redisReply *cursor)
{
    struct buf *out = session_result(p->session, p->id);
    pack_map(out, 2);
    pack_cstr(out, "cursor");
    pack_str(out, cursor->str, cursor->len);
    pack_cstr(out, "keys");
    pack_array(out, p->count);
    buf_append(out, p->keys.data, p->keys.len);
    session_done(p->session);
    page_free(p);
}

static void take(struct page *p, const redisReply *keys)
{
    for (size_t i = 0; i < keys->elements; i++) {
        const char *suffix;
        size_t suffix_len;
        buf_clear(&p->key);
        if (keys->element[i]->type == REDIS_REPLY_STRING &&
            layout_split(p->names, keys->element[i]->str, keys->element[i]->len, &p->key, &suffix,
                         &suffix_len) &&
            suffix_len == 0) {
            pack_str(&p->keys, (const char *)p->key.data, p->key.len);
            p->count++;
        }
    }
}

static void scan(struct page *p, const char *cursor);

static bool is_cursor(const redisReply *r)
{
    return r->type == REDIS_REPLY_STRING && r->len > 0 && strspn(r->str, "0123456789") == r->len;
}

static void on_scanned(void *arg, unsigned index, redisReply *reply)
{
    struct page *p = arg;
    (void)index;
    if (reply == NULL) {
        refuse(p, "the connection was lost");
    } else if (reply->type == REDIS_REPLY_ERROR) {
        refuse(p, reply->str);
    } else if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
               !is_cursor(reply->element[0]) || reply->element[1]->type != REDIS_REPLY_ARRAY) {
        refuse(p, "its answer is no page of SCAN");
    } else {
        take(p, reply->element[1]);
        if (p->left > 0 && strcmp(reply->element[0]->str, "0") != 0)
            scan(p, reply->element[0]->str);
        else
            answer(p, reply->element[0]);
    }
}

static void scan(struct page *p, const char *cursor)
{
    struct buf out = BUF_INIT;
    char step[24];
    int64_t n = p->left < STEP ? p->left : STEP;
    snprintf(step, sizeof(step), "%" PRId64, n);
    p->left -= n;
    resp_words(&out, "SCAN", cursor, "MATCH", (char *)p->match.data, "COUNT", step, "TYPE", "hash",
               NULL);
    if (!upstream_send(p->up, out.data, out.len, 1, on_scanned, p))
        refuse(p, upstream_why(p->up));
    buf_free(&out);
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

void keys_request(struct upstream *up, const struct schema *schema, const struct names *names,
                  struct session *s, const struct rpc *msg)
{
    struct cursor in = msg->params;
    const struct model *m;
    struct fault f;
    const char *name;
    size_t len;
    uint64_t cursor = 0;
    int64_t count = COUNT_DEFAULT;
    int rc = 0;
    if (msg->nparams < 1 || msg->nparams > 2 || cursor_str(&in, &name, &len) < 0)
        rc = fault_set(&f, FAULT_BAD_REQUEST, "doc.keys takes [model, {cursor?, count?}?]");
    else if ((m = schema_model(schema, name, len)) == NULL)
        rc = fault_set(&f, FAULT_UNKNOWN_MODEL, "no model %.*s is defined", (int)len, name);
    else if (!permit_may(session_permit(s), m, "doc.keys", RIGHT_READ))
        rc = permit_refuse(&f, session_permit(s), "doc.keys", m->name, RIGHT_READ);
    else
        rc = options(&in, msg->nparams == 2, &cursor, &count, &f);
    if (rc < 0) {
        session_fault(s, msg->id, &f);
        return;
    }
    struct page *p = alloc_zeroed(1, sizeof(*p));
    char at[24];
    *p = (struct page){
        .session = session_ref(s), .id = msg->id, .up = up, .names = names, .left = count};
    layout_pattern(names->prefix, strlen(names->prefix), &p->match);
    buf_printf(&p->match, ":{%.*s:*}", (int)len, name);
    buf_append(&p->match, "", 1);
    snprintf(at, sizeof(at), "%" PRIu64, cursor);
    session_defer(s);
    scan(p, at);
}
