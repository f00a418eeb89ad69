/* fuzz: what fuzzers share. */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include "protocol/schema.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline void require(bool ok)
{
    if (!ok)
        abort();
}

/* An atomic model: names and types of its fields by turns, then NULL. */
static inline const struct model *add_model(struct schema *s, const char *name,
                                            const char *const *fields)
{
    struct buf b = BUF_INIT;
    struct fault f;
    const struct model *m;
    bool changed;
    uint32_t n = 0;
    while (fields[2 * n] != NULL)
        n++;
    pack_map(&b, 3);
    pack_cstr(&b, "name");
    pack_cstr(&b, name);
    pack_cstr(&b, "kind");
    pack_cstr(&b, "atomic");
    pack_cstr(&b, "fields");
    pack_array(&b, n);
    for (uint32_t i = 0; i < n; i++) {
        pack_map(&b, 2);
        pack_cstr(&b, "name");
        pack_cstr(&b, fields[2 * i]);
        pack_cstr(&b, "type");
        pack_cstr(&b, fields[2 * i + 1]);
    }
    struct cursor in = cursor_of(b.data, b.len);
    require(schema_define(s, &in, &m, &changed, &f) == 0);
    buf_free(&b);
    return m;
}

#endif
