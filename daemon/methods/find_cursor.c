/* find_cursor: where a find goes on, as a text: hash, plan, its hash, source, place and of which
 * run of Redis that is, the rest of a page, what is left of the offset, in hexadecimal. */
#include "daemon/methods/find_inside.h"
#include "protocol/value.h"

void find_cursor_pack(struct find *fi, int64_t source, const struct buf *at, const struct buf *rest,
                      struct buf *out)
{
    struct buf in = BUF_INIT, text = BUF_INIT;
    pack_uint(&in, fi->asked);
    pack_bin(&in, fi->plan->how.data, fi->plan->how.len);
    pack_uint(&in, plan_hash(fi->plan) >> 1);
    pack_int(&in, source);
    pack_bin(&in, at->data, at->len);
    pack_cstr(&in, fi->run);
    pack_bin(&in, rest->data, rest->len);
    pack_int(&in, fi->offset); /* what is left of it */
    for (size_t i = 0; i < in.len; i++)
        buf_printf(&text, "%02x", in.data[i]);
    pack_str(out, (char *)text.data, text.len);
    buf_free(&in);
    buf_free(&text);
}

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Packed pks, not more than one request may name. */
static bool is_rest(const char *s, size_t len)
{
    struct cursor in = cursor_of(s, len);
    const char *pk;
    size_t pk_len;
    unsigned n = 0;
    while (in.at < in.end && n++ < FIND_REST_MAX) {
        if (cursor_str(&in, &pk, &pk_len) < 0)
            return false;
    }
    return in.at == in.end;
}

/* A value of what is sorted by, and a key. */
static bool is_place(const struct find *fi, const char *s, size_t len)
{
    struct cursor in = cursor_of(s, len);
    struct buf value = BUF_INIT;
    struct fault f;
    const char *key;
    size_t n;
    bool good = cursor_nil(&in) ||
                value_check(type_bare(fi->sort.type), &in, &value, fi->sort.text, &f) == 0;
    buf_free(&value);
    return good && cursor_str(&in, &key, &n) == 0 && in.at == in.end;
}

int find_cursor_read(struct find *fi, struct fault *f)
{
    struct buf bytes = BUF_INIT;
    const char *s = (char *)fi->cursor.data, *how, *at, *run, *rest;
    f->code = FAULT_NONE;
    size_t how_len, at_len, run_len, rest_len;
    int64_t asked, plan, source, skip = 0;
    bool good = fi->cursor.len % 2 == 0;
    for (size_t i = 0; i + 1 < fi->cursor.len && good; i += 2) {
        good = digit(s[i]) >= 0 && digit(s[i + 1]) >= 0;
        buf_append(&bytes, &(uint8_t){(uint8_t)(digit(s[i]) * 16 + digit(s[i + 1]))}, 1);
    }
    struct cursor in = cursor_of(bytes.data, bytes.len);
    good = good && cursor_int(&in, &asked) == 0 && (uint64_t)asked == fi->asked &&
           cursor_str(&in, &how, &how_len) == 0 &&
           plan_choose_again(fi->plan, fi->scan, how, how_len, f) == 0 &&
           cursor_int(&in, &plan) == 0 && (uint64_t)plan == plan_hash(fi->plan) >> 1 &&
           cursor_int(&in, &source) == 0 && source >= 0 && source < fi->plan->nchosen &&
           cursor_str(&in, &at, &at_len) == 0 && cursor_str(&in, &run, &run_len) == 0 &&
           run_len <= UPSTREAM_RUN && cursor_str(&in, &rest, &rest_len) == 0 &&
           is_rest(rest, rest_len) && cursor_int(&in, &skip) == 0 && skip >= 0 &&
           skip <= INT64_MAX / 2 && (!find_sorts(fi) || is_place(fi, at, at_len));
    if (good) {
        fi->source = (unsigned)source;
        fi->offset += skip;
        buf_append(find_sorts(fi) ? &fi->place : &fi->at, at, at_len);
        snprintf(fi->run, sizeof(fi->run), "%.*s", (int)run_len, run);
        buf_append(&fi->rest, rest, rest_len);
    }
    buf_free(&bytes);
    return good ? 0
           : f->code != FAULT_NONE
               ? -1
               : fault_set(f, FAULT_BAD_REQUEST,
                           "the cursor is none that this find, with the same expression and sort, "
                           "has given, or indexes have changed since; begin without one");
}
