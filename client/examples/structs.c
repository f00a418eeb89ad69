/* structs: values of C structs into documents, and back. */
#include "example.h"

struct address {
    char *street, *city;
};
struct account {
    int64_t balance;
    rapyer_list history; /* of char * */
};
struct customer {
    char *pk, *name;
    double rating;
    bool active;
    struct timespec since;
    char *nickname;      /* NULL: null */
    struct address home; /* inline */
    struct account account;
    rapyer_list addresses; /* of struct address */
    rapyer_dict visits;    /* of int64_t */
};

static const rapyer_model Address = {.name = "Address",
                                     .plain = true,
                                     .size = sizeof(struct address),
                                     .fields =
                                         RAPYER_FIELDS(RAPYER_MEMBER(struct address, street, "str"),
                                                       RAPYER_MEMBER(struct address, city, "str"))};
static const rapyer_model Account = {
    .name = "Account",
    .size = sizeof(struct account),
    .fields = RAPYER_FIELDS(RAPYER_MEMBER(struct account, balance, "int", "0"),
                            RAPYER_MEMBER(struct account, history, "list<str>"))};
static const rapyer_model Customer = {
    .name = "Customer",
    .size = sizeof(struct customer),
    .fields =
        RAPYER_FIELDS(RAPYER_PK(struct customer, pk), RAPYER_MEMBER(struct customer, name, "str"),
                      RAPYER_MEMBER(struct customer, rating, "float", "0"),
                      RAPYER_MEMBER(struct customer, active, "bool", "true"),
                      RAPYER_MEMBER(struct customer, since, "datetime"),
                      RAPYER_MEMBER(struct customer, nickname, "optional<str>"),
                      RAPYER_MEMBER(struct customer, home, "Address"),
                      RAPYER_MEMBER(struct customer, account, "Account"),
                      RAPYER_MEMBER(struct customer, addresses, "list<Address>"),
                      RAPYER_MEMBER(struct customer, visits, "dict<int>"))};

static void save(rapyer *db)
{
    struct address others[] = {{"1 Quay", "Ghent"}, {"2 Dyke", "Bruges"}};
    char *history[] = {"opened", "paid in"};
    char *cities[] = {"Ghent", "Paris"};
    int64_t visits[] = {12, 3};
    struct customer c = {.pk = "ada",
                         .name = "Ada",
                         .rating = 4.5,
                         .active = true,
                         .since = {1704067200, 500000000},
                         .home = {"12 Square", "London"},
                         .account = {1250, {history, 2}},
                         .addresses = {others, 2},
                         .visits = {cities, visits, 2}};
    EXPECT(rapyer_save_struct(db, &Customer, NULL, &c) == 0);
}

static void check(rapyer *db)
{
    struct customer c;
    if (rapyer_get_struct(db, &Customer, "Customer:ada", &c) < 0)
        return;
    const struct address *others = c.addresses.items;
    EXPECT(strcmp(c.pk, "ada") == 0 && strcmp(c.name, "Ada") == 0 && c.nickname == NULL);
    EXPECT(c.rating == 4.5 && c.active && c.since.tv_sec == 1704067200);
    EXPECT(strcmp(c.home.city, "London") == 0 && c.account.balance == 1260);
    EXPECT(c.account.history.len == 2 && c.addresses.len == 2);
    EXPECT(strcmp(others[1].city, "Bruges") == 0);
    EXPECT(c.visits.len == 2 && c.since.tv_nsec == 500000000);
    rapyer_struct_free(db, &Customer, &c);
}

int main(void)
{
    rapyer_auto *db = rapyer_connect(NULL);
    rapyer_define(db, &Address, &Account, &Customer);
    save(db);
    REDIS_IS("[Ada, 4.5, 1, 2024-01-01T00:00:00.5Z, 1250]",
             "HMGET rapyer:{Customer:ada} name rating active since account.balance");
    REDIS_IS("[opened, paid in]", "LRANGE rapyer:{Customer:ada}/account.history 0 -1");
    REDIS_IS("2", "LLEN rapyer:{Customer:ada}/addresses");
    REDIS_IS("[12, 3]", "HMGET rapyer:{Customer:ada}/visits Ghent Paris");

    /* What was saved from a struct has the operations of every document. */
    rapyer_auto_doc *customer = rapyer_open(db, "Customer:ada");
    rapyer_incr(customer, "account.balance", 10, NULL);
    check(db);
    return example_end(db);
}
