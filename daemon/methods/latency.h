/* latency: how long requests took, by method, for people. */
#ifndef RAPYERD_LATENCY_H
#define RAPYERD_LATENCY_H

#include "daemon/methods/figures.h"

/* A map: of the methods that were called, and of Redis' answers to commits. */
void latency_pack(const struct admin *a, const struct method_figures *methods, size_t n,
                  struct buf *out);

#endif
