/* social_media: posts and their users, changed together. */
#include "example.h"

/* listing */
static const rapyer_model Post =
    RAPYER_ATOMIC("Post", RAPYER_FIELD("content", "str"), RAPYER_FIELD("author_id", "str"),
                  RAPYER_FIELD("likes", "list<str>"), /* user IDs who liked */
                  RAPYER_FIELD("comments", "list<dict<str>>"), RAPYER_FIELD("tags", "list<str>"),
                  RAPYER_FIELD("metadata", "dict<str>"));

static const rapyer_model UserProfile = RAPYER_ATOMIC(
    "UserProfile", RAPYER_FIELD("user_id", "str"), RAPYER_FIELD("display_name", "str"),
    RAPYER_FIELD("bio", "str", "''"), RAPYER_FIELD("follower_count", "int", "0"),
    RAPYER_FIELD("following_count", "int", "0"));

static const rapyer_model SocialUser =
    RAPYER_ATOMIC("SocialUser", RAPYER_FIELD("username", "str"), RAPYER_FIELD("email", "str"),
                  RAPYER_FIELD("profile", "UserProfile"), RAPYER_FIELD("posts", "list<Post>"),
                  RAPYER_FIELD("activity_log", "list<dict<str>>"));

static rapyer_doc *create_post_with_engagement(rapyer *db, rapyer_doc *user, const char *username,
                                               const char *content, const char *const *tags,
                                               size_t ntags)
{
    /* Create post with atomic operations on nested structure */
    rapyer_doc *post = rapyer_new(db, "Post", "{content: %s, author_id: %s}", content, username);
    rapyer_extend_strs(post, "tags", tags, ntags);
    rapyer_update(post, "metadata", "{created_at: %s, platform: web}", rapyer_now());

    /* Add post to user and update activity atomically */
    rapyer_auto_doc *pipelined_user = rapyer_begin(user);
    rapyer_append(pipelined_user, "posts", "%p", post);
    rapyer_append(pipelined_user, "activity_log",
                  "{action: post_created, post_id: %s, timestamp: %s}", rapyer_pk(post),
                  rapyer_now());
    rapyer_commit(pipelined_user);
    return post;
}
/* end of the listing */

int main(void)
{
    static const char *const tags[] = {"c", "redis"};
    rapyer_auto *db = rapyer_connect(NULL);
    rapyer_define(db, &Post, &UserProfile, &SocialUser);
    rapyer_auto_doc *user = rapyer_new(db, "SocialUser",
                                       "{username: ada, email: 'ada@example.com',"
                                       " profile: {user_id: u1, display_name: Ada}}");
    rapyer_save(user);
    rapyer_auto_doc *post = create_post_with_engagement(db, user, "ada", "Hello, all", tags, 2);

    /* The post lives in the user now, and can be worked on there. */
    rapyer_append(post, "likes", "%s", "bob");

    const char *pk = rapyer_pk(user), *post_pk = rapyer_pk(post);
    REDIS_IS("[ada, Ada, 0]",
             "HMGET rapyer:{SocialUser:%s} username profile.display_name profile.follower_count",
             pk);
    REDIS_IS("[Hello, all, ada]", "HMGET rapyer:{SocialUser:%s}/posts/%s content author_id", pk,
             post_pk);
    REDIS_IS("[c, redis]", "LRANGE rapyer:{SocialUser:%s}/posts/%s/tags 0 -1", pk, post_pk);
    REDIS_IS("web", "HGET rapyer:{SocialUser:%s}/posts/%s/metadata platform", pk, post_pk);
    REDIS_IS("[bob]", "LRANGE rapyer:{SocialUser:%s}/posts/%s/likes 0 -1", pk, post_pk);
    REDIS_HAS(post_pk, "LINDEX rapyer:{SocialUser:%s}/activity_log 0", pk);
    return example_end(db);
}
