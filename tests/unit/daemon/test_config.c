/* The settings: defaults, the sample file, and every way to get one wrong. */
#include "daemon/base/settings.h"
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64], file[128], other[128];
static char error[600];

static void begin(void)
{
    strcpy(dir, "/tmp/rapyerd-config-XXXXXX");
    cr_assert(mkdtemp(dir));
    snprintf(file, sizeof file, "%s/rapyerd.conf", dir);
    snprintf(other, sizeof other, "%s/password", dir);
    const char *const variables[] = {"RUNTIME_DIRECTORY", "STATE_DIRECTORY", "RAPYER_SOCKET"};
    for (size_t i = 0; i < 3; i++)
        unsetenv(variables[i]);
    setenv("XDG_RUNTIME_DIR", "/tmp/xdg-run", 1);
    setenv("XDG_STATE_HOME", "/tmp/xdg-state", 1);
    error[0] = '\0';
}

static void end(void)
{
    unlink(file);
    unlink(other);
    rmdir(dir);
}

TestSuite(config, .init = begin, .fini = end);

static void put(const char *path, const char *text, mode_t mode)
{
    FILE *f = fopen(path, "w");

    cr_assert(f);
    fputs(text, f);
    fclose(f);
    cr_assert_eq(chmod(path, mode), 0);
}

static int load(struct config *c, const char *text)
{
    put(file, text, 0644);
    return config_load(c, file, NULL, 0, error, sizeof error);
}

static void expect_error(const char *text, const char *part)
{
    struct config c;

    cr_assert_eq(load(&c, text), -1, "was taken: %s", text);
    cr_expect(strstr(error, part), "for <%s>: <%s> does not say <%s>", text, error, part);
}

Test(config, defaults)
{
    struct config c;

    cr_assert_eq(load(&c, ""), 0, "%s", error);
    cr_expect_eq(c.max_clients, 10000);
    cr_expect_eq(c.max_frame, (size_t)32 << 20);
    cr_expect_eq(c.client_output_pause, (size_t)1 << 20);
    cr_expect_eq(c.socket_mode, 0660);
    cr_expect_eq(c.reconnect_min, 50);
    cr_expect_eq(c.queue_time, 5000);
    cr_expect_eq(c.log_level, LOG_LEVEL_NOTICE);
    cr_expect_str_eq(c.redis, "embedded");
    cr_expect_str_eq(c.key_prefix, "rapyer");
    cr_expect_str_eq(c.redis_password, "");
    config_free(&c);
}

Test(config, places_follow_the_surroundings)
{
    struct config c;
    bool root = geteuid() == 0;

    cr_assert_eq(load(&c, ""), 0, "%s", error);
    cr_expect_str_eq(c.socket,
                     root ? "/run/rapyerd/rapyerd.sock" : "/tmp/xdg-run/rapyerd/rapyerd.sock");
    cr_expect_str_eq(c.state_dir, root ? "/var/lib/rapyerd" : "/tmp/xdg-state/rapyerd");
    config_free(&c);

    setenv("RUNTIME_DIRECTORY", "/run/one:/run/two", 1);
    setenv("STATE_DIRECTORY", "/var/lib/one", 1);
    setenv("RAPYER_SOCKET", "/for/clients/only", 1);
    cr_assert_eq(load(&c, ""), 0, "%s", error);
    cr_expect_str_eq(c.socket, "/run/one/rapyerd.sock");
    cr_expect_str_eq(c.state_dir, "/var/lib/one");
    config_free(&c);

    cr_assert_eq(load(&c, "[listen]\nsocket = /s\n[redis]\nstate_dir = /d\n"), 0, "%s", error);
    cr_expect_str_eq(c.socket, "/s");
    cr_expect_str_eq(c.state_dir, "/d");
    config_free(&c);
}

Test(config, units)
{
    struct config c;

    cr_assert_eq(load(&c, "[limits]\nmax_frame = 20M\nmax_value=64k\nclient_output = 1 G\n"
                          "[redis]\nconnect_timeout = 200ms\nreconnect_max = 2min\n"
                          "command_timeout = 1500\n[listen]\nsocket_mode = 0600\n"
                          "[log]\nlog_level = DEBUG\n"),
                 0, "%s", error);
    cr_expect_eq(c.max_frame, (size_t)20 << 20);
    cr_expect_eq(c.max_value, 65536);
    cr_expect_eq(c.client_output, (size_t)1 << 30);
    cr_expect_eq(c.connect_timeout, 200);
    cr_expect_eq(c.reconnect_max, 120000);
    cr_expect_eq(c.command_timeout, 1500);
    cr_expect_eq(c.socket_mode, 0600);
    cr_expect_eq(c.log_level, LOG_LEVEL_DEBUG);
    config_free(&c);
}

Test(config, comments_and_odd_values)
{
    struct config c;

    cr_assert_eq(load(&c, "\xef\xbb\xbf# first\n; second\n\n[redis] # third\n"
                          "redis_password = a ;b #c=d\nredis = [::1]:6379\n"),
                 0, "%s", error);
    cr_expect_str_eq(c.redis_password, "a ;b #c=d");
    cr_expect_str_eq(c.redis, "[::1]:6379");
    config_free(&c);
}

Test(config, mistakes_are_told_with_place_and_remedy)
{
    expect_error("[limits]\n\nmax_fram = 1M\n", "rapyerd.conf:3: limits.max_fram: ");
    expect_error("[limits]\nmax_fram = 1M\n", "[limits] has max_clients, max_frame");
    expect_error("[limits]\nsocket = /a\n", "socket belongs to [listen]");
    expect_error("[limit]\n", "rapyerd.conf:1: there is no section [limit]; sections are [listen]");
    expect_error("[limit]\nmax_frame = 1M\n", "there is no section [limit]");
    expect_error("max_frame = 1M\n", "before the first section");
    expect_error("[limits]\nnonsense\n", "rapyerd.conf:2: neither [section] nor name = value");
    expect_error("[limits] max_frame = 1\n", "nothing may follow [limits]");
    expect_error("[limits]\nmax_frame = 1M\nmax_frame = 2M\n", "set in line 2 already");
    expect_error("[limits]\nmax_frame = lots\n",
                 "\"lots\" is not a number of bytes like 4096, 64K");
    expect_error("[limits]\nmax_frame = -1\n", "\"-1\" is not a number of bytes");
    expect_error("[limits]\nmax_frame = 1T\n", "\"1T\" is not a number of bytes");
    expect_error("[limits]\nmax_frame =\n", "limits.max_frame: \"\" is not");
    expect_error("[limits]\nmax_frame = 3G\n", "3G is out of range, 1K to 2G are possible");
    expect_error("[limits]\nmax_frame = 99999999999999999999\n", "out of range");
    expect_error("[limits]\nmax_frame = 18014398509481984K\n", "out of range");
    expect_error("[limits]\nmax_clients = 10K\n", "\"10K\" is not a whole number");
    expect_error("[limits]\nmax_clients = 0\n", "1 to 1000000 are possible");
    expect_error("[redis]\ncommand_timeout = 5 parsecs\n", "is not a time like 200ms, 5s or 2min");
    expect_error("[redis]\ncommand_timeout = 1ms\n", "10ms to 1h are possible");
    expect_error("[listen]\nsocket_mode = 0888\n", "is not octal permissions like 0660");
    expect_error("[listen]\nsocket_mode = 04777\n", "0000 to 0777 are possible");
    expect_error("[listen]\nsocket =\n", "listen.socket: it may not be empty");
    expect_error("[log]\nlog_level = loud\n", "is not one of error, warning, notice");
    expect_error("[redis]\nredis = localhost\n", "is not embedded, unix:/path, host:port");
    expect_error("[redis]\nredis = localhost:0\n", "is not embedded");
    expect_error("[redis]\nredis = localhost:63790000\n", "is not embedded");
    expect_error("[redis]\nredis = ::1:6379\n", "is not embedded");
    expect_error("[redis]\nredis = unix:run/x\n", "an absolute path has to follow unix:");
    expect_error("[redis]\nkey_prefix = a{b}\n", "rapyerd.conf:2: redis.key_prefix: ");
}

Test(config, mistakes_between_settings)
{
    expect_error("[limits]\nmax_value = 33M\n",
                 "rapyerd.conf:2: limits.max_value: 33M has to be at most limits.max_frame, "
                 "which is 32M");
    expect_error("[limits]\n\nmax_frame = 1M\n",
                 "rapyerd.conf:3: limits.max_frame: 1M has to be at least limits.max_value, "
                 "which is 16M");
    expect_error("[limits]\nclient_output = 1M\n",
                 "has to be more than limits.client_output_pause");
    expect_error("[limits]\ntotal_input = 4M\n", "has to be at least limits.max_frame");
    expect_error("[redis]\nreconnect_min = 3s\n", "has to be at most redis.reconnect_max");
}

Test(config, long_lines)
{
    char text[6000] = "[redis]\nredis_password = ";
    struct config c;

    memset(text + strlen(text), 'x', 1000);
    cr_assert_eq(load(&c, text), 0, "%s", error);
    cr_expect_eq(strlen(c.redis_password), 1000);
    config_free(&c);
    memset(text + strlen(text), 'x', 4000);
    expect_error(text, "rapyerd.conf:2: the line is longer than");
}

Test(config, missing_file)
{
    struct config c;

    cr_assert_eq(config_load(&c, file, NULL, 0, error, sizeof error), -1);
    cr_expect(strstr(error, "cannot be read: No such file"), "%s", error);
}

Test(config, overrides)
{
    const char *good[] = {"limits.max_clients=7", "redis.redis=unix:/a=b.c",
                          "limits.max_clients=8"};
    const char *shapeless[] = {"max_clients"}, *unknown[] = {"limits.clients=1"};
    struct config c;

    put(file, "[limits]\nmax_clients = 5\n", 0644);
    cr_assert_eq(config_load(&c, file, good, 3, error, sizeof error), 0, "%s", error);
    cr_expect_eq(c.max_clients, 8);
    cr_expect_str_eq(c.redis, "unix:/a=b.c");
    config_free(&c);
    cr_assert_eq(config_load(&c, file, shapeless, 1, error, sizeof error), -1);
    cr_expect_str_eq(error, "-o \"max_clients\" is not section.name=value");
    cr_assert_eq(config_load(&c, file, unknown, 1, error, sizeof error), -1);
    cr_expect(strstr(error, "-o limits.clients: there is no such setting"), "%s", error);
}

Test(config, password_file)
{
    char text[256];
    struct config c;

    snprintf(text, sizeof text, "[redis]\nredis_password_file = %s\n", other);
    expect_error(text, "cannot be read: No such file");
    put(other, "hunter 2\nsecond line\n", 0600);
    cr_assert_eq(load(&c, text), 0, "%s", error);
    cr_expect_str_eq(c.redis_password, "hunter 2");
    config_free(&c);
    chmod(other, 0644);
    expect_error(text, "can be read by everyone; chmod o-r it");
    put(other, "\n", 0600);
    expect_error(text, "is empty, a password was expected");
    snprintf(text, sizeof text, "[redis]\nredis_password_file = %s\nredis_password = x\n", other);
    expect_error(text, "redis_password is set too");
    snprintf(text, sizeof text, "[redis]\nredis_password_file = %s\n", dir);
    expect_error(text, "is not a regular file");
}

Test(config, credential)
{
    char path[256];
    struct config c;

    unsetenv("CREDENTIALS_DIRECTORY");
    expect_error("[redis]\nredis_password_file = credential:pw\n",
                 "LoadCredential=pw:/path in the unit");
    setenv("CREDENTIALS_DIRECTORY", dir, 1);
    expect_error("[redis]\nredis_password_file = credential:pw\n", "there is no ");
    expect_error("[redis]\ntls_key_file = credential:../key\n", "names no credential");
    expect_error("[rights]\nfile = credential:\n", "names no credential");
    snprintf(path, sizeof path, "%s/pw", dir);
    put(path, "hunter2\n", 0400);
    cr_assert_eq(load(&c, "[redis]\nredis_password_file = credential:pw\n"), 0, "%s", error);
    cr_expect_str_eq(c.redis_password, "hunter2");
    cr_expect_str_eq(c.redis_password_file, path);
    cr_assert_eq(config_set(&c, "rights.file", "credential:pw", error, sizeof error), 0, "%s",
                 error);
    cr_expect_str_eq(c.rights_file, path);
    cr_expect_eq(config_set(&c, "rights.file", "credential:no", error, sizeof error), -1);
    config_free(&c);
    unlink(path);
    unsetenv("CREDENTIALS_DIRECTORY");
}

Test(config, reload_takes_what_can_change)
{
    struct config c, fresh;
    char ignored[200];

    cr_assert_eq(load(&c, ""), 0, "%s", error);
    cr_assert_eq(load(&fresh, "[limits]\nmax_clients = 5\n[log]\nlog_level = debug\n"
                              "[listen]\nsocket = /elsewhere\n[redis]\nkey_prefix = new\n"),
                 0, "%s", error);
    config_reload(&c, &fresh, ignored, sizeof ignored);
    config_free(&fresh);
    cr_expect_eq(c.max_clients, 5);
    cr_expect_eq(c.log_level, LOG_LEVEL_DEBUG);
    cr_expect_str_eq(c.key_prefix, "rapyer");
    cr_expect_str_eq(ignored, "listen.socket, redis.key_prefix");
    config_free(&c);
}

/* What config_print_sample writes, in memory to be freed. */
static char *sample(void)
{
    char *text = NULL;
    size_t size = 0;
    FILE *saved = stdout, *f = open_memstream(&text, &size);

    stdout = f;
    config_print_sample();
    stdout = saved;
    fclose(f);
    return text;
}

Test(config, sample_file_is_the_table)
{
    static char shipped[65536];
    char *text = sample();

    FILE *f = fopen(RAPYER_SOURCE "/conf/rapyerd.conf", "r");
    cr_assert(f);
    shipped[fread(shipped, 1, sizeof shipped - 1, f)] = '\0';
    fclose(f);
    cr_expect_str_eq(shipped, text);
    free(text);
}

static bool same_value(struct config *a, struct config *b, const struct setting *s)
{
    const void *x = setting_field(a, s), *y = setting_field(b, s);

    if (s->kind == TEXT)
        return strcmp(*(char *const *)x, *(char *const *)y) == 0;
    return memcmp(x, y, s->kind == SIZE ? sizeof(size_t) : sizeof(unsigned)) == 0;
}

Test(config, sample_file_states_the_defaults)
{
    struct config plain, uncommented;
    char *text = sample(), *out = text, ignored[200];

    /* "#name = value" becomes a setting, "# words" stays a comment. */
    for (char *line = text; *line;) {
        size_t len = strcspn(line, "\n") + 1;
        size_t skip = line[0] == '#' && line[1] != ' ';
        memmove(out, line + skip, len - skip);
        out += len - skip;
        line += len;
    }
    *out = '\0';
    cr_assert_eq(load(&uncommented, text), 0, "%s", error);
    cr_assert_eq(load(&plain, "[listen]\nsocket = /run/rapyerd/rapyerd.sock\n"
                              "[redis]\nstate_dir = /var/lib/rapyerd\n"),
                 0, "%s", error);
    for (size_t i = 0; i < nsettings; i++)
        cr_expect(same_value(&plain, &uncommented, &settings[i]), "%s.%s", settings[i].section,
                  settings[i].name);
    config_reload(&plain, &uncommented, ignored, sizeof ignored);
    cr_expect_str_eq(ignored, "");
    config_free(&plain);
    config_free(&uncommented);
    free(text);
}
