/* find_page: of some documents those for which an expression holds.
 *
 * One call of exec for each page, so that it is carried out in the order of its documents, in
 * slices where it is long, and reads from memory what is there.
 */
#ifndef RAPYERD_FIND_PAGE_H
#define RAPYERD_FIND_PAGE_H

#include "daemon/methods/get_options.h"
#include "daemon/methods/plan.h"

/* What one page needs to know, and whom it tells. */
struct page_find {
    const struct expr *e;
    struct plan *plan;
    unsigned source;               /* of the plan's: what sources before it have is left out */
    const struct expr_path *sort;  /* whose value is wanted of each; NULL: none is */
    const struct get_options *get; /* what is wanted of each; NULL: nothing but the key */
    bool fresh;
    const char *method; /* which it is part of */
    /* [[number, sort value, document], ...]: numbers count the keys of the page. f NULL: it went
     * well. */
    void (*done)(void *arg, const struct fault *f, const struct buf *hits);
    void *arg;
};

/* keys: a packed array. `pf` is looked at until done() is called. */
void find_page(struct exec *e, struct page_find *pf, struct session *s, uint64_t id,
               const struct buf *keys);

#endif
