/* manager: the service manager that started this process, as systemd: what it is about to do with
 * us, and what it keeps for the process after this one.
 */
#ifndef RAPYERD_MANAGER_H
#define RAPYERD_MANAGER_H

#include <event2/event.h>
#include <stdbool.h>

/* There is one that can be told something (NOTIFY_SOCKET). */
bool manager_there(void);

struct manager_question;
/* restarts: it is about to start us again, and keeps `room` descriptors meanwhile. why_not: what
 * speaks against it, for a person; NULL where it just is a stop. The question is gone. */
typedef void manager_answer_fn(void *arg, bool restarts, const char *why_not);
/* Asks systemd over the bus which job of our unit is under way; `ms` it takes at most, and the
 * answer never comes from in here. */
struct manager_question *manager_ask(struct event_base *base, unsigned room, unsigned ms,
                                     manager_answer_fn *fn, void *arg);
void manager_ask_no_more(struct manager_question *q);

/* Leaves a descriptor with it under a name; it stays open here. -1 with errno when it was not told:
 * whether it keeps it nobody says. */
int manager_keep(int fd, const char *name);
void manager_forget(const char *name);
/* It has heard what was said so far. -1 with errno: not within `ms`. */
int manager_heard(unsigned ms);

#endif
