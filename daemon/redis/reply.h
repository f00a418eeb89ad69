/* reply: hiredis' reader with replies in one arena.
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
/* 0, or -1 when the bytes are no RESP, or an answer larger than any that Redis has reason to give
 * (reply_error). */
int reply_feed(struct reply_reader *r, const void *bytes, size_t len);
/* 1: *reply is the next one, 0: more bytes are needed, -1: as above. */
int reply_next(struct reply_reader *r, redisReply **reply);
/* Whether all that was fed is handed over: the next byte begins a reply. */
bool reply_idle(const struct reply_reader *r);
const char *reply_error(const struct reply_reader *r);

#endif
