/* namespace: names of models as one program uses them, and as all others know them.
 *
 * Several programs on one Redis may have a model of the same name. With a namespace "shop" what a
 * program calls "User" is the model "shop.User" everywhere else: in declarations, keys, locks,
 * watches and Redis. A name that has a dot is taken as it is.
 */
#ifndef RAPYER_CLIENT_NAMESPACE_H
#define RAPYER_CLIENT_NAMESPACE_H

#include "protocol/buf.h"
#include "protocol/cursor.h"

/* Appends the whole name of a model, or key "Model:pk", or "Model:*". space NULL: as it is. */
void namespace_name(const char *space, const char *name, size_t len, struct buf *out);
/* Appends the text of a type, with the whole names of the models in it. */
void namespace_type(const char *space, const char *type, size_t len, struct buf *out);
/* Appends a packed declaration in that way; *in moves behind it. -1: it has not the form of one. */
int namespace_declaration(const char *space, struct cursor *in, struct buf *out);

#endif
