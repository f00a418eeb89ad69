/* dict_operations: dicts of a draft, and of the document it joins. */
#include "example.h"

/* listing */
static const rapyer_model GameCharacter =
    RAPYER_ATOMIC("GameCharacter", RAPYER_FIELD("name", "str"), RAPYER_FIELD("level", "int", "1"),
                  RAPYER_FIELD("attributes", "dict<int>"), RAPYER_FIELD("inventory", "dict<int>"));

static const rapyer_model Guild = RAPYER_ATOMIC(
    "Guild", RAPYER_FIELD("name", "str"), RAPYER_FIELD("description", "str"),
    RAPYER_FIELD("members", "list<GameCharacter>"), RAPYER_FIELD("guild_resources", "dict<int>"));

int main(void)
{
    rapyer_auto *db = rapyer_connect(NULL);
    rapyer_define(db, &GameCharacter, &Guild);

    rapyer_auto_doc *guild =
        rapyer_new(db, "Guild", "{name: 'Dragon Slayers', description: 'Elite gaming guild'}");
    rapyer_save(guild);

    /* Create character with nested atomic operations */
    rapyer_auto_doc *character = rapyer_new(db, "GameCharacter", "{name: Warrior123}");
    rapyer_update(character, "attributes", "{strength: 15, dexterity: 12, intelligence: 8}");
    rapyer_update(character, "inventory", "{sword: 1, shield: 1, health_potion: 5}");

    /* Add character to guild */
    rapyer_append(guild, "members", "%p", character);

    /* Update guild resources atomically */
    rapyer_update(guild, "guild_resources", "{gold: 1000, gems: 50, experience_boost: 3}");
    /* end of the listing */

    const char *pk = rapyer_pk(guild), *member = rapyer_pk(character);
    REDIS_IS("[1000, 50, 3]", "HMGET rapyer:{Guild:%s}/guild_resources gold gems experience_boost",
             pk);
    REDIS_IS("[Warrior123, 1]", "HMGET rapyer:{Guild:%s}/members/%s name level", pk, member);
    REDIS_IS("[15, 12, 8]",
             "HMGET rapyer:{Guild:%s}/members/%s/attributes strength dexterity intelligence", pk,
             member);
    REDIS_IS("5", "HGET rapyer:{Guild:%s}/members/%s/inventory health_potion", pk, member);
    return example_end(db);
}
