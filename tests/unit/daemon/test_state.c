/* What one process leaves to the next: taken as it was written, or refused as a whole. */
#include "daemon/base/state.h"
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int written(void)
{
    struct state_writer w = {.fds = NULL};
    pack_array(&w.out, 5);
    pack_uint(&w.out, UINT64_MAX);
    pack_int(&w.out, -7);
    pack_bin(&w.out, "a\0b", 3);
    state_fd(&w, STDERR_FILENO);
    pack_array(&w.out, 2);
    pack_cstr(&w.out, "a text that is long");
    pack_bool(&w.out, true);
    int memory = state_store(&w);
    state_writer_free(&w);
    cr_assert_geq(memory, 0);
    return memory;
}

Test(state, is_read_as_it_was_written)
{
    char error[256], text[7];
    struct saved_state s;
    struct buf bytes = BUF_INIT;
    int memory = written();
    cr_assert_eq(state_load(&s, memory, error, sizeof error), 0, "%s", error);
    struct state_reader r = state_read(&s);
    struct state_tuple t = state_enter(&r, 5);
    cr_assert_eq(state_uint(&r), UINT64_MAX);
    cr_assert_eq(state_int(&r), -7);
    state_bytes(&r, &bytes);
    cr_assert(bytes.len == 3 && memcmp(bytes.data, "a\0b", 3) == 0);
    cr_assert_eq(state_take_fd(&r), STDERR_FILENO);
    /* Of a tuple that has become longer the beginning is enough; a text is cut. */
    struct state_tuple inner = state_enter(&r, 1);
    state_text(&r, text, sizeof text);
    cr_assert_str_eq(text, "a text");
    state_leave(&r, &inner);
    state_leave(&r, &t);
    cr_assert(!r.bad && cursor_done(&r.in));
    buf_free(&bytes);
    state_free(&s);
    close(memory);
}

Test(state, what_is_something_else_is_bad_from_then_on)
{
    char error[256];
    struct saved_state s;
    int memory = written();
    size_t len;
    cr_assert_eq(state_load(&s, memory, error, sizeof error), 0);
    struct state_reader r = state_read(&s);
    state_enter(&r, 5);
    cr_assert_eq(state_uint(&r), UINT64_MAX);
    cr_assert_eq(state_uint(&r), 0); /* it is -7 */
    cr_assert(r.bad);
    cr_assert_eq(state_int(&r), 0);
    cr_assert_str_eq(state_str(&r, &len), "");
    cr_assert_eq(state_take_fd(&r), -1);
    cr_assert_eq(state_count(&r), 0);
    struct state_reader again = state_read(&s);
    state_enter(&again, 6);
    cr_assert(again.bad, "a tuple that is too short");
    state_free(&s);
    close(memory);
}

/* The number of a descriptor is good once. */
Test(state, a_descriptor_is_taken_once)
{
    char error[256];
    struct saved_state s;
    struct state_writer w = {.fds = NULL};
    pack_array(&w.out, 3);
    state_fd(&w, STDERR_FILENO);
    pack_uint(&w.out, 0);
    pack_uint(&w.out, 1);
    int memory = state_store(&w);
    state_writer_free(&w);
    cr_assert_eq(state_load(&s, memory, error, sizeof error), 0);
    struct state_reader r = state_read(&s);
    state_enter(&r, 3);
    cr_assert_eq(state_take_fd(&r), STDERR_FILENO);
    cr_assert_eq(state_take_fd(&r), -1);
    cr_assert(r.bad);
    state_free(&s);
    close(memory);
}

Test(state, nobody_changes_it_any_more)
{
    int memory = written();
    cr_assert_lt(pwrite(memory, "x", 1, 0), 0);
    cr_assert_lt(ftruncate(memory, 1), 0);
    cr_assert_eq(mmap(NULL, 1, PROT_WRITE, MAP_SHARED, memory, 0), MAP_FAILED);
    close(memory);
}

static bool loads(const uint8_t *bytes, size_t len)
{
    char error[256] = "";
    struct saved_state s;
    int memory = memfd_create("spoilt", MFD_CLOEXEC);
    cr_assert_eq(write(memory, bytes, len), (ssize_t)len);
    int rc = state_load(&s, memory, error, sizeof error);
    cr_assert(rc == 0 || error[0] != '\0');
    close(memory);
    if (rc == 0) {
        s.nfds = 0; /* not ours to close */
        state_free(&s);
    }
    return rc == 0;
}

/* Cut anywhere, or with any byte another one. */
Test(state, what_is_spoilt_is_refused)
{
    struct stat st;
    int memory = written();
    fstat(memory, &st);
    size_t len = (size_t)st.st_size;
    uint8_t *bytes = malloc(len);
    cr_assert_eq(pread(memory, bytes, len, 0), st.st_size);
    cr_assert(loads(bytes, len));
    for (size_t cut = 0; cut < len; cut++)
        cr_assert(!loads(bytes, cut), "cut after %zu bytes of %zu", cut, len);
    for (size_t i = 0; i < len; i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            bytes[i] ^= (uint8_t)(1u << bit);
            cr_assert(!loads(bytes, len), "byte %zu, bit %u", i, bit);
            bytes[i] ^= (uint8_t)(1u << bit);
        }
    }
    free(bytes);
    close(memory);
}

Test(state, another_version_is_named)
{
    struct buf out = BUF_INIT;
    char error[256];
    struct saved_state s;
    int memory = memfd_create("newer", MFD_CLOEXEC);
    pack_array(&out, 5);
    pack_cstr(&out, "rapyerd state");
    pack_uint(&out, STATE_VERSION + 1);
    pack_uint(&out, 0);
    pack_array(&out, 0);
    pack_nil(&out);
    cr_assert_eq(write(memory, out.data, out.len), (ssize_t)out.len);
    cr_assert_lt(state_load(&s, memory, error, sizeof error), 0);
    cr_assert_not_null(strstr(error, "version 2"), "%s", error);
    buf_free(&out);
    close(memory);
}
