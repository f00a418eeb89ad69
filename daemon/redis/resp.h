/* resp: commands in Redis' wire form, written straight into the buffer that will be sent. (hiredis'
 * formatter makes a string of its own for each command and copies it: a fifth of what a small
 * commit cost the daemon.) */
#ifndef RAPYERD_RESP_H
#define RAPYERD_RESP_H

#include "protocol/buf.h"

/* Writes a number as Redis wants it, without a NUL; returns its length. (snprintf takes as long as
 * all the rest of a small command.) */
#define RESP_DECIMAL_MAX 20
size_t resp_decimal(char out[RESP_DECIMAL_MAX], int64_t n);
/* One word of a command whose head stands there already. */
void resp_bulk(struct buf *out, const void *s, size_t len);
/* Appends one command of argc words; argvlen NULL: they are NUL-terminated. */
void resp_command(struct buf *out, int argc, const char *const *argv, const size_t *argvlen);
/* The same for at most RESP_WORDS_MAX NUL-terminated words, NULL-ended. */
#define RESP_WORDS_MAX 32
void resp_words(struct buf *out, ...) __attribute__((sentinel));

#endif
