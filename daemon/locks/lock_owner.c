/* lock_owner: clients, and the owners that they tell apart (locks.h). They are there as long as
 * they have something. */
#include "daemon/locks/locks_inside.h"
#include "protocol/alloc.h"
#include <string.h>

struct lock_client *lock_client_find(struct locks *t, uint64_t number)
{
    struct lock_client *c;
    HASH_FIND(hh, t->clients, &number, sizeof(number), c);
    return c;
}

struct lock_owner *locks_owner(struct locks *t, const struct lock_who *who, const char *name,
                               size_t len)
{
    struct lock_client *c = lock_client_find(t, who->client);
    struct lock_owner *o;
    if (c == NULL) {
        c = alloc_zeroed(1, sizeof(*c));
        c->table = t;
        c->who = *who;
        HASH_ADD(hh, t->clients, who.client, sizeof(c->who.client), c);
    }
    if (len == 0)
        name = ""; /* it may be NULL */
    HASH_FIND(hh, c->owners, name, len, o);
    if (o == NULL) {
        o = alloc_zeroed(1, sizeof(*o) + len + 1);
        o->client = c;
        o->name_len = len;
        memcpy(o->name, name, len);
        HASH_ADD(hh, c->owners, name, len, o);
    }
    return o;
}

const struct lock_who *lock_who(const struct lock_owner *o)
{
    return &o->client->who;
}

void lock_owner_free(struct lock_owner *o)
{
    HASH_DELETE(hh, o->client->owners, o);
    free(o);
}

void lock_owner_settle(struct lock_owner *o)
{
    struct lock_client *c = o->client;
    if (o->name_len == 0) /* the one that most have, and need again: goes with its client */
        return;
    if (o->holds != NULL || o->lost != NULL || o->waits != NULL || o->over != NULL || c->leaving)
        return;
    lock_owner_free(o);
    if (c->owners == NULL) {
        HASH_DELETE(hh, c->table->clients, c);
        free(c);
    }
}

unsigned locks_most_of_a_client(const struct locks *t)
{
    unsigned most = 0;
    for (const struct lock_client *c = t->clients; c != NULL; c = c->hh.next)
        most = c->nlocks > most ? c->nlocks : most;
    return most;
}
