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

#endif
