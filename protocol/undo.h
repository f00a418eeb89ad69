/* undo: what it takes to bring a tree back to where it was.
 *
 * Every function here is called right after the change it describes and takes over what the
 * change replaced. With u == NULL the replaced cells are freed at once. Nodes (records, lists,
 * dicts) do not move, and a node that a change took out of the tree lives on in the log, so the
 * pointers kept here stay good until undo_commit or undo_rollback.
 */
#ifndef RAPYER_PROTOCOL_UNDO_H
#define RAPYER_PROTOCOL_UNDO_H

#include "protocol/op.h"

/* The slot of r held `old`. */
void undo_slot(struct undo *u, struct record *r, uint32_t slot, struct cell old);
/* n elements were inserted at i. */
void undo_list_inserted(struct undo *u, struct list *l, size_t i, size_t n);
/* n elements at i were taken out; `taken` comes from tree_alloc (NULL when n is 0). */
void undo_list_taken(struct undo *u, struct list *l, size_t i, size_t n, struct cell *taken);
/* The element at i was `old`. */
void undo_list_replaced(struct undo *u, struct list *l, size_t i, struct cell old);
/* An element was taken out at `from`, and put back so that it is at `to`. */
void undo_list_moved(struct undo *u, struct list *l, size_t from, size_t to);
/* The entry was `old`, or not there when that is CELL_UNSET. */
void undo_dict(struct undo *u, struct dict *d, const char *key, size_t len, struct cell old);
/* The same of any kind whose elements have names (container_kind.restore). */
void undo_element(struct undo *u, struct container *c, const char *key, size_t len,
                  struct cell old);
/* The known length of an unloaded list was changed by `by`. */
void undo_list_len(struct undo *u, struct list *l, int64_t by);

/* Takes n elements at i out of a loaded list into taken[], in O(distance to the nearer end). */
void list_cut(struct list *l, size_t i, size_t n, struct cell *taken);
/* Puts them back, as cheaply. */
void list_mend(struct list *l, size_t i, size_t n, const struct cell *taken);

#endif
