/* Every object, every function, and what they answer to nonsense. */

#include "check.h"

static odtls_context *psk_context(int role) {
    odtls_context_options options;
    odtls_transport_options transport;
    odtls_context *context = NULL;
    memset(&transport, 0, sizeof transport);
    transport.size = sizeof transport;
    /* However slow the machine, nothing is sent twice. */
    transport.first_retransmission_ms = 60000;
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.transport = &transport;
    options.psk_identity = IDENTITY;
    options.psk_identity_len = sizeof IDENTITY;
    options.psk_key = KEY;
    options.psk_key_len = sizeof KEY;
    CHECK_OK(odtls_context_new(role, &options, &context));
    CHECK(context != NULL && odtls_context_ssl_ctx(context) != NULL);
    return context;
}

static odtls_listener *listener_on(const odtls_context *context) {
    odtls_cookie_ring *ring = NULL;
    odtls_listener *listener = NULL;
    CHECK_OK(odtls_cookie_ring_new(&ring));
    CHECK_OK(odtls_cookie_ring_rotate(ring));
    CHECK_OK(odtls_listener_new(context, ring, &listener));
    odtls_cookie_ring_free(ring);
    return listener;
}

static odtls_connection *client_on(const odtls_context *context) {
    struct sockaddr_in peer = address(4433);
    odtls_connection *client = NULL;
    CHECK_OK(odtls_connection_client_new(context, (const struct sockaddr *)&peer, sizeof peer, NULL, &client));
    return client;
}

static void null_pointers(void) {
    struct sockaddr_in peer = address(1);
    const struct sockaddr *addr = (const struct sockaddr *)&peer;
    uint8_t byte = 0;
    size_t length = 77;
    uint64_t milliseconds = 77;
    int incoming = 77;
    odtls_event event = {77, 77};
    odtls_stats stats;
    odtls_context *context = psk_context(ODTLS_CLIENT);
    odtls_connection *connection = NULL;
    odtls_listener *listener = NULL;
    odtls_cookie_ring *ring = NULL;
    memset(&stats, 0, sizeof stats);
    stats.size = sizeof stats;

    CHECK(odtls_context_new(ODTLS_CLIENT, NULL, NULL) == ODTLS_NULL_POINTER);
    CHECK(odtls_context_adopt(NULL, ODTLS_CLIENT, NULL, &context) == ODTLS_NULL_POINTER);
    CHECK(odtls_context_adopt(odtls_context_ssl_ctx(context), ODTLS_CLIENT, NULL, NULL) == ODTLS_NULL_POINTER);
    CHECK(odtls_context_ssl_ctx(NULL) == NULL);
    CHECK(odtls_cookie_ring_new(NULL) == ODTLS_NULL_POINTER);
    CHECK(odtls_cookie_ring_new_shared(NULL, 32, &ring) == ODTLS_NULL_POINTER);
    CHECK(odtls_cookie_ring_rotate(NULL) == ODTLS_NULL_POINTER);
    CHECK(odtls_cookie_ring_rotate_shared(NULL, &byte, 1) == ODTLS_NULL_POINTER);
    CHECK(odtls_listener_new(NULL, NULL, &listener) == ODTLS_NULL_POINTER);
    CHECK(odtls_listener_handle_datagram(NULL, addr, sizeof peer, &byte, 1, &incoming, &connection) == ODTLS_NULL_POINTER);
    CHECK(odtls_listener_take_reply(NULL, &byte, 1, &length) == ODTLS_NULL_POINTER);
    CHECK(odtls_listener_last_error(NULL, NULL, 0) == 0);
    CHECK(odtls_connection_client_new(NULL, addr, sizeof peer, NULL, &connection) == ODTLS_NULL_POINTER);
    CHECK(odtls_connection_client_new(context, NULL, sizeof peer, NULL, &connection) == ODTLS_NULL_POINTER);
    CHECK(odtls_connection_client_new(context, addr, sizeof peer, NULL, NULL) == ODTLS_NULL_POINTER);
    CHECK(odtls_connection_server_new(NULL, addr, sizeof peer, 0, &connection) == ODTLS_NULL_POINTER);
    CHECK(odtls_connection_handle_datagram(NULL, &byte, 1) == ODTLS_NULL_POINTER);
    CHECK(odtls_connection_take_datagram(NULL, &byte, 1, &length) == ODTLS_NULL_POINTER);
    CHECK(odtls_connection_timeout(NULL, &milliseconds) == ODTLS_NULL_POINTER);
    CHECK(odtls_connection_handle_timeout(NULL) == ODTLS_NULL_POINTER);
    CHECK(odtls_connection_poll_event(NULL, &event) == ODTLS_NULL_POINTER);
    CHECK(odtls_connection_send(NULL, &byte, 1) == ODTLS_NULL_POINTER);
    CHECK(odtls_connection_recv(NULL, &byte, 1, &length) == ODTLS_NULL_POINTER);
    CHECK(odtls_connection_close(NULL) == ODTLS_NULL_POINTER);
    CHECK(odtls_connection_release_buffers(NULL) == ODTLS_NULL_POINTER);
    CHECK(odtls_connection_is_established(NULL) == 0);
    CHECK(odtls_connection_is_closed(NULL) == 0);
    CHECK(odtls_connection_is_closed_by_peer(NULL) == 0);
    CHECK(odtls_connection_starts_new_handshake(NULL, &byte, 1) == 0);
    CHECK(odtls_connection_data_mtu(NULL) == 0);
    CHECK(odtls_connection_mtu(NULL) == 0);
    CHECK(odtls_connection_stats(NULL, &stats) == ODTLS_NULL_POINTER);
    CHECK(odtls_connection_info(NULL, 0, &byte, 1, &length) == ODTLS_NULL_POINTER);
    CHECK(odtls_connection_last_error(NULL, NULL, 0) == 0);
    CHECK(odtls_result_text(12345) != NULL);

    connection = client_on(context);
    CHECK(odtls_connection_handle_datagram(connection, NULL, 1) == ODTLS_NULL_POINTER);
    CHECK(odtls_connection_handle_datagram(connection, NULL, 0) == ODTLS_OK);
    CHECK(odtls_connection_take_datagram(connection, &byte, 1, NULL) == ODTLS_NULL_POINTER);
    CHECK(odtls_connection_take_datagram(connection, NULL, 1, &length) == ODTLS_NULL_POINTER);
    CHECK(odtls_connection_timeout(connection, NULL) == ODTLS_NULL_POINTER);
    CHECK(odtls_connection_poll_event(connection, NULL) == ODTLS_NULL_POINTER);
    CHECK(odtls_connection_recv(connection, &byte, 1, NULL) == ODTLS_NULL_POINTER);
    CHECK(odtls_connection_stats(connection, NULL) == ODTLS_NULL_POINTER);
    CHECK(length == 77 && milliseconds == 77 && incoming == 77 && event.kind == 77);
    odtls_connection_free(connection);

    odtls_context_free(context);
    odtls_context_free(NULL);
    odtls_cookie_ring_free(NULL);
    odtls_listener_free(NULL);
    odtls_connection_free(NULL);
}

static void endpoints(void) {
    struct sockaddr_in peer = address(4433);
    struct sockaddr_in from;
    const struct sockaddr *addr = (const struct sockaddr *)&peer;
    odtls_context *client_context = psk_context(ODTLS_CLIENT);
    odtls_context *server_context = psk_context(ODTLS_SERVER);
    odtls_cookie_ring *ring = NULL;
    odtls_endpoint *client = NULL, *server = NULL;
    odtls_endpoint_options options;
    odtls_endpoint_stats stats;
    odtls_stats connection_stats;
    odtls_event event;
    uint8_t datagram[65535], keys[2][20];
    uint64_t handle = 0, accepted = 0, milliseconds;
    socklen_t from_len, local_len;
    size_t length;
    int foreign, connected = 0;

    /* Nothing but nulls. */
    memset(&stats, 0, sizeof stats);
    CHECK(odtls_endpoint_new(NULL, NULL) == ODTLS_NULL_POINTER);
    CHECK(odtls_endpoint_set_server(NULL, server_context, ring) == ODTLS_NULL_POINTER);
    CHECK(odtls_endpoint_set_context(NULL, server_context) == ODTLS_NULL_POINTER);
    CHECK(odtls_endpoint_rotate_cookie_secret(NULL) == ODTLS_NULL_POINTER);
    CHECK(odtls_endpoint_connect(NULL, client_context, addr, sizeof peer, NULL, &handle) == ODTLS_NULL_POINTER);
    CHECK(odtls_endpoint_handle_datagram(NULL, addr, sizeof peer, NULL, 0, datagram, 1, &foreign) == ODTLS_NULL_POINTER);
    CHECK(odtls_endpoint_take_datagram(NULL, datagram, 1, &length, NULL, NULL, NULL, NULL) == ODTLS_NULL_POINTER);
    CHECK(odtls_endpoint_timeout(NULL, &milliseconds) == ODTLS_NULL_POINTER);
    CHECK(odtls_endpoint_handle_timeout(NULL) == ODTLS_NULL_POINTER);
    CHECK(odtls_endpoint_poll_event(NULL, &handle, &event) == ODTLS_NULL_POINTER);
    CHECK(odtls_endpoint_send(NULL, 1, datagram, 1) == ODTLS_NULL_POINTER);
    CHECK(odtls_endpoint_recv(NULL, 1, datagram, 1, &length) == ODTLS_NULL_POINTER);
    CHECK(odtls_endpoint_set_mtu(NULL, 1, 1200) == ODTLS_NULL_POINTER);
    CHECK(odtls_endpoint_refuse(NULL, 1) == ODTLS_NULL_POINTER);
    CHECK(odtls_endpoint_export(NULL, 1, "label", NULL, 0, datagram, 1) == ODTLS_NULL_POINTER);
    CHECK(odtls_endpoint_close(NULL, 1) == ODTLS_NULL_POINTER);
    CHECK(odtls_endpoint_forget(NULL, 1) == ODTLS_NULL_POINTER);
    CHECK(odtls_endpoint_handle_of(NULL, addr, sizeof peer, &handle) == ODTLS_NULL_POINTER);
    CHECK(odtls_endpoint_peer_of(NULL, 1, (struct sockaddr *)&from, &from_len) == ODTLS_NULL_POINTER);
    CHECK(odtls_endpoint_info(NULL, 1, 0, datagram, 1, &length) == ODTLS_NULL_POINTER);
    CHECK(odtls_endpoint_connection_stats(NULL, 1, &connection_stats) == ODTLS_NULL_POINTER);
    CHECK(odtls_endpoint_data_mtu(NULL, 1) == 0 && odtls_endpoint_ssl(NULL, 1) == NULL);
    CHECK(odtls_endpoint_rebind(NULL, 1, addr, sizeof peer) == ODTLS_NULL_POINTER);
    CHECK(odtls_endpoint_shutdown(NULL, 0) == ODTLS_NULL_POINTER);
    CHECK(odtls_endpoint_is_drained(NULL) == 0);
    CHECK(odtls_endpoint_get_stats(NULL, &stats) == ODTLS_NULL_POINTER);
    CHECK(odtls_endpoint_last_error(NULL, NULL, 0) == 0);
    odtls_endpoint_free(NULL);

    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.ipv4_prefix = 7;
    CHECK(odtls_endpoint_new(&options, &server) == ODTLS_CONFIG && server == NULL);
    options.ipv4_prefix = 32;
    options.idle_timeout_ms = ODTLS_NEVER;
    CHECK_OK(odtls_endpoint_new(&options, &server));
    CHECK(odtls_endpoint_set_context(server, server_context) == ODTLS_CONFIG);
    CHECK_OK(odtls_cookie_ring_new(&ring));
    CHECK(odtls_endpoint_set_server(server, client_context, ring) == ODTLS_CONFIG);
    CHECK_OK(odtls_endpoint_set_server(server, server_context, ring));
    CHECK_OK(odtls_endpoint_set_context(server, server_context));
    CHECK_OK(odtls_endpoint_rotate_cookie_secret(server));
    odtls_cookie_ring_free(ring);
    CHECK_OK(odtls_endpoint_new(NULL, &client));
    CHECK(odtls_endpoint_rotate_cookie_secret(client) == ODTLS_OK);
    CHECK_OK(odtls_endpoint_connect(client, client_context, addr, sizeof peer, NULL, &handle));
    CHECK(odtls_endpoint_connect(client, client_context, addr, sizeof peer, NULL, &handle) == ODTLS_INVALID_ARGUMENT);
    odtls_context_free(client_context);
    odtls_context_free(server_context);
    CHECK_OK(odtls_endpoint_timeout(client, &milliseconds));

    /* What does not fit stays, and each length that is needed is told. */
    from_len = 3;
    length = 0;
    CHECK(odtls_endpoint_take_datagram(client, datagram, 10, &length, (struct sockaddr *)&from, &from_len, NULL, NULL) ==
          ODTLS_BUFFER_TOO_SMALL);
    CHECK(length > 10 && from_len == sizeof from);
    while (connected < 2) {
        odtls_endpoint *ends[2];
        int side;
        ends[0] = client;
        ends[1] = server;
        for (side = 0; side < 2; side++) {
            for (;;) {
                from_len = sizeof from;
                local_len = 0;
                if (odtls_endpoint_take_datagram(ends[side], datagram, sizeof datagram, &length,
                                                 (struct sockaddr *)&from, &from_len, NULL, &local_len) != ODTLS_OK) {
                    break;
                }
                CHECK(from_len == sizeof from && from.sin_port == peer.sin_port && local_len == 0);
                CHECK_OK(odtls_endpoint_handle_datagram(ends[1 - side], addr, sizeof peer, NULL, 0, datagram,
                                                        length, &foreign));
                CHECK(foreign == 0);
            }
            while (odtls_endpoint_poll_event(ends[side], side == 0 ? &handle : &accepted, &event) == ODTLS_OK) {
                CHECK(event.kind == ODTLS_EVENT_CONNECTED);
                connected++;
            }
        }
    }
    CHECK(accepted != 0);
    CHECK_OK(odtls_endpoint_handle_of(server, addr, sizeof peer, &accepted));
    from_len = 2;
    CHECK(odtls_endpoint_peer_of(server, accepted, (struct sockaddr *)&from, &from_len) == ODTLS_BUFFER_TOO_SMALL);
    CHECK(from_len == sizeof from);
    CHECK_OK(odtls_endpoint_peer_of(server, accepted, (struct sockaddr *)&from, &from_len));
    CHECK(from.sin_port == peer.sin_port && from.sin_addr.s_addr == peer.sin_addr.s_addr);
    CHECK_OK(odtls_endpoint_export(client, handle, "EXPERIMENTAL check", NULL, 0, keys[0], sizeof keys[0]));
    CHECK_OK(odtls_endpoint_export(server, accepted, "EXPERIMENTAL check", NULL, 0, keys[1], sizeof keys[1]));
    CHECK(memcmp(keys[0], keys[1], sizeof keys[0]) == 0);
    CHECK(odtls_endpoint_ssl(server, accepted) != NULL);
    CHECK(odtls_endpoint_info(server, accepted, ODTLS_INFO_APPLICATION_PROTOCOL, datagram, 9, &length) == ODTLS_NOTHING);
    CHECK(odtls_endpoint_info(server, 77, 0, datagram, 9, &length) == ODTLS_STALE_HANDLE);
    CHECK(odtls_endpoint_send(server, 77, datagram, 9) == ODTLS_CLOSED);
    CHECK(odtls_endpoint_recv(server, 77, datagram, 9, &length) == ODTLS_NOTHING);
    CHECK_OK(odtls_endpoint_set_mtu(client, handle, 600));
    CHECK(odtls_endpoint_set_mtu(client, handle, 10) == ODTLS_CONFIG);
    CHECK(odtls_endpoint_data_mtu(client, handle) < 600);
    peer.sin_port = htons(4434);
    CHECK_OK(odtls_endpoint_rebind(server, accepted, addr, sizeof peer));
    connection_stats.size = sizeof connection_stats;
    CHECK_OK(odtls_endpoint_connection_stats(server, accepted, &connection_stats));
    CHECK(connection_stats.datagrams_received > 0);
    stats.size = 3;
    CHECK(odtls_endpoint_get_stats(server, &stats) == ODTLS_INVALID_ARGUMENT);
    stats.size = sizeof stats;
    CHECK_OK(odtls_endpoint_get_stats(server, &stats));
    CHECK(stats.established == 1 && stats.cookies_accepted == 1 && stats.handshakes_completed == 1);
    CHECK_OK(odtls_endpoint_refuse(client, handle));
    CHECK_OK(odtls_endpoint_close(client, handle));
    CHECK_OK(odtls_endpoint_shutdown(server, 0));
    CHECK_OK(odtls_endpoint_handle_timeout(server));
    CHECK(odtls_endpoint_is_drained(server) == 1);
    odtls_endpoint_free(client);
    odtls_endpoint_free(server);
}

/* A call that fails says what it has to say, and not what another one did. */
static void texts(void) {
    char text[256];
    CHECK(odtls_connection_close(NULL) == ODTLS_NULL_POINTER);
    CHECK(odtls_last_error(text, sizeof text) > 0 && strcmp(text, odtls_result_text(ODTLS_NULL_POINTER)) == 0);
}

static void refused_options(void) {
    struct {
        odtls_context_options known;
        uint64_t newer;
    } larger;
    odtls_context_options options;
    odtls_transport_options transport;
    odtls_context *context = NULL;
    char text[256];

    memset(&options, 0, sizeof options);
    CHECK(odtls_context_new(ODTLS_CLIENT, &options, &context) == ODTLS_INVALID_ARGUMENT);
    options.size = sizeof options;
    CHECK(odtls_context_new(7, &options, &context) == ODTLS_INVALID_ARGUMENT);
    CHECK(odtls_context_new(ODTLS_CLIENT, &options, &context) == ODTLS_CONFIG);
    CHECK(odtls_last_error(text, sizeof text) == strlen(text) && strstr(text, "trust") != NULL);
    CHECK(odtls_last_error(text, 5) > 5 && strlen(text) == 4);
    CHECK(odtls_context_new(ODTLS_SERVER, &options, &context) == ODTLS_CONFIG);
    options.trust_system = 1;
    options.dangerous = 64;
    CHECK(odtls_context_new(ODTLS_CLIENT, &options, &context) == ODTLS_INVALID_ARGUMENT);
    options.dangerous = 0;
    options.cipher_list = "no such suite";
    CHECK(odtls_context_new(ODTLS_CLIENT, &options, &context) == ODTLS_CONFIG);
    options.cipher_list = NULL;
    options.trust_system = 0;
    options.psk_identity = IDENTITY;
    options.psk_identity_len = sizeof IDENTITY;
    CHECK(odtls_context_new(ODTLS_CLIENT, &options, &context) == ODTLS_CONFIG);
    options.psk_key = KEY;
    options.psk_key_len = sizeof KEY;
    memset(&transport, 0, sizeof transport);
    transport.size = sizeof transport;
    transport.mtu = 255;
    options.transport = &transport;
    CHECK(odtls_context_new(ODTLS_CLIENT, &options, &context) == ODTLS_CONFIG);
    transport.mtu = 1400;
    CHECK(context == NULL);
    CHECK_OK(odtls_context_new(ODTLS_CLIENT, &options, &context));
    odtls_context_free(context);

    /* A newer program: what this library does not know must be zero. */
    memset(&larger, 0, sizeof larger);
    larger.known = options;
    larger.known.size = sizeof larger;
    CHECK_OK(odtls_context_new(ODTLS_CLIENT, &larger.known, &context));
    odtls_context_free(context);
    larger.newer = 1;
    CHECK(odtls_context_new(ODTLS_CLIENT, &larger.known, &context) == ODTLS_INVALID_ARGUMENT);
    /* An older one: what it does not know is the default. */
    options.size = offsetof(odtls_context_options, psk_lookup);
    options.trust_system = 77;
    options.dangerous = 77;
    CHECK_OK(odtls_context_new(ODTLS_CLIENT, &options, &context));
    odtls_context_free(context);
}

static void a_connection(void) {
    odtls_context *client_context = psk_context(ODTLS_CLIENT);
    odtls_context *server_context = psk_context(ODTLS_SERVER);
    odtls_listener *listener = listener_on(server_context);
    odtls_connection *client = client_on(client_context);
    odtls_connection *server;
    odtls_event event;
    odtls_stats stats;
    uint64_t milliseconds;
    uint8_t value[2000];
    size_t length;

    CHECK_OK(odtls_connection_timeout(client, &milliseconds));
    CHECK(milliseconds > 0 && milliseconds <= 60000);
    CHECK_OK(odtls_connection_handle_timeout(client));
    CHECK(odtls_connection_send(client, KEY, 1) == ODTLS_NOT_ESTABLISHED);
    CHECK(odtls_connection_info(client, ODTLS_INFO_VERSION, value, sizeof value, &length) == ODTLS_NOT_ESTABLISHED);
    CHECK(odtls_connection_take_datagram(client, value, 10, &length) == ODTLS_BUFFER_TOO_SMALL && length > 10);
    server = accept_from(client, listener);
    /* Everything is kept by whoever needs it. */
    odtls_listener_free(listener);
    odtls_context_free(client_context);
    odtls_context_free(server_context);

    CHECK_OK(odtls_connection_poll_event(client, &event));
    CHECK(event.kind == ODTLS_EVENT_CONNECTED);
    CHECK(odtls_connection_poll_event(client, &event) == ODTLS_NOTHING);
    CHECK(odtls_connection_timeout(client, &milliseconds) == ODTLS_NOTHING);
    say(client, server, "ping");
    say(server, client, "pong");
    CHECK_OK(odtls_connection_release_buffers(server));
    say(server, client, "again");
    CHECK(odtls_connection_send(client, NULL, 0) == ODTLS_EMPTY);
    CHECK(odtls_connection_data_mtu(client) < odtls_connection_mtu(client));
    CHECK(odtls_connection_send(client, value, odtls_connection_data_mtu(client) + 1) == ODTLS_TOO_LARGE);
    CHECK(odtls_connection_last_error(client, NULL, 0) > 0);
    CHECK_OK(odtls_connection_info(server, ODTLS_INFO_PSK_IDENTITY, value, sizeof value, &length));
    CHECK(length == sizeof IDENTITY && memcmp(value, IDENTITY, length) == 0);
    CHECK_OK(odtls_connection_info(server, ODTLS_INFO_VERSION, value, sizeof value, &length));
    CHECK(length == 8 && memcmp(value, "DTLSv1.2", 8) == 0);
    CHECK_OK(odtls_connection_info(server, ODTLS_INFO_CIPHER_SUITE, value, sizeof value, &length));
    CHECK(odtls_connection_info(server, ODTLS_INFO_PEER_CERTIFICATE, value, sizeof value, &length) == ODTLS_NOTHING);
    CHECK(odtls_connection_info(server, 99, value, sizeof value, &length) == ODTLS_INVALID_ARGUMENT);

    memset(&stats, 0xff, sizeof stats);
    stats.size = offsetof(odtls_stats, bytes_sent);
    CHECK_OK(odtls_connection_stats(client, &stats));
    CHECK(stats.datagrams_sent > 3 && stats.bytes_sent == UINT64_MAX);
    stats.size = sizeof stats;
    CHECK_OK(odtls_connection_stats(client, &stats));
    CHECK(stats.messages_sent == 1 && stats.message_bytes_received == 9 && stats.drops == 0);

    CHECK_OK(odtls_connection_close(client));
    CHECK(odtls_connection_is_closed(client) == 1);
    carry(client, server);
    CHECK(odtls_connection_is_closed_by_peer(server) == 1);
    CHECK(odtls_connection_send(client, KEY, 1) == ODTLS_CLOSED);
    do {
        CHECK_OK(odtls_connection_poll_event(server, &event));
    } while (event.kind != ODTLS_EVENT_CLOSED);
    CHECK(event.value == ODTLS_CLOSED_BY_PEER);
    odtls_connection_free(client);
    odtls_connection_free(server);
}

/* A look-up in C. */
struct keys {
    int asked;
    int freed;
    int answer; /* 0: the key */
    odtls_connection *inside;
};

static int look_up(void *data, const uint8_t *identity, size_t identity_len, uint8_t *key, size_t room) {
    struct keys *keys = data;
    keys->asked++;
    CHECK(identity_len == sizeof IDENTITY && memcmp(identity, IDENTITY, identity_len) == 0);
    CHECK(room >= sizeof KEY);
    if (keys->inside != NULL) {
        CHECK(odtls_connection_send(keys->inside, KEY, 1) == ODTLS_BUSY);
    }
    if (keys->answer != 0) {
        return keys->answer;
    }
    memcpy(key, KEY, sizeof KEY);
    return sizeof KEY;
}

static void free_keys(void *data) {
    struct keys *keys = data;
    keys->freed++;
}

static odtls_result handshake_with(struct keys *keys) {
    struct sockaddr_in peer = address(40000);
    odtls_context_options options;
    odtls_context *client_context = psk_context(ODTLS_CLIENT);
    odtls_context *server_context = NULL;
    odtls_connection *client = client_on(client_context);
    odtls_connection *server = NULL;
    odtls_result result = ODTLS_OK;
    uint8_t datagram[65535];
    size_t length;
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.psk_lookup = look_up;
    options.psk_lookup_data = keys;
    options.psk_lookup_free = free_keys;
    CHECK_OK(odtls_context_new(ODTLS_SERVER, &options, &server_context));
    CHECK(odtls_connection_server_new(server_context, (const struct sockaddr *)&peer, sizeof peer, 9, &server) ==
          ODTLS_INVALID_ARGUMENT);
    CHECK_OK(odtls_connection_server_new(server_context, (const struct sockaddr *)&peer, sizeof peer,
                                         ODTLS_PROVED_ELSEWHERE, &server));
    keys->inside = server;
    while (result == ODTLS_OK && !odtls_connection_is_established(client)) {
        while (result == ODTLS_OK &&
               odtls_connection_take_datagram(client, datagram, sizeof datagram, &length) == ODTLS_OK) {
            result = odtls_connection_handle_datagram(server, datagram, length);
        }
        carry(server, client);
    }
    if (result != ODTLS_OK) {
        CHECK(odtls_connection_last_error(server, NULL, 0) > 0);
        CHECK(odtls_connection_is_closed(server) == 1);
    }
    odtls_connection_free(client);
    odtls_context_free(client_context);
    odtls_context_free(server_context);
    CHECK(keys->freed == 0);
    odtls_connection_free(server);
    CHECK(keys->freed == 1 && keys->asked == 1);
    return result;
}

static void look_ups(void) {
    struct keys keys = {0, 0, 0, NULL};
    struct keys unknown = {0, 0, 0, NULL};
    struct keys failing = {0, 0, -5, NULL};
    struct keys absurd = {0, 0, 100000, NULL};
    odtls_context_options options;
    odtls_context *context = NULL;
    CHECK_OK(handshake_with(&keys));
    CHECK(handshake_with(&failing) == ODTLS_PSK_LOOKUP);
    CHECK(handshake_with(&absurd) == ODTLS_PSK_LOOKUP);

    /* The data is freed also when no context comes of it. */
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.psk_lookup = look_up;
    options.psk_lookup_data = &unknown;
    options.psk_lookup_free = free_keys;
    CHECK(odtls_context_new(ODTLS_CLIENT, &options, &context) == ODTLS_INVALID_ARGUMENT);
    CHECK(unknown.freed == 1);
    options.psk_lookup = NULL;
    CHECK(odtls_context_new(ODTLS_SERVER, &options, &context) == ODTLS_CONFIG);
    CHECK(unknown.freed == 2);
}

static void shared_secrets(void) {
    uint8_t secret[ODTLS_COOKIE_SECRET_LEN];
    odtls_cookie_ring *ring = NULL;
    memset(secret, 7, sizeof secret);
    CHECK(odtls_cookie_ring_new_shared(secret, sizeof secret - 1, &ring) == ODTLS_CONFIG && ring == NULL);
    CHECK_OK(odtls_cookie_ring_new_shared(secret, sizeof secret, &ring));
    CHECK(odtls_cookie_ring_rotate_shared(ring, secret, 5) == ODTLS_CONFIG);
    CHECK_OK(odtls_cookie_ring_rotate_shared(ring, secret, sizeof secret));
    odtls_cookie_ring_free(ring);
}

int main(void) {
    CHECK(strlen(odtls_version()) > 0);
    CHECK(strcmp(odtls_result_text(ODTLS_OK), "ok") == 0);
    null_pointers();
    texts();
    endpoints();
    refused_options();
    a_connection();
    look_ups();
    shared_secrets();
    printf("objects: ok\n");
    return 0;
}
