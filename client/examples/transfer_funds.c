/* transfer_funds: money goes from one document to another, under the locks of both. Four processes
 * transfer to and fro at once; there is always as much as there was, and nobody owes any. */
#include "example.h"
#include <sys/wait.h>
#include <unistd.h>

/* listing */
static const rapyer_model UserAccount = RAPYER_ATOMIC(
    "UserAccount", RAPYER_FIELD("username", "str"), RAPYER_FIELD("balance", "int", "0"),
    RAPYER_FIELD("transaction_history", "list<dict<str>>"));

static const rapyer_model UserProfile =
    RAPYER_ATOMIC("UserProfile", RAPYER_FIELD("user_id", "str"),
                  RAPYER_FIELD("account", "UserAccount"), RAPYER_FIELD("preferences", "dict<str>"));

enum outcome { NOT_DONE = -1, NOT_ENOUGH, TRANSFERRED };

static void note(rapyer_doc *user, const char *type, int amount, const char *with,
                 rapyer_doc *other)
{
    char text[16];
    snprintf(text, sizeof text, "%d", amount);
    rapyer_append(user, "account.transaction_history",
                  "{type: %s, amount: %s, %s: %s, timestamp: %s}", type, text, with,
                  rapyer_str(rapyer_locked(other), "user_id", ""), rapyer_now());
}

/* Both are locked. */
static enum outcome transfer(rapyer_doc *from_user, rapyer_doc *to_user, int amount)
{
    if (rapyer_int(rapyer_locked(from_user), "account.balance", 0) < amount)
        return NOT_ENOUGH;
    rapyer_auto_doc *from = rapyer_begin(from_user), *to = rapyer_join(from, to_user);
    /* Deduct from sender */
    rapyer_incr(from, "account.balance", -amount, NULL);
    note(from, "transfer_out", amount, "to", to_user);
    /* Add to receiver */
    rapyer_incr(to, "account.balance", amount, NULL);
    note(to, "transfer_in", amount, "from", from_user);
    /* All of it, or nothing, and both locks are free with that */
    return rapyer_unlock(from) == 0 ? TRANSFERRED : NOT_DONE;
}

static enum outcome transfer_funds(rapyer *db, const char *from_user_key, const char *to_user_key,
                                   int amount)
{
    /* Lock both users for atomic fund transfer */
    rapyer_auto_doc *from_user = rapyer_lock_from_key(db, from_user_key, "transfer", NULL);
    if (!from_user)
        return NOT_DONE;
    rapyer_auto_doc *to_user = rapyer_lock_from_key(db, to_user_key, "transfer", NULL);
    if (!to_user)
        return NOT_DONE; /* DEADLOCK: somebody transfers the other way; from_user is free again */
    return transfer(from_user, to_user, amount);
}
/* end of the listing */

/* Without deadlocks: the daemon takes both, in an order of its own. */
static enum outcome transfer_funds_in_order(rapyer *db, const char *from_user_key,
                                            const char *to_user_key, int amount)
{
    rapyer_auto_doc *from = rapyer_open(db, from_user_key), *to = rapyer_open(db, to_user_key);
    const rapyer_lock_item both[] = {{from, "transfer", false}, {to, "transfer", false}};
    rapyer_doc *locks[2];
    if (rapyer_lock_all(db, both, 2, NULL, locks) < 0)
        return NOT_DONE;
    enum outcome outcome = transfer(locks[0], locks[1], amount);
    rapyer_free(locks[0]);
    rapyer_free(locks[1]);
    return outcome;
}

#define USERS 3
#define PROCESSES 4
#define TRANSFERS 40 /* of each process */
static const char *const keys[USERS] = {"UserProfile:ada", "UserProfile:bob", "UserProfile:eve"};

/* After a DEADLOCK: nothing was done. Those who begin again at once may meet again and again. */
static void pause_a_little(rapyer *db)
{
    rapyer_clear_error(db);
    usleep((useconds_t)(rand() % 2000));
}

/* The sum of all, of one moment: shared locks keep out those who transfer, not other readers. */
static int64_t count_money(rapyer *db)
{
    rapyer_doc *users[USERS], *locks[USERS];
    rapyer_lock_item items[USERS];
    int64_t sum = 0;
    for (int i = 0; i < USERS; i++) {
        users[i] = rapyer_open(db, keys[i]);
        items[i] = (rapyer_lock_item){users[i], "transfer", true};
    }
    while (rapyer_lock_all(db, items, USERS, NULL, locks) < 0 &&
           rapyer_errcode(db) == RAPYER_DEADLOCK)
        pause_a_little(db); /* it was with those who lock one after the other */
    for (int i = 0; i < USERS; i++) {
        int64_t balance = rapyer_int(rapyer_locked(locks[i]), "account.balance", -1);
        EXPECT(balance >= 0); /* what it was decided on was true when it was done */
        sum += balance;
        rapyer_free(locks[i]);
        rapyer_free(users[i]);
    }
    return sum;
}

/* A process of its own: transfers to and fro, each of them until it is done or cannot be. Half
 * of them work on another host, if there is one: over another rapyerd of the same Redis. */
static int work(int number)
{
    rapyer_auto *db = rapyer_connect(number % 4 < 2 ? NULL : getenv("RAPYER_EXAMPLE_OTHER"));
    rapyer_define(db, &UserAccount, &UserProfile);
    srand((unsigned)number);
    for (int i = 0; i < TRANSFERS; i++) {
        const char *from = keys[rand() % USERS], *to = keys[rand() % USERS];
        int amount = 1 + rand() % 60;
        while ((number % 2 ? transfer_funds(db, from, to, amount)
                           : transfer_funds_in_order(db, from, to, amount)) == NOT_DONE) {
            if (rapyer_errcode(db) != RAPYER_DEADLOCK)
                return example_end(db);
            pause_a_little(db);
        }
    }
    return example_end(db);
}

int main(void)
{
    pid_t workers[PROCESSES];
    rapyer_auto *db = rapyer_connect(NULL);
    rapyer_define(db, &UserAccount, &UserProfile);
    for (int i = 0; i < USERS; i++) {
        rapyer_auto_doc *user = rapyer_new(
            db, keys[i], "{user_id: %s, account: {username: %s, balance: 100}}", keys[i], keys[i]);
        rapyer_save(user);
    }
    EXPECT(transfer_funds(db, keys[0], keys[1], 40) == TRANSFERRED);
    EXPECT(transfer_funds(db, keys[0], keys[1], 70) == NOT_ENOUGH);
    REDIS_IS("60", "HGET rapyer:{%s} account.balance", keys[0]);
    REDIS_IS("140", "HGET rapyer:{%s} account.balance", keys[1]);
    REDIS_HAS("transfer_out", "LINDEX rapyer:{%s}/account.transaction_history 0", keys[0]);
    REDIS_HAS(keys[0], "LINDEX rapyer:{%s}/account.transaction_history 0", keys[1]);

    for (int i = 0; i < PROCESSES; i++) {
        workers[i] = fork();
        if (workers[i] == 0)
            _exit(work(i));
    }
    for (int i = 0; i < PROCESSES; i++) {
        int status = -1;
        while (waitpid(workers[i], &status, WNOHANG) == 0) {
            EXPECT(count_money(db) == USERS * 100);
            usleep(1000);
        }
        EXPECT(status == 0);
    }
    EXPECT(count_money(db) == USERS * 100);
    return example_end(db);
}
