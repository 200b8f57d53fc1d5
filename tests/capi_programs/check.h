/* What the test programs share. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "openssl_dtls.h"

#ifndef _WIN32
#include <arpa/inet.h>
#include <netinet/in.h>
#endif

/* Ends the program with the place and the last failure unless `condition` holds. */
#define CHECK(condition)                                                                     \
    do {                                                                                     \
        if (!(condition)) {                                                                  \
            char check_text[512];                                                            \
            odtls_last_error(check_text, sizeof check_text);                                 \
            fprintf(stderr, "%s:%d: %s (last failure: %s)\n", __FILE__, __LINE__, #condition, check_text); \
            exit(1);                                                                         \
        }                                                                                    \
    } while (0)

#define CHECK_OK(call) CHECK((call) == ODTLS_OK)

static const uint8_t IDENTITY[] = {'s', 'e', 'n', 's', 'o', 'r'};
static const uint8_t KEY[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

static struct sockaddr_in address(uint16_t port) {
    struct sockaddr_in made;
    memset(&made, 0, sizeof made);
    made.sin_family = AF_INET;
    made.sin_port = htons(port);
    made.sin_addr.s_addr = htonl(0xC0000201); /* 192.0.2.1 */
    return made;
}

/* Gives `to` every datagram of `from`. */
static void carry(odtls_connection *from, odtls_connection *to) {
    uint8_t datagram[65535];
    size_t length;
    while (odtls_connection_take_datagram(from, datagram, sizeof datagram, &length) == ODTLS_OK) {
        CHECK_OK(odtls_connection_handle_datagram(to, datagram, length));
    }
}

/* A handshake of `client` with a new connection of `listener`. */
static odtls_connection *accept_from(odtls_connection *client, odtls_listener *listener) {
    struct sockaddr_in peer = address(40000);
    uint8_t datagram[65535];
    size_t length;
    int incoming;
    odtls_connection *server = NULL;
    while (odtls_connection_take_datagram(client, datagram, sizeof datagram, &length) == ODTLS_OK) {
        CHECK_OK(odtls_listener_handle_datagram(listener, (const struct sockaddr *)&peer, sizeof peer, datagram, length,
                                                &incoming, &server));
        if (incoming == ODTLS_INCOMING_REPLY) {
            CHECK(server == NULL);
            CHECK(odtls_listener_take_reply(listener, datagram, 3, &length) == ODTLS_BUFFER_TOO_SMALL && length > 3);
            CHECK_OK(odtls_listener_take_reply(listener, datagram, sizeof datagram, &length));
            CHECK(odtls_listener_take_reply(listener, datagram, sizeof datagram, &length) == ODTLS_NOTHING);
            CHECK_OK(odtls_connection_handle_datagram(client, datagram, length));
        } else {
            CHECK(incoming == ODTLS_INCOMING_CONNECTION);
            CHECK(server != NULL);
        }
    }
    CHECK(server != NULL);
    while (!odtls_connection_is_established(client) || !odtls_connection_is_established(server)) {
        carry(server, client);
        carry(client, server);
    }
    return server;
}

/* Sends a message and sees it arrive. */
static void say(odtls_connection *from, odtls_connection *to, const char *text) {
    uint8_t message[16384];
    size_t length;
    CHECK_OK(odtls_connection_send(from, (const uint8_t *)text, strlen(text)));
    carry(from, to);
    CHECK(odtls_connection_recv(to, message, 0, &length) == ODTLS_BUFFER_TOO_SMALL && length == strlen(text));
    CHECK_OK(odtls_connection_recv(to, message, sizeof message, &length));
    CHECK(length == strlen(text) && memcmp(message, text, length) == 0);
    CHECK(odtls_connection_recv(to, message, sizeof message, &length) == ODTLS_NOTHING);
}

#endif
