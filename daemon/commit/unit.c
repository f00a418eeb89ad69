/* unit: see unit.h. */
#include "daemon/commit/unit.h"
#include "daemon/documents/layout.h"
#include "daemon/redis/resp.h"
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

/* KEYS: the marker, then one for each check. ARGV: for each unit its number; how many checks
 * earlier calls had; how many there are now; how many words its commands take; three words for each
 * check: its kind, the hash field to look at, what has to be there; then the commands, each with
 * the number of its words before it. A unit that was begun in an earlier call goes by the marker. A
 * key that is no hash has nothing of what has to be there. Within a script no command undoes
 * another's failure: each one's error is in its place, as in a MULTI. */
static const char unit_script[] =
    SPLICE "local out,at,key={},1,1 "
           "while ARGV[at] do "
           "local unit,before,n=' '..ARGV[at]..'/',tonumber(ARGV[at+1]),tonumber(ARGV[at+2]) "
           "local stop,replies,lost=at+4+3*n+tonumber(ARGV[at+3]),{},nil "
           "at=at+4 "
           "if before>0 and string.find(redis.call('GET',KEYS[1]) or '',unit,1,true) then "
           "lost='REFUSED' end "
           "for i=1,n do if not lost then "
           "local kind,want=ARGV[at],ARGV[at+2] "
           "local v=redis.pcall('HGET',KEYS[key+i],ARGV[at+1]) or '' "
           "local ok,found "
           "if type(v)=='table' then ok=false "
           "elseif kind=='version' then found=v=='' and '0' or v ok=found==want "
           "elseif kind=='present' then ok=(tonumber(v) or 0)>=tonumber(want) "
           "else local t=redis.call('TIME') "
           "local fence,expiry=string.match(v,'^%a (%d+) (%d+)$') "
           "ok=fence==want and tonumber(expiry)>t[1]*1000+math.floor(t[2]/1000) end "
           "if not ok then redis.call('APPEND',KEYS[1],unit..before+i) "
           "lost='REFUSED '..before+i..' '..(found or '-1') end "
           "end at=at+3 end "
           "key=key+n "
           "while not lost and at<stop do "
           "local k=tonumber(ARGV[at]) "
           "if ARGV[at+1]=='splice' then "
           "local ok,r=pcall(splice,unpack(ARGV,at+2,at+k)) "
           "if not ok and type(r)~='table' then r={err=tostring(r)} end "
           "replies[#replies+1]=r "
           "else replies[#replies+1]=redis.pcall(unpack(ARGV,at+1,at+k)) end "
           "at=at+k+1 end "
           "at=stop "
           "out[#out+1]=lost and redis.status_reply(lost) or replies end "
           "return out";

/* ARGV: this daemon, the fence. As daemon/leases/lease.lua has it: "mode fence expiry" for each
 * daemon, and "@last" for leases that have ended. Not where somebody has had the lock since. The
 * lease is for as long as sending the batch again may take. */
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
    c->before = 0;
}

static void add_check(struct unit_call *c, const char *kind, const char *key, size_t key_len,
                      const char *field, int64_t number)
{
    unsigned n = 0;
    if (!RAPYER_FENCE)
        return;
    word(&c->keys, &n, key, key_len);
    text(&c->checks, &n, kind);
    text(&c->checks, &n, field);
    number_word(&c->checks, &n, number);
    c->nchecks++;
}

void unit_call_guard(struct unit_call *c, const struct guard *g, const char *daemon)
{
    for (unsigned i = 0; i < g->n; i++) {
        const struct guard_check *check = &g->checks[i];
        if (check->kind == GUARD_VERSION)
            add_check(c, "version", check->key, check->key_len, LAYOUT_VERSION_FIELD,
                      check->number);
        else
            add_check(c, "lease", check->key, check->key_len, daemon, check->number);
    }
}

void unit_call_reliance(struct unit_call *c, enum reliance on, const char *key, size_t key_len,
                        int64_t version)
{
    add_check(c, on == RELIES_ON_STATE ? "version" : "present", key, key_len, LAYOUT_VERSION_FIELD,
              version);
}

void unit_call_command(struct unit_call *c, int argc, const char *const *argv, const size_t *len)
{
    number_word(&c->commands, &c->ncommands, argc);
    for (int i = 0; i < argc; i++)
        word(&c->commands, &c->ncommands, argv[i], len[i]);
}

void unit_call_end(struct unit_call *c, unsigned number)
{
    number_word(&c->words, &c->nwords, number);
    number_word(&c->words, &c->nwords, c->before);
    number_word(&c->words, &c->nwords, c->nchecks);
    number_word(&c->words, &c->nwords, c->ncommands);
    buf_append(&c->words, c->checks.data, c->checks.len);
    buf_append(&c->words, c->commands.data, c->commands.len);
    c->nwords += 3 * c->nchecks + c->ncommands;
    c->nkeys += c->nchecks;
    c->before += c->nchecks;
    c->nunits++;
    buf_clear(&c->checks);
    buf_clear(&c->commands);
    c->nchecks = c->ncommands = 0;
}

void unit_call_flush(struct unit_call *c, const char *prefix, const char *daemon, struct buf *out)
{
    unsigned n = 0;
    struct buf head = BUF_INIT, marker = BUF_INIT;
    unit_marker_key(prefix, daemon, &marker);
    text(&head, &n, "EVAL");
    word(&head, &n, unit_script, sizeof(unit_script) - 1);
    number_word(&head, &n, 1 + (int64_t)c->nkeys);
    word(&head, &n, marker.data, marker.len);
    buf_printf(out, "*%u\r\n", n + c->nkeys + c->nwords);
    buf_append(out, head.data, head.len);
    buf_append(out, c->keys.data, c->keys.len);
    buf_append(out, c->words.data, c->words.len);
    buf_free(&head);
    buf_free(&marker);
    buf_clear(&c->keys);
    buf_clear(&c->words);
    c->nkeys = c->nwords = c->nunits = 0;
}

void unit_call_free(struct unit_call *c)
{
    buf_free(&c->keys);
    buf_free(&c->words);
    buf_free(&c->checks);
    buf_free(&c->commands);
}

/* ---- what became of it ---- */

struct unit *unit_whole(struct unit *u)
{
    while (u->into != NULL)
        u = u->into;
    return u;
}

bool unit_outdated(const struct unit *u)
{
    return u->lost > (u->guard != NULL ? u->guard->n : 0);
}

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

unsigned unit_refusals(const redisReply *reply)
{
    unsigned n = 0;
    for (size_t i = 0; reply->type == REDIS_REPLY_ARRAY && i < reply->elements; i++)
        n += unit_refused(reply->element[i], NULL);
    return n;
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
    for (unsigned i = 0; g != NULL && i < g->n; i++) {
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
