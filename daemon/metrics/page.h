/* page: figures as text, as Prometheus reads them, or as OpenMetrics. Knows how they are written,
 * and nothing of what they say. */
#ifndef RAPYERD_PAGE_H
#define RAPYERD_PAGE_H

#include "daemon/base/histogram.h"
#include "protocol/buf.h"

enum page_kind { PAGE_COUNTER, PAGE_GAUGE, PAGE_HISTOGRAM };

struct page {
    struct buf out;
    bool open_metrics;
    /* the family that samples are being written of */
    const char *name;
    enum page_kind kind;
};

/* One label of a sample; the value may hold anything. The list ends with one without a name. */
struct page_label {
    const char *name, *value;
};
#define PAGE_LABELS(...) ((const struct page_label[]){__VA_ARGS__, {0}})
#define PAGE_PLAIN NULL

/* The samples that follow are of this family, all of them. The name of a counter is without the
 * "_total" that its samples get; a unit stands at its end ("_seconds", "_bytes"). */
void page_family(struct page *p, enum page_kind kind, const char *name, const char *help);
void page_number(struct page *p, const struct page_label *labels, uint64_t value);
void page_real(struct page *p, const struct page_label *labels, double value);
/* In seconds. */
void page_histogram(struct page *p, const struct page_label *labels, const struct histogram *h);
/* One family with one sample. */
void page_counter(struct page *p, const char *name, uint64_t value, const char *help);
void page_gauge(struct page *p, const char *name, uint64_t value, const char *help);
/* Nothing follows. */
void page_end(struct page *p);

#endif
