/* binding: models as C structs. */
#ifndef RAPYER_CLIENT_BINDING_H
#define RAPYER_CLIENT_BINDING_H

#include "client/db.h"

/* Whether the members of a model that was just defined in db->schema have the C types their
 * fields want, as far as sizes tell. -1: BAD_SCHEMA. */
int binding_check(rapyer *db, const rapyer_model *m, struct fault *f);

#endif
