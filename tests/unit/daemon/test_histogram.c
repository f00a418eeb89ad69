/* histogram: each time is in the class it belongs to, and parts are told to a class exactly. */
#include "daemon/base/histogram.h"
#include <criterion/criterion.h>

Test(histogram, a_class_ends_where_the_next_one_begins)
{
    cr_assert_eq(histogram_class(0), 0);
    cr_assert_eq(histogram_class(1024), 0);
    for (unsigned i = 0; i + 1 < HISTOGRAM_CLASSES; i++) {
        cr_assert_eq(histogram_class(histogram_bound(i)), i);
        cr_assert_eq(histogram_class(histogram_bound(i) + 1), i + 1);
    }
    cr_assert_eq(histogram_class(UINT64_MAX), HISTOGRAM_CLASSES - 1);
}

Test(histogram, parts_lie_in_their_class)
{
    struct histogram h = {0};
    cr_assert_eq(histogram_part(&h, 0.5), 0);
    for (int i = 0; i < 99; i++)
        histogram_add(&h, 1500);
    histogram_add(&h, 1000000);
    histogram_add(&h, -5); /* a clock may be a little behind another */
    cr_assert_eq(histogram_count(&h), 101);
    cr_assert_eq(h.sum, 99 * 1500 + 1000000);
    cr_assert_eq(histogram_class(histogram_part(&h, 0.5)), histogram_class(1500));
    cr_assert_eq(histogram_class(histogram_part(&h, 0.999)), histogram_class(1000000));
    cr_assert_leq(histogram_part(&h, 1), histogram_bound(histogram_class(1000000)));
}
