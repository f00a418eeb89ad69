/* keys: doc.keys, a page of the documents of a model, by SCAN. */
#ifndef RAPYERD_KEYS_H
#define RAPYERD_KEYS_H

#include "daemon/clients/session.h"
#include "daemon/redis/names.h"
#include "daemon/redis/upstream.h"
#include "protocol/schema.h"

/* Answers doc.keys [Model, {cursor?, count?}] -> {cursor, keys}. */
void keys_request(struct upstream *up, const struct schema *schema, const struct names *names,
                  struct session *s, const struct rpc *msg);

#endif
