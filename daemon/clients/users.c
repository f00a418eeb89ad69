/* users: see users.h. */
#include "daemon/clients/users.h"
#include "daemon/base/clock.h"
#include "daemon/base/hash.h"
#include <stdlib.h>

/* What may be done at once: as much as in a second. A long request may make it less than nothing.
 */
struct bucket {
    double left;
};

struct user {
    UT_hash_handle hh;
    struct users *all;
    uid_t uid;
    unsigned clients, waiting;
    struct bucket requests, bytes;
    int64_t filled; /* clock_mono_ms() */
    size_t memory;
};

struct users {
    const struct config *config;
    struct user *table;
};

struct users *users_new(const struct config *config)
{
    struct users *all = alloc_zeroed(1, sizeof *all);

    all->config = config;
    return all;
}

static void forget(struct user *u)
{
    HASH_DEL(u->all->table, u);
    free(u);
}

void users_free(struct users *all)
{
    struct user *u, *next;

    HASH_ITER (hh, all->table, u, next)
        forget(u);
    free(all);
}

static struct user *find(struct users *all, uid_t uid)
{
    struct user *u;

    HASH_FIND(hh, all->table, &uid, sizeof uid, u);
    return u;
}

struct user *users_join(struct users *all, uid_t uid, struct fault *f)
{
    unsigned most = all->config->user_clients;
    const struct user *u = find(all, uid);

    if (u && most > 0 && u->clients >= most) {
        fault_set(f, FAULT_BUSY,
                  "user %ld has %u connections, rights.user_clients is %u; try again later",
                  (long)uid, u->clients, most);
        return NULL;
    }
    return users_join_always(all, uid);
}

struct user *users_join_always(struct users *all, uid_t uid)
{
    struct user *u = find(all, uid);

    if (!u) {
        u = alloc_zeroed(1, sizeof *u);
        u->all = all;
        u->uid = uid;
        u->requests.left = all->config->user_rate;
        u->bytes.left = (double)all->config->user_bytes;
        u->filled = clock_mono_ms();
        HASH_ADD(hh, all->table, uid, sizeof u->uid, u);
    }
    u->clients++;
    return u;
}

static void fill(struct bucket *b, double most, double seconds)
{
    b->left += most * seconds;
    if (b->left > most)
        b->left = most;
}

static void fill_both(struct user *u)
{
    const struct config *c = u->all->config;
    int64_t now = clock_mono_ms();
    double seconds = (double)(now - u->filled) / 1000;

    u->filled = now;
    fill(&u->requests, c->user_rate, seconds);
    fill(&u->bytes, (double)c->user_bytes, seconds);
}

/* Nobody asks for it, and it may ask for as much as somebody new. */
static bool is_forgettable(struct user *u)
{
    if (u->clients > 0)
        return false;
    fill_both(u);
    return u->requests.left >= u->all->config->user_rate &&
           u->bytes.left >= (double)u->all->config->user_bytes;
}

/* Who comes again and again for one request is no newcomer each time. */
void user_leave(struct user *u)
{
    struct users *all = u->all;
    struct user *next;

    u->clients--;
    HASH_ITER (hh, all->table, u, next)
        if (is_forgettable(u))
            forget(u);
}

static int refuse(const struct user *u, const char *what, const char *setting, double most,
                  struct fault *f)
{
    return fault_set(f, FAULT_BUSY, "user %ld %s, rights.%s is %.0f; try again later", (long)u->uid,
                     what, setting, most);
}

int user_asks(struct user *u, size_t bytes, struct fault *f)
{
    const struct config *c = u->all->config;

    if (c->user_requests > 0 && u->waiting >= c->user_requests)
        return refuse(u, "has as many requests waiting as it may", "user_requests",
                      c->user_requests, f);
    if (c->user_rate == 0 && c->user_bytes == 0)
        return 0;
    fill_both(u);
    if (c->user_rate > 0 && u->requests.left < 1)
        return refuse(u, "asks too often", "user_rate", c->user_rate, f);
    if (c->user_bytes > 0 && u->bytes.left <= 0)
        return refuse(u, "sends too much", "user_bytes", (double)c->user_bytes, f);
    if (c->user_rate > 0)
        u->requests.left -= 1;
    if (c->user_bytes > 0)
        u->bytes.left -= (double)bytes;
    return 0;
}

void user_waits(struct user *u, int by)
{
    u->waiting += (unsigned)by;
}

bool user_holds(struct user *u, size_t *counted, size_t now)
{
    size_t most = u->all->config->user_memory;

    u->memory += now - *counted;
    *counted = now;
    return most == 0 || u->memory <= most;
}

size_t user_memory(const struct user *u)
{
    return u->memory;
}
