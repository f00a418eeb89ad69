/* state: see state.h. In the memory: ["rapyerd state", version, checksum of what follows, [the
 * descriptors' numbers], body]. */
#include "daemon/base/state.h"
#include "daemon/base/hash.h"
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC "rapyerd state"
#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

/* ---- writing ---- */

void state_writer_free(struct state_writer *w)
{
    buf_free(&w->out);
    free(w->fds);
    *w = (struct state_writer){.fds = NULL};
}

void state_fd(struct state_writer *w, int fd)
{
    if (fd < 0) {
        pack_nil(&w->out);
        return;
    }
    pack_uint(&w->out, w->nfds);
    vec_push(w->fds, w->nfds, w->fds_cap, fd);
}

static int write_all(int fd, const struct buf *b)
{
    for (size_t done = 0; done < b->len;) {
        ssize_t n = write(fd, b->data + done, b->len - done);
        if (n < 0 && errno != EINTR)
            return -1;
        done += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static uint64_t sum_of(const void *fds, size_t nfds, const void *body, size_t nbody)
{
    return XXH3_64bits_withSeed(body, nbody, XXH3_64bits(fds, nfds));
}

int state_store(const struct state_writer *w)
{
    struct buf head = BUF_INIT, fds = BUF_INIT;
    int fd = memfd_create("rapyerd-state", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0)
        return -1;
    pack_array(&fds, w->nfds);
    for (unsigned i = 0; i < w->nfds; i++)
        pack_int(&fds, w->fds[i]);
    pack_array(&head, 5);
    pack_cstr(&head, MAGIC);
    pack_uint(&head, STATE_VERSION);
    pack_uint(&head, sum_of(fds.data, fds.len, w->out.data, w->out.len));
    buf_append(&head, fds.data, fds.len);
    bool stored = write_all(fd, &head) == 0 && write_all(fd, &w->out) == 0 &&
                  fcntl(fd, F_ADD_SEALS, SEALS) == 0;
    int err = errno;
    buf_free(&head);
    buf_free(&fds);
    if (stored)
        return fd;
    close(fd);
    errno = err;
    return -1;
}

/* ---- loading ---- */

static int __attribute__((format(printf, 3, 4)))
refuse(char *error, size_t size, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vsnprintf(error, size, fmt, args);
    va_end(args);
    return -1;
}

static int read_all(struct saved_state *s, int memory)
{
    struct stat st;

    if (fstat(memory, &st) < 0)
        return -1;
    s->bytes = alloc_bytes((size_t)st.st_size + 1);
    while (s->len < (size_t)st.st_size) {
        ssize_t n = pread(memory, s->bytes + s->len, (size_t)st.st_size - s->len, (off_t)s->len);
        if (n < 0 && errno != EINTR)
            return -1;
        if (n == 0)
            break;
        s->len += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static int read_fds(struct saved_state *s, struct cursor *in)
{
    uint32_t n;
    int64_t fd;

    if (cursor_array(in, &n) < 0 || n > STATE_FDS_MAX)
        return -1;
    s->fds = alloc_zeroed(n + 1, sizeof *s->fds);
    s->numbers = alloc_zeroed(n + 1, sizeof *s->numbers);
    for (s->nfds = 0; s->nfds < n; s->nfds++) {
        if (cursor_int(in, &fd) < 0 || fd < 0 || fd > INT32_MAX)
            return -1;
        s->fds[s->nfds] = s->numbers[s->nfds] = (int)fd;
    }
    return 0;
}

static bool is_unsigned(struct cursor *in, uint64_t *v)
{
    struct item it;

    if (cursor_next(in, &it) < 0)
        return false;
    *v = it.kind == ITEM_UINT ? it.uinteger : (uint64_t)it.integer;
    return it.kind == ITEM_UINT || (it.kind == ITEM_INT && it.integer >= 0);
}

static int parse(struct saved_state *s, char *error, size_t size)
{
    struct cursor in = cursor_of(s->bytes, s->len);
    uint64_t version, sum;
    uint32_t n;
    const char *magic;
    size_t len;

    if (cursor_array(&in, &n) < 0 || n != 5 || cursor_str(&in, &magic, &len) < 0 ||
        len != strlen(MAGIC) || memcmp(magic, MAGIC, len) != 0 || !is_unsigned(&in, &version))
        return refuse(error, size, "this is no state of a rapyerd");
    if (version != STATE_VERSION)
        return refuse(error, size,
                      "the state is of version %llu, and this rapyerd (" RAPYER_VERSION
                      ") reads version %d",
                      (unsigned long long)version, STATE_VERSION);
    const uint8_t *fds = is_unsigned(&in, &sum) ? in.at : NULL;
    if (fds == NULL || read_fds(s, &in) < 0 ||
        sum_of(fds, (size_t)(in.at - fds), in.at, (size_t)(in.end - in.at)) != sum)
        return refuse(error, size, "the state is spoilt");
    s->body = in;
    return 0;
}

int state_load(struct saved_state *s, int memory, char *error, size_t size)
{
    *s = (struct saved_state){.len = 0};
    int rc = read_all(s, memory) == 0
                 ? parse(s, error, size)
                 : refuse(error, size, "the state cannot be read: %s", strerror(errno));
    if (rc == 0)
        return 0;
    free(s->bytes);
    free(s->fds);
    free(s->numbers);
    *s = (struct saved_state){.len = 0};
    return -1;
}

void state_free(struct saved_state *s)
{
    for (unsigned i = 0; i < s->nfds; i++)
        if (s->fds[i] >= 0)
            close(s->fds[i]);
    free(s->bytes);
    free(s->fds);
    free(s->numbers);
    *s = (struct saved_state){.len = 0};
}

/* ---- reading ---- */

struct state_reader state_read(struct saved_state *s)
{
    return (struct state_reader){.from = s, .in = s->body};
}

uint32_t state_count(struct state_reader *r)
{
    uint32_t n = 0;

    /* Each that follows is a byte at least. */
    if (r->bad || cursor_array(&r->in, &n) < 0 || n > (size_t)(r->in.end - r->in.at)) {
        r->bad = true;
        return 0;
    }
    return n;
}

struct state_tuple state_enter(struct state_reader *r, uint32_t n)
{
    uint32_t there = state_count(r);

    r->bad = r->bad || there < n;
    return (struct state_tuple){r->bad ? 0 : there - n};
}

void state_leave(struct state_reader *r, const struct state_tuple *t)
{
    for (uint32_t i = 0; i < t->more && !r->bad; i++)
        r->bad = cursor_skip(&r->in) < 0;
}

int64_t state_int(struct state_reader *r)
{
    int64_t v = 0;

    r->bad = r->bad || cursor_int(&r->in, &v) < 0;
    return r->bad ? 0 : v;
}

uint64_t state_uint(struct state_reader *r)
{
    uint64_t v = 0;

    r->bad = r->bad || !is_unsigned(&r->in, &v);
    return r->bad ? 0 : v;
}

unsigned state_below(struct state_reader *r, unsigned end)
{
    uint64_t v = state_uint(r);

    r->bad = r->bad || v >= end;
    return r->bad ? 0 : (unsigned)v;
}

bool state_bool(struct state_reader *r)
{
    bool v = false;

    r->bad = r->bad || cursor_bool(&r->in, &v) < 0;
    return !r->bad && v;
}

const char *state_str(struct state_reader *r, size_t *len)
{
    const char *s = "";

    *len = 0;
    r->bad = r->bad || cursor_str(&r->in, &s, len) < 0;
    if (!r->bad)
        return s;
    *len = 0;
    return "";
}

void state_text(struct state_reader *r, char *out, size_t size)
{
    size_t len;
    const char *s = state_str(r, &len);

    snprintf(out, size, "%.*s", (int)(len < size ? len : size - 1), s);
}

void state_bytes(struct state_reader *r, struct buf *out)
{
    size_t len;
    const char *s = state_str(r, &len);

    buf_append(out, s, len);
}

int state_take_fd(struct state_reader *r)
{
    if (r->bad || cursor_nil(&r->in))
        return -1;
    uint64_t i = state_uint(r);
    if (r->bad || i >= r->from->nfds || r->from->fds[i] < 0) {
        r->bad = true;
        return -1;
    }
    int fd = r->from->fds[i];
    r->from->fds[i] = -1;
    return fd;
}
