/* path: "sections[0].tasks[\"t1\"].tags" as steps, and keys "Model:pk".
 *
 *   path  = "" | step *( "." name | "[" sub "]" )        first step is a name
 *   sub   = integer (from the end when negative) | JSON string: dict key, or pk of an element
 */
#ifndef RAPYER_PROTOCOL_PATH_H
#define RAPYER_PROTOCOL_PATH_H

#include "protocol/buf.h"
#include "protocol/fault.h"
#include <stdint.h>

#define PATH_MAX_STEPS 64
#define PK_MAX 256 /* bytes */
#define NAME_MAX_LEN 64

/* Whether this may be the name of a model or field: [A-Za-z_][A-Za-z0-9_]{0,63}. */
bool name_valid(const char *s, size_t len);
/* The same of a model, whose name may have a namespace before it, or several: "shop.User". */
bool model_name_valid(const char *s, size_t len);

enum step_kind { STEP_NAME, STEP_INDEX, STEP_KEY };

struct step {
    enum step_kind kind;
    const char *s; /* NAME, KEY: not NUL-terminated; into the path or, unescaped, its scratch */
    size_t len;
    int64_t index;
};

/* Walks a path step by step without building anything. */
struct path_reader {
    const char *begin, *at, *end;
    unsigned steps;
    char scratch[PK_MAX * 2]; /* an unescaped key; valid until the next path_next */
};

void path_read(struct path_reader *r, const char *path, size_t len);
/* 1: *s is the next step, 0: the path is at its end, -1: BAD_PATH. Keys longer than the scratch
 * and with escapes are refused. */
int path_next(struct path_reader *r, struct step *s, struct fault *f);

/* Goes on behind the first `bytes` of the path, at least one step of it, which were read before. */
void path_skip(struct path_reader *r, size_t bytes);

/* Appends a step in canonical form to a path being built. */
void path_add_name(struct buf *path, const char *name, size_t len);
void path_add_index(struct buf *path, int64_t index);
void path_add_key(struct buf *path, const char *key, size_t len);

/* "Model:pk" apart; pk may hold ':' . -1: BAD_KEY (says what is wrong with it). */
int key_parse(const char *key, size_t len, const char **model, size_t *model_len, const char **pk,
              size_t *pk_len, struct fault *f);
/* A pk is 1..PK_MAX bytes of UTF-8 without control characters. -1: BAD_KEY. */
int pk_check(const char *pk, size_t len, struct fault *f);

/* In the names of Redis keys '{', '}' and '/' have a meaning: where they stand in a pk they become
 * "{7b",
 * "{7d" and "{2f", so that no two pks have one name and all others are what they are. Also for a
 * whole key "Model:pk". */
#define PK_ESCAPED_MAX (3 * PK_MAX)
#define KEY_ESCAPED_MAX (NAME_MAX_LEN + 1 + PK_ESCAPED_MAX)
/* How long it is then. */
size_t pk_escaped_len(const char *pk, size_t len);
/* Writes it, and says how long it is; out has room for pk_escaped_len. */
size_t pk_escape(char *out, const char *pk, size_t len);
void pk_append(struct buf *out, const char *pk, size_t len);
/* The reverse; out has room for len, and may be `name`. False: no pk is written like that. */
bool pk_unescape(char *out, const char *name, size_t len, size_t *out_len);

#endif
