/* openssl_dtls.h: DTLS over OpenSSL for C and C++.
 *
 * Link with -lopenssl_dtls -lssl -lcrypto (pkg-config: openssl_dtls). The library uses the libssl that the program is linked with, so an SSL_CTX of the
 * program can be handed over with odtls_context_adopt. NOT SO IF THIS LIBRARY WAS BUILT WITH ITS BUNDLED OPENSSL (feature `vendored`): then the process
 * holds two libssls, and no SSL_CTX, SSL or X509 may ever be passed between them.
 *
 * Grammar, for every function:
 *  - Objects are opaque. `_new` makes one, `_free` frees it; `_free(NULL)` does nothing, freeing twice is undefined.
 *  - The answer is an odtls_result. Outputs come last and are written only with ODTLS_OK; but a length is also written, as the length that is needed, with
 *    ODTLS_BUFFER_TOO_SMALL. ODTLS_NOTHING says that there is nothing now, and is no failure.
 *  - A null pointer where an object or an output is needed is ODTLS_NULL_POINTER. Bytes may be null if their length is 0.
 *  - Bytes, strings (UTF-8) and addresses are copied; nothing is kept past the call. Addresses are sockaddr_in or sockaddr_in6.
 *  - Structs begin with `size`, which the caller sets to sizeof of the struct; all zeroes behind it are the defaults. So an older program runs with a newer
 *    library.
 *  - `const` means that a call changes nothing that a program could see. An object is used by one thread at a time all the same: a call that meets another
 *    one, from another thread or from a callback, is answered ODTLS_BUSY (functions that answer no odtls_result answer 0 or NULL). Contexts and cookie rings can
 *    be used by any number of threads. Freeing an object while it is used, from a callback as well, is undefined.
 *  - Callbacks must return: a C++ exception or a longjmp that leaves one is undefined. They run on whatever thread made the call that led to them.
 *  - A panic inside the library is ODTLS_PANIC and never leaves it; a connection that was at work is over, everything else goes on.
 *  - Never unload the library (dlclose) once it was used: libcrypto keeps functions of it for the life of the process. Link it with -z nodelete, as its
 *    instructions say, and it stays.
 *  - Time is the system's monotonic clock, read inside.
 */
#ifndef OPENSSL_DTLS_H
#define OPENSSL_DTLS_H

#include <stddef.h>
#include <stdint.h>

#ifdef _WIN32
#include <winsock2.h>
#include <ws2tcpip.h>
#else
#include <sys/socket.h>
#endif

#include <openssl/ssl.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Results ---- */

typedef enum odtls_result {
    ODTLS_OK = 0,
    ODTLS_NOTHING = 1,              /* no datagram, message, event or timeout now */
    ODTLS_NULL_POINTER = 2,
    ODTLS_INVALID_ARGUMENT = 3,
    ODTLS_BUSY = 4,                 /* the object is used by another call */
    ODTLS_PANIC = 5,                /* of the library, or of a callback in Rust */
    ODTLS_BUFFER_TOO_SMALL = 6,
    ODTLS_STALE_HANDLE = 7,         /* no connection has this handle any more; asked of facts only */
    ODTLS_CONFIG = 8,               /* a configuration that cannot work; the text says why */
    ODTLS_RANDOM = 9,               /* the random generator failed */
    ODTLS_LIMIT = 10,               /* a limit of the endpoint refuses it */

    /* sending; the connection goes on but for ODTLS_CLOSED */
    ODTLS_NOT_ESTABLISHED = 20,
    ODTLS_CLOSED = 21,
    ODTLS_EMPTY = 22,
    ODTLS_TOO_LARGE = 23,
    ODTLS_FULL = 24,

    /* the end of a connection */
    ODTLS_HANDSHAKE_TIMEOUT = 40,
    ODTLS_ALERT_RECEIVED = 41,
    ODTLS_CLOSED_IN_HANDSHAKE = 42,
    ODTLS_CERTIFICATE_REJECTED = 43,
    ODTLS_NO_PEER_CERTIFICATE = 44,
    ODTLS_NO_SHARED_CIPHER_SUITE = 45,
    ODTLS_NO_SHARED_VERSION = 46,
    ODTLS_UNKNOWN_PSK_IDENTITY = 47,
    ODTLS_COOKIE = 48,
    ODTLS_UNREACHABLE = 49,
    ODTLS_PROTOCOL = 50,
    ODTLS_NO_SHARED_PROTOCOL = 51,
    ODTLS_PSK_LOOKUP = 52,
    ODTLS_UNKNOWN_SERVER_NAME = 53
} odtls_result;

/* The version of this library. */
const char *odtls_version(void);

/* A short text for an odtls_result. */
const char *odtls_result_text(int result);

/* The text of the last failure on this thread: cut to `size`, ended by a zero byte. Answers the length it has without that byte. Objects keep the text of
 * their own last failure: odtls_listener_last_error and so on. */
size_t odtls_last_error(char *text, size_t size);

/* ---- Contexts ---- */

/* What connections of one kind share: credentials, trust, algorithms. */
typedef struct odtls_context odtls_context;

/* The role of an end. */
#define ODTLS_CLIENT 0
#define ODTLS_SERVER 1

/* Whether a server asks its clients for certificates. */
#define ODTLS_CLIENT_CERTIFICATES_NONE 0u
#define ODTLS_CLIENT_CERTIFICATES_OPTIONAL 1u
#define ODTLS_CLIENT_CERTIFICATES_REQUIRED 2u

/* Weaker security; add up. */
#define ODTLS_DANGEROUS_NO_VERIFICATION 1u /* any certificate is taken */
#define ODTLS_DANGEROUS_NO_NAME_CHECK 2u   /* any name of a trusted certificate is taken */
#define ODTLS_DANGEROUS_ALLOW_DTLS1_0 4u

/* Finds the key of an identity: writes at most `room` bytes to `key` and answers exactly how many; 0 for an unknown identity, negative if the look-up failed. Runs
 * inside the handshake, on the thread that called; any thread may call it, several at once. */
typedef int (*odtls_psk_lookup)(void *data, const uint8_t *identity, size_t identity_len, uint8_t *key, size_t room);

/* Frees the data of a callback: called once, on any thread, inside whatever call lets the last context or connection that holds it go, or in
 * odtls_context_new if no context comes of it. Only if the options themselves cannot be read, by their `size`, nothing is freed. */
typedef void (*odtls_free)(void *data);

/* How connections use the network. 0 is the default of each. */
typedef struct odtls_transport_options {
    size_t size;
    uint32_t mtu;                     /* largest datagram, bytes of UDP payload: 256 to 4096 (1200) */
    uint32_t allow_oversize;          /* not 0: messages up to 16,384 bytes, fragmented by IP */
    uint32_t first_retransmission_ms; /* 16 or more (1000) */
    uint32_t max_retransmission_ms;   /* (60000) */
    uint32_t handshake_timeout_ms;    /* of a whole handshake (60000) */
    uint32_t handshake_tries;         /* of a client whose handshake fails by what may be forged (2) */
    size_t receive_queue;             /* bytes of messages that wait: 16,384 or more (65,536) */
    size_t send_queue;                /* bytes of datagrams that wait: 65,536 or more (262,144) */
} odtls_transport_options;

/* Credentials, trust and algorithms. 0 and NULL are the defaults. */
typedef struct odtls_context_options {
    size_t size;
    const uint8_t *certificate_pem; /* the certificate and those above it */
    size_t certificate_pem_len;
    const uint8_t *private_key_pem;
    size_t private_key_pem_len;
    const char *certificate_file; /* the same from files */
    const char *private_key_file;
    const uint8_t *trust_pem; /* trusted certificates */
    size_t trust_pem_len;
    const char *trust_file;
    const char *trust_directory;
    const uint8_t *psk_identity; /* what a client names, or the one a server knows */
    size_t psk_identity_len;
    const uint8_t *psk_key;
    size_t psk_key_len;
    odtls_psk_lookup psk_lookup; /* servers: instead of the one key */
    void *psk_lookup_data;
    odtls_free psk_lookup_free;
    const char *cipher_list;
    const char *groups;
    const char *signature_algorithms;
    const odtls_transport_options *transport;
    uint32_t trust_system;            /* not 0: trusts what the system does */
    uint32_t client_certificates;     /* ODTLS_CLIENT_CERTIFICATES_..., servers */
    uint32_t dangerous;               /* ODTLS_DANGEROUS_... */
    uint32_t security_level_plus_one; /* libssl's security level, plus 1 */
} odtls_context_options;

odtls_result odtls_context_new(int role, const odtls_context_options *options, odtls_context **context);

/* Adopts an SSL_CTX made for DTLS: takes a reference, uses all that is set on it, never modifies it. Do not modify it yourself from then on. The text of the
 * last failure says why one is refused. `transport` may be NULL. Callbacks of yours on it (verification, info, messages, PSK, ALPN, not those for cookies) run
 * on SSLs that this library made, which have none of your ex_data on them: also here already, in a trial handshake, and on any thread that makes a call. */
odtls_result odtls_context_adopt(SSL_CTX *ssl_ctx, int role, const odtls_transport_options *transport, odtls_context **context);

/* The SSL_CTX of a context, for reading; lives as long as the context. */
SSL_CTX *odtls_context_ssl_ctx(const odtls_context *context);

void odtls_context_free(odtls_context *context);

/* ---- Cookies ---- */

/* The secrets that cookies are made with. */
typedef struct odtls_cookie_ring odtls_cookie_ring;

/* Fewest bytes of a shared secret. */
#define ODTLS_COOKIE_SECRET_LEN 32

/* With a random secret, which changes by itself every hour. */
odtls_result odtls_cookie_ring_new(odtls_cookie_ring **ring);

/* With a secret that several servers share. */
odtls_result odtls_cookie_ring_new_shared(const uint8_t *secret, size_t secret_len, odtls_cookie_ring **ring);

/* A new secret from now on; cookies of the one before stay good until they expire. */
odtls_result odtls_cookie_ring_rotate(odtls_cookie_ring *ring);
odtls_result odtls_cookie_ring_rotate_shared(odtls_cookie_ring *ring, const uint8_t *secret, size_t secret_len);

void odtls_cookie_ring_free(odtls_cookie_ring *ring);

/* ---- Connections ---- */

/* One DTLS connection with one peer: datagrams in, datagrams out. After every call take its datagrams and events and ask for its timeout. */
typedef struct odtls_connection odtls_connection;

/* Why a server may answer a peer that returned no cookie. */
#define ODTLS_PROVED_ELSEWHERE 0
#define ODTLS_PROOF_DANGEROUS 1 /* at most three times the received bytes are sent until the handshake is complete */

#define ODTLS_EVENT_CONNECTED 1
#define ODTLS_EVENT_READABLE 2
#define ODTLS_EVENT_MTU_CHANGED 3 /* value: bytes */
#define ODTLS_EVENT_CLOSED 4      /* value: ODTLS_CLOSED_... */
#define ODTLS_EVENT_FAILED 5      /* value: an odtls_result; endpoints only */

#define ODTLS_CLOSED_LOCAL 0
#define ODTLS_CLOSED_BY_PEER 1
#define ODTLS_CLOSED_REPLACED 2 /* by a new connection of the same peer */
#define ODTLS_CLOSED_IDLE 3
#define ODTLS_CLOSED_EVICTED 4 /* by a limit */

typedef struct odtls_event {
    int kind;
    int value;
} odtls_event;

/* What was counted. Set `size` before the call. */
typedef struct odtls_stats {
    size_t size;
    uint64_t datagrams_received;
    uint64_t bytes_received;
    uint64_t datagrams_sent;
    uint64_t bytes_sent;
    uint64_t messages_received;
    uint64_t message_bytes_received;
    uint64_t messages_sent;
    uint64_t message_bytes_sent;
    uint64_t retransmissions;
    uint64_t handshake_restarts;
    uint64_t drops;
} odtls_stats;

/* Opens a connection. `server_name` is a DNS name or an IP address that the peer's certificate must have; NULL where no name is checked. */
odtls_result odtls_connection_client_new(const odtls_context *context, const struct sockaddr *peer, socklen_t peer_len, const char *server_name,
                                         odtls_connection **connection);

/* Waits for a ClientHello without a cookie exchange. On the open network use a listener or an endpoint. */
odtls_result odtls_connection_server_new(const odtls_context *context, const struct sockaddr *peer, socklen_t peer_len, int proof,
                                         odtls_connection **connection);

/* A failure is the end of the connection: take its last datagrams and free it. Bad and forged datagrams are no failures. */
odtls_result odtls_connection_handle_datagram(odtls_connection *connection, const uint8_t *datagram, size_t datagram_len);

odtls_result odtls_connection_take_datagram(odtls_connection *connection, uint8_t *datagram, size_t size, size_t *length);

/* Milliseconds until odtls_connection_handle_timeout is due, rounded up. */
odtls_result odtls_connection_timeout(const odtls_connection *connection, uint64_t *milliseconds);
odtls_result odtls_connection_handle_timeout(odtls_connection *connection);

odtls_result odtls_connection_poll_event(odtls_connection *connection, odtls_event *event);

/* One message is one record in one datagram. */
odtls_result odtls_connection_send(odtls_connection *connection, const uint8_t *message, size_t message_len);
odtls_result odtls_connection_recv(odtls_connection *connection, uint8_t *message, size_t size, size_t *length);

/* Changes the largest datagram from now on: 256 to 4096 bytes of UDP payload. */
odtls_result odtls_connection_set_mtu(odtls_connection *connection, uint32_t mtu);

/* Ends an established connection with a fatal alert instead of close_notify: for programs that judge the peer after the handshake. */
odtls_result odtls_connection_refuse(odtls_connection *connection);

/* Fills `out` with keying material that only both ends can know (RFC 5705). `context` may be NULL, which is not the same as no bytes. */
odtls_result odtls_connection_export(const odtls_connection *connection, const char *label, const uint8_t *context, size_t context_len, uint8_t *out,
                                     size_t size);

odtls_result odtls_connection_close(odtls_connection *connection);
odtls_result odtls_connection_release_buffers(odtls_connection *connection);

/* 1 or 0; 0 for a null or busy connection. */
int odtls_connection_is_established(const odtls_connection *connection);
int odtls_connection_is_closed(const odtls_connection *connection);
int odtls_connection_is_closed_by_peer(const odtls_connection *connection);
int odtls_connection_is_resumed(const odtls_connection *connection);
int odtls_connection_starts_new_handshake(const odtls_connection *connection, const uint8_t *datagram, size_t datagram_len);

/* Bytes; 0 for a null or busy connection. */
size_t odtls_connection_data_mtu(const odtls_connection *connection);
size_t odtls_connection_mtu(const odtls_connection *connection);

odtls_result odtls_connection_stats(const odtls_connection *connection, odtls_stats *stats);

/* Facts of a completed handshake; text is without a zero byte. */
#define ODTLS_INFO_CIPHER_SUITE 0
#define ODTLS_INFO_VERSION 1
#define ODTLS_INFO_PEER_CERTIFICATE 2 /* DER */
#define ODTLS_INFO_VERIFIED_NAME 3
#define ODTLS_INFO_SERVER_NAME 4
#define ODTLS_INFO_PSK_IDENTITY 5
#define ODTLS_INFO_APPLICATION_PROTOCOL 6 /* by ALPN */
odtls_result odtls_connection_info(const odtls_connection *connection, int what, uint8_t *value, size_t size, size_t *length);

/* The SSL, for reading what this header does not have, until the next call on the connection; NULL where libssl no longer serves it. */
SSL *odtls_connection_ssl(const odtls_connection *connection);

size_t odtls_connection_last_error(const odtls_connection *connection, char *text, size_t size);

/* Says nothing to the peer: close first. */
void odtls_connection_free(odtls_connection *connection);

/* ---- Listeners ---- */

/* The stateless front door, for programs that keep their own table of peers. An endpoint does it all. */
typedef struct odtls_listener odtls_listener;

#define ODTLS_INCOMING_DROPPED 0
#define ODTLS_INCOMING_REPLY 1      /* send what odtls_listener_take_reply gives */
#define ODTLS_INCOMING_CONNECTION 2 /* the peer proved its address */
#define ODTLS_INCOMING_REFUSED 3    /* as above, and its handshake failed at once; an alert may wait in the connection */

odtls_result odtls_listener_new(const odtls_context *context, const odtls_cookie_ring *ring, odtls_listener **listener);

/* Takes a datagram of a peer without a connection. `connection` is written, and the caller's to free, with CONNECTION and REFUSED. */
odtls_result odtls_listener_handle_datagram(odtls_listener *listener, const struct sockaddr *peer, socklen_t peer_len, const uint8_t *datagram,
                                            size_t datagram_len, int *incoming, odtls_connection **connection);

odtls_result odtls_listener_take_reply(odtls_listener *listener, uint8_t *datagram, size_t size, size_t *length);

size_t odtls_listener_last_error(const odtls_listener *listener, char *text, size_t size);
void odtls_listener_free(odtls_listener *listener);

/* ---- Endpoints ---- */

/* Many connections behind one socket of the program's own: give it every datagram, take and send what it has, sleep as long as it says. A connection is named
 * by a handle, which is never 0 and never used again. */
typedef struct odtls_endpoint odtls_endpoint;

/* "Never", for the times that say so. */
#define ODTLS_NEVER UINT32_MAX

/* Limits. 0 is the default of each. */
typedef struct odtls_endpoint_options {
    size_t size;
    size_t max_connections;            /* in all (16,384) */
    size_t max_half_open;              /* accepted handshakes under way (2,048); the oldest goes */
    size_t max_half_open_per_prefix;   /* of one network (512) */
    size_t max_send_bytes;             /* of datagrams that wait, of all connections (64 MiB) */
    size_t max_receive_bytes;          /* of messages that wait, of all connections (64 MiB) */
    size_t max_replies;                /* HelloVerifyRequests that wait (1,024) */
    uint32_t ipv4_prefix;              /* bits that say which network an address is of (24) */
    uint32_t ipv6_prefix;              /* (56) */
    uint32_t handshake_timeout_ms;     /* of an accepted handshake (60000) */
    uint32_t idle_timeout_ms;          /* of accepted connections, or ODTLS_NEVER (300000) */
    uint32_t client_idle_timeout_ms;   /* of connections opened here (ODTLS_NEVER) */
    uint32_t release_buffers_after_ms; /* of quiet, or ODTLS_NEVER (5000) */
    uint32_t linger_ms;                /* for what an ended connection left (30000) */
    uint32_t hand_out_foreign;         /* not 0: datagrams that are not DTLS are the program's (RFC 7983) */
} odtls_endpoint_options;

/* What was counted, and how it stands. Set `size` before the call. */
typedef struct odtls_endpoint_stats {
    size_t size;
    uint64_t datagrams_received;
    uint64_t bytes_received;
    uint64_t datagrams_sent;
    uint64_t bytes_sent;
    uint64_t foreign_datagrams;
    uint64_t cookies_sent;
    uint64_t cookies_accepted;
    uint64_t cookies_rejected;
    uint64_t handshakes_accepted;
    uint64_t handshakes_completed;
    uint64_t handshakes_failed;
    uint64_t refused;
    uint64_t messages_received;
    uint64_t messages_sent;
    uint64_t retransmissions;
    uint64_t drops;
    uint64_t connections;
    uint64_t established;
    uint64_t half_open;
    uint64_t queued_send_bytes;
    uint64_t queued_receive_bytes;
} odtls_endpoint_stats;

/* For clients; odtls_endpoint_set_server makes it a server as well. `options` may be NULL. */
odtls_result odtls_endpoint_new(const odtls_endpoint_options *options, odtls_endpoint **endpoint);

/* Accepts peers from now on. */
odtls_result odtls_endpoint_set_server(odtls_endpoint *endpoint, const odtls_context *context, const odtls_cookie_ring *ring);

/* Accepts peers on another context, with a renewed certificate say; connections that exist keep theirs. */
odtls_result odtls_endpoint_set_context(odtls_endpoint *endpoint, const odtls_context *context);
odtls_result odtls_endpoint_rotate_cookie_secret(odtls_endpoint *endpoint);

odtls_result odtls_endpoint_connect(odtls_endpoint *endpoint, const odtls_context *context, const struct sockaddr *peer, socklen_t peer_len,
                                    const char *server_name, uint64_t *handle);

/* Takes one datagram of the socket. `local` is the address it was sent to, or NULL. `foreign` is written 1 for a datagram that is the program's to deal with.
 * A failure is one of this side's own, and the endpoint goes on; connections that fail are events. */
odtls_result odtls_endpoint_handle_datagram(odtls_endpoint *endpoint, const struct sockaddr *peer, socklen_t peer_len, const struct sockaddr *local,
                                            socklen_t local_len, const uint8_t *datagram, size_t datagram_len, int *foreign);

/* The next datagram to send. `*peer_len` and `*local_len` are the room for addresses on the way in. `local`, which may be NULL, is where to send it from;
 * `*local_len` is 0 if that does not matter. */
odtls_result odtls_endpoint_take_datagram(odtls_endpoint *endpoint, uint8_t *datagram, size_t size, size_t *length, struct sockaddr *peer,
                                          socklen_t *peer_len, struct sockaddr *local, socklen_t *local_len);

odtls_result odtls_endpoint_timeout(const odtls_endpoint *endpoint, uint64_t *milliseconds);
odtls_result odtls_endpoint_handle_timeout(odtls_endpoint *endpoint);

/* CONNECTED is the first event of an accepted connection, unless its handshake fails: then FAILED or CLOSED is the only one. CLOSED or FAILED is the last of any;
 * what was received before can be read until linger_ms is over. The text of a failure is odtls_endpoint_last_error. */
odtls_result odtls_endpoint_poll_event(odtls_endpoint *endpoint, uint64_t *handle, odtls_event *event);

/* For a handle that names nothing any more, send answers ODTLS_CLOSED, recv ODTLS_NOTHING, and close does nothing. */
odtls_result odtls_endpoint_send(odtls_endpoint *endpoint, uint64_t handle, const uint8_t *message, size_t message_len);
odtls_result odtls_endpoint_recv(odtls_endpoint *endpoint, uint64_t handle, uint8_t *message, size_t size, size_t *length);
odtls_result odtls_endpoint_set_mtu(odtls_endpoint *endpoint, uint64_t handle, uint32_t mtu);
odtls_result odtls_endpoint_refuse(odtls_endpoint *endpoint, uint64_t handle);
odtls_result odtls_endpoint_export(const odtls_endpoint *endpoint, uint64_t handle, const char *label, const uint8_t *context, size_t context_len,
                                   uint8_t *out, size_t size);
odtls_result odtls_endpoint_close(odtls_endpoint *endpoint, uint64_t handle);

/* Drops what an ended connection left to be received. */
odtls_result odtls_endpoint_forget(odtls_endpoint *endpoint, uint64_t handle);

odtls_result odtls_endpoint_handle_of(const odtls_endpoint *endpoint, const struct sockaddr *peer, socklen_t peer_len, uint64_t *handle);
odtls_result odtls_endpoint_peer_of(const odtls_endpoint *endpoint, uint64_t handle, struct sockaddr *peer, socklen_t *peer_len);
odtls_result odtls_endpoint_info(const odtls_endpoint *endpoint, uint64_t handle, int what, uint8_t *value, size_t size, size_t *length);
odtls_result odtls_endpoint_connection_stats(const odtls_endpoint *endpoint, uint64_t handle, odtls_stats *stats);
size_t odtls_endpoint_data_mtu(const odtls_endpoint *endpoint, uint64_t handle);

/* The SSL of a connection, for reading until the next call on the endpoint; NULL where there is none. */
SSL *odtls_endpoint_ssl(const odtls_endpoint *endpoint, uint64_t handle);

/* Moves an established connection to another address of its peer, learned by means that nobody can forge. */
odtls_result odtls_endpoint_rebind(odtls_endpoint *endpoint, uint64_t handle, const struct sockaddr *peer, socklen_t peer_len);

/* Refuses new peers, closes every connection, and lets what waits be taken for `drain_ms` at most. */
odtls_result odtls_endpoint_shutdown(odtls_endpoint *endpoint, uint32_t drain_ms);
int odtls_endpoint_is_drained(const odtls_endpoint *endpoint);

odtls_result odtls_endpoint_get_stats(const odtls_endpoint *endpoint, odtls_endpoint_stats *stats);
size_t odtls_endpoint_last_error(const odtls_endpoint *endpoint, char *text, size_t size);

/* Says nothing to the peers: shut it down first. */
void odtls_endpoint_free(odtls_endpoint *endpoint);

#ifdef __cplusplus
}
#endif

#endif
