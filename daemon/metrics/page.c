/* page: see page.h. */
#include "daemon/metrics/page.h"
#include <inttypes.h>
#include <stdio.h>

static const char *const kinds[] = {"counter", "gauge", "histogram"};

static void put(struct page *p, const char *text)
{
    buf_append(&p->out, text, strlen(text));
}

/* In a label backslash, quote and line end are escaped. */
static void put_escaped(struct page *p, const char *text)
{
    for (const char *at = text; *at; at++) {
        if (*at == '\n')
            put(p, "\\n");
        else if (*at == '"' || *at == '\\')
            buf_append(&p->out, (const char[]){'\\', *at}, 2);
        else
            buf_append(&p->out, at, 1);
    }
}

/* OpenMetrics calls a counter's family by its name without "_total", the older format with it. */
void page_family(struct page *p, enum page_kind kind, const char *name, const char *help)
{
    const char *suffix = kind == PAGE_COUNTER && !p->open_metrics ? "_total" : "";

    p->kind = kind;
    p->name = name;
    buf_printf(&p->out, "# HELP %s%s %s\n# TYPE %s%s %s\n", name, suffix, help, name, suffix,
               kinds[kind]);
}

static void put_head(struct page *p, const char *suffix, const struct page_label *labels,
                     const struct page_label *last)
{
    const char *before = "{";

    put(p, p->name);
    put(p, suffix);
    for (const struct page_label *l = labels; l != NULL; l = l->name == NULL ? NULL : l + 1) {
        const struct page_label *at = l->name != NULL ? l : last;
        if (at == NULL)
            break;
        put(p, before);
        put(p, at->name);
        put(p, "=\"");
        put_escaped(p, at->value);
        put(p, "\"");
        before = ",";
    }
    put(p, before[0] == ',' ? "} " : " ");
}

static const char *suffix_of(const struct page *p)
{
    return p->kind == PAGE_COUNTER ? "_total" : "";
}

void page_number(struct page *p, const struct page_label *labels, uint64_t value)
{
    put_head(p, suffix_of(p), labels, NULL);
    buf_printf(&p->out, "%" PRIu64 "\n", value);
}

void page_real(struct page *p, const struct page_label *labels, double value)
{
    put_head(p, suffix_of(p), labels, NULL);
    buf_printf(&p->out, "%.9g\n", value);
}

void page_histogram(struct page *p, const struct page_label *labels, const struct histogram *h)
{
    static const struct page_label none = {0};
    const struct page_label *all = labels != NULL ? labels : &none;
    uint64_t count = 0;
    char bound[32];

    for (unsigned i = 0; i < HISTOGRAM_CLASSES; i++) {
        if (i + 1 < HISTOGRAM_CLASSES)
            snprintf(bound, sizeof bound, "%.9g", (double)histogram_bound(i) / 1e9);
        else
            snprintf(bound, sizeof bound, "+Inf");
        count += h->counts[i];
        put_head(p, "_bucket", all, &(struct page_label){"le", bound});
        buf_printf(&p->out, "%" PRIu64 "\n", count);
    }
    put_head(p, "_sum", labels, NULL);
    buf_printf(&p->out, "%.9g\n", (double)h->sum / 1e9);
    put_head(p, "_count", labels, NULL);
    buf_printf(&p->out, "%" PRIu64 "\n", count);
}

void page_counter(struct page *p, const char *name, uint64_t value, const char *help)
{
    page_family(p, PAGE_COUNTER, name, help);
    page_number(p, PAGE_PLAIN, value);
}

void page_gauge(struct page *p, const char *name, uint64_t value, const char *help)
{
    page_family(p, PAGE_GAUGE, name, help);
    page_number(p, PAGE_PLAIN, value);
}

void page_end(struct page *p)
{
    if (p->open_metrics)
        put(p, "# EOF\n");
}
