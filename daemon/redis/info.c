/* info: see info.h. */
#include "daemon/redis/info.h"
#include "protocol/fault.h"
#include <stdio.h>
#include <string.h>

#define OLDEST_MAJOR 6
#define OLDEST_MINOR 2

void info_field(const char *text, const char *name, char *out, size_t size)
{
    size_t n = strlen(name);
    const char *line = text;
    while (line && (strncmp(line, name, n) != 0 || line[n] != ':')) {
        line = strchr(line, '\n');
        line = line ? line + 1 : NULL;
    }
    snprintf(out, size, "%.*s", line ? (int)strcspn(line + n + 1, "\r\n") : 0,
             line ? line + n + 1 : "");
    text_clean(out, true);
}

/* Valkey names itself, and the Redis that it is like. */
void info_server(const char *text, struct upstream_info *info)
{
    char name[16], version[24];
    info_field(text, "redis_version", info->version, sizeof(info->version));
    info_field(text, "run_id", info->run_id, sizeof(info->run_id));
    info_field(text, "redis_mode", info->mode, sizeof(info->mode));
    if (info->mode[0] == '\0')
        info_field(text, "server_mode", info->mode, sizeof(info->mode));
    info_field(text, "server_name", name, sizeof(name));
    info_field(text, "valkey_version", version, sizeof(version));
    if (strcmp(name, "valkey") == 0)
        snprintf(info->server, sizeof(info->server), "Valkey %s", version);
    else
        snprintf(info->server, sizeof(info->server), "Redis %s", info->version);
}

bool info_fits(const struct upstream_info *info, enum info_wanted wanted, const char *address,
               char *why, size_t size)
{
    unsigned major = 0, minor = 0;
    sscanf(info->version, "%u.%u", &major, &minor);
    bool sentinel = strcmp(info->mode, "sentinel") == 0;
    bool cluster = strcmp(info->mode, "cluster") == 0;
    if (wanted == WANTED_SENTINEL && !sentinel)
        snprintf(why, size, "what is at %s is no Sentinel, as redis.redis says", address);
    else if (wanted == WANTED_SENTINEL)
        return true;
    else if (sentinel)
        snprintf(why, size,
                 "Redis at %s is a Sentinel, which keeps no data; redis.redis = sentinel:NAME@%s "
                 "asks it for the master",
                 address, address);
    else if (cluster && wanted == WANTED_REDIS)
        snprintf(why, size,
                 "Redis at %s is a node of a cluster, where nothing could be written over one "
                 "connection; redis.redis = cluster:%s finds the others",
                 address, address);
    else if (!cluster && wanted == WANTED_NODE)
        snprintf(why, size, "Redis at %s is no node of a cluster, as redis.redis says", address);
    else if (major < OLDEST_MAJOR || (major == OLDEST_MAJOR && minor < OLDEST_MINOR))
        snprintf(why, size, "Redis at %s is version \"%s\"; %d.%d or newer is needed", address,
                 info->version, OLDEST_MAJOR, OLDEST_MINOR);
    else
        return true;
    return false;
}
