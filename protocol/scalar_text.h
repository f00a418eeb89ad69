/* scalar_text: what scalars that are texts have in their rows (scalar.h). */
#ifndef RAPYER_PROTOCOL_SCALAR_TEXT_H
#define RAPYER_PROTOCOL_SCALAR_TEXT_H

#include "protocol/scalar.h"

int check_text(const struct type *t, const struct item *it, struct buf *out, struct fault *f);
void write_text(const struct item *canonical, struct buf *text);
bool read_text(const struct type *t, const char *text, size_t len, struct cell *out);

#endif
