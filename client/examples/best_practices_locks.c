/* best_practices_locks: one lock around what belongs together, saved at its end. */
#include "example.h"

static const rapyer_model UserProfile = RAPYER_ATOMIC(
    "UserProfile", RAPYER_FIELD("bio", "str", "''"), RAPYER_FIELD("tags", "list<str>"));
static const rapyer_model UserSettings =
    RAPYER_ATOMIC("UserSettings", RAPYER_FIELD("last_update", "optional<datetime>", "null"));
static const rapyer_model User = RAPYER_ATOMIC("User", RAPYER_FIELD("profile", "UserProfile"),
                                               RAPYER_FIELD("settings", "UserSettings"));

int main(void)
{
    rapyer_auto *db = rapyer_connect(NULL);
    rapyer_define(db, &UserProfile, &UserSettings, &User);
    rapyer_auto_doc *user = rapyer_new(db, "User:ada", "{}");
    rapyer_save(user);

    /* listing */
    /* Good: lock at user level for related changes */
    rapyer_auto_doc *locked_user = rapyer_lock(user, "profile_update", NULL);
    rapyer_auto_doc *changes = rapyer_begin(locked_user);
    rapyer_set(changes, "profile.bio", "'New bio'");
    rapyer_append(changes, "profile.tags", "verified");
    rapyer_set(changes, "settings.last_update", "@%s", rapyer_now());
    rapyer_unlock(changes); /* Saves all of it */
    /* end of the listing */

    EXPECT(rapyer_len(rapyer_results(changes)) == 3);
    REDIS_IS("New bio", "HGET rapyer:{User:ada} profile.bio");
    REDIS_IS("[verified]", "LRANGE rapyer:{User:ada}/profile.tags 0 -1");
    REDIS_HAS("Z", "HGET rapyer:{User:ada} settings.last_update");

    /* It is free again, and what is done under the old one is not done. */
    rapyer_auto_doc *next =
        rapyer_lock(user, "profile_update", &(rapyer_lock_options){.nowait = true});
    EXPECT(next != NULL);
    EXPECT(rapyer_fence(next) > rapyer_fence(locked_user));
    EXPECT(rapyer_set(locked_user, "profile.bio", "'Old bio'") < 0);
    EXPECT(rapyer_errcode(db) == RAPYER_LOCK_LOST);
    rapyer_clear_error(db);
    REDIS_IS("New bio", "HGET rapyer:{User:ada} profile.bio");
    return example_end(db);
}
