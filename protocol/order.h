/* order: which of two values of one type is the lower one. */
#ifndef RAPYER_PROTOCOL_ORDER_H
#define RAPYER_PROTOCOL_ORDER_H

#include "protocol/cursor.h"
#include "protocol/schema.h"

/* Whether values of this type have an order: numbers, texts, bytes, times. Not bool, enum, uuid,
 * ref, and what is put together. */
bool type_ordered(const struct type *t);

/* < 0, 0, > 0 as of a and b, canonical values of a type that is not put together. Texts and bytes,
 * and what has no order of its own, go by their bytes, false before true, datetimes with an offset
 * by the moment that they are. An int may stand where a float belongs, and the other way round. */
int value_order(const struct type *t, const struct item *a, const struct item *b);

#endif
