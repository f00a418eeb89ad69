/* unit: see unit.h. */
#include "daemon/unit.h"
#include "daemon/layout.h"
#include "daemon/resp.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Lists have no native insertion or removal by index. Both are done on a copy of the tail. */
#define SPLICE                                                                       \
    "local function splice(key,from,count,value) "                                   \
    "local t=redis.call('LRANGE',key,from+count,-1) "                                \
    "redis.call('LTRIM',key,0,from-1) "                                              \
    "if value then redis.call('RPUSH',key,value) end "                               \
    "for i=1,#t,1000 do redis.call('RPUSH',key,unpack(t,i,math.min(i+999,#t))) end " \
    "return redis.call('LLEN',key) end "

const char unit_splice_script[] = SPLICE "return splice(KEYS[1],ARGV[1],ARGV[2],ARGV[3])";

/* KEYS: the marker, then one for each check. ARGV: the unit's number; how many checks, and three
 * words for each: its kind, the hash field to look at, what has to be there; then the commands,
 * each with the number of its words before it. Without checks it goes by the marker. A key that
 * is no hash has nothing of what has to be there. Within a script no command undoes another's
 * failure: each one's error is in its place, as in a MULTI. */
static const char unit_script[] =
    SPLICE "local unit,n,at=' '..ARGV[1]..'/',tonumber(ARGV[2]),3 "
           "local t=redis.call('TIME') "
           "local now=t[1]*1000+math.floor(t[2]/1000) "
           "if n==0 and string.find(redis.call('GET',KEYS[1]) or '',unit,1,true) then "
           "return redis.status_reply('REFUSED') end "
           "for i=1,n do "
           "local v,want=redis.pcall('HGET',KEYS[1+i],ARGV[at+1]) or '',ARGV[at+2] "
           "local ok,found "
           "if type(v)=='table' then ok=false "
           "elseif ARGV[at]=='version' then found=v=='' and '0' or v ok=found==want "
           "else local fence,expiry=string.match(v,'^%a (%d+) (%d+)$') "
           "ok=fence==want and tonumber(expiry)>now end "
           "if not ok then redis.call('APPEND',KEYS[1],unit..i) "
           "return redis.status_reply('REFUSED '..i..' '..(found or '-1')) end "
           "at=at+3 end "
           "local out={} "
           "while ARGV[at] do "
           "local k=tonumber(ARGV[at]) "
           "if ARGV[at+1]=='splice' then "
           "local ok,r=pcall(splice,unpack(ARGV,at+2,at+k)) "
           "if not ok and type(r)~='table' then r={err=tostring(r)} end "
           "out[#out+1]=r "
           "else out[#out+1]=redis.pcall(unpack(ARGV,at+1,at+k)) end "
           "at=at+k+1 end "
           "return out";

/* ARGV: this daemon, the fence. As daemon/lease.lua has it: "mode fence expiry" for each daemon,
 * and "@last" for leases that have ended. Not where somebody has had the lock since. The lease is
 * for as long as sending the batch again may take. */
static const char lease_script[] =
    "local t=redis.call('TIME') "
    "local now=t[1]*1000+math.floor(t[2]/1000) "
    "local all,mine=redis.call('HGETALL',KEYS[1]),tonumber(ARGV[2]) "
    "for i=1,#all,2 do "
    "local fence,expiry=string.match(all[i+1],'^%S+ (%d+) (%d+)$') "
    "if expiry and tonumber(expiry)>now then "
    "if all[i]==ARGV[1] and tonumber(fence)==mine then return 0 end "
    "if all[i]~='@last' or tonumber(fence)>mine then return 0 end end end "
    "redis.call('HSET',KEYS[1],ARGV[1],string.format('x %s %.0f',ARGV[2],now+5000)) "
    "redis.call('PEXPIREAT',KEYS[1],string.format('%.0f',now+5000)) "
    "return 1";

void unit_marker_key(const char *prefix, const char *daemon, struct buf *out)
{
    buf_append(out, prefix, strlen(prefix));
    buf_append(out, ":@seq:", 6);
    buf_append(out, daemon, strlen(daemon));
}

/* ---- a call ---- */

static void word(struct buf *out, unsigned *n, const void *s, size_t len)
{
    buf_printf(out, "$%zu\r\n", len);
    if (len > 0)
        buf_append(out, s, len);
    buf_append(out, "\r\n", 2);
    (*n)++;
}

static void text(struct buf *out, unsigned *n, const char *s)
{
    word(out, n, s, strlen(s));
}

static void number_word(struct buf *out, unsigned *n, int64_t number)
{
    char s[24];
    snprintf(s, sizeof(s), "%" PRId64, number);
    text(out, n, s);
}

void unit_call_begin(struct unit_call *c)
{
    buf_clear(&c->words);
    c->nwords = 0;
    c->later = false;
}

void unit_call_command(struct unit_call *c, int argc, const char *const *argv, const size_t *len)
{
    number_word(&c->words, &c->nwords, argc);
    for (int i = 0; i < argc; i++)
        word(&c->words, &c->nwords, argv[i], len[i]);
}

static void add_check(struct buf *out, unsigned *n, const struct guard_check *check,
                      const char *daemon)
{
    bool version = check->kind == GUARD_VERSION;
    text(out, n, version ? "version" : "lease");
    text(out, n, version ? LAYOUT_VERSION_FIELD : daemon);
    number_word(out, n, check->number);
}

void unit_call_flush(struct unit_call *c, const struct guard *g, unsigned number,
                     const char *prefix, const char *daemon, struct buf *out)
{
    unsigned checks = c->later || !RAPYER_FENCE ? 0 : g->n, n = 0;
    struct buf head = BUF_INIT, marker = BUF_INIT;
    unit_marker_key(prefix, daemon, &marker);
    text(&head, &n, "EVAL");
    word(&head, &n, unit_script, sizeof(unit_script) - 1);
    number_word(&head, &n, 1 + (int64_t)checks);
    word(&head, &n, marker.data, marker.len);
    for (unsigned i = 0; i < checks; i++)
        word(&head, &n, g->checks[i].key, g->checks[i].key_len);
    number_word(&head, &n, number);
    number_word(&head, &n, checks);
    for (unsigned i = 0; i < checks; i++)
        add_check(&head, &n, &g->checks[i], daemon);
    buf_printf(out, "*%u\r\n", n + c->nwords);
    buf_append(out, head.data, head.len);
    buf_append(out, c->words.data, c->words.len);
    buf_free(&head);
    buf_free(&marker);
    unit_call_begin(c);
    c->later = true;
}

void unit_call_free(struct unit_call *c)
{
    buf_free(&c->words);
}

/* ---- what became of it ---- */

bool unit_refused(const redisReply *reply, struct unit *u)
{
    static const char refused[] = "REFUSED";
    const size_t len = sizeof(refused) - 1;
    if (reply->type != REDIS_REPLY_STATUS || strncmp(reply->str, refused, len) != 0)
        return false;
    if (u != NULL && u->lost == 0) {
        char *end;
        u->lost = (unsigned)strtoul(reply->str + len, &end, 10);
        u->found = strtoll(end, NULL, 10);
    }
    return true;
}

void unit_take_marker(struct unit *u, const char *marker)
{
    while ((marker = strchr(marker, ' ')) != NULL) {
        char *end;
        unsigned long number = strtoul(++marker, &end, 10);
        if (number != u->number || *end != '/')
            continue;
        u->lost = (unsigned)strtoul(end + 1, NULL, 10);
        u->found = -1;
    }
}

int unit_refusal(const struct unit *u, struct fault *f)
{
    return guard_refusal(u->guard, u->lost - 1, u->found, f);
}

unsigned unit_format_leases(const struct guard *g, const char *daemon, struct buf *out)
{
    unsigned count = 0;
    for (unsigned i = 0; i < g->n; i++) {
        const struct guard_check *c = &g->checks[i];
        char fence[24];
        if (c->kind != GUARD_LEASE)
            continue;
        snprintf(fence, sizeof(fence), "%" PRId64, c->number);
        const char *argv[] = {"EVAL", lease_script, "1", c->key, daemon, fence};
        const size_t len[] = {4,          sizeof(lease_script) - 1, 1,
                              c->key_len, strlen(daemon),           strlen(fence)};
        resp_command(out, 6, argv, len);
        count++;
    }
    return count;
}
