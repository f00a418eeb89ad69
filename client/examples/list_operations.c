/* list_operations: lists of a draft, and the draft in a list. */
#include "example.h"

/* listing */
static const rapyer_model BlogPost =
    RAPYER_ATOMIC("BlogPost", RAPYER_FIELD("title", "str"), RAPYER_FIELD("content", "str"),
                  RAPYER_FIELD("tags", "list<str>"), RAPYER_FIELD("comments", "list<dict<str>>"));

static const rapyer_model Author = RAPYER_ATOMIC(
    "Author", RAPYER_FIELD("name", "str"), RAPYER_FIELD("email", "str"),
    RAPYER_FIELD("posts", "list<BlogPost>"), RAPYER_FIELD("author_tags", "list<str>"));

int main(void)
{
    rapyer_auto *db = rapyer_connect(NULL);
    rapyer_define(db, &BlogPost, &Author);

    rapyer_auto_doc *author =
        rapyer_new(db, "Author", "{name: 'Jane Smith', email: 'jane@example.com'}");
    rapyer_save(author);

    /* Create a new blog post */
    rapyer_auto_doc *new_post = rapyer_new(db, "BlogPost",
                                           "{title: 'Getting Started with Rapyer',"
                                           " content: 'Rapyer is a powerful Redis ORM...'}");

    /* Add atomic operations to nested blog post */
    rapyer_extend(new_post, "tags", "[redis, python, orm]");
    rapyer_append(new_post, "comments",
                  "{author: reader1, comment: 'Great article!', timestamp: %s}", rapyer_now());

    /* Add the post to author's posts */
    rapyer_append(author, "posts", "%p", new_post);
    rapyer_append(author, "author_tags", "prolific_writer");
    /* end of the listing */

    const char *pk = rapyer_pk(author), *post = rapyer_pk(new_post);
    REDIS_IS("[prolific_writer]", "LRANGE rapyer:{Author:%s}/author_tags 0 -1", pk);
    REDIS_IS("1", "LLEN rapyer:{Author:%s}/posts", pk);
    REDIS_IS("Getting Started with Rapyer", "HGET rapyer:{Author:%s}/posts/%s title", pk, post);
    REDIS_IS("[redis, python, orm]", "LRANGE rapyer:{Author:%s}/posts/%s/tags 0 -1", pk, post);
    REDIS_HAS("Great article!", "LINDEX rapyer:{Author:%s}/posts/%s/comments 0", pk, post);
    EXPECT(rapyer_append(new_post, "tags", "c") == 4); /* it lives in the author now */
    REDIS_IS("c", "LINDEX rapyer:{Author:%s}/posts/%s/tags -1", pk, post);
    return example_end(db);
}
