/* wrapper: the models that wrap a list, dict or optional of atomic models within another one
 * (type_within). One for each such type, made when a declaration first names it. */
#include "protocol/alloc.h"
#include "protocol/schema_private.h"
#include "protocol/type.h"
#include <utlist.h>

const struct model *schema_wrapper(void *schema, const struct type *inner)
{
    struct schema *s = schema;
    char name[TYPE_NAME_MAX];
    struct wrapper *w;
    type_name(inner, name, sizeof name);
    LL_FOREACH (s->wrappers->first, w)
        if (strcmp(w->model.name, name) == 0)
            return &w->model;
    struct type *own = type_copy(inner);
    type_wrap(own, schema_wrapper, s);
    w = alloc_zeroed(1, sizeof *w);
    w->field = (struct field){.name = alloc_text(WRAPPED_FIELD), .type = own};
    w->field.name_len = strlen(w->field.name);
    w->model = (struct model){.name = alloc_text("%s", name),
                              .atomic = true,
                              .wraps = true,
                              .key_field = -1,
                              .nfields = 1,
                              .fields = &w->field};
    LL_PREPEND(s->wrappers->first, w);
    return &w->model;
}

void wrappers_drop(struct wrappers *all, const struct wrapper *last)
{
    while (all->first != last) {
        struct wrapper *w = all->first;
        LL_DELETE(all->first, w);
        field_clear(&w->field);
        free(w->model.name);
        free(w);
    }
}
