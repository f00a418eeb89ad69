/* best_practices_nesting: models by what belongs together. */
#include "example.h"

static const rapyer_model UserProfile = RAPYER_ATOMIC(
    "UserProfile", RAPYER_FIELD("bio", "str", "''"), RAPYER_FIELD("avatar", "str", "''"));
static const rapyer_model UserSettings =
    RAPYER_ATOMIC("UserSettings", RAPYER_FIELD("theme", "str", "light"),
                  RAPYER_FIELD("notifications", "bool", "true"));

/* listing */
/* Good: logical grouping */
static const rapyer_model User =
    RAPYER_ATOMIC("User", RAPYER_FIELD("username", "str"),
                  RAPYER_FIELD("profile", "UserProfile"),    /* Related data grouped together */
                  RAPYER_FIELD("settings", "UserSettings")); /* Settings grouped separately */

/* Avoid: too flat */
static const rapyer_model FlatUser =
    RAPYER_ATOMIC("FlatUser", RAPYER_FIELD("username", "str"), RAPYER_FIELD("profile_bio", "str"),
                  RAPYER_FIELD("profile_avatar", "str"), RAPYER_FIELD("settings_theme", "str"),
                  RAPYER_FIELD("settings_notifications", "bool")); /* ... many individual fields */
/* end of the listing */

int main(void)
{
    rapyer_auto *db = rapyer_connect(NULL);
    rapyer_define(db, &UserProfile, &UserSettings, &User, &FlatUser);
    rapyer_auto_doc *user = rapyer_new(db, "User:ada", "{username: ada, profile: {bio: Countess}}");
    rapyer_auto_doc *flat = rapyer_new(db, "FlatUser:ada",
                                       "{username: ada, profile_bio: Countess, profile_avatar: '',"
                                       " settings_theme: dark, settings_notifications: false}");
    rapyer_save(user);
    rapyer_save(flat);

    /* A group can be read, or handed on, by itself. */
    rapyer_auto_doc *settings = rapyer_at(user, "settings");
    rapyer_set(settings, "theme", "dark");
    REDIS_IS("[ada, Countess, , dark, 1]",
             "HMGET rapyer:{User:ada} username profile.bio profile.avatar settings.theme "
             "settings.notifications");
    REDIS_IS("[Countess, 0]", "HMGET rapyer:{FlatUser:ada} profile_bio settings_notifications");
    return example_end(db);
}
