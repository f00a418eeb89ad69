/* trace: where a request belongs among those of other services, as W3C Trace Context has it:
 * "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01". */
#ifndef RAPYERD_TRACE_H
#define RAPYERD_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TRACE_ID_BYTES 16
#define SPAN_ID_BYTES 8
#define TRACE_TEXT (2 * TRACE_ID_BYTES + 1) /* of an id in hex, with its NUL */

struct trace {
    uint8_t id[TRACE_ID_BYTES], span[SPAN_ID_BYTES]; /* span: of who asked */
    bool sampled;                                    /* who asked wants it to be recorded */
};

/* False: it is no such text. A version above 00 may have more behind it. */
bool trace_parse(struct trace *t, const char *text, size_t len);
/* n bytes as 2 n digits, and a NUL. */
void trace_hex(char *out, const uint8_t *bytes, size_t n);

#endif
