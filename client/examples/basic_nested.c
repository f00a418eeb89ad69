/* basic_nested: plain models in a list and in a field, changed in place. */
#include "example.h"

/* listing */
static const rapyer_model Address =
    RAPYER_PLAIN("Address", RAPYER_FIELD("street", "str"), RAPYER_FIELD("city", "str"),
                 RAPYER_FIELD("country", "str"), RAPYER_FIELD("postal_code", "str"));

static const rapyer_model ContactInfo =
    RAPYER_PLAIN("ContactInfo", RAPYER_FIELD("email", "str"), RAPYER_FIELD("phone", "str"),
                 RAPYER_FIELD("emergency_contact", "str", "''"));

static const rapyer_model UserProfile = RAPYER_ATOMIC(
    "UserProfile", RAPYER_FIELD("user_id", "str"), RAPYER_FIELD("addresses", "list<Address>"),
    RAPYER_FIELD("contact_info", "ContactInfo"), RAPYER_FIELD("preferences", "dict<str>"),
    RAPYER_FIELD("tags", "list<str>"));

int main(void)
{
    rapyer_auto *db = rapyer_connect(NULL);
    rapyer_define(db, &Address, &ContactInfo, &UserProfile);

    /* The inner models are part of the document */
    rapyer_auto_doc *user = rapyer_new(
        db, "UserProfile",
        "{user_id: user123, contact_info: {email: 'john@example.com', phone: '555-1234'}}");
    rapyer_save(user);

    /* All Redis operations work on nested structures */
    rapyer_append(user, "addresses",
                  "{street: '123 Main St', city: Boston, country: USA, postal_code: '02101'}");
    /* end of the listing */

    const char *pk = rapyer_pk(user);
    REDIS_IS("user123", "HGET rapyer:{UserProfile:%s} user_id", pk);
    REDIS_HAS("555-1234", "HGET rapyer:{UserProfile:%s} contact_info", pk);
    REDIS_IS("1", "LLEN rapyer:{UserProfile:%s}/addresses", pk);
    REDIS_HAS("02101", "LINDEX rapyer:{UserProfile:%s}/addresses 0", pk);
    rapyer_auto_value *address = rapyer_load(user, "addresses[0]");
    EXPECT(strcmp(rapyer_str(address, "city", ""), "Boston") == 0);
    return example_end(db);
}
