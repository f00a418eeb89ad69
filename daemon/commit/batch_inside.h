/* batch_inside: what batch.c and the other batch_*.c share, and nobody else:
 * the batch as it is kept, and what its text notes for its answer. */
#ifndef RAPYERD_BATCH_INSIDE_H
#define RAPYERD_BATCH_INSIDE_H

#include "daemon/base/arena.h"
#include "daemon/commit/batch.h"
#include "protocol/table.h"
#include <stdlib.h>
#include <string.h>

/* Words of one command: some 4 ms of Redis' time. In a unit they pass through Lua's unpack, which
 * takes less than 8000. */
#define WORDS_MAX 8192
#define UNIT_WORDS_MAX 4096

#define SPLICE_MARKER 64 /* bytes of the word that names a place in a list */

enum field_kind { FIELD_SET, FIELD_INCR, FIELD_DEL };

/* A field of a hash that changes, or whatever else has a name within its key. */
struct pend_field {
    struct table_entry entry; /* in batch->fields, by pend and name */
    struct pend_field *next;
    struct pend *pend;
    enum field_kind kind;
    bool counted; /* HINCRBY first, for those who were told what came of it, whatever is set then */
    int64_t by;
    struct drift drift;
    char *raw;
    size_t raw_len, raw_cap;
    unsigned changes;
    bool was_known; /* its text before all of them, as the tree had it; NULL: there was none */
    char *was;
    size_t was_len;
    size_t name_len;
    char name[];
};

enum list_kind {
    LIST_RPUSH,
    LIST_LPUSH,
    LIST_SET,
    LIST_INSERT,
    LIST_REMOVE,
    MEMBERS_IN, /* of a set or sorted set */
    MEMBERS_OUT
};

/* One command of those that go in their order, or several neighbours of one kind. */
struct list_cmd {
    struct list_cmd *next, *next_of_all;
    enum list_kind kind;
    unsigned nraws;
    struct buf raws; /* u32 length + bytes, each; of MEMBERS_IN with scores: score, member */
    size_t index, count, len_before;
    struct drift drift;
};

/* A Redis key that changes. */
struct pend {
    struct table_entry entry; /* in batch->pends, by bd and suffix; but for the root */
    struct pend *next;        /* of the document */
    struct batch_doc *bd;
    const struct stored *as; /* what it is, if it has fields */
    struct pend_field *fields, *last_field;
    struct list_cmd *cmds, *last_cmd;
    bool behind; /* another one of the same key comes after it */
    bool drop;   /* UNLINK first */
    bool fresh;  /* of an element; as Redis says, it may have come into being by this */
    bool expire;
    size_t suffix_at; /* where the suffix begins in key */
    size_t key_len;
    char key[];
};

/* What the reply at one place in EXEC's array is about. */
struct expectation {
    struct batch_doc *bd;
    struct pend *pend;
    struct drift *number; /* NULL: any reply that is no error */
};

/* One reply in EXEC's array: what it is about. A script call has one for each of its units, which
 * answers for several commands. */
struct part {
    struct unit *unit;   /* NULL: a command by itself */
    unsigned first, n;   /* expectations */
    unsigned reply, sub; /* its index in EXEC's array; that in the script's */
};

#define MERGES 64 /* kinds of commands that gather members at a time; a power of two */

/* One command on an index for several documents, while it is put together. */
struct merge {
    struct buf head, members; /* bulks: the command and its key; what it takes */
    unsigned n;               /* words of the second; 0: it is free */
};

/* What writes a batch's text. */
struct writer {
    struct buf *out;
    const char **argv; /* of the command that is put together: words borrowed from the batch */
    size_t *len;
    int n, cap;
    struct buf scratch, channel;
    char marker[SPLICE_MARKER];
    struct merge merges[MERGES];
    unsigned merging;      /* of these, those that are not free */
    struct unit_call call; /* what is gathered of the next script call */
    unsigned call_first;   /* expectation of its unit */
    bool scripts;          /* there are some in the text so far */
};

/* As many as there are batches of one turn, mostly: in a cluster there is one for each slot. */
#define SPARES 32

/* What a batch needs, and the next one again. */
struct batch_memory {
    struct arena arena;
    struct table pends, fields;
    struct expectation *expect;
    struct part *parts;
    unsigned expect_cap, parts_cap;
};

/* What the batches of all lanes share, and hand on from one to the next. */
struct batch_pool {
    const struct names *names;
    const char *prefix, *daemon;
    size_t prefix_len;
    /* Names in Redis: of what all hear, of what this one hears; and TURN_KEY. */
    struct buf channel, own, turn, popped;
    bool tells_own, tells_others;
    struct batch_memory spares[SPARES]; /* of batches before, the last one last */
    unsigned nspares;
    struct writer writer;
    struct index_table *indexes; /* NULL: there are none */
};

/* A member that is taken out of one end of a sorted set (batch_pop.c). */
struct pop {
    struct popped told;
    double score; /* that it should have */
    bool highest;
    unsigned n; /* in the batch; what follows is of the first, and of use where it is alone */
    struct batch_doc *bd;
    struct unit *unit; /* whose part this was until Redis was to say what is taken out; or NULL */
    struct pend *pend;
    size_t at, len; /* of its commands in the text */
    unsigned reply; /* in EXEC's array */
    bool none;      /* the set was empty, or no set */
    bool found;     /* where the answer was lost: what was saved is in `told` */
};

struct batch {
    uint64_t number;
    const struct batch_words *words;
    struct batch_pool *pool;
    struct batch_doc *docs, *last_doc;
    struct waiter *waiters, *last_waiter;
    struct unit *units, *last_unit;
    struct table pends, fields;
    struct expectation *expect;
    unsigned nexpect, expect_cap;
    struct part *parts;
    unsigned nparts, parts_cap;
    unsigned nreplies;
    struct list_cmd *all_cmds; /* also those of dropped keys: answers may refer to their drift */
    struct held **held;        /* long values that fields of it are */
    unsigned nheld, held_cap;
    size_t bytes;
    struct pop *pop;    /* NULL: it takes out none */
    bool drifted;       /* one of its documents */
    bool scripted;      /* entries in indexes are put right by script */
    int64_t epoch;      /* of the claims of its unique values (claims.h) */
    bool raises;        /* that, */
    unsigned epoch_at;  /* as this reply says; 0: none does */
    struct arena arena; /* all parts of the batch */
};

/* Of one command of the part. */
static inline unsigned words_max(const struct batch_doc *bd)
{
    return bd->unit != NULL ? UNIT_WORDS_MAX : WORDS_MAX;
}

/* It is not only looked at. */
static inline bool part_changes(const struct batch_doc *bd)
{
    return bd->bump != 0 || bd->deleted || bd->touched;
}

/* Only its deadline does: it is the document that it was. */
static inline bool part_touches(const struct batch_doc *bd)
{
    return bd->bump == 0 && !bd->deleted && bd->touched;
}

/* One that rapyerd keeps for itself, "@s". */
static inline bool field_own(const struct pend_field *f)
{
    return f->name_len > 0 && *f->name == '@';
}

/* Nothing of the root but its version. */
static inline bool only_version(const struct pend *p)
{
    return p->key_len == p->suffix_at && p->fields == NULL && !p->drop && !p->expire;
}

/* Where the key is the hash of a model and no more of it has changed than some fields, the first of
 * these; else NULL. */
static inline const struct pend_field *pend_fields(const struct pend *p)
{
    unsigned slashes = 0; /* names of containers and pks take turns */
    for (size_t i = p->suffix_at; i < p->key_len; i++)
        slashes += p->key[i] == '/';
    return slashes % 2 == 0 && !p->drop ? p->fields : NULL;
}

/* Within an element of a list or dict of models: its hash, or a container of it. Names of
 * containers and pks take turns. */
static inline bool in_element(const struct pend *p)
{
    const char *suffix = p->key + p->suffix_at;
    size_t len = p->key_len - p->suffix_at;
    return len > 1 && memchr(suffix + 1, '/', len - 1) != NULL;
}

/* Others may have changed the document before it, and removed elements that it changes. */
bool part_overtaken(const struct batch_doc *bd);

/* Without the revision of its models it is a document no more (layout.h). */
bool part_ends(const struct batch_doc *bd);

/* The root hash of the part's document, or another key of it, made on first use. */
struct pend *batch_root(struct batch *b, struct batch_doc *bd);
struct pend *batch_key(struct batch *b, struct batch_doc *bd, const char *suffix,
                       size_t suffix_len);
/* Replaces *name by the channel of it, in a cluster that of the batch's slot (shards.h). */
void batch_news_channel(const struct batch *b, struct buf *name);
/* Replaces *payload by the message that others are sent. */
void batch_pack_news(struct batch *b, struct buf *payload);
void writer_free(struct writer *w);

/* What the part's document was taken for, or this key of it, is not so: it is read again, and so is
 * what was seen of it. */
void part_drifted(struct batch *b, struct batch_doc *bd, const char *suffix, size_t len);

/* ---- batch_pop.c ---- */

/* Appends the commands, where that is what is to be done with this key. */
bool batch_pop_format(struct batch *b, struct pend *p, struct buf *out);
/* Takes what EXEC says of it. */
void batch_pop_take(struct batch *b, const redisReply *exec);
/* Appends a command that asks for what was taken out; returns how many, at most 1. Then takes
 * what was found. */
unsigned batch_pop_ask(const struct batch *b, struct buf *out);
void batch_pop_unanswered(struct batch *b);

#endif
