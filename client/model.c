/* model: what rapyer_define takes, as the declaration of the wire. */
#include "client/binding.h"
#include "client/namespace.h"
#include "client/request.h"
#include "client/template.h"
#include "protocol/path.h"
#include <stdlib.h>
#include <string.h>

char *db_whole_name(rapyer *db, const char *name)
{
    struct buf whole = BUF_INIT;
    namespace_name(db->namespace, name, strlen(name), &whole);
    buf_append(&whole, "", 1);
    if (!whole.failed)
        return (char *)whole.data;
    buf_free(&whole);
    db_no_memory(db);
    return NULL;
}

const struct declaration *db_declaration(const rapyer *db, const char *name, size_t len)
{
    const struct declaration *found = NULL;
    struct buf whole = BUF_INIT;
    namespace_name(db->namespace, name, len, &whole);
    for (size_t i = 0; i < db->ndeclarations && !found && !whole.failed; i++) {
        const char *have = db->declarations[i].name;
        if (strlen(have) == whole.len && memcmp(have, whole.data, whole.len) == 0)
            found = &db->declarations[i];
    }
    buf_free(&whole);
    return found;
}

const struct model *db_model(const rapyer *db, const char *name, size_t len)
{
    struct buf whole = BUF_INIT;
    namespace_name(db->namespace, name, len, &whole);
    const struct model *m =
        whole.failed || !whole.len ? NULL : schema_model(db->schema, (char *)whole.data, whole.len);
    buf_free(&whole);
    return m;
}

int rapyer_set_namespace(rapyer *db, const char *name)
{
    if (!db)
        return -1;
    if (db->ndeclarations)
        return db_failf(db, FAULT_BAD_VALUE, "the namespace is set before models are declared");
    if (name && !model_name_valid(name, strlen(name)))
        return db_failf(db, FAULT_BAD_VALUE,
                        "'%.64s' cannot be a namespace; it has letters, digits and _, and does not "
                        "begin with a digit",
                        name);
    char *own = name ? strdup(name) : NULL;
    if (name && !own)
        return db_no_memory(db);
    free(db->namespace);
    db->namespace = own;
    return 0;
}

static int pack_default(const rapyer_model *m, const rapyer_field *field, struct buf *out,
                        struct fault *f)
{
    struct fault inner;
    pack_cstr(out, "default");
    if (template_value(field->fallback, NULL, NULL, NULL, out, &inner) == 0)
        return 0;
    return fault_set(f, FAULT_BAD_SCHEMA, "the default of %s.%s: %s", m->name, field->name,
                     inner.text);
}

/* "exact range" as a list of words. */
static void pack_index(const char *words, struct buf *out)
{
    uint32_t n = 0;
    pack_cstr(out, "index");
    size_t head = pack_array_open(out);
    for (words += strspn(words, " "); *words; words += strspn(words, " ")) {
        size_t len = strcspn(words, " ");
        pack_str(out, words, len);
        words += len;
        n++;
    }
    pack_array_close(out, head, n);
}

static int pack_field(const rapyer_model *m, const rapyer_field *field, struct buf *out,
                      struct fault *f)
{
    bool has_default = field->fallback && *field->fallback;
    bool has_index = field->index && *field->index;
    pack_map(out, 2 + has_default + field->lazy + has_index);
    pack_cstr(out, "name");
    pack_cstr(out, field->name);
    pack_cstr(out, "type");
    pack_cstr(out, field->type ? field->type : "");
    if (field->lazy) {
        pack_cstr(out, "lazy");
        pack_bool(out, true);
    }
    if (has_index)
        pack_index(field->index, out);
    return has_default ? pack_default(m, field, out, f) : 0;
}

static bool is_field(const rapyer_field *field)
{
    return strcmp(field->name, "@pk") != 0; /* RAPYER_PK is for structs alone */
}

static int pack_model(const rapyer_model *m, struct buf *out, struct fault *f)
{
    uint32_t n = 0;
    pack_map(out, 3 + (m->key != NULL) + (m->ttl != 0) + m->refresh_ttl);
    pack_cstr(out, "name");
    pack_cstr(out, m->name);
    pack_cstr(out, "kind");
    pack_cstr(out, m->plain ? "plain" : "atomic");
    if (m->key) {
        pack_cstr(out, "key");
        pack_cstr(out, m->key);
    }
    if (m->ttl) {
        pack_cstr(out, "ttl");
        pack_int(out, m->ttl);
    }
    if (m->refresh_ttl) {
        pack_cstr(out, "refresh_ttl");
        pack_bool(out, true);
    }
    pack_cstr(out, "fields");
    size_t head = pack_array_open(out);
    for (const rapyer_field *field = m->fields; field && field->name; field++) {
        if (!is_field(field))
            continue;
        if (pack_field(m, field, out, f) < 0)
            return -1;
        n++;
    }
    pack_array_close(out, head, n);
    return 0;
}

/* What a call works with, of each model one. */
struct work {
    struct buf *packed;          /* once it is remembered: what was there before, */
    const rapyer_model **before; /* and of which declaration; NULL: none */
    struct cursor *in;
    const struct model **defined;
    bool *changed;
};

/* Takes packed, and gives back what it replaces. */
static int remember(rapyer *db, const rapyer_model *m, struct buf *packed,
                    const rapyer_model **before)
{
    struct declaration *had =
        (struct declaration *)(uintptr_t)db_declaration(db, m->name, strlen(m->name));
    if (!had) {
        struct declaration *more =
            reallocarray(db->declarations, db->ndeclarations + 1, sizeof *more);
        if (!more)
            return db_no_memory(db);
        db->declarations = more;
        had = &more[db->ndeclarations];
        *had = (struct declaration){.name = db_whole_name(db, m->name), .together = db->defines};
        if (!had->name)
            return -1;
        db->ndeclarations++;
    }
    struct buf old = had->packed;
    *before = had->model;
    had->model = m;
    had->packed = *packed;
    *packed = old;
    return 0;
}

/* With the whole names of models. */
static void qualify(const rapyer *db, struct buf *packed)
{
    struct buf whole = BUF_INIT;
    struct cursor in = cursor_of(packed->data, packed->len);
    if (!db->namespace || packed->failed)
        return;
    (void)namespace_declaration(db->namespace, &in, &whole);
    buf_free(packed);
    *packed = whole;
}

static int remember_all(rapyer *db, const rapyer_model *const *models, size_t n, struct work *w)
{
    struct fault f;
    size_t done = 0, had = db->ndeclarations;
    int rc = 0;
    db->defines++;
    for (; done < n && rc == 0; done += rc == 0)
        rc = remember(db, models[done], &w->packed[done], &w->before[done]);
    for (size_t i = 0; i < n && rc == 0; i++)
        if (binding_check(db, models[i], &f) < 0)
            rc = db_fail(db, &f);
    for (size_t i = 0; i < done && rc < 0; i++) {
        struct declaration *d = (struct declaration *)(uintptr_t)db_declaration(
            db, models[i]->name, strlen(models[i]->name));
        struct buf mine = d->packed;
        d->packed = w->packed[i];
        w->packed[i] = mine;
        d->model = w->before[i] ? w->before[i] : d->model;
    }
    while (rc < 0 && db->ndeclarations > had)
        free(db->declarations[--db->ndeclarations].name);
    return rc;
}

static int pack_all(const rapyer *db, const rapyer_model *const *models, size_t n, struct work *w,
                    struct fault *f)
{
    for (size_t i = 0; i < n; i++) {
        if (pack_model(models[i], &w->packed[i], f) < 0)
            return -1;
        qualify(db, &w->packed[i]);
        if (w->packed[i].failed)
            return fault_set(f, FAULT_NO_MEMORY, "out of memory");
        w->in[i] = cursor_of(w->packed[i].data, w->packed[i].len);
    }
    return 0;
}

static int declare(rapyer *db, const rapyer_model *const *models, size_t n, struct work *w)
{
    struct fault f;
    int rc = pack_all(db, models, n, w, &f);
    if (rc == 0)
        rc = schema_define_all(db->schema, w->in, n, w->defined, w->changed, &f);
    return rc < 0 ? db_fail(db, &f) : remember_all(db, models, n, w);
}

int models_declare(rapyer *db, const rapyer_model *const *models)
{
    size_t n = 0;
    while (models[n])
        n++;
    struct work w = {.packed = calloc(n + 1, sizeof *w.packed),
                     .before = calloc(n + 1, sizeof *w.before),
                     .in = calloc(n + 1, sizeof *w.in),
                     .defined = calloc(n + 1, sizeof *w.defined),
                     .changed = calloc(n + 1, sizeof *w.changed)};
    bool room = w.packed && w.before && w.in && w.defined && w.changed;
    int rc = room ? declare(db, models, n, &w) : db_no_memory(db);
    for (size_t i = 0; w.packed && i < n; i++)
        buf_free(&w.packed[i]);
    free(w.packed);
    free(w.before);
    free(w.in);
    free(w.defined);
    free(w.changed);
    return rc;
}

uint32_t models_together(const rapyer *db, size_t *from, struct buf *out)
{
    unsigned together = db->declarations[*from].together;
    uint32_t n = 0;
    for (; *from < db->ndeclarations && db->declarations[*from].together == together; ++*from, n++)
        buf_append(out, db->declarations[*from].packed.data, db->declarations[*from].packed.len);
    return n;
}

int rapyer_define_models(rapyer *db, const rapyer_model *const *models)
{
    struct buf all = BUF_INIT;
    uint32_t n = 0;
    if (!db)
        return -1;
    if (models_declare(db, models) < 0)
        return -1;
    for (; models[n]; n++) {
        const struct declaration *d = db_declaration(db, models[n]->name, strlen(models[n]->name));
        buf_append(&all, d->packed.data, d->packed.len);
    }
    rapyer_value *answer = NULL;
    if (n > 0 && !all.failed)
        answer = request_wait(db, "define", n, &all);
    bool failed = all.failed;
    buf_free(&all);
    if (failed)
        return db_no_memory(db);
    if (n > 0 && !answer)
        return -1;
    rapyer_value_free(answer);
    return 0;
}
