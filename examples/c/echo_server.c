/* A DTLS echo server for many peers on one socket, with poll(2).
 *
 *   echo_server ADDRESS PORT CERTIFICATE.pem KEY.pem      or      echo_server ADDRESS PORT --psk IDENTITY KEY
 *
 * Prints "listening on PORT" once it does; ends in order on SIGINT or SIGTERM. */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "openssl_dtls.h"

static volatile sig_atomic_t stopping = 0;
static unsigned long lost = 0;

static void stop(int signal_number) {
    (void)signal_number;
    stopping = 1;
}

/* Ends the program with the library's reason if a call failed. */
static void must(odtls_result result, const char *what) {
    char text[512];
    if (result == ODTLS_OK) return;
    odtls_last_error(text, sizeof text);
    fprintf(stderr, "%s: %s: %s\n", what, odtls_result_text(result), text);
    exit(1);
}

static int open_socket(const char *address, const char *port) {
    struct addrinfo hints, *found;
    struct sockaddr_storage bound;
    socklen_t bound_len = sizeof bound;
    int descriptor, failure;
    memset(&hints, 0, sizeof hints);
    hints.ai_socktype = SOCK_DGRAM;
    hints.ai_flags = AI_PASSIVE | AI_NUMERICHOST;
    failure = getaddrinfo(address, port, &hints, &found);
    if (failure != 0) {
        fprintf(stderr, "%s port %s: %s\n", address, port, gai_strerror(failure));
        exit(1);
    }
    descriptor = socket(found->ai_family, found->ai_socktype, found->ai_protocol);
    if (descriptor < 0 || bind(descriptor, found->ai_addr, found->ai_addrlen) != 0 ||
        getsockname(descriptor, (struct sockaddr *)&bound, &bound_len) != 0) {
        perror("cannot listen");
        exit(1);
    }
    freeaddrinfo(found);
    fcntl(descriptor, F_SETFL, O_NONBLOCK);
    printf("listening on %u\n", (unsigned)ntohs(((struct sockaddr_in *)&bound)->sin_port));
    fflush(stdout);
    return descriptor;
}

static odtls_endpoint *make_endpoint(int argc, char **argv) {
    odtls_context_options options;
    odtls_context *context;
    odtls_cookie_ring *ring;
    odtls_endpoint *endpoint;
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    if (argc == 6 && strcmp(argv[3], "--psk") == 0) {
        options.psk_identity = (const uint8_t *)argv[4];
        options.psk_identity_len = strlen(argv[4]);
        options.psk_key = (const uint8_t *)argv[5];
        options.psk_key_len = strlen(argv[5]);
    } else {
        options.certificate_file = argv[3];
        options.private_key_file = argv[4];
    }
    must(odtls_context_new(ODTLS_SERVER, &options, &context), "context");
    must(odtls_cookie_ring_new(&ring), "cookies");
    must(odtls_endpoint_new(NULL, &endpoint), "endpoint");
    must(odtls_endpoint_set_server(endpoint, context, ring), "endpoint");
    /* The endpoint keeps what it needs. */
    odtls_context_free(context);
    odtls_cookie_ring_free(ring);
    return endpoint;
}

/* Gives the endpoint what has arrived: so much at a time that a flood does not keep the rest from its turn. */
static void receive(odtls_endpoint *endpoint, int descriptor) {
    static uint8_t datagram[65535];
    int turn;
    for (turn = 0; turn < 64; turn++) {
        struct sockaddr_storage peer;
        socklen_t peer_len = sizeof peer;
        int foreign;
        ssize_t length =
            recvfrom(descriptor, datagram, sizeof datagram, 0, (struct sockaddr *)&peer, &peer_len);
        if (length < 0) {
            /* A refusal tells of a datagram sent before, and says nothing about this one. */
            if (errno == ECONNREFUSED || errno == EINTR) continue;
            return;
        }
        odtls_result result = odtls_endpoint_handle_datagram(endpoint, (struct sockaddr *)&peer, peer_len, NULL, 0, datagram,
                                                             (size_t)length, &foreign);
        if (result != ODTLS_OK) fprintf(stderr, "a datagram was lost: %s\n", odtls_result_text(result));
    }
}

/* Echoes every message, and tells what happened. */
static void serve(odtls_endpoint *endpoint) {
    static uint8_t message[16384];
    odtls_event event;
    uint64_t handle;
    char text[512];
    size_t length;
    while (odtls_endpoint_poll_event(endpoint, &handle, &event) == ODTLS_OK) {
        switch (event.kind) {
        case ODTLS_EVENT_READABLE:
            while (odtls_endpoint_recv(endpoint, handle, message, sizeof message, &length) == ODTLS_OK) {
                odtls_result sent = odtls_endpoint_send(endpoint, handle, message, length);
                if (sent != ODTLS_OK) fprintf(stderr, "no echo: %s\n", odtls_result_text(sent));
            }
            break;
        case ODTLS_EVENT_FAILED:
            odtls_endpoint_last_error(endpoint, text, sizeof text);
            fprintf(stderr, "%llx failed: %s\n", (unsigned long long)handle, text);
            break;
        case ODTLS_EVENT_CONNECTED:
            if (odtls_endpoint_info(endpoint, handle, ODTLS_INFO_CIPHER_SUITE, message, sizeof message, &length) == ODTLS_OK)
                printf("%llx connected with %.*s\n", (unsigned long long)handle, (int)length, (const char *)message);
            break;
        case ODTLS_EVENT_CLOSED:
            printf("%llx closed\n", (unsigned long long)handle);
            break;
        }
    }
    fflush(stdout);
}

/* Sends what waits. A datagram the socket does not take is lost, as on any network. On a host with several addresses a server bound to all of them would say
 * here which one to answer from: see `local` in the header. */
static void transmit(odtls_endpoint *endpoint, int descriptor) {
    static uint8_t datagram[65535];
    size_t length;
    for (;;) {
        struct sockaddr_storage peer;
        socklen_t peer_len = sizeof peer;
        if (odtls_endpoint_take_datagram(endpoint, datagram, sizeof datagram, &length, (struct sockaddr *)&peer, &peer_len, NULL,
                                         NULL) != ODTLS_OK)
            return;
        if (sendto(descriptor, datagram, length, 0, (struct sockaddr *)&peer, peer_len) < 0) lost++;
    }
}

int main(int argc, char **argv) {
    struct sigaction action;
    odtls_endpoint *endpoint;
    int is_stopping = 0, descriptor;
    if (argc != 5 && argc != 6) {
        fprintf(stderr, "usage: %s ADDRESS PORT (CERTIFICATE.pem KEY.pem | --psk IDENTITY KEY)\n", argv[0]);
        return 2;
    }
    memset(&action, 0, sizeof action);
    action.sa_handler = stop;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    endpoint = make_endpoint(argc, argv);
    descriptor = open_socket(argv[1], argv[2]);
    while (!odtls_endpoint_is_drained(endpoint)) {
        struct pollfd readable = {descriptor, POLLIN, 0};
        uint64_t milliseconds;
        /* Looks at least once a second whether a signal came. */
        int wait = 1000;
        if (odtls_endpoint_timeout(endpoint, &milliseconds) == ODTLS_OK && milliseconds < 1000) wait = (int)milliseconds;
        poll(&readable, 1, wait);
        receive(endpoint, descriptor);
        odtls_endpoint_handle_timeout(endpoint);
        if (stopping && !is_stopping) {
            is_stopping = 1;
            odtls_endpoint_shutdown(endpoint, 1000);
        }
        serve(endpoint);
        transmit(endpoint, descriptor);
    }
    if (lost > 0) fprintf(stderr, "%lu datagrams were not taken by the socket\n", lost);
    odtls_endpoint_free(endpoint);
    close(descriptor);
    return 0;
}
