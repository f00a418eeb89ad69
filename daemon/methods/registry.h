/* registry: the model declarations as Redis keeps them, in the hash <prefix>:@schema: one for each
 * model, and "@rev", which goes up with each that is new or changed.
 *
 * "@tags" there says that pks have tags (names.h). It is written as the first of all keys where a
 * database is begun in a cluster, and never later: documents would be looked for where they are
 * not. A daemon that has begun otherwise does not work with such a database.
 *
 * Loaded whenever the link comes up, and written through: `define` is answered when Redis has
 * the declaration. Two daemons that define the same model at once are told apart by comparing
 * what is stored with what was read.
 *
 * Other daemons declare, too. What is known here is up to a revision (schema_known); whoever meets
 * something that may be newer has it refreshed: by a message on the bus, an unknown model, a
 * document that was written by newer ones.
 */
#ifndef RAPYERD_REGISTRY_H
#define RAPYERD_REGISTRY_H

#include "daemon/base/state.h"
#include "daemon/clients/session.h"
#include "daemon/documents/indexes.h"
#include "daemon/redis/router.h"
#include "protocol/schema.h"

struct registry;

struct registry_callbacks {
    void (*on_named)(void *arg,
                     bool tags); /* it is known whether pks have tags; before on_loaded */
    void (*on_loaded)(void *arg);
    /* In a cluster: instead of that, as who was asked has them not, or not now. */
    void (*on_elsewhere)(void *arg);
};

struct registry *registry_new(struct schema *schema, struct index_table *indexes,
                              const struct router *router, const struct config *config,
                              const struct registry_callbacks *cb, void *arg);
/* Whom to tell when models may have been declared, here or elsewhere. One at most. */
void registry_on_change(struct registry *r, void (*fn)(void *arg), void *arg);
void registry_free(struct registry *r);
/* Reads what is stored; on_loaded or on_elsewhere follows, unless the link is lost before. */
void registry_load(struct registry *r);
bool registry_loaded(const struct registry *r); /* at least once, and it can be worked with */
const char *registry_why(struct registry *r);   /* it is not; for people */
/* To who has waited for it. Returns -1. */
int registry_refuse(struct registry *r, struct fault *f);
/* Reads what was declared since, by whomever; fn, which may be NULL, is called when all that Redis
 * had at the time of the call is known, or Redis could not be asked (`asked` false). Costs one HGET
 * when nothing is new. */
void registry_refresh(struct registry *r, void (*fn)(void *arg, bool asked), void *arg);
/* Nobody with this arg is told any more. */
void registry_cancel(struct registry *r, void *arg);
/* Takes a message of another daemon; false: it is about something else. */
bool registry_message(struct registry *r, const void *payload, size_t len);
/* What tells other daemons that something was declared. */
const char *registry_news(size_t *len);
/* Whether a define request can be answered without waiting: Redis can be asked, or need not be.
 * That is so in a cluster, as programs that use what other masters have declare it when they begin:
 * what is known and equal, and was seen in Redis, needs nothing to be done. */
bool registry_may_define(struct registry *r, struct session *s, const struct rpc *msg);
/* Answers a define request. */
void registry_define(struct registry *r, struct session *s, const struct rpc *msg);

/* What another process of this daemon is told; nil: it is to read it. resume: before anything is
 * asked for, and on_named comes from within, on_loaded does not. -1: that is spoilt. */
void registry_save(const struct registry *r, struct state_writer *w);
int registry_resume(struct registry *r, struct state_reader *reader);

#endif
