/* find_scan: a page of all documents of a model in a cluster, where no index is asked (lister.h).
 */
#include "daemon/documents/layout.h"
#include "daemon/methods/find_inside.h"
#include "daemon/methods/lister.h"
#include "daemon/redis/listing.h"
#include "protocol/alloc.h"
#include <stdlib.h>

#define STEP 500 /* keys that one SCAN looks at */

struct scan_walk {
    struct listing listing;
    struct list_page page;
    struct buf match; /* with a NUL */
};

void find_scan_free(struct find *fi)
{
    if (fi->scanning == NULL)
        return;
    list_page_free(&fi->scanning->page);
    buf_free(&fi->scanning->match);
    free(fi->scanning);
}

static void add_name(struct find *fi, const char *name, size_t len)
{
    struct buf key = BUF_INIT;
    const char *suffix;
    size_t suffix_len, head = strlen(fi->model->name) + 1;
    if (layout_split(exec_names(fi->exec), name, len, &key, &suffix, &suffix_len) &&
        suffix_len == 0 && key.len > head && key.data[head - 1] == ':' &&
        memcmp(key.data, fi->model->name, head - 1) == 0)
        find_page_add(fi, (char *)key.data + head, key.len - head, "", 0);
    buf_free(&key);
}

static void take(struct find *fi)
{
    struct scan_walk *w = fi->scanning;
    struct cursor in = cursor_of(w->page.names.data, w->page.names.len);
    const char *name;
    size_t len, array = find_page_open(fi);
    while (in.at < in.end && cursor_str(&in, &name, &len) == 0)
        add_name(fi, name, len);
    find_page_close(fi, array);
    fi->looked += fi->npks;
    if (listing_slot(&w->listing, 0) >= 0)
        listing_text(&w->listing, &fi->next);
    find_look(fi);
}

static void on_listed(void *arg, enum list_end end, const char *why)
{
    struct find *fi = arg;
    if (!find_over(fi, end != LISTED_PAGE ? why : NULL))
        take(fi);
}

static struct scan_walk *begin(struct find *fi)
{
    struct scan_walk *w = alloc_zeroed(1, sizeof(*w));
    const struct names *names = exec_names(fi->exec);
    layout_pattern(names->prefix, strlen(names->prefix), &w->match);
    buf_printf(&w->match, names->tags ? ":{*%s:*" : ":{%s:*}", fi->model->name);
    buf_append(&w->match, "", 1);
    w->page = (struct list_page){.listing = &w->listing,
                                 .match = (char *)w->match.data,
                                 .type = "hash",
                                 .count = STEP,
                                 .patience = (int64_t)exec_config(fi->exec)->queue_time,
                                 .done = on_listed,
                                 .arg = fi};
    return w;
}

void find_scan_page(struct find *fi)
{
    struct fault f;
    if (fi->scanning == NULL)
        fi->scanning = begin(fi);
    listing_begin(&fi->scanning->listing);
    if (fi->at.len > 0 &&
        (listing_read(&fi->scanning->listing, (char *)fi->at.data, fi->at.len) < 0 ||
         listing_slot(&fi->scanning->listing, 0) < 0)) {
        fault_set(&f, FAULT_BAD_REQUEST, "the cursor is none that this find has given");
        find_refuse(fi, &f);
        return;
    }
    lister_ask(fi->lister, &fi->scanning->page);
}
