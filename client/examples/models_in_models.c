/* models_in_models: models that may be null, that stand in dicts of lists, that hold each other,
 * and references to other documents. */
#include "example.h"

struct badge {
    char *code;
    int64_t uses;
};
struct member {
    char *pk, *name;
    struct badge *badge; /* NULL: null */
    rapyer_dict badges;  /* of rapyer_list of struct badge */
};

static const rapyer_model Badge = {
    .name = "Badge",
    .size = sizeof(struct badge),
    .fields = RAPYER_FIELDS(RAPYER_MEMBER(struct badge, code, "str"),
                            RAPYER_MEMBER(struct badge, uses, "int", "0"))};
static const rapyer_model Member = {
    .name = "Member",
    .size = sizeof(struct member),
    .fields = RAPYER_FIELDS(RAPYER_PK(struct member, pk), RAPYER_MEMBER(struct member, name, "str"),
                            RAPYER_MEMBER(struct member, badge, "optional<Badge>"),
                            RAPYER_MEMBER(struct member, badges, "dict<list<Badge>>"))};
/* A club has teams, a team has clubs and teams: declared together, in whatever order. */
static const rapyer_model Club =
    RAPYER_ATOMIC("Club", RAPYER_FIELD("teams", "dict<list<Team>>"),
                  RAPYER_FIELD("head", "optional<Team>"), RAPYER_FIELD("owner", "ref<Member>"));
static const rapyer_model Team =
    RAPYER_ATOMIC("Team", RAPYER_FIELD("name", "str", "none"), RAPYER_FIELD("games", "int", "0"),
                  RAPYER_FIELD("teams", "list<Team>"), RAPYER_FIELD("guests", "optional<Club>"));

static void null_or_there(rapyer *db)
{
    rapyer_auto_doc *ada = rapyer_new(db, "Member:ada", "{name: Ada}");
    EXPECT(rapyer_save(ada) == 0);
    EXPECT(rapyer_incr(ada, "badge.uses", 1, NULL) < 0 && rapyer_errcode(db) == RAPYER_NOT_FOUND);
    rapyer_clear_error(db);
    rapyer_auto_doc *badge = rapyer_new(db, "Badge", "{code: x7}");
    EXPECT(rapyer_set(ada, "badge", "%p", badge) == 0);
    int64_t uses = 0;
    EXPECT(rapyer_incr(badge, "uses", 2, &uses) == 0 && uses == 2); /* its handle goes on */
    REDIS_IS("[1]", "LRANGE rapyer:{Member:ada}/badge 0 -1");
    REDIS_IS("2", "HGET rapyer:{Member:ada}/badge/1 uses");

    EXPECT(rapyer_set(ada, "badges[\"old\"]", "[{code: a}, {code: b}]") == 0);
    EXPECT(rapyer_incr(ada, "badges[\"old\"][1].uses", 5, &uses) == 0 && uses == 5);
    struct member m;
    EXPECT(rapyer_get_struct(db, &Member, "Member:ada", &m) == 0);
    EXPECT(m.badge && m.badge->uses == 2 && m.badges.len == 1);
    const rapyer_list *old = m.badges.values;
    EXPECT(old->len == 2 && ((struct badge *)old->items)[1].uses == 5);
    EXPECT(rapyer_save_struct(db, &Member, "bob", &m) == 0);
    rapyer_struct_free(db, &Member, &m);
    EXPECT(rapyer_set(ada, "badge", "null") == 0);
    REDIS_IS("0", "EXISTS rapyer:{Member:ada}/badge rapyer:{Member:ada}/badge/1");
}

static void within_each_other(rapyer *db)
{
    rapyer_auto_doc *club =
        rapyer_new(db, "Club:one", "{owner: \"Member:ada\", teams: {a: [{name: x}], b: []}}");
    EXPECT(rapyer_save(club) == 0);
    EXPECT(rapyer_append(club, "teams[\"b\"]", "{name: y, teams: [{name: z}]}") == 1);
    int64_t games = 0;
    EXPECT(rapyer_incr(club, "teams[\"b\"][0].teams[0].games", 3, &games) == 0 && games == 3);
    EXPECT(rapyer_set(club, "head", "{name: h, guests: {owner: \"Member:bob\", teams: {}}}") == 0);
    EXPECT(rapyer_set(club, "head.guests.head", "{name: deep}") == 0);
    rapyer_value *v = rapyer_load(club, "head.guests.head.name");
    EXPECT(strcmp(rapyer_str(v, "", ""), "deep") == 0);
    rapyer_value_free(v);
    v = rapyer_call(db, "ref.get", "\"Club:one\", head.guests.owner");
    EXPECT(strcmp(rapyer_str(v, "name", ""), "Ada") == 0); /* bob is a copy of her */
    rapyer_value_free(v);
}

int main(void)
{
    rapyer_auto *db = rapyer_connect(NULL);
    EXPECT(rapyer_define(db, &Badge, &Member, &Club, &Team) == 0);
    null_or_there(db);
    within_each_other(db);
    return example_end(db);
}
