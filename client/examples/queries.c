/* queries: documents by what they hold, page by page, sorted, counted, and as C structs. */
#include "example.h"

struct member {
    char *pk, *name;
    int64_t age;
    char *city; /* optional<str> */
    rapyer_list tags;
};

static const rapyer_model Member = {
    .name = "Member",
    .size = sizeof(struct member),
    .fields =
        RAPYER_FIELDS(RAPYER_PK(struct member, pk),
                      RAPYER_MEMBER(struct member, name, "str", "", .index = "prefix"),
                      RAPYER_MEMBER(struct member, age, "int", "", .index = "range"),
                      RAPYER_MEMBER(struct member, city, "optional<str>", "", .index = "exact"),
                      RAPYER_MEMBER(struct member, tags, "list<str>", "", .index = "tags"),
                      RAPYER_FIELD("note", "str", "''"))};

static void insert(rapyer *db)
{
    rapyer_doc *drafts[300];
    for (int i = 0; i < 300; i++) {
        char pk[32];
        snprintf(pk, sizeof(pk), "Member:%d", i);
        drafts[i] =
            rapyer_new(db, pk, "{name: %s, age: %d, city: %s, tags: [%s]}", i % 2 ? "Ada" : "Bob",
                       i, i % 3 ? "Boston" : NULL, i % 5 ? "new" : "admin");
    }
    EXPECT(rapyer_insert_many(db, drafts, 300) == 0);
    for (int i = 0; i < 300; i++)
        rapyer_free(drafts[i]);
}

/* With a cluster they need not be in one slot: what was done of it is told. */
static void in_parts(rapyer *db)
{
    rapyer_doc *drafts[] = {rapyer_new(db, "Member:x", "{name: Xi, age: 1, tags: []}"),
                            rapyer_new(db, "Member:y", "{name: Yo, age: 2, tags: []}")};
    rapyer_auto_value *said = rapyer_insert_parts(db, drafts, 2);
    EXPECT(rapyer_len(rapyer_get(said, "saved")) == 2 && !rapyer_is_draft(drafts[0]));
    EXPECT(rapyer_len(rapyer_get(said, "refused")) == 0);
    rapyer_auto_value *gone =
        rapyer_delete_parts(db, (const char *const[]){"Member:x", "Member:y", "Member:z"}, 3);
    EXPECT(rapyer_int(gone, "deleted", 0) == 2);
    rapyer_free(drafts[0]);
    rapyer_free(drafts[1]);
}

/* How many there are, all of which have been looked at. */
static int number(rapyer_cursor *found)
{
    int n = 0;
    while (rapyer_next(found) != NULL)
        n++;
    rapyer_cursor_free(found);
    return n;
}

static void expressions(rapyer *db)
{
    const char *city = "Boston";
    EXPECT(number(rapyer_find(db, "Member", NULL, "city = %s", city)) == 200);
    EXPECT(number(rapyer_find(db, "Member", NULL, "city = Boston and not age < %d", 150)) == 100);
    EXPECT(number(rapyer_find(db, "Member", NULL, "age in [1, 2, %d] or city = null", 4)) == 103);
    EXPECT(number(rapyer_find(db, "Member", NULL, "tags has admin and name prefix 'A'")) == 30);
    EXPECT(rapyer_find_count(db, "Member", NULL, "tags has %s", "admin") == 60);
    EXPECT(rapyer_find_count(db, "Member", &(rapyer_find_options){.scan = true}, NULL) == 300);
}

static void sorted(rapyer *db)
{
    rapyer_find_options how = {.sort = "-age", .limit = 130, .page = 50};
    rapyer_auto_cursor *found = rapyer_find(db, "Member", &how, "age < %d", 290);
    int64_t age = 290;
    while (rapyer_next(found) != NULL) {
        age--;
        EXPECT(rapyer_int(rapyer_found(found), "age", 0) == age);
    }
    EXPECT(age == 160);
    how.sort = "name"; /* which no index has in order */
    how.limit = 0;
    EXPECT(number(rapyer_find(db, "Member", &how, "age >= 0")) == 300);
}

/* As for a web page: each has ten, and a link to the next one. */
static void pages(rapyer *db)
{
    char next[256] = "";
    int n = 0, asked = 0;
    do {
        rapyer_find_options how = {.limit = 10, .keys = true, .cursor = next[0] ? next : NULL};
        rapyer_auto_cursor *found = rapyer_find(db, "Member", &how, "age < 95");
        while (rapyer_next(found) != NULL)
            n++;
        const char *at = rapyer_cursor_at(found);
        snprintf(next, sizeof(next), "%s", at != NULL ? at : "");
        asked++;
    } while (next[0] != '\0');
    EXPECT(n == 95 && asked == 10);
}

static void structs(rapyer *db)
{
    struct member m;
    rapyer_auto_cursor *found = rapyer_find(db, "Member", NULL, "age = 7");
    EXPECT(strcmp(rapyer_next(found), "Member:7") == 0);
    EXPECT(rapyer_to_struct(db, &Member, rapyer_found(found), &m) == 0);
    EXPECT(strcmp(m.pk, "7") == 0 && strcmp(m.name, "Ada") == 0 && m.tags.len == 1);
    rapyer_struct_free(db, &Member, &m);
    EXPECT(rapyer_next(found) == NULL && rapyer_errcode(db) == RAPYER_OK);

    rapyer_find_options how = {.paths = (const char *[]){"name"}, .npaths = 1, .version = true};
    rapyer_auto_cursor *names = rapyer_find(db, "Member", &how, "age = 7");
    EXPECT(rapyer_next(names) != NULL && rapyer_len(rapyer_found(names)) == 2);
    EXPECT(strcmp(rapyer_str(rapyer_found(names), "name", ""), "Ada") == 0);
}

/* Each is changed as a whole, and if the expression holds for it when it is. */
static void changes(rapyer *db)
{
    rapyer_find_options oldest = {.sort = "-age", .limit = 50};
    EXPECT(rapyer_find_update(db, "Member", NULL, "[[set, note, %s], [list.append, tags, %s]]",
                              "age < %d and not tags has %s", "young", "seen", 20, "seen") == 20);
    EXPECT(rapyer_find_update(db, "Member", NULL, "[[list.append, tags, seen]]",
                              "age < 20 and not tags has seen") == 0);
    EXPECT(rapyer_find_count(db, "Member", NULL, "tags has seen") == 20);
    EXPECT(rapyer_find_delete(db, "Member", &oldest, NULL) == 50);
    EXPECT(rapyer_find_delete(db, "Member", NULL, "age >= 250") == 0);
    EXPECT(rapyer_find_delete(db, "Member", NULL, "city = Boston and age >= %d", 100) == 100);
    EXPECT(rapyer_find_count(db, "Member", &(rapyer_find_options){.scan = true}, NULL) == 150);

    /* What is refused of some is done with the others. */
    EXPECT(rapyer_find_update(db, "Member", NULL, "[[list.remove_range, tags, 1, 2]]",
                              "age >= 18 and age < 22") == 4);
    EXPECT(rapyer_find_update(db, "Member", NULL, "[[list.pop, tags, 1]]",
                              "age >= 16 and age < 20") == -1);
    EXPECT(rapyer_errcode(db) == RAPYER_OUT_OF_RANGE && strstr(rapyer_errmsg(db), "Member:1"));
    EXPECT(rapyer_find_count(db, "Member", NULL, "tags has seen") == 16);
    rapyer_clear_error(db);
}

static void refused(rapyer *db)
{
    EXPECT(rapyer_find(db, "Member", NULL, "age > and city = Boston") == NULL);
    EXPECT(rapyer_errcode(db) == RAPYER_BAD_REQUEST);
    EXPECT(strstr(rapyer_errmsg(db), "no value") && strstr(rapyer_errmsg(db), "offset 6"));
    EXPECT(rapyer_find_count(db, "Member", NULL, "note = x") == -1);
    EXPECT(rapyer_errcode(db) == RAPYER_NO_INDEX);
    EXPECT(rapyer_find(db, "Nobody", NULL, "age = 1") == NULL);
    EXPECT(rapyer_errcode(db) == RAPYER_UNKNOWN_MODEL);
    EXPECT(rapyer_next(NULL) == NULL && rapyer_found(NULL) == NULL);
    rapyer_clear_error(db);
}

int main(void)
{
    rapyer_auto *db = rapyer_connect(NULL);
    rapyer_define(db, &Member);
    EXPECT(rapyer_errcode(db) == RAPYER_OK);
    insert(db);
    in_parts(db);
    expressions(db);
    sorted(db);
    pages(db);
    structs(db);
    changes(db);
    refused(db);
    return example_end(db);
}
