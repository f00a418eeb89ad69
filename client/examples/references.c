/* references: documents that name others, read with them and kept alive with them. */
#include "example.h"
#include <poll.h>

static const rapyer_model Author = RAPYER_ATOMIC("Author", RAPYER_FIELD("name", "str"),
                                                 RAPYER_FIELD("mentor", "optional<ref<Author>>"));
static const rapyer_model Book = {.name = "Book",
                                  .ttl = 3600,
                                  .fields = RAPYER_FIELDS(RAPYER_FIELD("title", "str"),
                                                          RAPYER_FIELD("author", "ref<Author>"),
                                                          RAPYER_FIELD("cites", "set<ref<Book>>"))};

static void library(rapyer *db)
{
    rapyer_auto_doc *eve = rapyer_new(db, "Author:eve", "{name: Eve, mentor: null}");
    rapyer_auto_doc *ada = rapyer_new(db, "Author:ada", "{name: Ada, mentor: \"Author:eve\"}");
    rapyer_auto_doc *old = rapyer_new(db, "Book:old", "{title: Notes, author: \"Author:eve\"}");
    rapyer_doc *all[] = {eve, ada, old};
    EXPECT(rapyer_insert_many(db, all, 3) == 0);
}

static void one_of_them(rapyer *db)
{
    rapyer_auto_doc *book = rapyer_new(db, "Book:new", "{title: Engines, author: %s, cites: [%s]}",
                                       "Author:ada", "Book:old");
    rapyer_auto_value *of_draft = rapyer_fetch_ref(book, "author");
    EXPECT(strcmp(rapyer_str(of_draft, "name", ""), "Ada") == 0);
    EXPECT(rapyer_save(book) == 0);
    rapyer_auto_value *author = rapyer_fetch_ref(book, "author");
    EXPECT(strcmp(rapyer_str(author, "name", ""), "Ada") == 0);
    rapyer_auto_doc *eve = rapyer_open(db, "Author:eve");
    rapyer_auto_value *nobody = rapyer_fetch_ref(eve, "mentor");
    EXPECT(nobody && rapyer_kind_of(nobody) == RAPYER_NULL);
    EXPECT(!rapyer_fetch_ref(book, "title") && rapyer_errcode(db) == RAPYER_BAD_TYPE);
    EXPECT(rapyer_set(book, "author", "%s", "Author:nobody") == 0);
    EXPECT(!rapyer_fetch_ref(book, "author") && rapyer_errcode(db) == RAPYER_NOT_FOUND);
    EXPECT(rapyer_set(book, "author", "%s", "Book:old") < 0 &&
           rapyer_errcode(db) == RAPYER_BAD_VALUE);
    EXPECT(rapyer_set(book, "author", "%s", "Author:ada") == 0);
    rapyer_clear_error(db);
}

static void came(rapyer *db, const rapyer_value *author, void *user)
{
    (void)db;
    *(bool *)user = strcmp(rapyer_str(author, "name", ""), "Ada") == 0;
}

static void without_waiting(rapyer *db)
{
    rapyer_auto_doc *book = rapyer_open(db, "Book:new");
    bool is_ada = false;
    EXPECT(rapyer_send_fetch_ref(book, came, &is_ada, "author") == 0);
    while (rapyer_pending(db) > 0) {
        struct pollfd one = {.fd = rapyer_fd(db), .events = rapyer_events(db)};
        poll(&one, 1, rapyer_timeout_ms(db));
        rapyer_process(db, one.revents);
    }
    EXPECT(is_ada);
}

static void all_of_them(rapyer *db)
{
    rapyer_auto_doc *book = rapyer_open(db, "Book:new");
    rapyer_auto_value *v = rapyer_fetch_refs(book, 2, NULL, 0);
    EXPECT(rapyer_len(rapyer_get(v, "[\"@refs\"]")) == 3);
    EXPECT(strcmp(rapyer_str(v, "[\"@refs\"][\"Author:eve\"].name", ""), "Eve") == 0);
    EXPECT(strcmp(rapyer_str(v, "[\"@refs\"][\"Book:old\"].title", ""), "Notes") == 0);
}

/* A book lives as long as it is read, and what it cites with it. */
static void kept(rapyer *db)
{
    rapyer_auto_doc *book = rapyer_open(db, "Book:new"), *old = rapyer_open(db, "Book:old");
    rapyer_auto_value *before = rapyer_fetch_version(book);
    EXPECT(rapyer_set_ttl(book, 60) == 0 && rapyer_set_ttl(old, 60) == 0);
    rapyer_auto_value *read = rapyer_fetch_touch(book);
    EXPECT(strcmp(rapyer_str(read, "title", ""), "Engines") == 0);
    EXPECT(rapyer_ttl(book) > 3500 && rapyer_ttl(old) <= 60);
    rapyer_auto_value *after = rapyer_fetch_version(book);
    EXPECT(rapyer_int(after, "[\"@v\"]", 0) == rapyer_int(before, "[\"@v\"]", 0) + 1); /* set_ttl */
    rapyer_auto_value *said =
        rapyer_call(db, "doc.ttl", "\"Book:new\", null, {cascade: [cites], depth: 1}");
    EXPECT(rapyer_int(said, "ttl[\"Book:old\"]", 0) == 3600 && rapyer_ttl(old) > 3500);
    REDIS_IS("[Book:old]", "SMEMBERS rapyer:{Book:new}/cites");
}

int main(void)
{
    rapyer_auto *db = rapyer_connect(NULL);
    EXPECT(rapyer_define(db, &Author, &Book) == 0);
    library(db);
    one_of_them(db);
    without_waiting(db);
    all_of_them(db);
    kept(db);
    return example_end(db);
}
