/* registry_state: what another process of the daemon is told of the declarations in a cluster, so
 * that it need not wait for the one master that has them. In front of one Redis it reads them, as
 * without that nothing can be served in any case. */
#include "daemon/methods/registry_inside.h"
#include "protocol/alloc.h"
#include <stdlib.h>

static void save_model(const struct model *m, void *arg)
{
    struct buf declaration = BUF_INIT;
    schema_pack(m, &declaration);
    pack_str(arg, (char *)declaration.data, declaration.len);
    buf_free(&declaration);
}

static void count(const struct model *m, void *arg)
{
    (void)m;
    ++*(uint32_t *)arg;
}

void registry_save(const struct registry *r, struct state_writer *w)
{
    uint32_t n = 0;
    if (!router_is_cluster(r->router) || !registry_loaded(r)) {
        pack_nil(&w->out);
        return;
    }
    schema_each(r->schema, count, &n);
    pack_array(&w->out, 4);
    pack_bool(&w->out, r->tags);
    pack_bool(&w->out, r->ahead);
    pack_int(&w->out, schema_known(r->schema));
    pack_array(&w->out, n);
    schema_each(r->schema, save_model, &w->out);
}

int registry_resume(struct registry *r, struct state_reader *reader)
{
    struct fault f;
    if (reader->bad || cursor_nil(&reader->in))
        return reader->bad ? -1 : 0;
    struct state_tuple t = state_enter(reader, 4);
    bool tags = state_bool(reader);
    r->ahead = state_bool(reader);
    int64_t revision = state_int(reader);
    uint32_t n = state_count(reader);
    struct cursor *declarations = alloc_zeroed((size_t)n + 1, sizeof(*declarations));
    for (uint32_t i = 0; i < n && !reader->bad; i++) {
        size_t len;
        const char *text = state_str(reader, &len);
        declarations[i] = cursor_of(text, len);
    }
    state_leave(reader, &t);
    if (reader->bad || !router_is_cluster(r->router) ||
        schema_restore(r->schema, declarations, n, NULL, &f) < 0) {
        reader->bad = true;
    } else {
        schema_know(r->schema, revision);
        registry_name(r, tags);
        r->loaded = true;
    }
    free(declarations);
    return reader->bad ? -1 : 0;
}
