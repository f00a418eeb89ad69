/* memory_caller: a caller of librapyer for whom each allocation fails in its turn, for
 * test_memory.py. It goes through one chapter again and again, and the K-th time the K-th
 * allocation of it fails, up to the time that nothing fails any more. Whatever fails then has to be
 * an error of that name, and nothing may be left behind (ASan looks). preload_memory.c is the
 * allocator; this writes its orders. */
#include <fcntl.h>
#include <rapyer.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define KEY "User:ada"

static volatile int64_t *orders; /* least, until, failed */
static int wrong;

/* rc: as the library's functions return it. */
static void see(rapyer *db, bool went_well, const char *what)
{
    if (went_well)
        return;
    if (!orders[2] || (rapyer_errcode(db) != RAPYER_NO_MEMORY)) {
        fprintf(stderr, "%s: %s\n", what, db ? rapyer_errmsg(db) : "no connection");
        wrong++;
    }
}
#define SEE(db, call) see(db, call, #call)

static void work(rapyer *db)
{
    rapyer_auto_doc *ada = rapyer_open(db, KEY);
    SEE(db, ada != NULL);
    if (!ada)
        return;
    SEE(db, rapyer_incr(ada, "age", 1, NULL) == 0);
    SEE(db,
        rapyer_append(ada, "tags", "%s", "a long text, or so, that needs a place of its own") >= 0);
    rapyer_auto_doc *tag = rapyer_at(ada, "tags[%d]", 0);
    SEE(db, tag != NULL);
    if (tag) {
        rapyer_auto_value *text = rapyer_fetch(tag);
        SEE(db, text != NULL);
    }
    rapyer_auto_value *all = rapyer_fetch(ada);
    SEE(db, all != NULL);
    rapyer_auto_value *set = rapyer_call(db, "set", "%s, tags, [a, b]", KEY);
    SEE(db, set != NULL);
    rapyer_auto_value *popped = set ? rapyer_pop(ada, "tags", -1) : NULL;
    SEE(db, !set || popped != NULL);
    SEE(db, rapyer_dict_set(ada, "counts", "k", "%d", 1) == 0);
    rapyer_auto_value *keys = rapyer_keys(db, "User");
    SEE(db, keys != NULL);
}

static void gather(rapyer *db)
{
    rapyer_auto_doc *ada = rapyer_open(db, KEY);
    rapyer_auto_doc *p = ada ? rapyer_begin(ada) : NULL;
    SEE(db, p != NULL);
    if (!p)
        return;
    for (int i = 0; i < 5; i++)
        rapyer_incr(p, "age", 1, NULL);
    SEE(db, rapyer_commit(p) == 0);
}

static void lock(rapyer *db)
{
    rapyer_auto_doc *ada = rapyer_open(db, KEY);
    rapyer_auto_doc *held = ada ? rapyer_lock(ada, "edit", NULL) : NULL;
    SEE(db, held != NULL);
    if (!held)
        return;
    SEE(db, rapyer_incr(held, "age", 1, NULL) == 0);
    SEE(db, rapyer_unlock(held) == 0);
}

static void large(rapyer *db)
{
    static char text[3000000];
    memset(text, 'x', sizeof text - 1);
    rapyer_auto_value *set = rapyer_call(db, "set", "%s, bio, %s", KEY, text);
    SEE(db, set != NULL);
    rapyer_auto_value *got = rapyer_call(db, "doc.load", "%s, bio", KEY);
    SEE(db, got != NULL);
    if (got && set && strcmp(rapyer_str(got, "", ""), text) != 0)
        wrong++;
}

static void (*const chapters[])(rapyer *db) = {work, gather, lock, large};
static const char *const names[] = {"operations", "pipeline", "lock", "large"};

int main(int argc, char **argv)
{
    int fd = open(getenv("PRELOAD_MEMORY"), O_RDWR);
    size_t chapter = 0;
    orders = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    while (argc < 2 || strcmp(argv[1], names[chapter]) != 0)
        chapter++;
    int64_t k = 0;
    do {
        orders[2] = 0;
        orders[1] = ++k;
        rapyer *db = rapyer_connect(NULL);
        see(db, db != NULL || orders[2], "rapyer_connect");
        if (db)
            chapters[chapter](db);
        rapyer_close(db);
        orders[1] = 0;
    } while (orders[2] && wrong < 20);
    printf("%d\n", (int)k);
    return wrong ? 1 : 0;
}
