/* find: documents by what they hold, page by page, with the indexes that their model declares. */
#include "example.h"

struct member {
    char *pk;
    char *name;
    int64_t age;
};

static const rapyer_model Member = {
    .name = "Member",
    .size = sizeof(struct member),
    .fields = RAPYER_FIELDS(RAPYER_PK(struct member, pk),
                            RAPYER_MEMBER(struct member, name, "str", "", .index = "prefix"),
                            RAPYER_MEMBER(struct member, age, "int", "0", .index = "exact range"),
                            RAPYER_INDEX("city", "optional<str>", "exact"),
                            RAPYER_INDEX("tags", "list<str>", "tags"),
                            RAPYER_FIELD("motto", "str", "''"))};

static void add(rapyer *db, const char *name, int age, const char *city, const char *tag)
{
    rapyer_auto_doc *member =
        rapyer_new(db, "Member", "{name: %s, age: %d, city: %s, tags: [%s]}", name, age, city, tag);
    EXPECT(rapyer_save(member) == 0);
}

/* A page goes on behind the cursor of the one before. No cursor begins, and ends. */
static void page_by_page(rapyer *db)
{
    char names[64] = "";
    rapyer_value *page = NULL;
    do {
        rapyer_value *next = rapyer_call(
            db, "find",
            "Member, ['>', age, %d], {sort: '-age', limit: 2, paths: [name], cursor: %s}", 27,
            rapyer_str(page, "cursor", NULL));
        rapyer_value_free(page);
        page = next;
        const rapyer_value *found = rapyer_get(page, "documents");
        for (size_t i = 0; i < rapyer_len(found); i++) {
            strcat(names, rapyer_str(rapyer_item(found, i), "name", "?"));
            strcat(names, " ");
        }
    } while (rapyer_str(page, "cursor", NULL));
    rapyer_value_free(page);
    EXPECT(strcmp(names, "Bob Ada Cy ") == 0);
}

static int64_t count(rapyer *db, const char *city, const char *begin)
{
    rapyer_auto_value *n = rapyer_call(
        db, "find.count", "Member, [or, ['=', city, %s], [prefix, name, %s]]", city, begin);
    return rapyer_int(n, "", -1);
}

int main(void)
{
    rapyer_auto *db = rapyer_connect(NULL);
    rapyer_define(db, &Member);
    add(db, "Ada", 36, "London", "maths");
    add(db, "Bob", 52, "Boston", "chess");
    add(db, "Cy", 28, "Boston", "maths");
    add(db, "Dan", 20, NULL, "chess");

    page_by_page(db);
    EXPECT(count(db, "Boston", "A") == 3);

    rapyer_auto_value *some =
        rapyer_call(db, "find", "Member, [has, tags, maths], {keys: true, explain: true}");
    EXPECT(rapyer_len(rapyer_get(some, "keys")) == 2);
    EXPECT(strcmp(rapyer_str(some, "explain.from[0].index", ""), "tags") == 0);

    /* Where no index helps, that all documents may be looked at has to be said. */
    EXPECT(!rapyer_call(db, "find", "Member, ['=', motto, '']"));
    EXPECT(rapyer_errcode(db) == RAPYER_NO_INDEX);
    rapyer_clear_error(db);
    rapyer_auto_value *all = rapyer_call(db, "find", "Member, ['=', motto, ''], {scan: true}");
    EXPECT(rapyer_len(rapyer_get(all, "documents")) == 4);
    return example_end(db);
}
