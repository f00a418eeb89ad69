/* efficiency: what belongs together as one request, and as many. */
#include "example.h"

static const rapyer_model UserSettings =
    RAPYER_ATOMIC("UserSettings", RAPYER_FIELD("notifications", "dict<bool>"));
static const rapyer_model UserStats =
    RAPYER_ATOMIC("UserStats", RAPYER_FIELD("login_count", "int", "0"));
static const rapyer_model User =
    RAPYER_ATOMIC("User", RAPYER_FIELD("settings", "UserSettings"),
                  RAPYER_FIELD("stats", "UserStats"), RAPYER_FIELD("tags", "list<str>"));

/* listing */
/* Efficient: nested operations as one request */
static int active_at_once(rapyer_doc *user)
{
    rapyer_auto_doc *pipelined_user = rapyer_begin(user);
    rapyer_update(pipelined_user, "settings.notifications", "{email: true, sms: false}");
    rapyer_incr(pipelined_user, "stats.login_count", 1, NULL);
    rapyer_append(pipelined_user, "tags", "active_user");
    return rapyer_commit(pipelined_user);
}

/* Less efficient: each is a request, and others may see the user in between */
static void active_by_and_by(rapyer_doc *user)
{
    rapyer_update(user, "settings.notifications", "{email: true}");
    rapyer_update(user, "settings.notifications", "{sms: false}");
    rapyer_incr(user, "stats.login_count", 1, NULL);
    rapyer_append(user, "tags", "active_user");
}
/* end of the listing */

static void look(rapyer_doc *user)
{
    const char *pk = rapyer_pk(user);
    REDIS_IS("1", "HGET rapyer:{User:%s} stats.login_count", pk);
    REDIS_IS("[1, 0]", "HMGET rapyer:{User:%s}/settings.notifications email sms", pk);
    REDIS_IS("[active_user]", "LRANGE rapyer:{User:%s}/tags 0 -1", pk);
}

int main(void)
{
    rapyer_auto *db = rapyer_connect(NULL);
    rapyer_define(db, &UserSettings, &UserStats, &User);
    rapyer_auto_doc *one = rapyer_new(db, "User:one", "{}");
    rapyer_auto_doc *other = rapyer_new(db, "User:other", "{}");
    rapyer_save(one);
    rapyer_save(other);
    EXPECT(active_at_once(one) == 0);
    active_by_and_by(other);
    look(one);
    look(other);
    return example_end(db);
}
