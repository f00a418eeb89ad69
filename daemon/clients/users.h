/* users: what all connections of one user (uid) may have together: how many there are, requests
 * that wait, requests and bytes in a second, memory. Limits are the settings rights.user_*; 0:
 * none. */
#ifndef RAPYERD_USERS_H
#define RAPYERD_USERS_H

#include "daemon/base/config.h"
#include "protocol/fault.h"
#include <sys/types.h>

struct users;
struct user;

struct users *users_new(const struct config *config);
void users_free(struct users *all); /* when all have left */

/* One more connection; NULL: BUSY. */
struct user *users_join(struct users *all, uid_t uid, struct fault *f);
/* The same of one that was there before: it is not refused. */
struct user *users_join_always(struct users *all, uid_t uid);
void user_leave(struct user *u);

/* One more request, of so many bytes. -1: BUSY. */
int user_asks(struct user *u, size_t bytes, struct fault *f);
void user_waits(struct user *u, int by); /* requests that wait: one more, or less */

/* A connection holds `now` bytes, *counted the last time. False: the user has more than it may, as
 * far as that was counted; then all of its connections are to be counted anew, as they may have
 * less by now, before anything follows from it. */
bool user_holds(struct user *u, size_t *counted, size_t now);
size_t user_memory(const struct user *u);

#endif
