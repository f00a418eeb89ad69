/* like_post: a decision and what follows from it, under a lock: nobody likes a post twice, however
 * many processes try at once. */
#include "example.h"
#include <sys/wait.h>
#include <unistd.h>

static const rapyer_model Post =
    RAPYER_ATOMIC("Post", RAPYER_FIELD("content", "str"), RAPYER_FIELD("likes", "list<str>"),
                  RAPYER_FIELD("metadata", "dict<str>"));
static const rapyer_model SocialUser = RAPYER_ATOMIC(
    "SocialUser", RAPYER_FIELD("username", "str"), RAPYER_FIELD("posts", "list<Post>"),
    RAPYER_FIELD("activity_log", "list<dict<str>>"));

/* listing */
static bool has(const rapyer_value *list, const char *word)
{
    for (size_t i = 0; i < rapyer_len(list); i++) {
        if (strcmp(rapyer_str(rapyer_item(list, i), "", ""), word) == 0)
            return true;
    }
    return false;
}

static bool like_post(rapyer_doc *user, const char *username, rapyer_doc *post)
{
    /* Atomic like operation affecting multiple nested structures */
    rapyer_auto_doc *locked_post = rapyer_lock(post, "engagement", NULL);
    if (!locked_post || has(rapyer_get(rapyer_locked(locked_post), "likes"), username))
        return false;
    rapyer_auto_doc *pipelined_post = rapyer_begin(locked_post);
    rapyer_append(pipelined_post, "likes", "%s", username);
    rapyer_update(pipelined_post, "metadata", "{last_interaction: %s}", rapyer_now());

    /* Update user activity, in the same commit */
    rapyer_auto_doc *pipelined_user = rapyer_join(pipelined_post, user);
    rapyer_append(pipelined_user, "activity_log",
                  "{action: liked_post, post_id: %s, timestamp: %s}", rapyer_pk(post),
                  rapyer_now());
    return rapyer_unlock(pipelined_post) == 0;
}
/* end of the listing */

#define PROCESSES 4
static const char *const names[] = {"ada", "bob", "eve"};

/* A process of its own, and so a connection of its own: each of the three likes the post, several
 * times. Exits with the number of times that one of them did. */
static int work(rapyer *db, rapyer_doc *post)
{
    int liked = 0;
    for (int i = 0; i < 30; i++) {
        char key[32];
        snprintf(key, sizeof key, "SocialUser:%s", names[i % 3]);
        rapyer_auto_doc *user = rapyer_open(db, key);
        liked += like_post(user, names[i % 3], post);
    }
    return example_end(db) ? 100 : liked;
}

int main(void)
{
    rapyer_auto *db = rapyer_connect(NULL);
    rapyer_define(db, &Post, &SocialUser);
    rapyer_auto_doc *author = rapyer_new(db, "SocialUser:author", "{username: author}");
    rapyer_auto_doc *post = rapyer_new(db, "Post:first", "{content: 'Hello, all'}");
    rapyer_append(author, "posts", "%p", post);
    rapyer_save(author);
    for (int i = 0; i < 3; i++) {
        char key[32];
        snprintf(key, sizeof key, "SocialUser:%s", names[i]);
        rapyer_auto_doc *user = rapyer_new(db, key, "{username: %s}", names[i]);
        rapyer_save(user);
    }

    int liked = 0;
    pid_t workers[PROCESSES];
    for (int i = 0; i < PROCESSES; i++) {
        workers[i] = fork();
        if (workers[i] == 0)
            _exit(work(db, post));
    }
    for (int i = 0; i < PROCESSES; i++) {
        int status = -1;
        waitpid(workers[i], &status, 0);
        EXPECT(WIFEXITED(status) && WEXITSTATUS(status) <= 3);
        liked += WEXITSTATUS(status);
    }
    EXPECT(liked == 3);
    REDIS_IS("3", "LLEN rapyer:{SocialUser:author}/posts/first/likes");
    REDIS_IS("[ada, bob, eve]", "SORT rapyer:{SocialUser:author}/posts/first/likes ALPHA");
    for (int i = 0; i < 3; i++)
        REDIS_IS("1", "LLEN rapyer:{SocialUser:%s}/activity_log", names[i]);
    REDIS_HAS("T", "HGET rapyer:{SocialUser:author}/posts/first/metadata last_interaction");
    return example_end(db);
}
