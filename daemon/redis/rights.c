/* rights: see rights.h. */
#include "daemon/redis/rights.h"
#include <stdio.h>
#include <string.h>

#define WORD_MAX 128
#define INVALIDATE "__redis__:invalidate"

/* What is lost without a right. */
enum use {
    DOCUMENTS,
    ALONE,
    COMPUTED,
    POPS,
    INDEXES,
    LOCKS,
    KEYS,
    TWICE,
    NEWS,
    FOREIGN,
    ECHO,
    NODES,
    MESSAGES,
    DOCTOR,
    USES
};

static const struct {
    bool grave;
    const char *text;
} uses[USES] = {
    [DOCUMENTS] = {true, "Documents cannot be read or written."},
    [ALONE] = {false, "To read one element of a long list all of it is read."},
    [COMPUTED] = {true, "Models cannot be defined, nor what is computed, guarded or done at an "
                        "index be written."},
    [POPS] = {false,
              "To take the lowest or highest out of a sorted set takes Redis twice as long."},
    [INDEXES] = {true, "Documents with indexes cannot be written, and none be found."},
    [LOCKS] = {true, "Locks cannot be taken."},
    [KEYS] = {true, "doc.keys is refused."},
    [TWICE] = {true, "A commit may be applied twice after a break of the connection."},
    [NEWS] = {false,
              "Each read asks Redis, and locks that several hosts want change hands only when "
              "leases run out."},
    [FOREIGN] = {false, "What other programs write into Redis is not noticed; in a cluster each "
                        "read asks Redis instead."},
    [ECHO] = {false, "Redis sends each commit back to us when other daemons are gone."},
    [NODES] = {true, "It is not known who has which slots."},
    [MESSAGES] = {false,
                  "What another daemon has changed is read again whole, and daemons that want "
                  "one document take no turns."},
    [DOCTOR] = {false, "Some of these checks cannot be made."},
};

/* A command as ACL SETUSER names it, and as it is rehearsed: the prefix of all keys stands in front
 * of words that begin with a colon, and in a cluster "{rights}" is a tag of the node's slots. */
static const struct {
    const char *name;
    enum use use;
    const char *words;
} commands[] = {
    {"hgetall", DOCUMENTS, "HGETALL :{rights}"},
    {"hget", DOCUMENTS, "HGET :{rights} f"},
    {"hmget", DOCUMENTS, "HMGET :{rights} f"},
    {"hexists", DOCUMENTS, "HEXISTS :{rights} f"},
    {"hvals", DOCUMENTS, "HVALS :{rights}"},
    {"type", DOCUMENTS, "TYPE :{rights}"},
    {"hlen", DOCUMENTS, "HLEN :{rights}"},
    {"hscan", DOCUMENTS, "HSCAN :{rights} 0"},
    {"llen", DOCUMENTS, "LLEN :{rights}"},
    {"lrange", DOCUMENTS, "LRANGE :{rights} 0 0"},
    {"pttl", DOCUMENTS, "PTTL :{rights}"},
    {"get", DOCUMENTS, "GET :~seq:{rights}"},
    {"set", DOCUMENTS, "SET :~seq:{rights} 0"},
    {"unlink", DOCUMENTS, "UNLINK :{rights}"},
    {"hset", DOCUMENTS, "HSET :{rights} f v"},
    {"hdel", DOCUMENTS, "HDEL :{rights} f"},
    {"hincrby", DOCUMENTS, "HINCRBY :{rights} f 1"},
    {"rpush", DOCUMENTS, "RPUSH :{rights} v"},
    {"lpush", DOCUMENTS, "LPUSH :{rights} v"},
    {"lset", DOCUMENTS, "LSET :{rights} 0 v"},
    {"lpop", DOCUMENTS, "LPOP :{rights}"},
    {"rpop", DOCUMENTS, "RPOP :{rights}"},
    {"ltrim", DOCUMENTS, "LTRIM :{rights} 0 0"},
    {"smembers", DOCUMENTS, "SMEMBERS :{rights}"},
    {"sscan", DOCUMENTS, "SSCAN :{rights} 0"},
    {"zcard", DOCUMENTS, "ZCARD :{rights}"},
    {"scard", DOCUMENTS, "SCARD :{rights}"},
    {"sadd", DOCUMENTS, "SADD :{rights} v"},
    {"srem", DOCUMENTS, "SREM :{rights} v"},
    {"pexpireat", DOCUMENTS, "PEXPIREAT :{rights} 1"},
    {"persist", DOCUMENTS, "PERSIST :{rights}"},
    {"eval", DOCUMENTS, "EVAL return(1) 1 :@lock:{rights}"},
    {"lpos", ALONE, "LPOS :{rights} v"},
    {"lindex", COMPUTED, "LINDEX :{rights} 0"},
    {"linsert", COMPUTED, "LINSERT :{rights} BEFORE v v"},
    {"lrem", COMPUTED, "LREM :{rights} 1 v"},
    {"append", COMPUTED, "APPEND :~seq:{rights} v"},
    {"time", COMPUTED, "TIME"},
    {"zrangestore", POPS, "ZRANGESTORE :~pop:{rights} :{rights} 0 0"},
    {"zpopmin", POPS, "ZPOPMIN :{rights}"},
    {"zpopmax", POPS, "ZPOPMAX :{rights}"},
    {"hkeys", INDEXES, "HKEYS :{rights}"},
    {"smismember", INDEXES, "SMISMEMBER :@index:{rights} v"},
    {"sinter", INDEXES, "SINTER :@index:{rights}"},
    {"zincrby", INDEXES, "ZINCRBY :@index:{rights} 1 v"},
    {"zcount", INDEXES, "ZCOUNT :@index:{rights} 0 1"},
    {"zlexcount", INDEXES, "ZLEXCOUNT :@index:{rights} - +"},
    {"zmscore", INDEXES, "ZMSCORE :@index:{rights} v"},
    {"zrank", INDEXES, "ZRANK :@index:{rights} v"},
    {"zrevrank", INDEXES, "ZREVRANK :@index:{rights} v"},
    {"zrevrange", INDEXES, "ZREVRANGE :@index:{rights} 0 0"},
    {"zrangebylex", INDEXES, "ZRANGEBYLEX :@index:{rights} - +"},
    {"zrangebyscore", INDEXES, "ZRANGEBYSCORE :@index:{rights} 0 1"},
    {"zrevrangebyscore", INDEXES, "ZREVRANGEBYSCORE :@index:{rights} 1 0"},
    {"evalsha", LOCKS, "EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff831 1 :@lock:{rights}"},
    {"script|load", LOCKS, "SCRIPT LOAD return(1)"},
    {"pexpire", DOCUMENTS, "PEXPIRE :@lock:{rights} 1"},
    {"zadd", LOCKS, "ZADD :@lockq:{rights} 1 v"},
    {"zrem", LOCKS, "ZREM :@lockq:{rights} v"},
    {"zrange", LOCKS, "ZRANGE :@lockq:{rights} 0 0"},
    {"zscore", LOCKS, "ZSCORE :@lockq:{rights} v"},
    {"scan", KEYS, "SCAN 0"},
    {"client|kill", TWICE, "CLIENT KILL ID 0"},
    {"publish", NEWS, "PUBLISH :@changes v"},
    {"subscribe", NEWS, "SUBSCRIBE :@bus:rights"},
    {"subscribe", NEWS, "SUBSCRIBE " INVALIDATE},
    {"client|tracking", FOREIGN, "CLIENT TRACKING OFF"},
    {"unsubscribe", ECHO, "UNSUBSCRIBE :@changes"},
    {"cluster|slots", NODES, "CLUSTER SLOTS"},
    {"cluster|info", NODES, "CLUSTER INFO"},
    {"cluster|nodes", KEYS, "CLUSTER NODES"},
    {"spublish", MESSAGES, "SPUBLISH :@changes{rights} v"},
    {"ssubscribe", MESSAGES, "SSUBSCRIBE :@changes{rights}"},
    {"config|get", DOCTOR, "CONFIG GET maxmemory"},
};

#define COMMANDS (sizeof(commands) / sizeof(*commands))

void rights_ask_discard(struct buf *out)
{
    resp_words(out, "MULTI", NULL);
    resp_words(out, "DISCARD", NULL);
    resp_words(out, "EXEC", NULL);
}

/* A word, up to a space. */
static void put_word(const struct rights_terms *t, const char *word, int len, char out[WORD_MAX])
{
    static const char mark[] = "{rights}";
    const char *tag = t->tag != NULL ? strstr(word, mark) : NULL;
    const char *prefix = *word == ':' ? t->prefix : "";
    int before = tag != NULL ? (int)(tag - word) : len;
    if (before >= len)
        snprintf(out, WORD_MAX, "%s%.*s", prefix, len, word);
    else
        snprintf(out, WORD_MAX, "%s%.*s{%s}", prefix, before, word, t->tag);
}

static void rehearse(const char *text, const struct rights_terms *t, struct buf *out)
{
    char words[8][WORD_MAX];
    const char *argv[8];
    int argc = 0;
    for (; *text != '\0'; text += strspn(text, " ")) {
        int len = (int)strcspn(text, " ");
        put_word(t, text, len, words[argc]);
        argv[argc] = words[argc];
        argc++;
        text += len;
    }
    resp_command(out, argc, argv, NULL);
}

/* The others are asked for of nodes alone. */
static bool is_said(unsigned i, const struct rights_terms *t)
{
    return commands[i].use == MESSAGES
               ? t->shards
               : t->tag != NULL || strncmp(commands[i].name, "cluster|", 8) != 0;
}

unsigned rights_rehearse(const struct rights_terms *t, struct buf *out)
{
    unsigned n = 2;
    resp_words(out, "MULTI", NULL);
    for (unsigned i = 0; i < COMMANDS; i++) {
        if (is_said(i, t))
            rehearse(commands[i].words, t, out);
        n += is_said(i, t);
    }
    resp_words(out, "DISCARD", NULL);
    return n;
}

/* The command that was the i-th, from 1; COMMANDS: none. */
static unsigned command_at(const struct rights_terms *t, unsigned index)
{
    unsigned i = 0;
    for (; i < COMMANDS && index > 0; i++)
        index -= is_said(i, t);
    return index == 0 && i > 0 ? i - 1 : COMMANDS;
}

static void add(char *out, size_t size, bool *cut, const char *text)
{
    size_t used = strlen(out);
    if (used + 1 + strlen(text) >= size)
        *cut = true;
    else
        snprintf(out + used, size - used, "%s%s", used > 0 ? " " : "", text);
}

/* Of keys or channels: many commands miss the same one. */
static void add_once(struct rights *r, const char *right)
{
    if (strstr(r->missing, right) == NULL)
        add(r->missing, sizeof(r->missing), &r->cut, right);
}

static void add_missing(struct rights *r, const char *prefix, unsigned at, const char *error)
{
    char right[WORD_MAX];
    /* The words differ from version to version, but not these. */
    if (strstr(error, "command") != NULL) {
        const char *name = commands[at].name;
        snprintf(right, sizeof(right), "+%s", name);
        if (at == 0 || strcmp(commands[at - 1].name, name) != 0) /* else it is named already */
            add(r->missing, sizeof(r->missing), &r->cut, right);
    } else if (strstr(commands[at].words, INVALIDATE) != NULL) {
        add_once(r, "&" INVALIDATE);
    } else {
        snprintf(right, sizeof(right), "%c%s:*", strstr(error, "channel") != NULL ? '&' : '~',
                 prefix);
        add_once(r, right);
    }
}

void rights_take(struct rights *r, unsigned index, const struct rights_terms *t,
                 const redisReply *reply)
{
    unsigned at = command_at(t, index);
    if (at == COMMANDS || reply->type != REDIS_REPLY_ERROR)
        return;
    if (strncmp(reply->str, "ERR unknown ", 12) == 0)
        add(r->absent, sizeof(r->absent), &r->cut, commands[at].name);
    else if (strncmp(reply->str, "NOPERM", 6) == 0)
        add_missing(r, t->prefix, at, reply->str);
    else
        return;
    enum use use = commands[at].use;
    r->grave |= uses[use].grave;
    if ((r->without & 1u << use) == 0)
        add(r->lacking, sizeof(r->lacking), &r->cut, uses[use].text);
    r->without |= (uint16_t)(1u << use);
}

void rights_line(const struct config *config, const char *missing, struct buf *out)
{
    const char *user = config->redis_user;
    buf_printf(out, "ACL SETUSER %s %s", user != NULL && *user != '\0' ? user : "default", missing);
    buf_append(out, "", 1);
}
