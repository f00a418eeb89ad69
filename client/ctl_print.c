/* ctl_print: how rapyerctl shows values. */
#include "client/ctl.h"
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CELL_MAX 60 /* characters of a cell, on a terminal */

/* --- JSON -------------------------------------------------------------------------------- */

static void new_line(struct buf *out, unsigned depth)
{
    buf_append(out, "\n", 1);
    for (unsigned i = 0; i < depth; i++)
        buf_append(out, "  ", 2);
}

/* From a quote to the one that ends the text. */
static size_t text_length(const char *at)
{
    size_t n = 1;

    while (at[n] && at[n] != '"')
        n += at[n] == '\\' && at[n + 1] ? 2 : 1;
    return at[n] ? n + 1 : n;
}

char *ctl_indented(const char *json)
{
    struct buf out = BUF_INIT;
    unsigned depth = 0;

    for (const char *at = json; *at; at++) {
        if (*at == '"') {
            size_t n = text_length(at);
            buf_append(&out, at, n);
            at += n - 1;
        } else if ((*at == '{' || *at == '[') && (at[1] == '}' || at[1] == ']')) {
            buf_append(&out, at++, 2);
        } else if (*at == '{' || *at == '[') {
            buf_append(&out, at, 1);
            new_line(&out, ++depth);
        } else if (*at == '}' || *at == ']') {
            new_line(&out, --depth);
            buf_append(&out, at, 1);
        } else {
            buf_append(&out, at, 1);
            if (*at == ',')
                new_line(&out, depth);
            else if (*at == ':')
                buf_append(&out, " ", 1);
        }
    }
    buf_append(&out, "", 1);
    return (char *)out.data;
}

void ctl_print(const struct ctl *c, const rapyer_value *v)
{
    size_t len;

    if (c->raw && rapyer_kind_of(v) == RAPYER_STR) {
        const char *s = rapyer_data(v, &len);
        fwrite(s, 1, len, stdout);
        putchar('\n');
        return;
    }
    char *json = rapyer_to_json(v);
    if (json && c->terminal && !c->json) {
        char *indented = ctl_indented(json);
        free(json);
        json = indented;
    }
    puts(json ? json : "");
    free(json);
}

void ctl_print_element(const rapyer_value *v, size_t n)
{
    char *json = rapyer_to_json(v);

    printf("%s%s", n == 0 ? "[" : ",", json ? json : "");
    free(json);
}

/* --- tables ------------------------------------------------------------------------------ */

/* How many bytes from here on are no sign of a text: a control character (also U+0080 to U+009F),
 * or one that turns the direction of what stands around it (U+200E, U+200F, U+202A to U+202E,
 * U+2066 to U+2069). */
static unsigned odd_bytes(const unsigned char *p)
{
    if (*p < 0x20 || *p == 0x7f)
        return 1;
    if (*p == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0)
        return 2;
    bool turns =
        *p == 0xe2 &&
        ((p[1] == 0x80 && (p[2] == 0x8e || p[2] == 0x8f || (p[2] >= 0xaa && p[2] <= 0xae))) ||
         (p[1] == 0x81 && p[2] >= 0xa6 && p[2] <= 0xa9));
    return turns ? 3 : 0;
}

char *ctl_plain(char *s)
{
    for (unsigned char *p = (unsigned char *)s; p && *p;) {
        unsigned n = odd_bytes(p);
        memset(p, '?', n);
        p += n > 0 ? n : 1;
    }
    return s;
}

char *ctl_form(const char *fmt, ...)
{
    va_list args;
    char *s;

    va_start(args, fmt);
    int n = vasprintf(&s, fmt, args);
    va_end(args);
    return n < 0 ? NULL : ctl_plain(s);
}

const char *ctl_paint(const struct ctl *c, const char *colour)
{
    const char *no = getenv("NO_COLOR");

    return c->terminal && !c->json && !(no && no[0]) ? colour : "";
}

/* In characters, as far as they are one column each. */
static int width(const char *s)
{
    int n = 0;

    for (; s && *s; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

/* Bytes of the first n characters. */
static int bytes_of(const char *s, int n)
{
    const char *at = s;

    for (; *at && n > 0; n--)
        for (at++; ((unsigned char)*at & 0xc0) == 0x80;)
            at++;
    return (int)(at - s);
}

static void print_row(const char *const *titles, const int *widths, unsigned columns,
                      const char *const *cells)
{
    char cut[4 * CELL_MAX + 4];

    for (unsigned i = 0; i < columns; i++) {
        const char *s = cells[i] ? cells[i] : "";
        if (width(s) > widths[i]) {
            snprintf(cut, sizeof cut, "%.*s\xe2\x80\xa6", bytes_of(s, widths[i] - 1), s);
            s = cut;
        }
        int pad = widths[i] - width(s);
        bool last = i + 1 == columns;
        if (titles[i][0] == ' ')
            printf("%*s%s%s", pad, "", s, last ? "" : "  ");
        else
            printf("%s%*s", s, last ? 0 : pad + 2, "");
    }
    putchar('\n');
}

void ctl_table(const char *const *titles, unsigned columns, char *const *cells, size_t rows)
{
    int widths[columns];
    const char *heads[columns];
    int most = isatty(1) ? CELL_MAX : INT_MAX;

    for (unsigned i = 0; i < columns; i++) {
        heads[i] = titles[i] + (titles[i][0] == ' ');
        widths[i] = width(heads[i]);
        for (size_t r = 0; r < rows; r++) {
            int w = width(cells[r * columns + i]);
            widths[i] = w > widths[i] ? w : widths[i];
            widths[i] = widths[i] > most ? most : widths[i];
        }
    }
    print_row(titles, widths, columns, heads);
    for (size_t r = 0; r < rows; r++)
        print_row(titles, widths, columns, (const char *const *)&cells[r * columns]);
}

void ctl_table_of(const rapyer_value *list, const char *const *titles, unsigned columns,
                  void (*fill)(const rapyer_value *item, char **cells))
{
    size_t n = rapyer_len(list);
    char **cells = calloc(n * columns + 1, sizeof *cells);

    if (!cells)
        return;
    for (size_t i = 0; i < n; i++)
        fill(rapyer_item(list, i), &cells[i * columns]);
    ctl_table(titles, columns, cells, n);
    for (size_t i = 0; i < n * columns; i++)
        free(cells[i]);
    free(cells);
}
