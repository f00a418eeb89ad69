/* viewer: see viewer.h. */
#include "daemon/methods/viewer.h"
#include "daemon/base/settings.h"
#include "daemon/clients/inquiry.h"
#include "protocol/alloc.h"
#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

#define AT_ONCE 4 /* requests that wait */
#define ANSWER_BYTES ((size_t)1024 * 1024)
#define WAIT_MS 3000
#define PAGE_KEYS 1000 /* about so many in an answer */

struct visit {
    struct visit *prev, *next;
    struct viewer *viewer;
    struct http_ask *ask;
    struct inquiry *inquiry;
};

struct viewer {
    struct event_base *base;
    struct sessions *sessions;
    struct overview *overview;
    enum viewer_level level;
    struct visit *visits;
    unsigned nvisits;
};

static const char *word_of(enum viewer_level level)
{
    return setting_words(VIEWER)[level];
}

/* --- what is answered at once ------------------------------------------------------------ */

static void answer_overview(struct viewer *v, struct http_ask *ask, const char *why_not)
{
    const struct buf *now = overview_now(v->overview);
    struct buf out = BUF_INIT;

    pack_map(&out, 3);
    pack_cstr(&out, "level");
    pack_cstr(&out, word_of(v->level));
    pack_cstr(&out, "trouble");
    pack_cstr(&out, why_not);
    pack_cstr(&out, "now");
    buf_append(&out, now->data, now->len);
    http_answer(ask, out.data, out.len);
    buf_free(&out);
}

static void answer_history(struct viewer *v, struct http_ask *ask)
{
    const char *since = http_ask_param(ask, "since");
    struct buf out = BUF_INIT;

    overview_past(v->overview, since ? strtoll(since, NULL, 10) : 0, &out);
    http_answer(ask, out.data, out.len);
    buf_free(&out);
}

/* --- what is asked for as a client ------------------------------------------------------- */

static void end(struct visit *visit)
{
    DL_DELETE(visit->viewer->visits, visit);
    visit->viewer->nvisits--;
    free(visit);
}

/* "NOT_FOUND: ..." */
static int status_of(const char *error)
{
    return strncmp(error, "NOT_FOUND", 9) == 0      ? 404
           : strncmp(error, "UNAVAILABLE", 11) == 0 ? 503
           : strncmp(error, "TOO_LARGE", 9) == 0    ? 413
                                                    : 400;
}

static void on_done(void *arg, const void *result, size_t len, const char *error)
{
    struct visit *visit = arg;

    if (error)
        http_refuse(visit->ask, status_of(error), error);
    else
        http_answer(visit->ask, result, len);
    end(visit);
}

static void inquire(struct viewer *v, struct http_ask *ask, const char *method,
                    const struct buf *params, uint32_t nparams)
{
    unsigned rights = RIGHT_STATS | (v->level >= VIEWER_NAMES ? RIGHT_READ : 0);

    if (v->nvisits >= AT_ONCE) {
        http_refuse(ask, 503, "BUSY: others ask at the same time; try again");
        return;
    }
    struct visit *visit = alloc_zeroed(1, sizeof *visit);
    visit->viewer = v;
    visit->ask = ask;
    DL_APPEND(v->visits, visit);
    v->nvisits++;
    visit->inquiry = inquiry_begin(v->base, v->sessions, rights, method, params, nparams,
                                   ANSWER_BYTES, WAIT_MS, on_done, visit);
    if (!visit->inquiry)
        on_done(visit, NULL, 0, "UNAVAILABLE: no more clients can connect");
}

static void ask_keys(struct viewer *v, struct http_ask *ask, struct buf *params)
{
    const char *model = http_ask_param(ask, "model"), *cursor = http_ask_param(ask, "cursor");

    pack_cstr(params, model ? model : "");
    pack_map(params, cursor ? 2 : 1);
    pack_cstr(params, "count");
    pack_int(params, PAGE_KEYS);
    if (cursor) {
        pack_cstr(params, "cursor");
        pack_cstr(params, cursor);
    }
    inquire(v, ask, "doc.keys", params, 2);
}

static void ask_document(struct viewer *v, struct http_ask *ask, struct buf *params)
{
    const char *key = http_ask_param(ask, "key");

    pack_cstr(params, key ? key : "");
    pack_map(params, 1);
    pack_cstr(params, "version");
    pack_bool(params, true);
    inquire(v, ask, "doc.get", params, 2);
}

static void refuse_level(struct http_ask *ask, enum viewer_level needed)
{
    char text[64];

    snprintf(text, sizeof text, "FORBIDDEN: this needs metrics.viewer = %s", word_of(needed));
    http_refuse(ask, 403, text);
}

void viewer_ask(struct viewer *v, struct http_ask *ask, const char *why_not)
{
    const char *name = http_ask_name(ask);
    struct buf params = BUF_INIT;
    bool keys = strcmp(name, "keys") == 0, models = strcmp(name, "models") == 0;

    if (strcmp(name, "overview") == 0)
        answer_overview(v, ask, why_not);
    else if (strcmp(name, "history") == 0)
        answer_history(v, ask);
    else if (strcmp(name, "doctor") == 0)
        inquire(v, ask, "admin.doctor", &params, 0);
    else if ((models || keys) && v->level < VIEWER_NAMES)
        refuse_level(ask, VIEWER_NAMES);
    else if (models)
        inquire(v, ask, "admin.models", &params, 0);
    else if (keys)
        ask_keys(v, ask, &params);
    else if (strcmp(name, "document") != 0)
        http_refuse(ask, 404,
                    "NOT_FOUND: there are overview, history, doctor, models, keys, document");
    else if (v->level < VIEWER_CONTENTS)
        refuse_level(ask, VIEWER_CONTENTS);
    else
        ask_document(v, ask, &params);
    buf_free(&params);
}

/* --- */

struct viewer *viewer_new(struct event_base *base, const struct config *config,
                          struct sessions *sessions, struct overview *overview)
{
    struct viewer *v = alloc_zeroed(1, sizeof *v);
    v->base = base;
    v->sessions = sessions;
    v->overview = overview;
    v->level = config->metrics_viewer;
    return v;
}

void viewer_free(struct viewer *v)
{
    if (!v)
        return;
    while (v->visits) {
        struct visit *visit = v->visits;
        inquiry_cancel(visit->inquiry);
        on_done(visit, NULL, 0, "UNAVAILABLE: rapyerd is stopping");
    }
    free(v);
}
