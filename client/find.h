/* find: the documents that an expression holds for, fetched page by page. */
#ifndef RAPYER_CLIENT_FIND_H
#define RAPYER_CLIENT_FIND_H

#include "client/include/rapyer.h"
#include "protocol/buf.h"

/* rapyer_find and rapyer_find_count with an expression that is packed; it stays the caller's. */
rapyer_cursor *find_begin(rapyer *db, const char *model, const rapyer_find_options *how,
                          const struct buf *expression);
int64_t find_count(rapyer *db, const char *model, const rapyer_find_options *how,
                   const struct buf *expression);
/* How the daemon would find the first page, as its `explain`; NULL: an error. */
rapyer_value *find_explain(rapyer *db, const char *model, const rapyer_find_options *how,
                           const struct buf *expression);

/* What was done so far. */
struct find_changes {
    int64_t changed, refused;
    void (*on_refused)(void *arg, const char *key, const char *why); /* "CODE: text" */
    void *arg;
};
/* rapyer_find_update of packed operations, or (NULL) rapyer_find_delete: 0, though some may be
 * refused; -1: it ended before. */
int find_change(rapyer *db, const char *model, const rapyer_find_options *how,
                const struct buf *expression, const struct buf *operations,
                struct find_changes *done);

/* -1: the error is with db. find_pack_asked appends the model and the expression. */
int find_check(rapyer *db, const rapyer_find_options *how);
int find_pack_asked(rapyer *db, const char *model, const struct buf *expression, struct buf *out);

#endif
