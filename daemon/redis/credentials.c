/* credentials: see credentials.h. */
#include "daemon/redis/credentials.h"
#include "daemon/io/tls.h"
#include <stdio.h>
#include <sys/stat.h>

static int check_names(const struct config *c, char *error, size_t size)
{
    const char *key = c->tls_key_file[0] ? c->tls_key_file : c->tls_cert_file;
    struct stat st;

    if (c->tls_key_file[0] && !c->tls_cert_file[0]) {
        snprintf(error, size, "redis.tls_key_file: it needs redis.tls_cert_file, the certificate");
        return -1;
    }
    if (key[0] && stat(key, &st) == 0 && st.st_mode & S_IROTH) {
        snprintf(error, size,
                 "redis.tls_%s_file: %s has a key and can be read by everyone; chmod "
                 "o-r it",
                 c->tls_key_file[0] ? "key" : "cert", key);
        return -1;
    }
    return 0;
}

int credentials_load(struct config *c, char *error, size_t size)
{
    if (!c->tls && !c->sentinel_tls)
        return 0;
    if (check_names(c, error, size) < 0)
        return -1;
    int used = snprintf(error, size, "redis.tls: ");
    c->tls_files = tls_files_read(&(struct tls_names){.ca_file = c->tls_ca_file,
                                                      .ca_path = c->tls_ca_path,
                                                      .cert_file = c->tls_cert_file,
                                                      .key_file = c->tls_key_file,
                                                      .verify = c->tls_verify},
                                  error + used, size - (size_t)used);
    return c->tls_files ? 0 : -1;
}

int credentials_reload(struct config *c, char *error, size_t size)
{
    struct tls_files *before = c->tls_files;

    if (credentials_load(c, error, size) < 0) {
        c->tls_files = before;
        return -1;
    }
    if (c->tls_files != before)
        tls_files_free(before);
    return 0;
}

void credentials_take(struct config *c, struct config *fresh)
{
    if (!c->tls_files || !fresh->tls_files)
        return;
    credentials_free(c);
    c->tls_files = fresh->tls_files;
    fresh->tls_files = NULL;
}

void credentials_free(struct config *c)
{
    tls_files_free(c->tls_files);
    c->tls_files = NULL;
}
