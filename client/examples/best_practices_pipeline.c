/* best_practices_pipeline: related changes in one pipeline. */
#include "example.h"

static const rapyer_model UserProfile = RAPYER_ATOMIC(
    "UserProfile", RAPYER_FIELD("bio", "str", "''"), RAPYER_FIELD("tags", "list<str>"));
static const rapyer_model UserSettings = RAPYER_ATOMIC(
    "UserSettings", RAPYER_FIELD("last_profile_update", "optional<datetime>", "null"));
static const rapyer_model User = RAPYER_ATOMIC("User", RAPYER_FIELD("profile", "UserProfile"),
                                               RAPYER_FIELD("settings", "UserSettings"));

int main(void)
{
    rapyer_auto *db = rapyer_connect(NULL);
    rapyer_define(db, &UserProfile, &UserSettings, &User);
    rapyer_auto_doc *user = rapyer_new(db, "User:ada", "{}");
    rapyer_save(user);
    REDIS_IS("\xc0", "HGET rapyer:{User:ada} settings.last_profile_update");

    /* listing */
    /* Good: batch related nested operations */
    rapyer_auto_doc *pipelined_user = rapyer_begin(user);
    rapyer_set(pipelined_user, "profile.bio", "'Updated bio'");
    rapyer_append(pipelined_user, "profile.tags", "updated");
    rapyer_set(pipelined_user, "settings.last_profile_update", "@%s", rapyer_now());
    rapyer_commit(pipelined_user);
    /* end of the listing */

    REDIS_IS("Updated bio", "HGET rapyer:{User:ada} profile.bio");
    REDIS_IS("[updated]", "LRANGE rapyer:{User:ada}/profile.tags 0 -1");
    REDIS_HAS("Z", "HGET rapyer:{User:ada} settings.last_profile_update");
    return example_end(db);
}
