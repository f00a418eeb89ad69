/* rules: who may do what, by a file of lines
 *
 *   WHO              WHAT                  MODELS
 *   user:www-data    read,write,lock       User, Post, Session
 *   group:analysts   read,stats            *, !Account
 *   user:importer    write,!doc.delete     Post
 *   user:counter     num.incr,doc.load     Page
 *
 * What all the lines that speak of somebody say adds up; of whom none speaks may do nothing. WHAT
 * is of rights: read; write, which includes read; lock; break; define; stats, which is all of admin
 * that only tells; admin, which is all of it; and of methods, for what needs no right of them:
 * doc.get, list.* for those that begin so, and with ! before it not in this line. MODELS: names, *
 * for all, shop.* for those of a namespace, and with ! before it none of them in this line.
 */
#ifndef RAPYERD_RULES_H
#define RAPYERD_RULES_H

#include "protocol/buf.h"
#include "protocol/fault.h"
#include "protocol/schema.h"
#include <sys/types.h>

enum right {
    RIGHT_READ = 1,
    RIGHT_WRITE = 2,
    RIGHT_LOCK = 4,
    RIGHT_BREAK = 8,
    RIGHT_DEFINE = 16,
    RIGHT_STATS = 32,
    RIGHT_ADMIN = 64,
};

struct rules;
/* What one peer may: made of the lines that speak of it. NULL: there are no rules, it may
 * everything. */
struct permit;

/* NULL with a message for a person ("rights.conf:3: ..."). methods: those that may be named, NULL
 * behind the last. */
struct rules *rules_read(const char *path, const char *const *methods, char *error, size_t size);
void rules_free(struct rules *r);
/* r NULL: NULL. Somebody of whom no line speaks has a permit for nothing. */
struct permit *rules_permit(const struct rules *r, uid_t uid, const gid_t *groups, size_t n);
/* For these rights on all models and no others, whatever the rules say. */
struct permit *permit_for(unsigned rights);
void permit_free(struct permit *p);
/* Whether both allow the same. */
bool permit_same(const struct permit *a, const struct permit *b);
/* The same number, on each run, for what allows the same. */
uint64_t permit_digest(const struct permit *p);

/* All of `rights` (enum right) for this method, on the documents of this model. Asked for each
 * document: looked up once for each model, where no line names methods. */
bool permit_may(struct permit *p, const struct model *m, const char *method, unsigned rights);
/* The same by the name, also of a model that is not there. */
bool permit_may_name(const struct permit *p, const char *model, const char *method,
                     unsigned rights);
/* On some model at least; for all methods on all models there are and may come. */
bool permit_somewhere(const struct permit *p, const char *method, unsigned rights);
bool permit_everywhere(const struct permit *p, unsigned rights);

/* FORBIDDEN: says what is missing for the method on this model; NULL: on whatever. */
int permit_refuse(struct fault *f, const struct permit *p, const char *method, const char *model,
                  unsigned rights);

/* [[what, models], ...], as in the lines: what it may; nil: everything. */
void permit_pack(const struct permit *p, struct buf *out);

#endif
