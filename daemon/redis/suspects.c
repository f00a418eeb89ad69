/* suspects: see suspects.h. */
#include "daemon/redis/suspects.h"
#include "daemon/base/log.h"
#include "daemon/redis/resp.h"
#include "protocol/alloc.h"
#include <inttypes.h>
#include <stdlib.h>

unsigned suspects_kill(struct suspects *s, const struct upstream_info *link, struct buf *out)
{
    bool same_server = strcmp(link->previous_run_id, link->run_id) == 0;
    if (!same_server)
        s->n = 0;
    if (!same_server || link->previous_client_id == 0)
        return 0;
    vec_push(s->ids, s->n, s->cap, link->previous_client_id);
    for (unsigned i = 0; i < s->n; i++) {
        char id[24];
        snprintf(id, sizeof(id), "%" PRIu64, s->ids[i]);
        resp_words(out, "CLIENT", "KILL", "ID", id, NULL);
    }
    return s->n;
}

void suspects_answer(const redisReply *reply)
{
    if (reply->type == REDIS_REPLY_ERROR)
        log_error("CLIENT KILL is refused (%s): a commit may be applied twice after a break of the "
                  "connection; let the user of rapyerd run it",
                  reply->str);
}

void suspects_over(struct suspects *s)
{
    s->n = 0;
}

void suspects_free(struct suspects *s)
{
    free(s->ids);
}
