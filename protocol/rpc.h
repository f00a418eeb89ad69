/* rpc: the MessagePack-RPC envelope.
 *   request [0, id, method, params]   response [1, id, error, result]   notification [2, method,
 * params]
 */
#ifndef RAPYER_PROTOCOL_RPC_H
#define RAPYER_PROTOCOL_RPC_H

#include "protocol/buf.h"
#include "protocol/cursor.h"
#include "protocol/fault.h"

#define RPC_PROTOCOL_VERSION 1

enum rpc_kind { RPC_REQUEST, RPC_RESPONSE, RPC_NOTIFY };

struct rpc {
    enum rpc_kind kind;
    uint64_t id;        /* of requests and responses; echoed by value */
    bool has_id;        /* false in a broken frame whose id could not be read */
    const char *method; /* into the frame, not NUL-terminated */
    size_t method_len;
    struct cursor params; /* behind the array head */
    uint32_t nparams;
    struct cursor error;  /* response: one value, nil when there is none */
    struct cursor result; /* response: one value */
};

/* Reads one scanned frame. A method given as bin is taken like str (some clients do that).
 * -1: BAD_FRAME when it is no MessagePack-RPC message, BAD_REQUEST when only method or params
 * have the wrong shape (then has_id is set and the stream can go on). */
int rpc_parse(struct rpc *m, const uint8_t *frame, size_t len, struct fault *f);
/* The id of a frame that is incomplete or bad, when its beginning can be read. */
bool rpc_guess_id(const uint8_t *data, size_t len, uint64_t *id);

/* A response whose result the caller packs next, exactly one value. */
void rpc_open_result(struct buf *b, uint64_t id);
/* A whole error response; id NULL is written as nil. */
void rpc_pack_error(struct buf *b, const uint64_t *id, const struct fault *f);
/* The heads of a request and a notification; the caller packs params, an array, next. */
void rpc_open_request(struct buf *b, uint64_t id, const char *method);
void rpc_open_notify(struct buf *b, const char *method);

#endif
