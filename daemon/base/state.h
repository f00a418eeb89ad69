/* state: what a process of the daemon leaves to the one that takes over from it: values in
 * MessagePack, and descriptors.
 *
 *   state_writer ──pack_*, state_fd──► state_store ──► sealed memory ──► state_load ──►
 * state_reader
 *
 * Each part writes a tuple of its own and reads it again. A tuple may become longer in later
 * versions: who knows only its beginning skips the rest. What cannot be done that way raises
 * STATE_VERSION, and a state of another version is refused. The memory has a checksum: what is
 * spoilt is refused as a whole, before anything was made of it.
 */
#ifndef RAPYERD_STATE_H
#define RAPYERD_STATE_H

#include "protocol/buf.h"
#include "protocol/cursor.h"

#define STATE_VERSION 1
#define STATE_FDS_MAX 1000000u

struct state_writer {
    struct buf out; /* pack_* here */
    int *fds;       /* in the order in which they were named */
    unsigned nfds, fds_cap;
};

void state_writer_free(struct state_writer *w); /* the descriptors stay open */
/* Names a descriptor, which goes along; -1: there is none. */
void state_fd(struct state_writer *w, int fd);
/* All of it in memory that nobody changes any more: a descriptor, close-on-exec. -1: errno. */
int state_store(const struct state_writer *w);

struct saved_state {
    uint8_t *bytes;
    size_t len;
    struct cursor body;
    int *fds;     /* -1: taken */
    int *numbers; /* the same, whoever took them */
    unsigned nfds;
};

/* -1 with a message for a person: it is of another version, or spoilt. Nothing to free then. */
int state_load(struct saved_state *s, int memory, char *error, size_t size);
/* Closes what descriptors nobody has taken. */
void state_free(struct saved_state *s);

/* Reads what a writer wrote, in the same order. Where it is something else it is `bad` from then
 * on, and all that is read is zero or empty: whoever reads looks at the end. */
struct state_reader {
    struct saved_state *from;
    struct cursor in;
    bool bad;
};

struct state_reader state_read(struct saved_state *s);
/* A tuple of n values at least; leave skips those that are not known here. */
struct state_tuple {
    uint32_t more;
};
struct state_tuple state_enter(struct state_reader *r, uint32_t n);
void state_leave(struct state_reader *r, const struct state_tuple *t);
uint32_t state_count(struct state_reader *r); /* the head of a list: how many follow */
int64_t state_int(struct state_reader *r);
uint64_t state_uint(struct state_reader *r);
unsigned state_below(struct state_reader *r, unsigned end); /* bad unless it is below that */
bool state_bool(struct state_reader *r);
/* They point into the state. */
const char *state_str(struct state_reader *r, size_t *len);
/* A text, cut where it does not fit. */
void state_text(struct state_reader *r, char *out, size_t size);
/* Appends. */
void state_bytes(struct state_reader *r, struct buf *out);
/* The caller's from then on; -1: none was given. */
int state_take_fd(struct state_reader *r);

#endif
