/* fuzz_reply: what becomes of any bytes as the answers of a Redis. Beyond not crashing, and no
 * memory for what is only declared: bytes that come in two pieces are the same replies.
 */
#include "daemon/redis/reply.h"
#include "protocol/buf.h"
#include "tests/fuzz/fuzz.h"

static void write_down(const redisReply *r, struct buf *out)
{
    buf_printf(out, "%d %lld %zu ", r->type, r->integer, r->len);
    if (r->str == NULL)
        abort();
    buf_append(out, r->str, r->len);
    for (size_t i = 0; i < r->elements && r->type == REDIS_REPLY_ARRAY; i++)
        write_down(r->element[i], out);
}

/* Whether all was RESP. */
static bool read_all(struct reply_reader *r, const uint8_t *data, size_t size, struct buf *out)
{
    redisReply *reply;
    int status;
    if (reply_feed(r, data, size) < 0)
        return false;
    while ((status = reply_next(r, &reply)) > 0)
        write_down(reply, out);
    if (status < 0 && reply_error(r)[0] == '\0')
        abort();
    return status == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf whole = BUF_INIT, pieces = BUF_INIT;
    struct reply_reader *r = reply_reader_new();
    bool good = read_all(r, data, size, &whole);
    reply_reader_free(r);
    r = reply_reader_new();
    if (read_all(r, data, size / 2, &pieces) &&
        read_all(r, data + size / 2, size - size / 2, &pieces) != good)
        abort();
    if (good && (whole.len != pieces.len ||
                 (whole.len > 0 && memcmp(whole.data, pieces.data, whole.len) != 0)))
        abort();
    reply_reader_free(r);
    buf_free(&whole);
    buf_free(&pieces);
    return 0;
}
