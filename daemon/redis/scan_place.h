/* scan_place: where a SCAN goes on, and of which run of a server that is. Another run has hashes of
 * its own: to go on there would leave out what was to come, so it begins anew, and gives some
 * twice. */
#ifndef RAPYERD_REDIS_SCAN_PLACE_H
#define RAPYERD_REDIS_SCAN_PLACE_H

#include "daemon/redis/upstream.h"
#include "protocol/buf.h"

struct scan_place {
    char at[24]; /* as SCAN gives it; "0": the beginning, or the end */
    char run[UPSTREAM_RUN + 1];
};

/* Notes the run of this server. True: it is another one than was noted. */
bool scan_run_enter(char run[UPSTREAM_RUN + 1], const struct upstream *up);

void scan_place_begin(struct scan_place *p);
/* Before a SCAN is asked of this one. */
void scan_place_enter(struct scan_place *p, const struct upstream *up);
/* Its text, for who goes on later. */
void scan_place_text(const struct scan_place *p, struct buf *out);
/* False: that is no such text. */
bool scan_place_read(struct scan_place *p, const char *text, size_t len);

#endif
