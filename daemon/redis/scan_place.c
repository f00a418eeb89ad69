/* scan_place: see scan_place.h. */
#include "daemon/redis/scan_place.h"
#include <stdio.h>
#include <string.h>

bool scan_run_enter(char run[UPSTREAM_RUN + 1], const struct upstream *up)
{
    const char *now = upstream_info(up)->run_id;
    bool another = strncmp(run, now, UPSTREAM_RUN) != 0;
    snprintf(run, UPSTREAM_RUN + 1, "%.*s", UPSTREAM_RUN, now);
    return another;
}

void scan_place_begin(struct scan_place *p)
{
    *p = (struct scan_place){.at = "0"};
}

void scan_place_enter(struct scan_place *p, const struct upstream *up)
{
    if (scan_run_enter(p->run, up))
        strcpy(p->at, "0");
}

void scan_place_text(const struct scan_place *p, struct buf *out)
{
    buf_printf(out, "%s-%s", p->at, p->run);
}

bool scan_place_read(struct scan_place *p, const char *text, size_t len)
{
    const char *dash = memchr(text, '-', len);
    size_t number = dash != NULL ? (size_t)(dash - text) : 0, run = len - number - 1;
    scan_place_begin(p);
    if (number == 0 || number > 20 || run == 0 || run > UPSTREAM_RUN)
        return false;
    memcpy(p->at, text, number);
    p->at[number] = '\0';
    memcpy(p->run, dash + 1, run);
    return strspn(p->at, "0123456789") == number;
}
