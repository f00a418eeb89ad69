/* histogram: see histogram.h. */
#include "daemon/base/histogram.h"

uint64_t histogram_count(const struct histogram *h)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < HISTOGRAM_CLASSES; i++)
        n += h->counts[i];
    return n;
}

uint64_t histogram_part(const struct histogram *h, double part)
{
    double wanted = part * (double)histogram_count(h), below = 0;
    for (unsigned i = 0; i < HISTOGRAM_CLASSES; i++) {
        double here = (double)h->counts[i];
        if (here > 0 && below + here >= wanted) {
            uint64_t from = i > 0 ? histogram_bound(i - 1) : 0;
            return from + (uint64_t)((double)(histogram_bound(i) - from) * (wanted - below) / here);
        }
        below += here;
    }
    return 0;
}
