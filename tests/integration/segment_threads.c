/* segment_threads: loads librapyer, reads a document in several threads, each with a connection of
 * its own, while another one increments its age, and lets go of the library; for test_segment.py.
 *
 *   segment_threads LIBRARY SOCKET KEY THREADS READS ROUNDS
 *
 * No thread sees the age go back, and the last read of each, after the last increment was answered,
 * sees that. Between the rounds nothing of the library is left: no memory, no descriptor, nothing
 * that fork would call.
 */
#include "client/include/rapyer.h"
#include <assert.h>
#include <dirent.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define THREADS_MAX 64

static struct {
    __typeof__(&rapyer_connect) connect;
    __typeof__(&rapyer_close) close;
    __typeof__(&rapyer_open) open;
    __typeof__(&rapyer_free) free;
    __typeof__(&rapyer_fetch) fetch;
    __typeof__(&rapyer_value_free) value_free;
    __typeof__(&rapyer_int) number;
    __typeof__(&rapyer_incr) incr;
    __typeof__(&rapyer_errmsg) errmsg;
} lib;

static const char *socket_path, *key;
static unsigned long reads;
static atomic_int writers; /* that are not done */
static atomic_llong written;

static void die(const char *what)
{
    fprintf(stderr, "%s\n", what);
    _exit(1);
}

static void *symbol(void *library, const char *name)
{
    void *there = dlsym(library, name);
    if (there == NULL)
        die(dlerror());
    return there;
}

static long long age(rapyer *db, rapyer_doc *doc)
{
    rapyer_value *v = lib.fetch(doc);
    if (v == NULL)
        die(lib.errmsg(db));
    long long n = lib.number(v, "age", -1);
    lib.value_free(v);
    return n;
}

static void *read_it(void *arg)
{
    rapyer *db = lib.connect(socket_path);
    rapyer_doc *doc = lib.open(db, key);
    long long last = 0;
    (void)arg;
    for (unsigned long i = 0; i < reads || atomic_load(&writers) > 0; i++) {
        long long least = atomic_load(&written), n = age(db, doc);
        if (n < last || n < least)
            die("a read went back");
        last = n;
    }
    if (age(db, doc) != atomic_load(&written))
        die("the last change was not seen");
    lib.free(doc);
    lib.close(db);
    return NULL;
}

static void *write_it(void *arg)
{
    rapyer *db = lib.connect(socket_path);
    rapyer_doc *doc = lib.open(db, key);
    (void)arg;
    for (int i = 0; i < 300; i++) {
        int64_t n;
        if (lib.incr(doc, "age", 1, &n) < 0)
            die(lib.errmsg(db));
        atomic_store(&written, n);
        usleep(300);
    }
    atomic_fetch_sub(&writers, 1);
    lib.free(doc);
    lib.close(db);
    return NULL;
}

static unsigned descriptors(void)
{
    unsigned n = 0;
    DIR *dir = opendir("/proc/self/fd");
    while (readdir(dir) != NULL)
        n++;
    closedir(dir);
    return n;
}

static bool mapped(const char *what)
{
    char line[512];
    bool found = false;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (fgets(line, sizeof line, maps) != NULL)
        found |= strstr(line, what) != NULL;
    fclose(maps);
    return found;
}

static void round_of(const char *path, unsigned threads)
{
    pthread_t all[THREADS_MAX + 1];
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        die(dlerror());
    lib.connect = symbol(library, "rapyer_connect");
    lib.close = symbol(library, "rapyer_close");
    lib.open = symbol(library, "rapyer_open");
    lib.free = symbol(library, "rapyer_free");
    lib.fetch = symbol(library, "rapyer_fetch");
    lib.value_free = symbol(library, "rapyer_value_free");
    lib.number = symbol(library, "rapyer_int");
    lib.incr = symbol(library, "rapyer_incr");
    lib.errmsg = symbol(library, "rapyer_errmsg");
    atomic_store(&writers, 1);
    pthread_create(&all[threads], NULL, write_it, NULL);
    for (unsigned i = 0; i < threads; i++)
        pthread_create(&all[i], NULL, read_it, NULL);
    bool shared = false;
    while (atomic_load(&writers) > 0) {
        shared |= mapped("rapyerd documents");
        usleep(1000);
    }
    for (unsigned i = 0; i <= threads; i++)
        pthread_join(all[i], NULL);
    if (!shared)
        die("nobody has mapped the memory");
    dlclose(library);
    if (mapped("rapyerd documents") || mapped("librapyer"))
        die("something is left of the library");
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    int status;
    if (waitpid(child, &status, 0) != child || status != 0)
        die("a child of fork died");
}

int main(int argc, char **argv)
{
    if (argc != 7 || atoi(argv[4]) > THREADS_MAX)
        die("LIBRARY SOCKET KEY THREADS READS ROUNDS");
    socket_path = argv[2];
    key = argv[3];
    reads = strtoul(argv[5], NULL, 10);
    unsigned before = descriptors();
    for (int i = atoi(argv[6]); i > 0; i--)
        round_of(argv[1], (unsigned)atoi(argv[4]));
    if (descriptors() != before)
        die("a descriptor is left");
    puts("ok");
    return 0;
}
