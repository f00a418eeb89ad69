/* index: see index.h. */
#include "protocol/index.h"
#include "protocol/container.h"
#include <string.h>

static const struct {
    const char *name;
    enum index_kind kind;
} kinds_by_name[] = {
    {"exact", INDEX_EXACT}, {"range", INDEX_RANGE}, {"prefix", INDEX_PREFIX}, {"tags", INDEX_TAGS}};

#define KINDS (sizeof kinds_by_name / sizeof *kinds_by_name)

#define NIL 0xC0 /* as MessagePack, and as Redis has it */

static int read_kind(struct cursor *in, uint8_t *kinds, const char *where, struct fault *f)
{
    const char *s;
    size_t len, i = 0;
    if (cursor_str(in, &s, &len) < 0)
        return fault_set(f, FAULT_BAD_SCHEMA,
                         "%s: 'index' must be exact, range, prefix or tags, or a list of these",
                         where);
    while (i < KINDS &&
           (strlen(kinds_by_name[i].name) != len || memcmp(kinds_by_name[i].name, s, len) != 0))
        i++;
    if (i == KINDS)
        return fault_set(f, FAULT_BAD_SCHEMA,
                         "%s: there is no index '%.*s'; there are exact, range, prefix and tags",
                         where, (int)(len < 40 ? len : 40), s);
    *kinds |= kinds_by_name[i].kind;
    return 0;
}

const char *index_kind_name(enum index_kind kind)
{
    size_t i = 0;
    while (kinds_by_name[i].kind != kind)
        i++;
    return kinds_by_name[i].name;
}

int index_read(struct cursor *in, uint8_t *kinds, const char *where, struct fault *f)
{
    uint32_t n = 1;
    *kinds = 0;
    (void)cursor_array(in, &n);
    for (uint32_t i = 0; i < n; i++)
        if (read_kind(in, kinds, where, f) < 0)
            return -1;
    return 0;
}

#define KIND(kind) (1u << TYPE_##kind)

static const unsigned text_types = KIND(STR) | KIND(REF) | KIND(ENUM) | KIND(UUID);
static const unsigned digit_types = KIND(DATETIME) | KIND(DATE) | KIND(TIME) | KIND(NAIVE);
static const unsigned number_types = KIND(INT) | KIND(FLOAT) | KIND(DECIMAL) | KIND(TIMEDELTA);

/* Of which equal texts are equal values; but for moments with an offset the other way round, too.
 */
static unsigned exact_types(void)
{
    return text_types | digit_types | KIND(INT) | KIND(FLOAT) | KIND(BOOL) | KIND(TIMEDELTA) |
           KIND(ZONED);
}

/* The elements that tags are of: any type whose values are told apart by their texts. */
static bool tags_of(const struct type *t)
{
    if (t->kind == TYPE_DICT)
        return true;
    return (t->kind == TYPE_LIST || t->kind == TYPE_SET) && (exact_types() >> t->of->kind & 1);
}

static uint8_t kinds_for(const struct type *t)
{
    unsigned bit = 1u << type_bare(t)->kind;
    uint8_t kinds = 0;
    if (bit & exact_types())
        kinds |= INDEX_EXACT;
    if (bit & (number_types | digit_types))
        kinds |= INDEX_RANGE;
    if (bit & text_types)
        kinds |= INDEX_PREFIX;
    return tags_of(t) ? INDEX_TAGS : kinds;
}

int index_check(const struct model *m, const struct field *field, const char *where,
                struct fault *f)
{
    char name[TYPE_NAME_MAX];
    uint8_t may = kinds_for(field->type);
    bool unique = field->indexes & INDEX_UNIQUE;
    if (!field->indexes)
        return 0;
    if (!m->atomic)
        return fault_set(f, FAULT_BAD_SCHEMA,
                         "%s: a plain model is a value, there is no index on what is in it", where);
    for (size_t i = 0; i < KINDS; i++)
        if (kinds_by_name[i].kind & field->indexes & ~may)
            return fault_set(f, FAULT_BAD_SCHEMA, "%s: a %s index is not for the type %s%s", where,
                             kinds_by_name[i].name, type_name(field->type, name, sizeof name),
                             may == 0             ? "; nothing is"
                             : may == INDEX_TAGS  ? "; tags is"
                             : may == INDEX_RANGE ? "; range is"
                             : may & INDEX_RANGE  ? "; exact and range are"
                             : may & INDEX_PREFIX ? "; exact and prefix are"
                                                  : "; exact is");
    if (unique && field->fallback != NULL && !(field->fallback_len == 1 && *field->fallback == NIL))
        return fault_set(f, FAULT_BAD_SCHEMA,
                         "%s: a unique field has no default but null, or a second document could "
                         "not be made without a value",
                         where);
    return 0;
}

uint32_t index_pairs(const struct field *field)
{
    return (field->indexes ? 1 : 0) + (field->indexes & INDEX_UNIQUE ? 1 : 0);
}

void index_pack(const struct field *field, struct buf *out)
{
    uint32_t n = 0;
    if (!field->indexes)
        return;
    pack_cstr(out, "index");
    size_t at = pack_array_open(out);
    for (size_t i = 0; i < KINDS; i++) {
        if (!(field->indexes & kinds_by_name[i].kind))
            continue;
        pack_cstr(out, kinds_by_name[i].name);
        n++;
    }
    pack_array_close(out, at, n);
    if (field->indexes & INDEX_UNIQUE) {
        pack_cstr(out, "unique");
        pack_bool(out, true);
    }
}

bool index_by_digits(const struct type *t)
{
    return digit_types >> type_bare(t)->kind & 1;
}

bool index_number(const struct type *t, const char *text, size_t len, struct buf *out)
{
    bool digits = index_by_digits(t);
    if (len == 0 || (len == 1 && (uint8_t)*text == NIL))
        return false;
    for (size_t i = 0; i < len; i++)
        if (!digits || (text[i] >= '0' && text[i] <= '9') || text[i] == '.')
            buf_append(out, text + i, 1);
    return true;
}
