/* shelf: the segment (protocol/segment.h) as the daemon keeps it: its memory, and which slot holds
 * what.
 *
 *   slabs of 256 KiB, each given for good to a size of slots when one is needed
 *   a slot: free, or shown; the one that was put or used last goes last
 *
 * Whoever puts a record keeps a pointer to what is shown, and the shelf sets it to NULL when that
 * has to go for something else. All of it is in the memory of readers: it may hold only what all of
 * them may read.
 */
#ifndef RAPYERD_SHELF_H
#define RAPYERD_SHELF_H

#include "protocol/segment.h"

struct shelf;
struct shown;

/* So much memory is taken at once, and sealed: readers can neither write nor cut it. When this
 * process ends, however it does, the kernel says so in there. One at a time. NULL with errno. */
struct shelf *shelf_new(size_t memory);
/* Readers see that it is gone; what was shown is shown no more. */
void shelf_free(struct shelf *s);
size_t shelf_memory(const struct shelf *s);
/* To be handed to readers. */
int shelf_fd(const struct shelf *s);
struct segment *shelf_segment(struct shelf *s);

/* Shows a record in place of what *shown is, and has *shown point to it, NULL if it is too long:
 * *shown stays where it is as long as that is not NULL. */
void shelf_put(struct shelf *s, struct shown **shown, const struct segment_record *r);
/* It cannot be read any more from here on, until something is put in its place. */
void shelf_hide(struct shown *shown);
bool shelf_hidden(const struct shown *shown);
/* The same for good: *shown is NULL then. NULL is fine. */
void shelf_take(struct shown **shown);
/* Somebody reads it: others go before it. */
void shelf_use(struct shown *shown);
/* Whether it can be read, and is of this generation and stamp. NULL is nothing to be read. */
bool shelf_shows(const struct shown *shown, uint64_t generation, uint64_t stamp);

struct shelf_stats {
    size_t memory, shown;
    uint64_t put, taken, displaced; /* records; taken away by shelf_take; for want of room */
};
void shelf_stats(const struct shelf *s, struct shelf_stats *out);

#endif
