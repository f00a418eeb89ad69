/* lock_text: see lock_text.h. */
#include "daemon/locks/lock_text.h"
#include "daemon/base/clock.h"
#include "protocol/cursor.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const char *lock_text(const struct lock *l, size_t max, char *text, size_t size)
{
    int key = (int)utf8_cut(lock_key(l), l->key_len, max),
        path = (int)utf8_cut(lock_path(l), l->path_len, max),
        action = (int)utf8_cut(lock_action(l), l->action_len, max);
    snprintf(text, size, "\"%.*s%s\" of %.*s%s%s%.*s%s", action, lock_action(l),
             (size_t)action < l->action_len ? "..." : "", key, lock_key(l),
             (size_t)key < l->key_len ? "..." : "", path > 0 ? ", path " : "", path, lock_path(l),
             (size_t)path < l->path_len ? "..." : "");
    return text;
}

const char *lock_span_text(int64_t ms, char *text, size_t size)
{
    if (ms < 1000)
        snprintf(text, size, "%" PRId64 " ms", ms);
    else
        snprintf(text, size, "%.1f s", (double)ms / 1000);
    return text;
}

const char *lock_who_text(const struct lock_owner *o, char *text, size_t size)
{
    const struct lock_who *who = lock_who(o);
    const char *name = who->program;
    snprintf(text, size, *name != '\0' ? "pid %ld (%.*s)" : "pid %ld", (long)who->pid,
             (int)strnlen(name, sizeof(who->program)), name);
    return text;
}

/* Who is in the way: `pid 11 (python3) has held it for 3.2 s, and 2 more hold it`. */
static const char *blocker_text(const struct lock *l, const char *where, const char *away,
                                char *text, size_t size)
{
    const struct hold *h = l->holds;
    if (h != NULL && l->nholds > 1)
        snprintf(text, size, "%s has held it for %s, and %u more hold it", LOCK_WHO_TEXT(h->owner),
                 LOCK_SPAN_TEXT(clock_boot_ms() - h->since), l->nholds - 1);
    else if (h != NULL)
        snprintf(text, size, "%s has held it for %s", LOCK_WHO_TEXT(h->owner),
                 LOCK_SPAN_TEXT(clock_boot_ms() - h->since));
    else if (away != NULL)
        snprintf(text, size, "Redis, which gives it, cannot be asked (%s)", away);
    else if (where != NULL)
        snprintf(text, size, "%s has it", where);
    else if (lock_closing(l))
        snprintf(text, size, "another host has its turn");
    else
        snprintf(text, size, "Redis has not given it to this host");
    return text;
}

int lock_timeout(struct fault *f, const struct lock *l, int64_t waited, unsigned before,
                 const char *where, const char *away)
{
    char within[64] = "", queue[64] = "", blocker[512];
    if (waited > 0)
        snprintf(within, sizeof(within), " within %s", LOCK_SPAN_TEXT(waited));
    if (before > 0)
        snprintf(queue, sizeof(queue), "; %u%s wait%s before this one", before,
                 before == LOCK_COUNTED ? " or more" : "", before == 1 ? "s" : "");
    return fault_set(f, FAULT_LOCK_TIMEOUT, "%s was not free%s: %s%s", LOCK_TEXT(l), within,
                     blocker_text(l, where, away, blocker, sizeof(blocker)), queue);
}

int lock_upgrade(struct fault *f, const struct lock *l)
{
    return fault_set(f, FAULT_DEADLOCK,
                     "this owner has %s shared and would wait for itself; it should release that "
                     "first, or ask for it exclusively from the beginning",
                     LOCK_TEXT(l));
}
