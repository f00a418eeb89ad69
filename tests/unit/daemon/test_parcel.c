/* parcel: descriptors come out as they went in, once. */
#include "daemon/io/parcel.h"
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MANY = 600 }; /* more than two messages take */

static int fds[MANY], got[MANY + 1];
static ino_t inodes[MANY];

static ino_t inode_of(int fd)
{
    struct stat st;

    cr_assert_eq(fstat(fd, &st), 0);
    return st.st_ino;
}

/* Ends of pipes, each of an inode of its own. */
static void open_many(void)
{
    struct rlimit files;
    int ends[2];

    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &files), 0);
    files.rlim_cur = files.rlim_max;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &files), 0);
    for (int i = 0; i < MANY; i++) {
        cr_assert_eq(pipe(ends), 0);
        close(ends[1]);
        fds[i] = ends[0];
        inodes[i] = inode_of(fds[i]);
    }
}

static void close_many(void)
{
    for (int i = 0; i < MANY; i++)
        close(fds[i]);
}

/* The lowest number that is free: the same as before where nothing was left open. */
static int lowest(void)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

    close(fd);
    return fd;
}

Test(parcel, keeps_them_open_and_in_order)
{
    open_many();
    int parcel = parcel_pack(fds, MANY);
    close_many();
    cr_assert_geq(parcel, 0);
    cr_expect(fcntl(parcel, F_GETFD) & FD_CLOEXEC);
    cr_assert_eq(parcel_unpack(parcel, got, MANY), 0);
    for (int i = 0; i < MANY; i++) {
        cr_expect_eq(inode_of(got[i]), inodes[i], "number %d is another one", i);
        cr_expect(fcntl(got[i], F_GETFD) & FD_CLOEXEC);
    }
}

Test(parcel, is_taken_once)
{
    open_many();
    int parcel = parcel_pack(fds, MANY), other = dup(parcel);
    close_many();
    cr_assert_eq(parcel_unpack(parcel, got, MANY), 0);
    cr_expect_eq(parcel_unpack(other, got, MANY), -1);
}

Test(parcel, of_another_number_is_refused_and_closed)
{
    open_many();
    for (unsigned n = MANY - 1; n <= MANY + 1; n += 2) {
        int before = lowest();
        cr_expect_eq(parcel_unpack(parcel_pack(fds, MANY), got, n), -1);
        cr_expect_eq(lowest(), before);
    }
}

Test(parcel, may_be_empty_or_none)
{
    cr_expect_eq(parcel_unpack(parcel_pack(fds, 0), got, 0), 0);
    cr_expect_eq(parcel_unpack(-1, got, 1), -1);
}

Test(parcel, that_is_void_has_nothing)
{
    open_many();
    int parcel = parcel_pack(fds, MANY), other = dup(parcel);
    parcel_void(parcel);
    cr_expect_eq(parcel_unpack(other, got, MANY), -1);
}
