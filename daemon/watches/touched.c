/* touched: see touched.h. */
#include "daemon/watches/touched.h"

struct touch {
    const char *suffix, *field;
    size_t suffix_len, field_len;
};

static bool next_touch(struct cursor *in, struct touch *t)
{
    *t = (struct touch){0};
    if (cursor_str(in, &t->suffix, &t->suffix_len) < 0)
        return false;
    if (!cursor_nil(in))
        (void)cursor_str(in, &t->field, &t->field_len);
    return true;
}

void touched_all(struct touched *t)
{
    t->all = true;
    t->n = 0;
    buf_free(&t->places);
}

void touched_free(struct touched *t)
{
    buf_free(&t->places);
}

static bool has(const struct touched *t, const uint8_t *place, size_t len)
{
    struct cursor in = cursor_of(t->places.data, t->places.len);
    for (struct touch at; !cursor_done(&in);) {
        const uint8_t *from = in.at;
        if (!next_touch(&in, &at))
            break;
        if ((size_t)(in.at - from) == len && memcmp(from, place, len) == 0)
            return true;
    }
    return false;
}

void touched_add(struct touched *t, const char *suffix, size_t suffix_len, const char *field,
                 size_t field_len)
{
    struct buf place = BUF_INIT;
    if (t->all)
        return;
    pack_str(&place, suffix, suffix_len);
    if (field != NULL)
        pack_str(&place, field, field_len);
    else
        pack_nil(&place);
    if (!has(t, place.data, place.len)) {
        buf_append(&t->places, place.data, place.len);
        t->n++;
    }
    buf_free(&place);
    if (t->n > TOUCHED_MAX || t->places.len > TOUCHED_BYTES)
        touched_all(t);
}

bool touched_join(struct touched *t, const struct touched *other, const struct region *in)
{
    struct cursor from = cursor_of(other->places.data, other->places.len);
    bool any = other->all;
    if (other->all)
        touched_all(t);
    for (struct touch at; !cursor_done(&from) && next_touch(&from, &at);) {
        if (!region_touched(in, at.suffix, at.suffix_len, at.field, at.field_len))
            continue;
        touched_add(t, at.suffix, at.suffix_len, at.field, at.field_len);
        any = true;
    }
    return any;
}

void touched_pack(const struct touched *t, const struct model *m, struct buf *out)
{
    struct cursor in = cursor_of(t->places.data, t->places.len);
    struct buf paths[TOUCHED_MAX];
    uint32_t n = 0;
    if (t->all) {
        pack_nil(out);
        return;
    }
    for (struct touch at; n < TOUCHED_MAX && !cursor_done(&in) && next_touch(&in, &at); n++) {
        struct buf *path = &paths[n];
        *path = BUF_INIT;
        region_path(m, at.suffix, at.suffix_len, at.field, at.field_len, path);
        uint32_t same = 0; /* several places may have one path */
        while (same < n && (paths[same].len != path->len ||
                            (path->len > 0 && memcmp(paths[same].data, path->data, path->len))))
            same++;
        if (same < n)
            buf_free(&paths[n--]);
    }
    pack_array(out, n);
    for (uint32_t i = 0; i < n; i++) {
        pack_str(out, (const char *)paths[i].data, paths[i].len);
        buf_free(&paths[i]);
    }
}
