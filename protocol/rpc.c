/* rpc: see rpc.h. */
#include "protocol/rpc.h"

#include <stdio.h>

enum { TYPE_REQUEST = 0, TYPE_RESPONSE = 1, TYPE_NOTIFY = 2 };

/* A non-negative integer in any encoding; moves only then. */
static bool read_id(struct cursor *c, uint64_t *id)
{
    struct cursor after = *c;
    struct item it;

    if (cursor_next(&after, &it) < 0)
        return false;
    if (it.kind == ITEM_INT && it.integer >= 0)
        *id = (uint64_t)it.integer;
    else if (it.kind == ITEM_UINT)
        *id = it.uinteger;
    else
        return false;
    *c = after;
    return true;
}

static int read_call(struct rpc *m, struct cursor *c, struct fault *f)
{
    if (cursor_str(c, &m->method, &m->method_len) < 0)
        return fault_set(f, FAULT_BAD_REQUEST, "the method name is not a str");
    if (cursor_array(c, &m->nparams) < 0)
        return fault_set(f, FAULT_BAD_REQUEST, "the params of %.*s are not an array",
                         m->method_len > 64 ? 64 : (int)m->method_len, m->method);
    m->params = *c;
    return 0;
}

static int read_response(struct rpc *m, struct cursor *c, struct fault *f)
{
    const uint8_t *p;
    size_t n;

    if (cursor_value(c, &p, &n) == 0 && !cursor_done(c)) {
        m->error = cursor_of(p, n);
        m->result = *c; /* it is the last in the frame */
        return 0;
    }
    return fault_set(f, FAULT_BAD_FRAME, "a response without error and result");
}

int rpc_parse(struct rpc *m, const uint8_t *frame, size_t len, struct fault *f)
{
    struct cursor c = cursor_of(frame, len);
    uint32_t count;
    int64_t type;

    *m = (struct rpc){0};
    if (cursor_array(&c, &count) < 0)
        return fault_set(f, FAULT_BAD_FRAME,
                         "not a MessagePack-RPC message: an array [0, id, method, params] or "
                         "[2, method, params] is expected");
    if (count == 0 || cursor_int(&c, &type) < 0 || type < TYPE_REQUEST || type > TYPE_NOTIFY)
        return fault_set(f, FAULT_BAD_FRAME,
                         "a message begins with its type: 0 (request), 1 (response) or 2 "
                         "(notification)");
    m->kind = type == TYPE_REQUEST    ? RPC_REQUEST
              : type == TYPE_RESPONSE ? RPC_RESPONSE
                                      : RPC_NOTIFY;
    if (count != (m->kind == RPC_NOTIFY ? 3u : 4u))
        return fault_set(f, FAULT_BAD_FRAME, "a message of type %d has %d elements, not %u",
                         (int)type, m->kind == RPC_NOTIFY ? 3 : 4, count);
    if (m->kind == RPC_NOTIFY)
        return read_call(m, &c, f);
    m->has_id = read_id(&c, &m->id);
    /* nil is the id of an answer to a message that could not be read. */
    if (!m->has_id && !(m->kind == RPC_RESPONSE && cursor_nil(&c)))
        return fault_set(f, FAULT_BAD_FRAME, "the message id is not a non-negative integer");
    return m->kind == RPC_REQUEST ? read_call(m, &c, f) : read_response(m, &c, f);
}

bool rpc_guess_id(const uint8_t *data, size_t len, uint64_t *id)
{
    struct cursor c = cursor_of(data, len);
    uint32_t count;
    int64_t type;

    return cursor_array(&c, &count) == 0 && count > 1 && cursor_int(&c, &type) == 0 &&
           type == TYPE_REQUEST && read_id(&c, id);
}

void rpc_open_result(struct buf *b, uint64_t id)
{
    pack_array(b, 4);
    pack_int(b, TYPE_RESPONSE);
    pack_uint(b, id);
    pack_nil(b);
}

void rpc_pack_error(struct buf *b, const uint64_t *id, const struct fault *f)
{
    char text[FAULT_TEXT_MAX + 32];
    const char *name = fault_name(f->code);
    int n = snprintf(text, sizeof text, "%s: %s", name ? name : "INTERNAL", f->text);

    pack_array(b, 4);
    pack_int(b, TYPE_RESPONSE);
    if (id)
        pack_uint(b, *id);
    else
        pack_nil(b);
    pack_str(b, text, (size_t)n);
    pack_nil(b);
}

void rpc_open_request(struct buf *b, uint64_t id, const char *method)
{
    pack_array(b, 4);
    pack_int(b, TYPE_REQUEST);
    pack_uint(b, id);
    pack_cstr(b, method);
}

void rpc_open_notify(struct buf *b, const char *method)
{
    pack_array(b, 3);
    pack_int(b, TYPE_NOTIFY);
    pack_cstr(b, method);
}
