/* shards: see shards.h. */
#include "daemon/redis/shards.h"
#include "daemon/base/log.h"
#include "daemon/redis/slots.h"
#include "protocol/alloc.h"
#include <stdlib.h>
#include <string.h>

#define FIRST_MAJOR 7 /* of Redis that has them */
#define NAME ":@changes{"

enum { AWAY, ASKED, REFUSED };

struct shards {
    const char *prefix;
    struct upstream *link;
    uint8_t is[SLOTS];
};

bool shards_known(const struct upstream *up)
{
    const struct upstream_info *info = upstream_info(up);
    return strncmp(info->server, "Redis ", 6) == 0 && atoi(info->version) >= FIRST_MAJOR;
}

void shards_channel(const char *prefix, const char *tag, struct buf *out)
{
    buf_printf(out, "%s" NAME "%s}", prefix, tag);
    buf_append(out, "", 1);
}

/* Without an answer another node has the slot, or the link is lost. */
static void on_listening(void *arg, unsigned index, redisReply *reply)
{
    uint8_t *is = arg;
    (void)index;
    if (reply == NULL) {
        *is = AWAY;
    } else if (reply->type == REDIS_REPLY_ERROR) {
        log_info("other daemons are not listened to: %s", reply->str);
        *is = REFUSED; /* until the next connection */
    }
}

void shards_listen(struct shards *s, uint16_t slot)
{
    struct buf channel = BUF_INIT, out = BUF_INIT;
    if (s->is[slot] != AWAY || !shards_known(s->link))
        return;
    shards_channel(s->prefix, slot_tag(slot), &channel);
    resp_words(&out, "SSUBSCRIBE", (char *)channel.data, NULL);
    if (upstream_send(s->link, out.data, out.len, 1, on_listening, &s->is[slot]))
        s->is[slot] = ASKED;
    buf_free(&channel);
    buf_free(&out);
}

void shards_lost(struct shards *s)
{
    memset(s->is, AWAY, sizeof(s->is));
}

bool shards_has(const struct shards *s, const redisReply *name)
{
    size_t prefix = strlen(s->prefix), head = prefix + sizeof(NAME) - 1;
    return name->len > head && memcmp(name->str, s->prefix, prefix) == 0 &&
           memcmp(name->str + prefix, NAME, sizeof(NAME) - 1) == 0;
}

void shards_left(struct shards *s, const redisReply *name)
{
    if (shards_has(s, name))
        s->is[slot_of(name->str, name->len)] = AWAY;
}

struct shards *shards_new(const char *prefix, struct upstream *link)
{
    struct shards *s = alloc_zeroed(1, sizeof(*s));
    s->prefix = prefix;
    s->link = link;
    return s;
}

void shards_free(struct shards *s)
{
    free(s);
}
