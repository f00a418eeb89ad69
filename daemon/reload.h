/* reload: settings that change while the daemon runs: the file is read again, or one is set. */
#ifndef RAPYERD_RELOAD_H
#define RAPYERD_RELOAD_H

#include "daemon/daemon.h"

/* What the settings say of trees and locks holds from now on. */
void reload_limits(struct daemon *d);
/* For manage_hooks. */
int reload_asked(void *arg, char *taken, char *left, char *error, size_t size);
int reload_set(void *arg, const char *name, const char *value, char *error, size_t size);
/* For an event of SIGHUP. */
void reload_on_signal(struct daemon *d);

#endif
