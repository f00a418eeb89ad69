/* redis_enabled: atomic models in fields, whose dicts and lists have operations of their own. */
#include "example.h"

/* listing */
static const rapyer_model UserSettings = RAPYER_ATOMIC(
    "UserSettings", RAPYER_FIELD("theme", "str", "light"),
    RAPYER_FIELD("notifications", "dict<bool>"), RAPYER_FIELD("dashboard_config", "list<str>"));

static const rapyer_model UserStats =
    RAPYER_ATOMIC("UserStats", RAPYER_FIELD("login_count", "int", "0"),
                  RAPYER_FIELD("last_activity", "optional<datetime>", "null"),
                  RAPYER_FIELD("feature_usage", "dict<int>"));

static const rapyer_model AdvancedUser =
    RAPYER_ATOMIC("AdvancedUser", RAPYER_FIELD("username", "str"), RAPYER_FIELD("email", "str"),
                  RAPYER_FIELD("settings", "UserSettings"), RAPYER_FIELD("stats", "UserStats"),
                  RAPYER_FIELD("tags", "list<str>"));

int main(void)
{
    rapyer_auto *db = rapyer_connect(NULL);
    rapyer_define(db, &UserSettings, &UserStats, &AdvancedUser);

    /* Create user with nested Redis models */
    rapyer_auto_doc *user =
        rapyer_new(db, "AdvancedUser", "{username: johndoe, email: 'john@example.com'}");
    rapyer_save(user);

    /* Nested Redis models have full atomic operation support */
    rapyer_update(user, "settings.notifications",
                  "{email_alerts: true, push_notifications: false, weekly_summary: true}");
    rapyer_update(user, "stats.feature_usage",
                  "{dashboard_views: 5, profile_edits: 2, settings_changes: 1}");
    rapyer_extend(user, "settings.dashboard_config", "[weather_widget, news_feed, calendar]");
    /* end of the listing */

    const char *pk = rapyer_pk(user);
    REDIS_IS("[johndoe, light, 0]",
             "HMGET rapyer:{AdvancedUser:%s} username settings.theme stats.login_count", pk);
    REDIS_IS("[1, 0, 1]",
             "HMGET rapyer:{AdvancedUser:%s}/settings.notifications email_alerts "
             "push_notifications weekly_summary",
             pk);
    REDIS_IS("[5, 2, 1]",
             "HMGET rapyer:{AdvancedUser:%s}/stats.feature_usage dashboard_views profile_edits "
             "settings_changes",
             pk);
    REDIS_IS("[weather_widget, news_feed, calendar]",
             "LRANGE rapyer:{AdvancedUser:%s}/settings.dashboard_config 0 -1", pk);
    return example_end(db);
}
