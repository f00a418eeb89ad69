/* shelf: what is taken away or displaced is a change for who reads several documents at once. */
#include "daemon/shared/shelf.h"
#include "protocol/buf.h"
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

static struct shelf *shelf;
static struct segment reader;

static void setup(void)
{
    shelf = shelf_new((size_t)1 << 20);
    cr_assert(shelf != NULL);
    void *memory = mmap(NULL, shelf_memory(shelf), PROT_READ, MAP_SHARED, shelf_fd(shelf), 0);
    cr_assert(memory != MAP_FAILED);
    cr_assert_eq(segment_join(&reader, memory, shelf_memory(shelf)), 0);
}

static void teardown(void)
{
    munmap((void *)reader.memory, shelf_memory(shelf));
    shelf_free(shelf);
}

TestSuite(shelf, .init = setup, .fini = teardown);

static void put(struct shown **shown, const char *key, int64_t n)
{
    struct buf b = BUF_INIT;
    pack_map(&b, 1);
    pack_cstr(&b, "n");
    pack_int(&b, n);
    shelf_put(shelf, shown,
              &(struct segment_record){.key = key,
                                       .key_len = strlen(key),
                                       .value = b.data,
                                       .len = b.len,
                                       .pairs = 1,
                                       .items = 3,
                                       .generation = 1});
    cr_assert(*shown != NULL);
    buf_free(&b);
}

static bool found(const char *key)
{
    struct segment_view v;
    uint8_t copy[64];
    return segment_find(&reader, key, strlen(key), &v) && v.len <= sizeof copy &&
           segment_copy(&reader, &v, 0, v.len, copy);
}

/* One document is read, both go, are changed, and come back, and the other one is read: two that
 * never were at one moment. */
Test(shelf, what_goes_and_comes_back_changed_is_a_turn)
{
    struct shown *one = NULL, *two = NULL;
    put(&one, "User:1", 0);
    put(&two, "User:2", 0);
    uint64_t turn = segment_turn(&reader);
    cr_assert(found("User:1"));
    cr_assert(segment_turn_is(&reader, turn));
    shelf_take(&one);
    shelf_take(&two);
    cr_assert(!found("User:1") && !found("User:2"));
    put(&one, "User:1", 1);
    put(&two, "User:2", -1);
    cr_assert(found("User:2"));
    cr_assert(!segment_turn_is(&reader, turn));
    cr_assert_eq(segment_turn(&reader) % 2, 0);
    shelf_take(&one);
    shelf_take(&two);
}

Test(shelf, what_is_displaced_is_a_turn)
{
    enum { MANY = 20000 };
    static struct shown *all[MANY];
    char key[32];
    put(&all[0], "User:0", 0);
    uint64_t turn = segment_turn(&reader);
    for (int i = 1; i < MANY && all[0] != NULL; i++) {
        snprintf(key, sizeof key, "User:%d", i);
        put(&all[i], key, i);
    }
    cr_assert(all[0] == NULL, "there was room for all of them");
    cr_assert(!segment_turn_is(&reader, turn));
    for (int i = 0; i < MANY; i++)
        shelf_take(&all[i]);
}
