/* shared: see shared.h. */
#include "client/shared.h"
#include "client/request.h"
#include "client/value.h"
#include "protocol/path.h"
#include "protocol/rpc.h"
#include "protocol/segment.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define TRIES 4         /* of a read, while the document is being changed */
#define TELL_EVERY 4096 /* reads between two times that the daemon is told of them */
#define ATTACH_MS 1000  /* that it may take to give the memory */
#define PLACE_MAX 512   /* bytes of a path, and of a field's value, that are looked at here */

struct shared {
    struct segment segment;
    void *memory;
    size_t len;
    uint64_t hits, told;
};

void shared_free(struct shared *s)
{
    if (!s)
        return;
    munmap(s->memory, s->len);
    free(s);
}

/* ---- the memory ---- */

/* A socket of its own: that of the connection may carry other answers, or has a ring. */
static int connect_beside(const rapyer *db)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int ms = db->timeout_ms < ATTACH_MS ? db->timeout_ms : ATTACH_MS;
    struct timeval patience = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
    size_t len = strlen(db->socket);
    if (len >= sizeof to.sun_path)
        return -1;
    memcpy(to.sun_path, db->socket, len + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0 &&
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) == 0 &&
        connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
        return fd;
    close(fd);
    return -1;
}

/* The descriptor that comes with the answer; -1: the answer is that there is none. */
static int ask_for_memory(int fd)
{
    static const uint8_t question[] = "\x94\x00\x01\xacsegment.open\x90";
    uint8_t answer[512];
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
    struct iovec bytes = {answer, sizeof answer};
    struct msghdr message = {.msg_iov = &bytes,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof control};
    int memory;
    if (send(fd, question, sizeof question - 1, MSG_NOSIGNAL) != sizeof question - 1 ||
        recvmsg(fd, &message, MSG_CMSG_CLOEXEC) <= 0)
        return -1;
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS ||
        c->cmsg_len != CMSG_LEN(sizeof memory))
        return -1;
    memcpy(&memory, CMSG_DATA(c), sizeof memory);
    return memory;
}

/* Memory that can shrink would end this process with SIGBUS one day. */
static struct shared *map(int fd)
{
    struct stat st;
    int seals = fcntl(fd, F_GET_SEALS);
    struct shared *s = calloc(1, sizeof *s);
    if (!s || seals < 0 || !(seals & F_SEAL_SHRINK) || fstat(fd, &st) < 0) {
        free(s);
        return NULL;
    }
    s->len = (size_t)st.st_size;
    s->memory = mmap(NULL, s->len, PROT_READ, MAP_SHARED, fd, 0);
    if (s->memory != MAP_FAILED && segment_join(&s->segment, s->memory, s->len) == 0)
        return s;
    if (s->memory != MAP_FAILED)
        munmap(s->memory, s->len);
    free(s);
    return NULL;
}

/* Once for a connection, after the first reads: most programs end before that. */
static void attach(rapyer *db)
{
    if (!db->shared_after || db->fd < 0 || ++db->reads != db->shared_after)
        return;
    int error = errno, fd = connect_beside(db);
    int memory = fd >= 0 ? ask_for_memory(fd) : -1;
    if (memory >= 0) {
        db->shared = map(memory);
        close(memory);
    }
    if (fd >= 0)
        close(fd);
    errno = error;
}

static uint64_t now_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* What may be read now, or 0. What this connection has sent comes before what it reads; so with
 * anything under way, or given up, it is the daemon that answers. */
static uint64_t readable(rapyer *db)
{
    bool gone;
    if (!db->shared) {
        attach(db);
        return 0;
    }
    if (db->fd < 0 || db->npending > db->nheirs || db->overdue || db->forks != db_forks())
        return 0;
    uint64_t generation = segment_readable(&db->shared->segment, now_ns(CLOCK_BOOTTIME), &gone);
    if (gone) {
        shared_free(db->shared);
        db->shared = NULL;
        db->reads = 0;
    }
    return generation;
}

static bool find(rapyer *db, uint64_t generation, const char *key, struct segment_view *v)
{
    const struct segment *s = &db->shared->segment;
    return segment_find(s, key, strlen(key), v) && v->generation == generation &&
           v->stamp >= db->stamp && v->len <= db->max_answer &&
           (v->expires == 0 || (int64_t)(now_ns(CLOCK_REALTIME) / 1000000) < v->expires);
}

/* That documents are read here keeps them in the daemon's memory. It is told now and then, of the
 * one that was read last. */
static void count(rapyer *db, const char *key, size_t n)
{
    struct shared *s = db->shared;
    s->hits += n;
    if (s->hits - s->told < TELL_EVERY)
        return;
    rpc_open_notify(&db->out, "segment.hits");
    pack_array(&db->out, 2);
    pack_uint(&db->out, s->hits - s->told);
    pack_cstr(&db->out, key);
    s->told = s->hits;
    connection_push(db);
}

/* ---- whole documents ---- */

/* The version stands at the end, where it can be left out. */
static int hide_version(rapyer_value *v)
{
    if (rapyer_kind_of(v) != RAPYER_DICT || v->len == 0)
        return -1;
    v->len--;
    return 0;
}

static rapyer_value *take(const struct segment *s, const struct segment_view *v, bool version)
{
    uint8_t *bytes;
    rapyer_value *root = value_room(v->items, v->len, &bytes);
    if (!root)
        return NULL;
    if (segment_copy(s, v, 0, v->len, bytes) && value_fill(root, v->items, v->len) == 0 &&
        (version || hide_version(root) == 0))
        return root;
    rapyer_value_free(root);
    return NULL;
}

rapyer_value *shared_document(rapyer *db, const char *key, bool version, bool complete)
{
    uint64_t generation = readable(db);
    struct segment_view v;
    rapyer_value *root = NULL;
    for (int i = 0; generation && !root && i < TRIES; i++) {
        if (!find(db, generation, key, &v) || (complete && !v.complete))
            return NULL;
        root = take(&db->shared->segment, &v, version);
    }
    if (root)
        count(db, key, 1);
    return root;
}

/* ---- several ---- */

/* All in one block, one behind the other, behind the head of an array. */
static rapyer_value *take_all(const struct segment *s, const struct segment_view *views, size_t n,
                              size_t items, size_t len)
{
    struct buf head = BUF_INIT;
    uint8_t *bytes;
    pack_array(&head, (uint32_t)n);
    rapyer_value *root = head.failed ? NULL : value_room(items + 1, head.len + len, &bytes);
    bool good = root != NULL;
    if (good) {
        memcpy(bytes, head.data, head.len);
        bytes += head.len;
    }
    for (size_t i = 0; good && i < n; bytes += views[i++].len)
        good = segment_copy(s, &views[i], 0, views[i].len, bytes);
    good = good && value_fill(root, items + 1, head.len + len) == 0;
    for (size_t i = 0; good && i < n; i++)
        good = hide_version(&root->items[i]) == 0;
    buf_free(&head);
    if (good)
        return root;
    rapyer_value_free(root);
    return NULL;
}

/* As the daemon gives them: all as they were at one moment. */
static rapyer_value *try_many(rapyer *db, uint64_t generation, const char *const *keys, size_t n,
                              struct segment_view *views)
{
    const struct segment *s = &db->shared->segment;
    uint64_t turn = segment_turn(s);
    size_t items = 0, len = 0;
    for (size_t i = 0; i < n; i++) {
        if (!keys[i] || !find(db, generation, keys[i], &views[i]))
            return NULL;
        items += views[i].items;
        len += views[i].len;
    }
    rapyer_value *root =
        turn % 2 || len > db->max_answer ? NULL : take_all(s, views, n, items, len);
    if (root && segment_turn_is(s, turn))
        return root;
    rapyer_value_free(root);
    return NULL;
}

rapyer_value *shared_many(rapyer *db, const char *const *keys, size_t n)
{
    uint64_t generation = n ? readable(db) : 0;
    struct segment_view *views = generation ? calloc(n, sizeof *views) : NULL;
    rapyer_value *root = NULL;
    for (int i = 0; views && !root && i < TRIES; i++)
        root = try_many(db, generation, keys, n, views);
    free(views);
    if (root)
        count(db, keys[n - 1], n);
    return root;
}

/* ---- places ---- */

/* Whether this library knows from the models where the steps behind the first one lead, and that
 * the map has it like that: to fields of atomic models, to elements and entries of containers. */
static bool leads_there(const struct model *m, const char *path, size_t len)
{
    struct path_reader r;
    struct step s;
    struct fault ignored;
    const struct type *t = NULL;
    int more;
    path_read(&r, path, len);
    while ((more = path_next(&r, &s, &ignored)) > 0) {
        if (m && s.kind == STEP_NAME) {
            int i = model_field(m, s.s, s.len);
            t = i < 0 ? NULL : m->fields[i].type;
        } else if (!m && t && t->kind == TYPE_LIST && s.kind == STEP_INDEX) {
            t = type_within(t->of);
        } else if (!m && t && t->kind == TYPE_DICT && s.kind == STEP_KEY) {
            t = type_within(t->of);
        } else {
            return false;
        }
        if (!t)
            return false;
        m = t->kind == TYPE_MODEL && t->model->atomic ? t->model : NULL;
    }
    return more == 0;
}

/* What a pair holds that was copied, at the rest of the path in it. */
static rapyer_value *place_in(const uint8_t *pair, size_t n, const char *name, size_t name_len,
                              const char *rest, size_t rest_len)
{
    struct cursor in = cursor_of(pair, n);
    struct fault f;
    const char *have;
    size_t len;
    if (cursor_str(&in, &have, &len) < 0 || len != name_len || memcmp(have, name, len) != 0)
        return NULL;
    rapyer_value *root = value_parse(in, 0, SIZE_MAX, &f);
    const rapyer_value *there = root && rest_len ? value_at(root, rest, rest_len) : root;
    if (there)
        *root = *there; /* what it points to is in the same block */
    else
        rapyer_value_free(root);
    return there ? root : NULL;
}

static rapyer_value *take_place(rapyer *db, uint64_t generation, const char *key, const char *path,
                                size_t name_len, size_t len)
{
    const struct segment *s = &db->shared->segment;
    struct segment_view v;
    uint8_t few[PLACE_MAX], *pair = few;
    size_t from, n;
    rapyer_value *there = NULL;
    if (!find(db, generation, key, &v) || !v.complete ||
        !segment_pair(s, &v, path, name_len, &from, &n))
        return NULL;
    if (n > sizeof few)
        pair = malloc(n);
    const char *rest = path + name_len + (path[name_len] == '.');
    if (pair && segment_copy(s, &v, from, n, pair))
        there = place_in(pair, n, path, name_len, rest, len - (size_t)(rest - path));
    if (pair != few)
        free(pair);
    return there;
}

/* The whole path of a place in a saved document; its length, or 0. */
static size_t whole_path(const rapyer_doc *at, const char *path, char *out)
{
    size_t first = strlen(at->path), second = path ? strlen(path) : 0;
    bool dot = first && second && *path != '[';
    if (at->home->state != HOME_LIVE || first + dot + second >= PLACE_MAX)
        return 0;
    memcpy(out, at->path, first);
    if (dot)
        out[first++] = '.';
    if (second)
        memcpy(out + first, path, second);
    out[first + second] = '\0';
    return first + second;
}

rapyer_value *shared_place(rapyer_doc *at, const char *path)
{
    rapyer *db = at->home->db;
    char whole[PLACE_MAX];
    size_t len = whole_path(at, path, whole), name_len = strcspn(len ? whole : "", ".[");
    if (!len)
        return at->home->state == HOME_LIVE && !*at->path && (!path || !*path)
                   ? shared_document(db, at->home->key, false, true)
                   : NULL;
    if (!name_valid(whole, name_len) ||
        (name_len < len && !leads_there(home_model(at->home), whole, len)))
        return NULL;
    uint64_t generation = readable(db);
    rapyer_value *there = NULL;
    for (int i = 0; generation && !there && i < TRIES; i++)
        there = take_place(db, generation, at->home->key, whole, name_len, len);
    if (there)
        count(db, at->home->key, 1);
    return there;
}
