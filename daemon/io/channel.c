/* channel: see channel.h. */
#include "daemon/io/channel.h"
#include "daemon/io/fds.h"
#include "protocol/alloc.h"
#include <errno.h>
#include <event2/event_struct.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008u
#endif

enum { MEMORY, DAEMON_BELL, CLIENT_BELL, CHANNEL_FDS };

struct channel {
    struct ring ring;
    void *memory;
    int fds[CHANNEL_FDS];
    int ring_client; /* the other end of CLIENT_BELL */
    struct event bell;
    bool listening; /* bell is added */
    struct channel_wakes *wakes;
    channel_bell_fn *on_bell;
    void *arg;
};

void channels_wake(struct channel_wakes *wakes)
{
    if (wakes->pending)
        ring_futex_wake(&wakes->pending->ring);
    wakes->pending = NULL;
}

static void on_bell(evutil_socket_t fd, short what, void *arg)
{
    struct channel *c = arg;

    (void)fd;
    (void)what;
    c->on_bell(c->arg);
}

/* Kernels before 6.3 do not know the flag, later ones complain where it is missing. */
static int anonymous_file(void)
{
    int fd = memfd_create("rapyer-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);

    if (fd < 0 && errno == EINVAL)
        fd = memfd_create("rapyer-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return fd;
}

static int map_memory(struct channel *c, size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, c->fds[MEMORY], 0);

    if (memory == MAP_FAILED)
        return -1;
    c->memory = memory;
    return 0;
}

/* All of the memory is there from the beginning, and stays: touching it never fails later. */
static int make_memory(struct channel *c, uint32_t size)
{
    off_t bytes = (off_t)ring_memory(size);
    int fd = c->fds[MEMORY] = anonymous_file();

    if (fd < 0)
        return -1;
    int error = posix_fallocate(fd, 0, bytes);
    if (error) {
        errno = error;
        return -1;
    }
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        return -1;
    if (map_memory(c, (size_t)bytes) < 0)
        return -1;
    ring_init(&c->ring, c->memory, size);
    return 0;
}

static int listen_to_bell(struct channel *c, struct event_base *base)
{
    if (event_assign(&c->bell, base, c->fds[DAEMON_BELL], EV_READ | EV_PERSIST | EV_ET, on_bell,
                     c) < 0 ||
        event_add(&c->bell, NULL) < 0)
        return -1;
    c->listening = true;
    return 0;
}

/* The daemon's bell is edge-triggered: it rings with each write, without being read. The client's
 * is a socket pair: the two ends of an eventfd share their O_NONBLOCK, which a client could take
 * away; and who reads from a pipe holds its mutex while he copies, for as long as he likes if the
 * page that he copies to is of his own making (userfaultfd, FUSE). The daemon would wait for it. */
static int make_bells(struct channel *c, struct event_base *base)
{
    int ends[2];

    c->fds[DAEMON_BELL] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (c->fds[DAEMON_BELL] < 0 ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) < 0)
        return -1;
    c->fds[CLIENT_BELL] = ends[0];
    c->ring_client = ends[1];
    return listen_to_bell(c, base);
}

static struct channel *channel_made(struct channel_wakes *wakes, channel_bell_fn *bell, void *arg)
{
    struct channel *c = alloc_zeroed(1, sizeof *c);

    *c = (struct channel){
        .fds = {-1, -1, -1}, .ring_client = -1, .wakes = wakes, .on_bell = bell, .arg = arg};
    return c;
}

struct channel *channel_new(struct event_base *base, struct channel_wakes *wakes, uint32_t size,
                            channel_bell_fn *bell, void *arg)
{
    struct channel *c = channel_made(wakes, bell, arg);

    if (make_memory(c, size) < 0 || make_bells(c, base) < 0) {
        int error = errno;
        channel_free(c);
        errno = error;
        return NULL;
    }
    return c;
}

static void close_one(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void channel_free(struct channel *c)
{
    if (!c)
        return;
    if (c->wakes->pending == c)
        channels_wake(c->wakes);
    if (c->listening)
        event_del(&c->bell);
    if (c->memory)
        munmap(c->memory, ring_memory(c->ring.size));
    for (int i = 0; i < CHANNEL_FDS; i++)
        close_one(&c->fds[i]);
    close_one(&c->ring_client);
    free(c);
}

int channel_hand_over(struct channel *c, int socket, const void *last, size_t len)
{
    if (fds_send(socket, last, len, c->fds, CHANNEL_FDS) < 0)
        return -1;
    close_one(&c->fds[CLIENT_BELL]); /* the memory may have to be handed over once more */
    return 0;
}

void channel_save(const struct channel *c, struct state_writer *w)
{
    struct ring_kept kept = ring_keep(&c->ring);

    pack_array(&w->out, 7);
    pack_uint(&w->out, c->ring.size);
    pack_uint(&w->out, kept.put);
    pack_uint(&w->out, kept.taken);
    pack_uint(&w->out, kept.sleep);
    state_fd(w, c->fds[MEMORY]);
    state_fd(w, c->fds[DAEMON_BELL]);
    state_fd(w, c->ring_client);
}

struct channel *channel_resume(struct event_base *base, struct channel_wakes *wakes,
                               struct state_reader *r, channel_bell_fn *bell, void *arg)
{
    struct channel *c = channel_made(wakes, bell, arg);
    struct state_tuple t = state_enter(r, 7);
    struct stat st;
    uint32_t size = (uint32_t)state_uint(r);
    struct ring_kept kept = {.put = (uint32_t)state_uint(r)};

    kept.taken = (uint32_t)state_uint(r);
    kept.sleep = (uint32_t)state_uint(r);
    c->fds[MEMORY] = state_take_fd(r);
    c->fds[DAEMON_BELL] = state_take_fd(r);
    c->ring_client = state_take_fd(r);
    state_leave(r, &t);
    if (r->bad || !ring_size_fits(size) || fstat(c->fds[MEMORY], &st) < 0 ||
        (size_t)st.st_size < ring_memory(size))
        errno = EPROTO;
    else if (map_memory(c, ring_memory(size)) == 0 && listen_to_bell(c, base) == 0) {
        ring_resume(&c->ring, c->memory, size, kept);
        event_active(&c->bell, EV_READ, 0);
        return c;
    }
    int error = errno;
    c->ring.size = size; /* of what is unmapped */
    channel_free(c);
    errno = error;
    return NULL;
}

/* Half the system calls; and where a wake-up interrupts another processor, it does so for two. */
static void wake_with_next(struct channel *c)
{
    struct channel *first = c->wakes->pending;

    if (!first) {
        c->wakes->pending = c;
        return;
    }
    c->wakes->pending = NULL;
    ring_futex_wake_both(&first->ring, &c->ring);
}

static void wake_the_client(struct channel *c, enum ring_call how)
{
    if (how == RING_CALL_FUTEX)
        wake_with_next(c);
    else if (how == RING_CALL_BELL && send(c->ring_client, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        return; /* full, it has rung already; or closed, nobody hears it */
}

static ssize_t moved(struct channel *c, ssize_t n, uint32_t what)
{
    if (n <= 0) {
        errno = n < 0 ? EPROTO : EAGAIN;
        return -1;
    }
    wake_the_client(c, ring_bell(&c->ring, what));
    return n;
}

ssize_t channel_read(struct channel *c, void *p, size_t n)
{
    return moved(c, ring_take(&c->ring, p, n), RING_ROOM);
}

ssize_t channel_write(struct channel *c, const void *p, size_t n)
{
    return moved(c, ring_put(&c->ring, p, n), RING_BYTES);
}

bool channel_sleep(struct channel *c, uint32_t wants)
{
    return ring_sleep(&c->ring, wants);
}

void channel_wake(struct channel *c)
{
    ring_wake(&c->ring);
}
