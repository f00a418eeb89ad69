/* info: what INFO says of a server. */
#ifndef RAPYERD_INFO_H
#define RAPYERD_INFO_H

#include "daemon/redis/upstream.h"

/* The value of a line "name:value", cut at its size; "": there is none. */
void info_field(const char *text, const char *name, char *out, size_t size);
/* Which server it is, of what "INFO server" says. */
void info_server(const char *text, struct upstream_info *info);

/* What is expected at an address. */
enum info_wanted { WANTED_REDIS, WANTED_SENTINEL, WANTED_NODE };

/* Whether rapyerd can do its work there; else `why` says why not, for people. */
bool info_fits(const struct upstream_info *info, enum info_wanted wanted, const char *address,
               char *why, size_t size);

#endif
