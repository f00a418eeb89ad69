/* channel: see channel.h. */
#include "client/channel.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SLICE_MS 200 /* so late a daemon that was killed is noticed */

enum { MEMORY, DAEMON_BELL, CLIENT_BELL };

struct channel {
    struct ring ring;
    void *memory;
    size_t len;
    int daemon_bell, my_bell;
    int nudge;      /* an eventfd of our own */
    int epoll;      /* of my_bell, nudge and the socket */
    uint32_t wants; /* of the last sleep */
    bool waited;    /* what epoll said is in the next two, and was not heard yet */
    bool rang, ended;
};

static int map(struct channel *c, int fd, uint64_t size)
{
    struct stat st;

    if (!ring_size_fits(size) || fstat(fd, &st) < 0 ||
        (uint64_t)st.st_size < ring_memory((uint32_t)size)) {
        errno = EPROTO;
        return -1;
    }
    c->len = ring_memory((uint32_t)size);
    void *memory = mmap(NULL, c->len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        return -1;
    c->memory = memory;
    if (ring_join(&c->ring, memory, c->len, (uint32_t)size) == 0)
        return 0;
    errno = EPROTO;
    return -1;
}

static int watch(struct channel *c, int socket)
{
    struct epoll_event bell = {.events = EPOLLIN, .data.fd = c->my_bell};
    struct epoll_event nudge = {.events = EPOLLIN | EPOLLET};
    struct epoll_event end = {.events = EPOLLIN | EPOLLRDHUP, .data.fd = socket};

    c->nudge = nudge.data.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    c->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (c->nudge < 0 || c->epoll < 0 || epoll_ctl(c->epoll, EPOLL_CTL_ADD, c->my_bell, &bell) < 0 ||
        epoll_ctl(c->epoll, EPOLL_CTL_ADD, c->nudge, &nudge) < 0)
        return -1;
    return epoll_ctl(c->epoll, EPOLL_CTL_ADD, socket, &end);
}

struct channel *channel_join(const int fds[CHANNEL_FDS], uint64_t size, int socket)
{
    struct channel *c = calloc(1, sizeof *c);

    if (!c) {
        for (int i = 0; i < CHANNEL_FDS; i++)
            close(fds[i]);
        return NULL;
    }
    c->daemon_bell = fds[DAEMON_BELL];
    c->my_bell = fds[CLIENT_BELL];
    c->nudge = c->epoll = -1;
    int failed = map(c, fds[MEMORY], size) < 0 || watch(c, socket) < 0, error = errno;
    close(fds[MEMORY]);
    if (!failed)
        return c;
    channel_free(c);
    errno = error;
    return NULL;
}

void channel_free(struct channel *c)
{
    if (!c)
        return;
    if (c->memory)
        munmap(c->memory, c->len);
    if (c->epoll >= 0)
        close(c->epoll);
    if (c->nudge >= 0)
        close(c->nudge);
    close(c->daemon_bell);
    close(c->my_bell);
    free(c);
}

/* --- bytes ------------------------------------------------------------------------------- */

static ssize_t moved(struct channel *c, ssize_t n, uint32_t what)
{
    uint64_t one = 1;

    if (n <= 0) {
        errno = n < 0 ? EPROTO : EAGAIN;
        return -1;
    }
    if (ring_bell(&c->ring, what) && write(c->daemon_bell, &one, sizeof one) < 0)
        return n; /* it is full of rings */
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

size_t channel_untaken(const struct channel *c)
{
    uint32_t n = ring_untaken(&c->ring);

    return n <= c->ring.size ? n : 0;
}

/* --- waiting ----------------------------------------------------------------------------- */

bool channel_sleep(struct channel *c, uint32_t wants)
{
    c->wants = wants;
    return ring_sleep(&c->ring, wants);
}

void channel_wake(struct channel *c)
{
    ring_wake(&c->ring);
}

int channel_fd(const struct channel *c)
{
    return c->epoll;
}

static int look(struct channel *c, int timeout_ms)
{
    struct epoll_event events[3];
    int n = epoll_wait(c->epoll, events, 3, timeout_ms);

    for (int i = 0; i < n; i++) {
        if (events[i].data.fd == c->my_bell)
            c->rang = true;
        else if (events[i].data.fd != c->nudge)
            c->ended = true;
    }
    c->waited = n > 0;
    return n < 0 ? -1 : n > 0;
}

/* On the futex, which is the cheaper way. That the socket has ended is seen between its slices. */
static int doze(struct channel *c, int timeout_ms)
{
    for (;;) {
        int slice = timeout_ms < 0 || timeout_ms > SLICE_MS ? SLICE_MS : timeout_ms;
        if (!ring_sleep(&c->ring, RING_BYTES | RING_FUTEX))
            return 1;
        if (ring_futex_wait(&c->ring, slice) == 0 || errno == EAGAIN) {
            c->waited = true; /* and that is all there is to hear */
            return 1;
        }
        if (errno != ETIMEDOUT)
            return -1;
        int told = look(c, 0);
        timeout_ms -= timeout_ms < 0 ? 0 : slice;
        if (told || timeout_ms == 0)
            return told;
    }
}

int channel_wait(struct channel *c, int timeout_ms)
{
    if (c->wants != RING_BYTES || c->ended)
        return look(c, timeout_ms);
    int told = doze(c, timeout_ms);
    if (told <= 0 && !ring_sleep(&c->ring, c->wants))
        told = 1;
    return told;
}

void channel_nudge(struct channel *c)
{
    uint64_t one = 1;
    ssize_t n = write(c->nudge, &one, sizeof one); /* at worst it is told already */
    (void)n;
}

bool channel_hear(struct channel *c)
{
    char rings[256];

    if (!c->waited)
        look(c, 0);
    if (c->rang && read(c->my_bell, rings, sizeof rings) < 0)
        c->rang = false; /* somebody else took them */
    c->rang = c->waited = false;
    return c->ended;
}
