/* mixed_types: a plain model is a value, an atomic one has operations. */
#include "example.h"

/* listing */
/* Plain model (no Redis operations) */
static const rapyer_model BasicAddress =
    RAPYER_PLAIN("BasicAddress", RAPYER_FIELD("street", "str"), RAPYER_FIELD("city", "str"));

/* Redis-enabled model (full atomic operations) */
static const rapyer_model ExtendedAddress =
    RAPYER_ATOMIC("ExtendedAddress", RAPYER_FIELD("street", "str"), RAPYER_FIELD("city", "str"),
                  RAPYER_FIELD("metadata", "dict<str>"), RAPYER_FIELD("tags", "list<str>"));

static const rapyer_model Company = RAPYER_ATOMIC(
    "Company", RAPYER_FIELD("name", "str"),
    RAPYER_FIELD("headquarters", "BasicAddress"),            /* one value */
    RAPYER_FIELD("branch_offices", "list<ExtendedAddress>"), /* operations at every depth */
    RAPYER_FIELD("company_metadata", "dict<str>"));

int main(void)
{
    rapyer_auto *db = rapyer_connect(NULL);
    rapyer_define(db, &BasicAddress, &ExtendedAddress, &Company);

    rapyer_auto_doc *company = rapyer_new(
        db, "Company", "{name: 'Tech Corp', headquarters: {street: '123 Main St', city: Boston}}");
    rapyer_save(company);

    /* The plain model is one value in Redis */
    rapyer_set(company, "headquarters", "{street: '456 Oak Ave', city: Boston}");

    /* Redis-enabled nested model has full atomic operations */
    rapyer_auto_doc *branch =
        rapyer_new(db, "ExtendedAddress", "{street: '789 Pine St', city: 'San Francisco'}");
    rapyer_update(branch, "metadata", "{opened_date: '2024-01-01', office_type: regional}");
    rapyer_extend(branch, "tags", "[west_coast, tech_hub]");

    rapyer_append(company, "branch_offices", "%p", branch);
    /* end of the listing */

    const char *pk = rapyer_pk(company), *office = rapyer_pk(branch);
    REDIS_HAS("456 Oak Ave", "HGET rapyer:{Company:%s} headquarters", pk);
    REDIS_IS("789 Pine St", "HGET rapyer:{Company:%s}/branch_offices/%s street", pk, office);
    REDIS_IS("regional", "HGET rapyer:{Company:%s}/branch_offices/%s/metadata office_type", pk,
             office);
    REDIS_IS("[west_coast, tech_hub]", "LRANGE rapyer:{Company:%s}/branch_offices/%s/tags 0 -1", pk,
             office);
    EXPECT(rapyer_errcode(db) == RAPYER_OK);
    EXPECT(rapyer_set(company, "headquarters.street", "'1 Elm St'") == 0);
    REDIS_HAS("1 Elm St", "HGET rapyer:{Company:%s} headquarters", pk);
    REDIS_HAS("Boston", "HGET rapyer:{Company:%s} headquarters", pk);
    return example_end(db);
}
