/* tls: TLS over one non-blocking socket, as its client, by OpenSSL.
 *
 *   names of files ──tls_files_read──► tls_files ──tls_new──► tls of one connection
 *
 * Reading and writing are like read(2) and send(2); whichever comes first begins the handshake, and
 * nothing that was written leaves before the peer has shown who it is. TLS 1.2 and 1.3, no
 * renegotiation, no resumption. Nothing blocks; the time limit is the caller's. One thread.
 */
#ifndef RAPYERD_TLS_H
#define RAPYERD_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct tls_files; /* certificates and key, as they were when they were read */
struct tls;

struct tls_names {                 /* "": not given */
    const char *ca_file, *ca_path; /* neither: those that the system trusts */
    const char *cert_file, *key_file;
    bool verify; /* false: the peer may be anybody */
};

/* NULL: why says which file, and what is wrong with it. */
struct tls_files *tls_files_read(const struct tls_names *names, char *why, size_t size);
/* Connections that were made with them go on. */
void tls_files_free(struct tls_files *files);

/* The fd stays the caller's. host: a name or an address, which the peer's certificate has to have,
 * and which it is told if it is a name. NULL: out of memory. */
struct tls *tls_new(struct tls_files *files, int fd, const char *host);
void tls_free(struct tls *t);

/* -1 with errno: EAGAIN, or EPROTO for all that ends it (tls_why). tls_read: 0 at the end of the
 * stream; less than n: there is no more now, but see tls_holds. */
ssize_t tls_read(struct tls *t, void *p, size_t n);
ssize_t tls_write(struct tls *t, const void *p, size_t n);
/* After EAGAIN: it goes on when the socket takes something; else, when there is something to read.
 */
bool tls_wants_room(const struct tls *t);
/* The last tls_read was full, and more can be read that the socket will not tell of. */
bool tls_holds(const struct tls *t);

bool tls_shaken(const struct tls *t); /* the handshake is done */
const char *tls_why(const struct tls *t);
/* Of a handshake that is done: "TLSv1.3, TLS_AES_256_GCM_SHA384"; and when the peer's certificate
 * ends, in seconds since 1970. */
void tls_describe(const struct tls *t, char *out, size_t size);
int64_t tls_ends(const struct tls *t);

#endif
