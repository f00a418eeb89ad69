/* credentials: the certificates and the key for TLS to Redis, from the files that the settings
 * name.
 */
#ifndef RAPYERD_CREDENTIALS_H
#define RAPYERD_CREDENTIALS_H

#include "daemon/base/config.h"

/* Reads them into config->tls_files, if redis.tls is 1. 0, or -1 with a text for a person. */
int credentials_load(struct config *config, char *error, size_t error_size);
/* The same once more, as a setting has changed; -1: those that there were stay. */
int credentials_reload(struct config *config, char *error, size_t error_size);
/* Takes over what `fresh` has read; connections that there are go on with the old ones. */
void credentials_take(struct config *config, struct config *fresh);
void credentials_free(struct config *config);

#endif
