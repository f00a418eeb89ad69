/* inside: operations on what is inside a value.
 *
 * A list in a list, a dict in a dict, a plain model, an `any`: to Redis each is one value, without
 * names for what is in it. An operation on that has a small tree of its own, which is made of the
 * value, and then thrown away; what has become of it replaces the value, at the place that has a
 * name. So it is computed from what the value was, and done anew where that has changed.
 *
 *   grid[1][0]   list<list<int>>
 *   |-----|      the place: an element of /grid, with the value [5, 6]
 *           ──build──► list<int> ──the operation, at [0]──► pack ──► place_store: [7, 6]
 */
#ifndef RAPYER_PROTOCOL_INSIDE_H
#define RAPYER_PROTOCOL_INSIDE_H

#include "protocol/change.h"

/* Whether the operation is on what is inside the value at its place: a list or dict that is no
 * container, or an `any`. */
bool inside_at(const struct run *run);
/* Runs the operation there; path[0, from) leads to the value at the place. */
enum op_status inside_run(struct run *run, size_t from);

#endif
