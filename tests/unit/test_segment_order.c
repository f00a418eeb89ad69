/* segment_order: the protocol of the segment in all orders in which one processor may see what
 * another one has written.
 *
 * The steps of writer and reader are written down here with what must come before what: because of
 * a release or an acquire, of a fence, or because it is the same word. Everything else may happen
 * in any order, as on a machine that promises no more. All interleavings are run. And each promise
 * is left out once: then something must go wrong, or it would not be needed.
 */
#include <criterion/criterion.h>

#define STEPS 20

struct step {
    char what; /* 'w': value goes to the word; 'r': the word is read */
    unsigned word;
    int value;
    unsigned after; /* bits of the steps that come before it */
};

struct run {
    const struct step *steps;
    unsigned n, nwords;
    int words[8];
    int seen[STEPS]; /* what each 'r' has read */
    int (*wrong)(const int *seen);
    unsigned long runs, wrongs;
};

static void explore(struct run *run, unsigned done)
{
    if (done == (1u << run->n) - 1) {
        run->runs++;
        run->wrongs += run->wrong(run->seen) != 0;
        return;
    }
    for (unsigned i = 0; i < run->n; i++) {
        const struct step *s = &run->steps[i];
        if ((done & 1u << i) || (s->after & ~done))
            continue;
        int before = run->words[s->word];
        if (s->what == 'w')
            run->words[s->word] = s->value;
        else
            run->seen[i] = before;
        explore(run, done | 1u << i);
        run->words[s->word] = before;
    }
}

static unsigned long wrongs(const struct step *steps, unsigned n, const int *words, unsigned nwords,
                            int (*wrong)(const int *seen), unsigned long *runs)
{
    struct run run = {.steps = steps, .n = n, .nwords = nwords, .wrong = wrong};

    for (unsigned i = 0; i < nwords; i++)
        run.words[i] = words[i];
    explore(&run, 0);
    *runs = run.runs;
    return run.wrongs;
}

/* Nothing goes wrong; and something does without any one of the orders. `same`: those that are
 * there because it is the same word, which no machine gives up. */
static void check(const struct step *steps, unsigned n, const int *words, unsigned nwords,
                  int (*wrong)(const int *seen), const unsigned *same)
{
    struct step weaker[STEPS];
    unsigned long runs;

    cr_expect_eq(wrongs(steps, n, words, nwords, wrong, &runs), 0);
    cr_expect_gt(runs, 100);
    for (unsigned i = 0; i < n; i++) {
        for (unsigned before = 0; before < n; before++) {
            unsigned bit = 1u << before;
            if (!(steps[i].after & bit) || (same[i] & bit))
                continue;
            for (unsigned j = 0; j < n; j++)
                weaker[j] = steps[j];
            weaker[i].after &= ~bit;
            cr_expect_gt(wrongs(weaker, n, words, nwords, wrong, &runs), 0,
                         "step %u need not come after %u", i, before);
        }
    }
}

#define AFTER(step) (1u << (step))

/* --- one record, rewritten -------------------------------------------------------------- */

enum { SEQUENCE, LEFT, RIGHT };

/* The record is of sequence 2 with both halves 2, and becomes 4. */
static const struct step rewriting[] = {
    /* 0 */ {'w', SEQUENCE, 3, 0},
    /* 1 */ {'w', LEFT, 4, AFTER(0)}, /* the release fence */
    /* 2 */ {'w', RIGHT, 4, AFTER(0)},
    /* 3 */ {'w', SEQUENCE, 4, AFTER(0) | AFTER(1) | AFTER(2)}, /* release */
    /* 4 */ {'r', SEQUENCE, 0, 0},
    /* 5 */ {'r', LEFT, 0, AFTER(4)}, /* acquire */
    /* 6 */ {'r', RIGHT, 0, AFTER(4)},
    /* 7 */ {'r', SEQUENCE, 0, AFTER(4) | AFTER(5) | AFTER(6)}, /* the acquire fence */
};

static int torn(const int *seen)
{
    bool taken = seen[4] % 2 == 0 && seen[7] == seen[4];

    return taken && (seen[5] != seen[4] || seen[6] != seen[4]);
}

Test(segment_order, a_record_is_taken_whole_or_not)
{
    static const int words[] = {2, 2, 2};
    static const unsigned same[STEPS] = {[3] = AFTER(0), [7] = AFTER(4)};

    check(rewriting, 8, words, 3, torn, same);
}

/* --- withdrawn, and then told ----------------------------------------------------------- */

enum { RECORD, ANSWER };

/* Who has heard of the change does not find what was there before it. */
static const struct step telling[] = {
    /* 0 */ {'w', RECORD, 3, 0},
    /* 1 */ {'w', ANSWER, 1, AFTER(0)}, /* release: of the ring, or in the kernel */
    /* 2 */ {'r', ANSWER, 0, 0},
    /* 3 */ {'r', RECORD, 0, AFTER(2)}, /* acquire */
};

static int old_after_the_answer(const int *seen)
{
    return seen[2] == 1 && seen[3] == 2;
}

Test(segment_order, what_was_answered_is_not_read_as_it_was)
{
    static const int words[] = {2, 0};
    static const unsigned same[STEPS] = {0};
    unsigned long runs;

    cr_expect_eq(wrongs(telling, 4, words, 2, old_after_the_answer, &runs), 0);
    struct step weaker[4] = {telling[0], telling[1], telling[2], telling[3]};
    weaker[1].after = 0;
    cr_expect_gt(wrongs(weaker, 4, words, 2, old_after_the_answer, &runs), 0);
    weaker[1].after = telling[1].after;
    weaker[3].after = 0;
    cr_expect_gt(wrongs(weaker, 4, words, 2, old_after_the_answer, &runs), 0);
    (void)same;
}

/* --- two records, of one commit ---------------------------------------------------------- */

enum { TURN, FIRST, FIRST_BYTES, SECOND, SECOND_BYTES };

static const struct step pair[] = {
    /* 0 */ {'w', TURN, 1, 0},
    /* 1 */ {'w', FIRST, 3, AFTER(0)}, /* release, each */
    /* 2 */ {'w', SECOND, 3, AFTER(1)},
    /* 3 */ {'w', TURN, 2, AFTER(0) | AFTER(1) | AFTER(2)},
    /* 4 */ {'w', FIRST_BYTES, 4, AFTER(1)}, /* behind the release fence of the put */
    /* 5 */ {'w', FIRST, 4, AFTER(1) | AFTER(3) | AFTER(4)},
    /* 6 */ {'w', SECOND_BYTES, 4, AFTER(2)},
    /* 7 */ {'w', SECOND, 4, AFTER(2) | AFTER(5) | AFTER(6)},
    /* 8 */ {'r', TURN, 0, 0},
    /* 9 */ {'r', FIRST, 0, AFTER(8)},
    /* 10 */ {'r', FIRST_BYTES, 0, AFTER(9)},
    /* 11 */ {'r', FIRST, 0, AFTER(9) | AFTER(10)},
    /* 12 */ {'r', SECOND, 0, AFTER(9)},
    /* 13 */ {'r', SECOND_BYTES, 0, AFTER(12)},
    /* 14 */ {'r', SECOND, 0, AFTER(12) | AFTER(13)},
    /* 15 */ {'r', TURN, 0, AFTER(8) | AFTER(10) | AFTER(13)},
};

static int of_two_moments(const int *seen)
{
    bool first = seen[9] % 2 == 0 && seen[11] == seen[9];
    bool second = seen[12] % 2 == 0 && seen[14] == seen[12];
    bool turn = seen[8] % 2 == 0 && seen[15] == seen[8];

    return first && second && turn && seen[10] != seen[13];
}

Test(segment_order, several_are_as_they_were_at_one_moment)
{
    static const int words[] = {0, 2, 2, 2, 2};
    unsigned long runs;

    cr_expect_eq(wrongs(pair, 16, words, 5, of_two_moments, &runs), 0);
    cr_expect_gt(runs, 10000);
    struct step weaker[16];
    memcpy(weaker, pair, sizeof pair);
    weaker[15].after = AFTER(8); /* without the fence before the last look */
    cr_expect_gt(wrongs(weaker, 16, words, 5, of_two_moments, &runs), 0);
}
