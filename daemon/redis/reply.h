/* reply: what Redis answers, with all of a reply in one arena.
 *
 * Most replies are there whole when the first byte of them is, and are read where they lie. The
 * others go through hiredis' reader, which can wait for the rest.
 *
 * A commit of one increment is answered with eleven reply objects; as single allocations, as
 * hiredis makes them, they cost as much as everything else the daemon does for it. Here they are
 * pushed onto an arena that is emptied when the reply has been handed over.
 *
 * A reply has a str, if an empty one, whatever it is; Redis may answer what it likes.
 *
 * Valid until the next reply_next: do not free them, and do not keep them.
 */
#ifndef RAPYERD_REPLY_H
#define RAPYERD_REPLY_H

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stddef.h>

struct reply_reader;

struct reply_reader *reply_reader_new(void);
void reply_reader_free(struct reply_reader *r);
/* 0, or -1 when it is an answer larger than any that Redis has reason to give (reply_error). The
 * bytes have to stay until reply_next has given something else than 1. */
int reply_feed(struct reply_reader *r, const void *bytes, size_t len);
/* 1: *reply is the next one, 0: more bytes are needed, -1: as above, or they are no RESP. */
int reply_next(struct reply_reader *r, redisReply **reply);
/* Steps over what says no more than QUEUED and comes next, so many of them at most, and over
 * MULTI's OK in front of them if that may be `first`; returns how many answers there were. */
unsigned reply_queued(struct reply_reader *r, unsigned most, bool first);
const char *reply_error(const struct reply_reader *r);

#endif
