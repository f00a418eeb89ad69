/* locks: what locks can do besides: trying, sharing, taking one again, elements of lists, saving at
 * the end, ends by time and by an administrator, deadlocks, event loops. `mine` and `yours` are two
 * connections, which is as good as two processes. As `locks restart` and `locks hold` it is run by
 * tests/integration/test_client_locks.py. */
#include "example.h"
#include <poll.h>
#include <unistd.h>

static const rapyer_model Coin = RAPYER_ATOMIC("Coin", RAPYER_FIELD("value", "int", "1"));
static const rapyer_model Purse =
    RAPYER_ATOMIC("Purse", RAPYER_FIELD("gold", "int", "0"), RAPYER_FIELD("log", "list<str>"),
                  RAPYER_FIELD("coins", "list<Coin>"));

static rapyer *mine, *yours;
static rapyer_doc *purse; /* my handle, */
static rapyer_doc *other; /* and yours on the same document */

static const rapyer_lock_options try = {.nowait = true}, share = {.nowait = true, .shared = true};

/* What a refused call should have said, which is forgotten with that. */
static void expect_error(int line, rapyer *db, rapyer_error code, const char *part)
{
    if (rapyer_errcode(db) != code || !strstr(rapyer_errmsg(db), part)) {
        fprintf(stderr, "locks.c:%d: not '%s', but: %s\n", line, part, rapyer_errmsg(db));
        example_failures++;
    }
    rapyer_clear_error(db);
}
#define REFUSED(db, code, part) expect_error(__LINE__, db, code, part)

/* Until you can have the lock, for 10 seconds at most. */
static rapyer_doc *await(const char *action)
{
    rapyer_doc *lock = rapyer_lock(other, action, &(rapyer_lock_options){.wait = 10});
    EXPECT(lock != NULL);
    return lock;
}

/* For somebody who has nothing yet. */
static bool is_free(const char *action)
{
    rapyer_auto_doc *lock =
        rapyer_lock(other, action, &(rapyer_lock_options){.nowait = true, .owner = "third"});
    if (!lock)
        REFUSED(yours, RAPYER_LOCK_TIMEOUT, "");
    return lock && rapyer_unlock(lock) == 0;
}

static void trying_and_sharing(void)
{
    char pid[32];
    snprintf(pid, sizeof pid, "pid %d", (int)getpid());
    rapyer_doc *lock = rapyer_lock(purse, "a", NULL);
    EXPECT(rapyer_lock(other, "a", &try) == NULL);
    REFUSED(yours, RAPYER_LOCK_TIMEOUT, pid);
    EXPECT(rapyer_lock(other, "a", &(rapyer_lock_options){.wait = 0.03}) == NULL);
    REFUSED(yours, RAPYER_LOCK_TIMEOUT, pid);
    EXPECT(rapyer_lock(other, "a", &(rapyer_lock_options){.wait = -1}) == NULL);
    REFUSED(yours, RAPYER_LOCK_TIMEOUT, pid);
    EXPECT(is_free("b"));
    EXPECT(rapyer_unlock(lock) == 0);
    EXPECT(is_free("a"));
    rapyer_free(lock);

    lock = rapyer_lock(purse, "a", &share);
    rapyer_doc *too = rapyer_lock(other, "a", &share);
    EXPECT(lock && too && !is_free("a"));
    rapyer_free(too);
    rapyer_free(lock); /* released by that, some time soon: nobody waits for the answer */
    rapyer_free(await("a"));
}

/* A function that locks, whoever calls it. */
static int spend(rapyer_doc *from, int64_t amount)
{
    rapyer_auto_doc *locked = rapyer_lock(from, "spend", NULL);
    if (rapyer_int(rapyer_locked(locked), "gold", 0) < amount)
        return -1;
    return rapyer_incr(locked, "gold", -amount, NULL);
}

static void taking_it_again(void)
{
    int64_t now = 0;
    rapyer_doc *locked = rapyer_lock(purse, "spend", NULL);
    EXPECT(rapyer_incr(locked, "gold", 10, &now) == 0 && now == 10);
    EXPECT(spend(locked, 4) == 0); /* sees the ten, and does not wait for its caller */
    EXPECT(spend(locked, 7) == -1);
    EXPECT(!is_free("spend")); /* still the caller's */
    rapyer_auto_value *gold = rapyer_load(locked, "gold");
    EXPECT(rapyer_int(gold, "", 0) == 6);
    EXPECT(rapyer_unlock(locked) == 0);
    EXPECT(is_free("spend"));
    EXPECT(rapyer_set(locked, "gold", "0") < 0);
    REFUSED(mine, RAPYER_LOCK_LOST, "released");
    rapyer_free(locked);
}

static void an_element_stays_locked(void)
{
    rapyer_extend(purse, "coins", "[{value: 1}, {value: 2}]");
    rapyer_auto_doc *second = rapyer_at(purse, "coins[1]");
    rapyer_auto_doc *coin = rapyer_lock(second, "mint", NULL);
    EXPECT(rapyer_int(rapyer_locked(coin), "value", 0) == 2);
    rapyer_insert(other, "coins", 0, "{value: 0}"); /* now it is the third */
    EXPECT(rapyer_set(coin, "value", "20") == 0);
    rapyer_auto_value *all = rapyer_load(purse, "coins");
    EXPECT(rapyer_int(all, "[1].value", 0) == 1 && rapyer_int(all, "[2].value", 0) == 20);
    rapyer_auto_doc *third = rapyer_at(other, "coins[2]");
    EXPECT(rapyer_lock(third, "mint", &try) == NULL);
    REFUSED(yours, RAPYER_LOCK_TIMEOUT, "mint");
    rapyer_auto_doc *none = rapyer_at(purse, "coins[9]");
    EXPECT(rapyer_lock(none, "mint", NULL) == NULL);
    REFUSED(mine, RAPYER_OUT_OF_RANGE, "");
}

static void saved_at_the_end(void)
{
    rapyer_auto_doc *locked = rapyer_lock(purse, "a", NULL), *p = rapyer_begin(locked);
    rapyer_if_version(p, rapyer_lock_version(locked));
    rapyer_incr(other, "gold", 1, NULL); /* by one who does not ask for locks */
    rapyer_append(p, "log", "late");
    EXPECT(rapyer_unlock(p) < 0);
    REFUSED(mine, RAPYER_CONFLICT, "version");
    EXPECT(!is_free("a")); /* refused: not released either */
    rapyer_append(p, "log", "first");
    rapyer_append(p, "log", "second");
    REDIS_IS("[]", "LRANGE rapyer:{Purse:1}/log 0 -1");
    EXPECT(rapyer_unlock(p) == 0);
    EXPECT(rapyer_int(rapyer_results(p), "[1]", 0) == 2);
    REDIS_IS("[first, second]", "LRANGE rapyer:{Purse:1}/log 0 -1");
    EXPECT(is_free("a"));
}

/* A lock needs no document: whoever has it makes it. */
static void made_under_a_lock(void)
{
    rapyer_auto_doc *locked = rapyer_lock_from_key(mine, "Purse:new", "make", NULL);
    EXPECT(rapyer_locked(locked) == NULL && rapyer_lock_version(locked) == 0);
    rapyer_auto_doc *fresh = rapyer_new(mine, "Purse:new", "{gold: 5}");
    rapyer_auto_doc *p = rapyer_begin(locked), *q = rapyer_join(p, fresh);
    rapyer_save(q);
    EXPECT(rapyer_unlock(p) == 0 && !rapyer_is_draft(fresh));
    rapyer_auto_doc *again = rapyer_lock_from_key(yours, "Purse:new", "make", &try);
    EXPECT(rapyer_int(rapyer_locked(again), "gold", 0) == 5);
    EXPECT(rapyer_delete(again) == 1 && rapyer_exists(again) == 0);
}

static void its_time_is_over(void)
{
    rapyer_auto_doc *brief = rapyer_lock(purse, "a", &(rapyer_lock_options){.ttl = 0.05});
    rapyer_auto_doc *kept = rapyer_lock(purse, "b", &(rapyer_lock_options){.ttl = 0.5});
    EXPECT(rapyer_renew(kept, 60) == 0);
    rapyer_auto_doc *next = await("a");
    EXPECT(rapyer_fence(next) > rapyer_fence(brief));
    EXPECT(rapyer_set(next, "gold", "1") == 0);
    EXPECT(rapyer_set(brief, "gold", "2") < 0); /* too late: the daemon says so, */
    REFUSED(mine, RAPYER_LOCK_LOST, "ttl");
    EXPECT(rapyer_unlock(brief) < 0); /* and now it is known */
    REFUSED(mine, RAPYER_LOCK_LOST, "ttl");
    REDIS_IS("1", "HGET rapyer:{Purse:1} gold");
    EXPECT(rapyer_lock(other, "b", &(rapyer_lock_options){.wait = 0.6}) == NULL);
    REFUSED(yours, RAPYER_LOCK_TIMEOUT, "");
    EXPECT(rapyer_unlock(kept) == 0);
}

static void broken_by_an_administrator(void)
{
    rapyer_auto_doc *locked = rapyer_lock(purse, "a", NULL), *p = rapyer_begin(locked);
    rapyer_set(p, "gold", "3");
    rapyer_auto_value *n = rapyer_call(yours, "lock.break", "'Purse:1', a");
    EXPECT(rapyer_int(n, "", 0) == 1 && is_free("a"));
    EXPECT(rapyer_unlock(p) < 0);
    REFUSED(mine, RAPYER_LOCK_LOST, "broken");
    REDIS_IS("1", "HGET rapyer:{Purse:1} gold");
}

/* ---- without waiting ---- */

struct taken {
    rapyer_doc *lock;
    int answers;
};

static void take(rapyer *db, rapyer_doc *lock, void *user)
{
    struct taken *t = user;
    (void)db;
    t->lock = lock;
    t->answers++;
}

static void turn(rapyer *db)
{
    struct pollfd p = {.fd = rapyer_fd(db), .events = rapyer_events(db)};
    int ready = poll(&p, 1, 10000);
    EXPECT(ready > 0);
    rapyer_process(db, p.revents);
}

/* Two tasks of one event loop, on one connection: different owners. */
static void two_tasks(void)
{
    struct taken a = {0}, b = {0};
    rapyer_send_lock(purse, "task", &(rapyer_lock_options){.owner = "a"}, take, &a);
    rapyer_send_lock(purse, "task", &(rapyer_lock_options){.owner = "b"}, take, &b);
    while (!a.answers)
        turn(mine);
    EXPECT(a.lock && !b.answers);
    rapyer_doc *p = rapyer_begin(a.lock);
    rapyer_append(p, "log", "'by a'");
    EXPECT(rapyer_send_unlock(p, NULL, NULL) == 0);
    rapyer_free(p);
    rapyer_free(a.lock);
    while (!b.answers)
        turn(mine);
    EXPECT(rapyer_fence(b.lock) > 0);
    EXPECT(strcmp(rapyer_str(rapyer_locked(b.lock), "log[-1]", ""), "by a") == 0);
    EXPECT(rapyer_send_op(b.lock, NULL, NULL, "list.append", "log", "'by b'") == 0);
    rapyer_free(b.lock); /* goes when that is done */
    while (rapyer_pending(mine))
        turn(mine);
    EXPECT(is_free("task")); /* answered, all of it */
    REDIS_IS("by b", "LINDEX rapyer:{Purse:1}/log -1");
}

static size_t waiters(const char *action)
{
    rapyer_auto_value *locks = rapyer_call(mine, "admin.locks", "{key: 'Purse:1'}");
    for (size_t i = 0; i < rapyer_len(locks); i++) {
        if (strcmp(rapyer_str(rapyer_item(locks, i), "action", ""), action) == 0)
            return rapyer_len(rapyer_get(locks, "[%d].waiters", (int)i));
    }
    return 0;
}

static void a_deadlock(void)
{
    struct taken you = {0};
    rapyer_doc *a = rapyer_lock(purse, "a", NULL), *b = rapyer_lock(other, "b", NULL);
    rapyer_send_lock(other, "a", NULL, take, &you);
    rapyer_process(yours, 0);
    while (waiters("a") == 0)
        usleep(1000);
    EXPECT(rapyer_lock(purse, "b", NULL) == NULL);
    REFUSED(mine, RAPYER_DEADLOCK, "Purse:1");
    rapyer_free(a); /* one goes back, and the other goes on */
    while (!you.answers)
        turn(yours);
    EXPECT(you.lock != NULL && rapyer_unlock(you.lock) == 0 && rapyer_unlock(b) == 0);
    rapyer_free(you.lock);
    rapyer_free(b);

    const rapyer_lock_item both[] = {{purse, "b", false}, {purse, "a", true}};
    rapyer_doc *locks[2];
    EXPECT(rapyer_lock_all(mine, both, 2, &try, locks) == 0);
    rapyer_auto_doc *shared = rapyer_lock(other, "a", &share);
    EXPECT(shared && !is_free("b"));
    rapyer_free(locks[0]);
    rapyer_free(locks[1]);
    rapyer_auto_doc *exclusive = await("b");
    EXPECT(rapyer_lock_all(mine, both, 2, &try, locks) < 0 && !locks[0] && !locks[1]);
    REFUSED(mine, RAPYER_LOCK_TIMEOUT, "\"b\" of Purse:1");
}

/* ---- with a test beside it ---- */

static void say_and_wait(const char *what)
{
    puts(what);
    if (getchar() == EOF)
        exit(1);
}

/* The daemon is started anew between two lines. */
static void over_a_restart(void)
{
    struct taken waits = {0};
    rapyer_auto_doc *locked = rapyer_lock(purse, "a", NULL), *p = rapyer_begin(locked);
    rapyer_auto_doc *unused = rapyer_lock(purse, "b", NULL);
    rapyer_set(locked, "gold", "7");
    rapyer_set(p, "gold", "8");
    say_and_wait("held");
    EXPECT(rapyer_fetch(locked) == NULL); /* finds the connection closed */
    REFUSED(mine, RAPYER_LOCK_LOST, "");
    EXPECT(rapyer_set(locked, "gold", "9") < 0);
    REFUSED(mine, RAPYER_LOCK_LOST, "connection");
    EXPECT(rapyer_unlock(p) < 0);
    REFUSED(mine, RAPYER_LOCK_LOST, "connection");
    EXPECT(rapyer_set(purse, "log", "[]") == 0); /* connects again: no token of old goes there */
    EXPECT(rapyer_unlock(unused) < 0 && rapyer_renew(locked, 1) < 0);
    REFUSED(mine, RAPYER_LOCK_LOST, "connection");
    REDIS_IS("7", "HGET rapyer:{Purse:1} gold");

    rapyer_auto_doc *again =
        rapyer_lock(purse, "a", NULL); /* after a crash it waits for the lease */
    EXPECT(rapyer_fence(again) > rapyer_fence(locked));
    rapyer_send_lock(other, "a", NULL, take, &waits);
    rapyer_process(yours, 0);
    say_and_wait("waiting");
    while (!waits.answers)
        turn(yours);
    EXPECT(waits.lock == NULL);
    REFUSED(yours, RAPYER_UNAVAILABLE, "lost");
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    mine = rapyer_connect(NULL);
    yours = rapyer_connect(NULL);
    rapyer_define(mine, &Coin, &Purse);
    rapyer_define(yours, &Coin, &Purse);
    rapyer_doc *draft = rapyer_new(mine, "Purse:1", "{}");
    rapyer_save(draft);
    purse = rapyer_open(mine, "Purse:1");
    other = rapyer_open(yours, "Purse:1");
    const char *part = argc > 1 ? argv[1] : "all";
    if (strcmp(part, "restart") == 0) {
        over_a_restart();
    } else if (strcmp(part, "hold") == 0) {
        rapyer_auto_doc *lock = rapyer_lock(purse, "a", NULL);
        rapyer_set_timeout(yours, 100);
        puts("held");
        rapyer_auto_doc *b = rapyer_lock(other, "b", NULL);
        say_and_wait(b ? "got b" : rapyer_errmsg(yours));
        rapyer_unlock(lock);
    } else {
        trying_and_sharing();
        taking_it_again();
        an_element_stays_locked();
        saved_at_the_end();
        made_under_a_lock();
        its_time_is_over();
        broken_by_an_administrator();
        two_tasks();
        a_deadlock();
    }
    rapyer_free(draft);
    rapyer_free(purse);
    rapyer_free(other);
    int rc = example_end(mine) | example_end(yours);
    rapyer_close(mine);
    rapyer_close(yours);
    return rc;
}
