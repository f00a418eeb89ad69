/* keep: what a map has left out of what is there. doc.get leaves lazy fields out of the map of a
 * record and names them there, in "@lazy"; saved back, such a field stays as it is.
 *
 * Private to build.c: it marks them with CELL_KEPT, and has them filled in from the tree before
 * anybody else sees them.
 */
#ifndef RAPYER_PROTOCOL_KEEP_H
#define RAPYER_PROTOCOL_KEEP_H

#include "protocol/op.h"

/* Fills in each CELL_KEPT in a cell of this type, a field's or (`element`) that of a container,
 * from what is at its place now (old, NULL: nothing; of the same type). `suffix` is where that
 * place is, as for cell_pack; a root's record is at "". What is not loaded is reported to needs.
 * OP_REFUSED: NOT_FOUND, there is nothing to be kept. */
enum op_status keep_cell(struct cell *made, const struct type *t, const struct cell *old,
                         const char *suffix, size_t suffix_len, struct needs *needs,
                         struct fault *f);
enum op_status keep_record(struct record *made, const struct record *old, const char *suffix,
                           size_t suffix_len, struct needs *needs, struct fault *f);

#endif
