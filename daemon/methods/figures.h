/* figures: all that the daemon counts and measures, as a page for who collects it. */
#ifndef RAPYERD_FIGURES_H
#define RAPYERD_FIGURES_H

#include "daemon/base/timing.h"
#include "daemon/methods/admin.h"
#include "daemon/metrics/page.h"

/* Of one method; timing NULL: it was never called, or is not about documents. */
struct method_figures {
    const char *name;
    uint64_t calls;
    struct timing *timing;
};

void figures_write(const struct admin *a, const struct method_figures *methods, size_t n,
                   struct page *p);

#endif
