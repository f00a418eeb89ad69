/* fault: why something was refused, in the words a client will read.
 *
 * Everything in protocol/ that can refuse its input takes a struct fault and returns -1 after
 * filling it in; the text travels unchanged to the client as "CODE: text". It says what was
 * wrong, where, and what would be right. Plain data, no allocation, safe to copy.
 */
#ifndef RAPYER_PROTOCOL_FAULT_H
#define RAPYER_PROTOCOL_FAULT_H

#include <stdbool.h>
#include <stddef.h>

/* X(name, text for PROTOCOL.md and rapyer_strerror). The wire word is the name itself. */
#define FAULT_CODES(X)                                                                    \
    X(BAD_FRAME, "the bytes are not a MessagePack-RPC message; the connection is closed") \
    X(TOO_LARGE, "a frame, a value or the answer is over the configured limit")           \
    X(BAD_REQUEST, "the parameters have the wrong number or shape")                       \
    X(UNKNOWN_METHOD, "there is no such method")                                          \
    X(BAD_KEY, "the key is not Model:pk, or its pk holds a forbidden character")          \
    X(BAD_PATH, "the path does not lead to anything in this model")                       \
    X(BAD_TYPE, "a value has another type than its place")                                \
    X(BAD_VALUE, "a value has the right type but cannot be taken")                        \
    X(OUT_OF_RANGE, "an index or number is outside its range")                            \
    X(UNKNOWN_FIELD, "the model has no such field")                                       \
    X(UNKNOWN_MODEL, "no such model is defined")                                          \
    X(BAD_SCHEMA, "the model declaration is not valid")                                   \
    X(SCHEMA_CONFLICT, "the declaration contradicts the stored one")                      \
    X(NOT_FOUND, "no such document, element or key")                                      \
    X(CORRUPT, "Redis holds something under the document that rapyerd did not write")     \
    X(CONFLICT, "the version is not the expected one, or a unique value is taken")        \
    X(UNAVAILABLE, "Redis cannot be reached, or refuses writes")                          \
    X(UNKNOWN_OUTCOME, "it cannot be known whether the write was applied")                \
    X(BUSY, "a limit on requests or memory is reached; try again later")                  \
    X(LOCK_LOST, "the lock's lease is gone")                                              \
    X(LOCK_TIMEOUT, "the lock was not free within the time given")                        \
    X(DEADLOCK, "waiting would close a cycle")                                            \
    X(INTERNAL, "a defect in rapyerd; its log says more")                                 \
    X(NO_INDEX, "no index answers this, and a scan was not asked for")                    \
    X(FORBIDDEN, "the rules do not let this user do that")                                \
    X(NOT_DURABLE, "applied, but on fewer replicas or disks than the settings want")      \
    X(CROSS_SLOT, "what has to be changed together is not in one slot of the cluster")

enum fault_code {
    FAULT_NONE,
#define FAULT_ENUM(name, text) FAULT_##name,
    FAULT_CODES(FAULT_ENUM)
#undef FAULT_ENUM
        FAULT_COUNT,
    FAULT_NO_MEMORY = 64 /* in the library only: never on the wire (alloc.h) */
};

#define FAULT_TEXT_MAX 400

struct fault {
    enum fault_code code;
    char text[FAULT_TEXT_MAX]; /* valid UTF-8, NUL-terminated, without the code */
};

/* Fills *f and returns -1, so that a check can end in `return fault_set(...)`. What is longer
 * than FAULT_TEXT_MAX is cut at a character's border; bytes that are not UTF-8 and control
 * characters become '?'. */
int fault_set(struct fault *f, enum fault_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The same for any text of strangers that is shown, in place. cut: it may have been cut within a
 * character, which is dropped then. */
void text_clean(char *text, bool cut);

/* "BAD_PATH", or NULL for FAULT_NONE and unknown numbers. */
const char *fault_name(enum fault_code code);

/* The code of a wire error "CODE: text" and where its text begins (into s); FAULT_INTERNAL and
 * the whole of s when the word is not one of ours. */
enum fault_code fault_parse(const char *s, size_t len, const char **text, size_t *text_len);

#endif
