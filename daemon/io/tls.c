/* tls: see tls.h. OpenSSL reads and writes the socket itself. What it says of an error is kept as a
 * text for a person, who is told which setting would have helped. */
#include "daemon/io/tls.h"
#include "protocol/alloc.h"
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WHY_MAX 240
#define NAMES_MAX 100 /* of a certificate, in a message */

struct tls_files {
    SSL_CTX *ctx;
    bool verify;
};

struct tls {
    SSL *ssl;
    char *host;
    bool verify, holds;
    bool read_wants_room, write_wants_room; /* of the last try of each */
    char names[NAMES_MAX];                  /* of a certificate that is not good */
    char why[WHY_MAX];                      /* not "": it is over */
};

/* --- names in a certificate ---------------------------------------------------------------- */

/* One name more; what a stranger put into his certificate is shown as far as it is harmless. */
static void add_name(char *out, size_t size, const ASN1_STRING *name)
{
    size_t used = strlen(out);
    int len = ASN1_STRING_length(name);
    const unsigned char *data = ASN1_STRING_get0_data(name);

    if (len <= 0 || used + (size_t)len + 3 > size)
        return;
    if (used)
        used += (size_t)snprintf(out + used, size - used, ", ");
    for (int i = 0; i < len; i++)
        out[used++] = isgraph(data[i]) ? (char)data[i] : '?';
    out[used] = '\0';
}

static void add_address(char *out, size_t size, const ASN1_OCTET_STRING *a)
{
    char text[INET6_ADDRSTRLEN];
    int len = ASN1_STRING_length(a);
    size_t used = strlen(out);

    if ((len == 4 || len == 16) &&
        inet_ntop(len == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(a), text, sizeof text) &&
        used + strlen(text) + 3 <= size)
        snprintf(out + used, size - used, "%s%s", used ? ", " : "", text);
}

static void names_of(const X509 *cert, char *out, size_t size)
{
    GENERAL_NAMES *all = cert ? X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL) : NULL;

    out[0] = '\0';
    for (int i = 0; i < sk_GENERAL_NAME_num(all); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(all, i);
        if (name->type == GEN_DNS)
            add_name(out, size, name->d.dNSName);
        else if (name->type == GEN_IPADD)
            add_address(out, size, name->d.iPAddress);
    }
    GENERAL_NAMES_free(all);
    if (!out[0])
        snprintf(out, size, "no name");
}

/* Later OpenSSL has forgotten whose certificate it was. */
static int on_verified(int good, X509_STORE_CTX *store)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct tls *t = SSL_get_app_data(ssl);

    if (!good)
        names_of(X509_STORE_CTX_get0_cert(store), t->names, sizeof t->names);
    return good;
}

/* --- files ------------------------------------------------------------------------------- */

static void say(char *why, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void say(char *why, size_t size, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vsnprintf(why, size, fmt, args);
    va_end(args);
}

/* What OpenSSL says of the first error, from which the others come; or the system. */
static const char *reason(void)
{
    unsigned long e = ERR_peek_error();
    const char *text =
        ERR_SYSTEM_ERROR(e) ? strerror(ERR_GET_REASON(e)) : ERR_reason_error_string(e);

    return text ? text : "no reason given";
}

/* Its key may be in the same file. */
static bool use_certificate(SSL_CTX *ctx, const struct tls_names *n, char *why, size_t size)
{
    const char *key = n->key_file[0] ? n->key_file : n->cert_file;

    if (!n->cert_file[0])
        return true;
    if (SSL_CTX_use_certificate_chain_file(ctx, n->cert_file) != 1)
        say(why, size, "%s cannot be used as our certificate: %s", n->cert_file, reason());
    else if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1)
        say(why, size, "%s cannot be used as the key of %s: %s", key, n->cert_file, reason());
    else
        return true;
    return false;
}

static bool trust(SSL_CTX *ctx, const struct tls_names *n, char *why, size_t size)
{
    if (!n->ca_file[0] && !n->ca_path[0]) {
        SSL_CTX_set_default_verify_paths(ctx); /* where there are none nobody is trusted */
        return true;
    }
    if (n->ca_file[0] && SSL_CTX_load_verify_file(ctx, n->ca_file) != 1)
        say(why, size, "%s cannot be used as certificates to trust: %s", n->ca_file, reason());
    else if (n->ca_path[0] && SSL_CTX_load_verify_dir(ctx, n->ca_path) != 1)
        say(why, size, "%s cannot be used as a directory to trust: %s", n->ca_path, reason());
    else
        return true;
    return false;
}

/* Nobody is there to be asked for the passphrase of a key. */
static int no_passphrase(char *buf, int size, int writing, void *arg)
{
    (void)buf;
    (void)size;
    (void)writing;
    (void)arg;
    return -1;
}

struct tls_files *tls_files_read(const struct tls_names *names, char *why, size_t size)
{
    ERR_clear_error();
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    if (!ctx) {
        say(why, size, "OpenSSL cannot begin: %s", reason());
        return NULL;
    }
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_read_ahead(ctx, 1); /* a read() for what came at once, not two for each record */
    SSL_CTX_set_default_passwd_cb(ctx, no_passphrase);
    SSL_CTX_set_verify(ctx, names->verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE,
                       names->verify ? on_verified : NULL);
    bool good = use_certificate(ctx, names, why, size) && trust(ctx, names, why, size);
    ERR_clear_error();
    if (!good) {
        SSL_CTX_free(ctx);
        return NULL;
    }
    struct tls_files *files = alloc_zeroed(1, sizeof *files);
    *files = (struct tls_files){.ctx = ctx, .verify = names->verify};
    return files;
}

void tls_files_free(struct tls_files *files)
{
    if (!files)
        return;
    SSL_CTX_free(files->ctx); /* each connection holds on to it */
    free(files);
}

/* --- a connection ------------------------------------------------------------------------ */

static bool is_address(const char *host)
{
    unsigned char to[sizeof(struct in6_addr)];

    return inet_pton(AF_INET, host, to) == 1 || inet_pton(AF_INET6, host, to) == 1;
}

/* Whom we expect. */
static bool expect(SSL *ssl, const char *host)
{
    if (is_address(host))
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(ssl, host) == 1 && SSL_set_tlsext_host_name(ssl, host) == 1;
}

struct tls *tls_new(struct tls_files *files, int fd, const char *host)
{
    ERR_clear_error();
    SSL *ssl = SSL_new(files->ctx);

    if (!ssl || SSL_set_fd(ssl, fd) != 1 || !expect(ssl, host)) {
        SSL_free(ssl);
        return NULL;
    }
    SSL_set_connect_state(ssl);
    struct tls *t = alloc_zeroed(1, sizeof *t);
    *t = (struct tls){.ssl = ssl, .host = alloc_str(host), .verify = files->verify};
    SSL_set_app_data(ssl, t);
    return t;
}

void tls_free(struct tls *t)
{
    if (!t)
        return;
    SSL_free(t->ssl);
    free(t->host);
    free(t);
}

/* --- what went wrong --------------------------------------------------------------------- */

/* Which setting helps against what is wrong with the peer's certificate. */
static void say_unverified(struct tls *t, long verdict)
{
    switch (verdict) {
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        say(t->why, sizeof t->why,
            "its certificate is for %s, not for %s; redis.tls_server_name says which name to "
            "expect",
            t->names, t->host);
        return;
    case X509_V_ERR_CERT_HAS_EXPIRED:
    case X509_V_ERR_CERT_NOT_YET_VALID:
        say(t->why, sizeof t->why, "its %s; a new one is needed, or the clock here is wrong",
            X509_verify_cert_error_string(verdict));
        return;
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
        say(t->why, sizeof t->why,
            "its certificate is signed by nobody that is trusted here (%s); redis.tls_ca_file "
            "names "
            "who is",
            X509_verify_cert_error_string(verdict));
        return;
    default:
        say(t->why, sizeof t->why, "its certificate is not good: %s",
            X509_verify_cert_error_string(verdict));
    }
}

static void say_failed(struct tls *t)
{
    unsigned long e = ERR_peek_error(); /* the first one: what follows comes of it */
    long verdict = t->verify ? SSL_get_verify_result(t->ssl) : X509_V_OK;
    int code = ERR_GET_LIB(e) == ERR_LIB_SSL ? ERR_GET_REASON(e) : 0;
    const char *text = ERR_reason_error_string(e);

    if (code == SSL_R_CERTIFICATE_VERIFY_FAILED && verdict != X509_V_OK)
        say_unverified(t, verdict);
    else if (code == SSL_R_WRONG_VERSION_NUMBER || code == SSL_R_PACKET_LENGTH_TOO_LONG)
        say(t->why, sizeof t->why,
            "what it answers is no TLS; perhaps its port is a plain one (redis.tls = 0)");
    else if (code == SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED ||
             (code == SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE && !SSL_get_certificate(t->ssl)))
        say(t->why, sizeof t->why,
            "it refuses the handshake: %s; redis.tls_cert_file names a certificate of ours", text);
    else
        say(t->why, sizeof t->why, "TLS: %s", text ? text : "failed");
}

/* Of an operation that did not go through: 0 at the end of the stream, else -1 and errno. */
static ssize_t stopped(struct tls *t, int result, bool *wants_room)
{
    int saved = errno;
    int kind = SSL_get_error(t->ssl, result);

    *wants_room = kind == SSL_ERROR_WANT_WRITE;
    if (kind == SSL_ERROR_WANT_READ || kind == SSL_ERROR_WANT_WRITE) {
        errno = EAGAIN;
        return -1;
    }
    if (kind == SSL_ERROR_SSL)
        say_failed(t);
    else if (!tls_shaken(t))
        say(t->why, sizeof t->why,
            "the connection ended in the TLS handshake%s%s; perhaps its port is a plain one",
            kind == SSL_ERROR_SYSCALL && saved ? ": " : "",
            kind == SSL_ERROR_SYSCALL && saved ? strerror(saved) : "");
    else if (kind == SSL_ERROR_SYSCALL && saved)
        say(t->why, sizeof t->why, "%s", strerror(saved));
    ERR_clear_error();
    if (!t->why[0]) /* the peer has closed it */
        return 0;
    errno = EPROTO;
    return -1;
}

/* --- reading and writing ----------------------------------------------------------------- */

static bool is_over(const struct tls *t)
{
    if (t->why[0])
        errno = EPROTO;
    return t->why[0];
}

ssize_t tls_read(struct tls *t, void *p, size_t n)
{
    size_t got = 0, one;

    if (is_over(t))
        return -1;
    t->holds = false;
    ERR_clear_error();
    do {
        errno = 0;
        int ok = SSL_read_ex(t->ssl, (char *)p + got, n - got, &one);
        if (ok != 1) {
            ssize_t end = stopped(t, ok, &t->read_wants_room);
            t->holds = got && (end == 0 || errno != EAGAIN); /* the next one says it again */
            return got ? (ssize_t)got : end;
        }
        got += one;
    } while (got < n && SSL_has_pending(t->ssl));
    t->read_wants_room = false;
    t->holds = SSL_has_pending(t->ssl);
    return (ssize_t)got;
}

ssize_t tls_write(struct tls *t, const void *p, size_t n)
{
    size_t put = 0, one;

    if (is_over(t))
        return -1;
    ERR_clear_error();
    while (put < n) { /* a record at a time */
        errno = 0;
        int ok = SSL_write_ex(t->ssl, (const char *)p + put, n - put, &one);
        if (ok != 1) {
            ssize_t end = stopped(t, ok, &t->write_wants_room);
            if (end == 0) {
                errno = EPIPE;
                end = -1;
            }
            t->write_wants_room |= put && errno != EAGAIN; /* the next one says it again */
            return put ? (ssize_t)put : end;
        }
        put += one;
    }
    t->write_wants_room = false;
    return (ssize_t)put;
}

bool tls_wants_room(const struct tls *t)
{
    return t->read_wants_room || t->write_wants_room;
}

bool tls_holds(const struct tls *t)
{
    return t->holds;
}

bool tls_shaken(const struct tls *t)
{
    return SSL_is_init_finished(t->ssl);
}

const char *tls_why(const struct tls *t)
{
    return t->why;
}

void tls_describe(const struct tls *t, char *out, size_t size)
{
    const char *cipher = SSL_get_cipher_name(t->ssl);

    snprintf(out, size, "%s, %s", SSL_get_version(t->ssl), cipher ? cipher : "no cipher");
}

int64_t tls_ends(const struct tls *t)
{
    X509 *cert = SSL_get0_peer_certificate(t->ssl);
    struct tm end = {0};

    if (!cert || ASN1_TIME_to_tm(X509_get0_notAfter(cert), &end) != 1)
        return 0;
    return (int64_t)timegm(&end);
}
