/* model_text: models, records and cells from the text of item_text.h, for tests. A refusal where
 * none is expected fails the test with its text. */
#ifndef RAPYER_TESTS_MODEL_TEXT_H
#define RAPYER_TESTS_MODEL_TEXT_H

#include "protocol/tree.h"
#include "tests/unit/item_text.h"
#include <criterion/criterion.h>

static inline const struct model *define(struct schema *s, const char *text)
{
    const struct model *m = NULL;
    struct buf b = item_of(text);
    struct cursor c = cursor_of(b.data, b.len);
    struct fault f = {0};
    bool changed;

    cr_assert_eq(schema_define(s, &c, &m, &changed, &f), 0, "%s: %s", text, f.text);
    buf_free(&b);
    return m;
}

/* What building a record from this text says: NULL when it was built, into *out. */
static inline const char *try_record(const struct model *m, enum record_place place, const char *pk,
                                     const char *text, struct record **out)
{
    static char said[FAULT_TEXT_MAX + 32];
    struct buf b = item_of(text);
    struct cursor c = cursor_of(b.data, b.len);
    struct fault f = {0};
    int rc = record_build(m, place, pk, pk ? strlen(pk) : 0, &c, "", out, &f);

    buf_free(&b);
    if (rc == 0)
        return NULL;
    snprintf(said, sizeof said, "%s: %s", fault_name(f.code), f.text);
    return said;
}

static inline struct record *make_record(const struct model *m, const char *pk, const char *text)
{
    struct record *r = NULL;
    const char *said = try_record(m, RECORD_ROOT, pk, text, &r);

    cr_assert_null(said, "%s", said);
    return r;
}

/* A record as text, good until the next call. */
static inline const char *record_text(const struct record *r, bool skip_lazy)
{
    struct buf b = BUF_INIT;
    const char *text;

    record_pack(r, NULL, 0, skip_lazy, "", 0, NULL, &b);
    text = item_text(b.data, b.len);
    buf_free(&b);
    return text;
}

#endif
