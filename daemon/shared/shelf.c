/* shelf: see shelf.h. */
#include "daemon/shared/shelf.h"
#include "protocol/cell.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <utlist.h>

#define SLAB ((size_t)256 << 10)
#define SMALLEST ((size_t)256)
#define STEPS 4u /* sizes from one power of two to the next */
#define SIZES (10 * STEPS + 1)
#define BYTES_PER_WORD ((size_t)256) /* of memory; so many slots the index has words for */

_Static_assert(SMALLEST << (SIZES / STEPS) == SLAB, "the last size is a slab");

struct shown {
    struct shelf *shelf;
    struct shown **at;         /* who has put it points to it there; NULL: free */
    struct shown *prev, *next; /* of its size: free, or shown */
    size_t slot;
    uint64_t hash, generation, stamp;
    uint64_t used; /* when, in the order of all */
    uint8_t size, way;
};

struct slots { /* of one size */
    struct shown *free, *shown;
};

struct slab {
    struct shown *slots;
    uint8_t size;
};

struct shelf {
    struct segment segment;
    void *memory;
    int fd;
    size_t slabs_at;
    unsigned nslabs, given; /* slabs there are; that have a size */
    struct slab *slabs;
    struct slots sizes[SIZES];
    uint64_t uses;
    struct shelf_stats stats;
};

/* ---- memory ---- */

static uint64_t random_word(void)
{
    uint64_t word;

    while (getrandom(&word, sizeof word, 0) != sizeof word)
        continue; /* the system has just started */
    return word;
}

static uint32_t buckets_for(size_t memory)
{
    uint32_t buckets = 1;

    while ((size_t)buckets * SEGMENT_WAYS * BYTES_PER_WORD < memory)
        buckets *= 2;
    return buckets;
}

/* Mapped before the seal that forbids to map it for writing. */
static int make_memory(struct shelf *s, size_t memory)
{
    s->fd = memfd_create("rapyerd documents", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (s->fd < 0)
        return -1;
    int error = posix_fallocate(s->fd, 0, (off_t)memory);
    if (error) {
        errno = error;
        return -1;
    }
    void *p = mmap(NULL, memory, PROT_READ | PROT_WRITE, MAP_SHARED, s->fd, 0);
    if (p == MAP_FAILED)
        return -1;
    s->memory = p;
    uint32_t buckets = buckets_for(memory);
    segment_init(&s->segment, p, memory, buckets, random_word(), random_word());
    s->slabs_at = segment_slots_at(buckets);
    return fcntl(s->fd, F_ADD_SEALS,
                 F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL);
}

/* A word with the thread's id that the kernel marks when the thread ends, be it by SIGKILL: what a
 * robust mutex is made of. The list of such words is in our own memory, and each is found at a
 * fixed distance from its entry; so readers learn no address. It takes the place of the list that
 * the C library keeps for robust mutexes of this thread, of which there are none here. */
static int own(struct shelf *s)
{
    static struct robust_list entry;
    static struct robust_list_head head;
    uint8_t *word = (uint8_t *)s->memory + SEGMENT_OWNER_AT;

    entry.next = &head.list;
    head.list.next = &entry;
    head.futex_offset = (long)((uintptr_t)word - (uintptr_t)&entry);
    if (syscall(SYS_set_robust_list, &head, sizeof head) < 0)
        return -1;
    __atomic_store_n((uint32_t *)word, (uint32_t)syscall(SYS_gettid), __ATOMIC_RELEASE);
    return 0;
}

static void disown(void)
{
    static struct robust_list_head none = {.list = {&none.list}};

    syscall(SYS_set_robust_list, &none, sizeof none);
}

struct shelf *shelf_new(size_t memory)
{
    struct shelf *s = tree_alloc(sizeof *s);

    s->fd = -1;
    if (make_memory(s, memory) < 0 || own(s) < 0) {
        int error = errno;
        shelf_free(s);
        errno = error;
        return NULL;
    }
    s->nslabs = (unsigned)((memory - s->slabs_at) / SLAB);
    s->slabs = tree_alloc((s->nslabs + 1) * sizeof *s->slabs);
    s->stats.memory = memory;
    return s;
}

void shelf_free(struct shelf *s)
{
    if (s == NULL)
        return;
    if (s->memory != NULL) {
        segment_close(&s->segment);
        disown();
        for (unsigned i = 0; i < SIZES; i++) {
            while (s->sizes[i].shown != NULL)
                shelf_take(s->sizes[i].shown->at);
        }
        munmap(s->memory, s->segment.size);
    }
    for (unsigned i = 0; i < s->given; i++)
        tree_free(s->slabs[i].slots);
    if (s->slabs != NULL)
        tree_free(s->slabs);
    if (s->fd >= 0)
        close(s->fd);
    tree_free(s);
}

size_t shelf_memory(const struct shelf *s)
{
    return s->segment.size;
}

int shelf_fd(const struct shelf *s)
{
    return s->fd;
}

struct segment *shelf_segment(struct shelf *s)
{
    return &s->segment;
}

/* ---- slots ---- */

static size_t bytes_of(unsigned size)
{
    size_t power = SMALLEST << size / STEPS;

    return power + power / STEPS * (size % STEPS);
}

/* The first size that takes so many bytes; SIZES: none does. */
static unsigned size_for(size_t bytes)
{
    unsigned size = 0;

    while (size < SIZES && bytes_of(size) < bytes)
        size++;
    return size;
}

static bool give_slab(struct shelf *s, unsigned size)
{
    if (s->given == s->nslabs)
        return false;
    unsigned n = (unsigned)(SLAB / bytes_of(size));
    struct slab *slab = &s->slabs[s->given];
    slab->size = (uint8_t)size;
    slab->slots = tree_alloc(n * sizeof *slab->slots);
    for (unsigned i = n; i-- > 0;) {
        struct shown *slot = &slab->slots[i];
        slot->shelf = s;
        slot->size = (uint8_t)size;
        slot->slot = s->slabs_at + s->given * SLAB + i * bytes_of(size);
        DL_PREPEND(s->sizes[size].free, slot);
    }
    s->given++;
    return true;
}

static struct shown *slot_at(const struct shelf *s, size_t at)
{
    const struct slab *slab = &s->slabs[(at - s->slabs_at) / SLAB];

    return &slab->slots[(at - s->slabs_at) % SLAB / bytes_of(slab->size)];
}

/* From here on nobody takes it for what it was. That is a turn of its own: a change of what is not
 * shown any more is none, and who has read it before, and what was changed with it after, would
 * take both for one moment. */
static void vacate(struct shown *slot)
{
    struct slots *all = &slot->shelf->sizes[slot->size];

    if (!shelf_hidden(slot)) {
        segment_turn_begin(&slot->shelf->segment);
        shelf_hide(slot);
        segment_turn_end(&slot->shelf->segment);
    }
    segment_unlist(&slot->shelf->segment, slot->hash, slot->way);
    *slot->at = NULL;
    slot->at = NULL;
    DL_DELETE(all->shown, slot);
    DL_PREPEND(all->free, slot);
    slot->shelf->stats.shown--;
}

static void displace(struct shown *slot)
{
    slot->shelf->stats.displaced++;
    vacate(slot);
}

/* A free slot of this size; of a larger one where there are no slabs any more and this size has
 * none at all. NULL: there is no such slot. */
static struct shown *free_slot(struct shelf *s, unsigned size)
{
    if (size < SIZES && s->sizes[size].free == NULL && !give_slab(s, size)) {
        while (size < SIZES && s->sizes[size].free == NULL && s->sizes[size].shown == NULL)
            size++;
        if (size < SIZES && s->sizes[size].free == NULL)
            displace(s->sizes[size].shown);
    }
    return size < SIZES ? s->sizes[size].free : NULL;
}

/* A word of the bucket: one that is free, or that of whom nobody has used for longest. */
static unsigned free_way(struct shelf *s, uint64_t hash)
{
    struct shown *oldest = NULL;

    for (unsigned way = 0; way < SEGMENT_WAYS; way++) {
        size_t at = segment_listed(&s->segment, hash, way);
        if (at == 0)
            return way;
        struct shown *slot = slot_at(s, at);
        if (oldest == NULL || slot->used < oldest->used)
            oldest = slot;
    }
    unsigned way = oldest->way;
    displace(oldest);
    return way;
}

static struct shown *occupy(struct shelf *s, struct shown **at, const struct segment_record *r)
{
    struct shown *slot = free_slot(s, size_for(segment_need(r)));

    if (slot == NULL)
        return NULL;
    slot->hash = segment_hash(&s->segment, r->key, r->key_len);
    slot->way = (uint8_t)free_way(s, slot->hash);
    slot->at = at;
    DL_DELETE(s->sizes[slot->size].free, slot);
    DL_APPEND(s->sizes[slot->size].shown, slot);
    s->stats.shown++;
    return slot;
}

void shelf_put(struct shelf *s, struct shown **shown, const struct segment_record *r)
{
    size_t need = segment_need(r);

    if (*shown != NULL && (need > bytes_of((*shown)->size) || need < bytes_of((*shown)->size) / 4))
        shelf_take(shown);
    struct shown *slot = *shown != NULL ? *shown : occupy(s, shown, r);
    if (slot == NULL)
        return;
    segment_put(&s->segment, slot->slot, r);
    if (*shown == NULL)
        segment_list(&s->segment, slot->hash, slot->way, slot->slot);
    *shown = slot;
    slot->generation = r->generation;
    slot->stamp = r->stamp;
    s->stats.put++;
    shelf_use(slot);
}

void shelf_take(struct shown **shown)
{
    if (*shown == NULL)
        return;
    (*shown)->shelf->stats.taken++;
    vacate(*shown);
}

void shelf_use(struct shown *shown)
{
    struct slots *all = &shown->shelf->sizes[shown->size];

    shown->used = ++shown->shelf->uses;
    DL_DELETE(all->shown, shown);
    DL_APPEND(all->shown, shown);
}

void shelf_hide(struct shown *shown)
{
    segment_withdraw(&shown->shelf->segment, shown->slot);
}

bool shelf_hidden(const struct shown *shown)
{
    return segment_vacant(&shown->shelf->segment, shown->slot);
}

bool shelf_shows(const struct shown *shown, uint64_t generation, uint64_t stamp)
{
    return shown != NULL && !shelf_hidden(shown) && shown->generation == generation &&
           shown->stamp == stamp;
}

void shelf_stats(const struct shelf *s, struct shelf_stats *out)
{
    *out = s->stats;
}
