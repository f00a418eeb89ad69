/* ctl_edit: a document in the user's editor, saved only if nobody has changed it meanwhile. */
#include "client/ctl.h"
#include "client/ctl_json.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int failed(const char *what)
{
    fprintf(stderr, "rapyerctl: %s: %s\n", what, strerror(errno));
    return EXIT_ANSWER;
}

/* The editor may be a command with options: a shell takes it apart, the file is its argument. */
static int run_editor(const char *path)
{
    const char *editor = getenv("VISUAL");
    int status;

    if (!editor || !*editor)
        editor = getenv("EDITOR");
    if (!editor || !*editor)
        editor = "vi";
    struct buf command = BUF_INIT;
    buf_printf(&command, "%s \"$1\"", editor);
    buf_append(&command, "", 1);
    pid_t pid = fork();
    if (pid == 0) {
        execl("/bin/sh", "sh", "-c", (char *)command.data, "sh", path, (char *)NULL);
        _exit(127);
    }
    buf_free(&command);
    if (pid < 0 || waitpid(pid, &status, 0) < 0)
        return failed(editor);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    fprintf(stderr, "rapyerctl: %s did not end well; nothing is saved\n", editor);
    return EXIT_ANSWER;
}

static int write_text(int fd, const char *text)
{
    size_t len = strlen(text);

    if (ftruncate(fd, 0) < 0 || pwrite(fd, text, len, 0) != (ssize_t)len ||
        pwrite(fd, "\n", 1, (off_t)len) != 1)
        return -1;
    return 0;
}

/* pipeline [[["doc.save", key, map]], {if_version: version}] */
static int save(struct ctl *c, const char *key, const struct buf *map, int64_t version)
{
    struct buf params = BUF_INIT;

    pack_array(&params, 1);
    pack_array(&params, 3);
    pack_cstr(&params, "doc.save");
    pack_cstr(&params, key);
    buf_append(&params, map->data, map->len);
    pack_map(&params, 1);
    pack_cstr(&params, "if_version");
    pack_int(&params, version);
    return ctl_call(c, "pipeline", 2, &params, true);
}

/* `was` is the text as it was shown. */
static int edit(struct ctl *c, const char *key, const char *path, const char *was, int64_t version)
{
    struct buf text = BUF_INIT, map = BUF_INIT;
    char error[CTL_JSON_ERROR_MAX];
    int rc = run_editor(path);

    if (rc == 0 && ctl_read_file(path, &text) < 0)
        rc = failed(path);
    if (rc == 0 && text.len == strlen(was) + 1 && memcmp(text.data, was, text.len - 1) == 0)
        printf("nothing was changed\n");
    else if (rc == 0 && ctl_json_value((const char *)text.data, text.len, &map, error) < 0)
        rc = ctl_usage_error("nothing is saved", error);
    else if (rc == 0)
        rc = save(c, key, &map, version);
    buf_free(&text);
    buf_free(&map);
    return rc;
}

/* The document without its version, which stays apart. */
static char *shown(const rapyer_value *doc)
{
    char *json = rapyer_to_json(doc), *cut = json ? strstr(json, ",\"@v\":") : NULL;

    for (char *next; cut && (next = strstr(cut + 1, ",\"@v\":"));)
        cut = next; /* it is the last pair */
    if (cut)
        strcpy(cut, "}");
    char *text = json ? ctl_indented(json) : NULL;
    free(json);
    return text;
}

int ctl_edit(struct ctl *c, int argc, char **argv)
{
    char path[] = "/tmp/rapyerctl-XXXXXX.json";
    struct buf params = BUF_INIT;

    (void)argc;
    pack_cstr(&params, argv[0]);
    pack_map(&params, 1);
    pack_cstr(&params, "version");
    pack_bool(&params, true);
    rapyer_value *doc = ctl_ask(c, "doc.get", 2, &params);
    if (!doc)
        return ctl_answer_error(c);
    int64_t version = rapyer_int(doc, "[\"@v\"]", 0);
    char *text = shown(doc);
    rapyer_value_free(doc);
    int fd = mkstemps(path, 5); /* for its owner only */
    if (fd < 0 || !text || write_text(fd, text) < 0) {
        free(text);
        return failed(path);
    }
    close(fd);
    int rc = edit(c, argv[0], path, text, version);
    free(text);
    if (rc == 0)
        unlink(path);
    else
        fprintf(stderr, "rapyerctl: what was edited is in %s\n", path);
    return rc;
}
