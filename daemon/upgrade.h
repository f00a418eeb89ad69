/* upgrade: another program takes over from this one, in the same process, and no client notices but
 * by the time that its request takes.
 *
 *   admin.upgrade ─► TRYING: the new program is started beside us, and says that it could
 *                 ─► STILL: no request is taken, what is under way ends
 *                 ─► the state is written, the new program tries to take it up in a child
 *                 ─► exec: upgrade_resume ─► Redis is reached, the answer to admin.upgrade
 *
 * Whatever fails before exec leaves all as it was, and admin.upgrade says why. Behind it the new
 * program goes back to the old one when it cannot take up what it was tried with.
 *
 * Over a restart by a service manager that keeps descriptors, as systemd, the same goes to another
 * process, with no way back: what cannot be taken up ends connections, as a restart without it.
 *
 *   SIGTERM ─► is it a restart? ─► STILL ─► the state, and a parcel of all descriptors, are left
 * with the manager ─► exit ... another process: upgrade_inherit ─► upgrade_resume
 */
#ifndef RAPYERD_UPGRADE_H
#define RAPYERD_UPGRADE_H

#include "daemon/daemon.h"

/* For manage_hooks. */
void upgrade_ask(void *arg, struct session *s, uint64_t id);
/* The daemon ends. What was not done yet is not done, and whoever asked is answered. */
void upgrade_cancel(struct daemon *d, const char *why);

/* On SIGTERM: false where nothing can be left with a service manager. Else `stop` is called where
 * it turns out to be no restart, or cannot be done; otherwise this process ends. */
bool upgrade_by_restart(struct daemon *d, void (*stop)(struct daemon *d));

/* ---- in the new program ---- */

/* What it cannot go on with: ends a trial, or goes back to the program that ran before. Returns
 * only if there is none: then it is a start as any other. */
void upgrade_refuse(struct daemon *d, const char *why);
/* At the start, before the settings are read: takes over its name, and what was set while it ran.
 */
void upgrade_inherit(struct daemon *d);
/* The settings are read: what was left at a restart may not fit them, and is let go of. */
void upgrade_check(struct daemon *d);
/* Takes up all parts, which were just made; ends a trial. -1: `error` says what could not be. */
int upgrade_resume(struct daemon *d, char *error, size_t size);
/* Requests are carried out: tells how it went. */
void upgrade_done(struct daemon *d);

#endif
