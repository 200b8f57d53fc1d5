/* A DTLS 1.2 peer over Mbed TLS 2.28, on 127.0.0.1.
 *
 *   server cert CHAIN KEY [CA]          with CA: requires a client certificate of it
 *   server psk IDENTITY KEY
 *   client PORT ca CA NAME [CHAIN KEY]
 *   client PORT psk IDENTITY KEY
 *
 * A server serves one peer: prints "port N", "suite NAME", "got TEXT" for each message, which it sends back, and "closed". A
 * client sends one message, prints "suite NAME", "got TEXT" for the answer, and closes. PEER_MTU is the largest datagram to send,
 * in bytes. It exits with 0 only if all went well.
 */

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/error.h>
#include <mbedtls/net_sockets.h>
#include <mbedtls/ssl.h>
#include <mbedtls/ssl_cookie.h>
#include <mbedtls/timing.h>

static mbedtls_entropy_context entropy;
static mbedtls_ctr_drbg_context random_source;
static mbedtls_ssl_config config;
static mbedtls_ssl_context ssl;
static mbedtls_ssl_cookie_ctx cookies;
static mbedtls_timing_delay_context timer;
static mbedtls_x509_crt chain, authority;
static mbedtls_pk_context key;
static mbedtls_net_context listener, peer;

static void check(int code, const char *what)
{
    if (code < 0) {
        char text[200];
        mbedtls_strerror(code, text, sizeof text);
        printf("failed: %s: -0x%04x %s\n", what, (unsigned)-code, text);
        exit(1);
    }
}

static void show_certificate(const char *chain_file, const char *key_file)
{
    check(mbedtls_x509_crt_parse_file(&chain, chain_file), "chain");
    check(mbedtls_pk_parse_keyfile(&key, key_file, NULL), "key");
    check(mbedtls_ssl_conf_own_cert(&config, &chain, &key), "certificate");
}

static void trust(const char *file)
{
    check(mbedtls_x509_crt_parse_file(&authority, file), "authority");
    mbedtls_ssl_conf_ca_chain(&config, &authority, NULL);
    mbedtls_ssl_conf_authmode(&config, MBEDTLS_SSL_VERIFY_REQUIRED);
}

static void share_key(const char *identity, const char *secret)
{
    check(mbedtls_ssl_conf_psk(&config, (const unsigned char *)secret, strlen(secret),
                               (const unsigned char *)identity, strlen(identity)),
          "psk");
}

static void configure(int role)
{
    const char *mtu = getenv("PEER_MTU");
    mbedtls_entropy_init(&entropy);
    mbedtls_ctr_drbg_init(&random_source);
    mbedtls_ssl_config_init(&config);
    mbedtls_ssl_init(&ssl);
    mbedtls_ssl_cookie_init(&cookies);
    mbedtls_x509_crt_init(&chain);
    mbedtls_x509_crt_init(&authority);
    mbedtls_pk_init(&key);
    mbedtls_net_init(&listener);
    mbedtls_net_init(&peer);
    check(mbedtls_ctr_drbg_seed(&random_source, mbedtls_entropy_func, &entropy, NULL, 0), "seed");
    check(mbedtls_ssl_config_defaults(&config, role, MBEDTLS_SSL_TRANSPORT_DATAGRAM,
                                      MBEDTLS_SSL_PRESET_DEFAULT),
          "defaults");
    mbedtls_ssl_conf_rng(&config, mbedtls_ctr_drbg_random, &random_source);
    if (mtu)
        mbedtls_ssl_set_mtu(&ssl, (uint16_t)atoi(mtu));
}

static int handshake(void)
{
    int code;
    do
        code = mbedtls_ssl_handshake(&ssl);
    while (code == MBEDTLS_ERR_SSL_WANT_READ || code == MBEDTLS_ERR_SSL_WANT_WRITE);
    return code;
}

static int receive(char *message, size_t room)
{
    int length;
    do
        length = mbedtls_ssl_read(&ssl, (unsigned char *)message, room - 1);
    while (length == MBEDTLS_ERR_SSL_WANT_READ || length == MBEDTLS_ERR_SSL_WANT_WRITE);
    if (length == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY)
        return 0;
    check(length, "read");
    message[length] = '\0';
    printf("got %s\n", message);
    return length;
}

static void send_message(const char *message, size_t length)
{
    check(mbedtls_ssl_write(&ssl, (const unsigned char *)message, length), "write");
}

static void listen_anywhere(void)
{
    struct sockaddr_in address;
    socklen_t size = sizeof address;
    check(mbedtls_net_bind(&listener, "127.0.0.1", "0", MBEDTLS_NET_PROTO_UDP), "bind");
    getsockname(listener.fd, (struct sockaddr *)&address, &size);
    printf("port %d\n", ntohs(address.sin_port));
}

static void serve(void)
{
    char message[2000];
    int code, length;
    check(mbedtls_ssl_cookie_setup(&cookies, mbedtls_ctr_drbg_random, &random_source), "cookies");
    mbedtls_ssl_conf_dtls_cookies(&config, mbedtls_ssl_cookie_write, mbedtls_ssl_cookie_check,
                                  &cookies);
    listen_anywhere();
    do {
        unsigned char address[16];
        size_t address_length;
        mbedtls_net_free(&peer);
        mbedtls_ssl_session_reset(&ssl);
        check(mbedtls_net_accept(&listener, &peer, address, sizeof address, &address_length),
              "accept");
        check(mbedtls_ssl_set_client_transport_id(&ssl, address, address_length), "id");
        mbedtls_ssl_set_bio(&ssl, &peer, mbedtls_net_send, NULL, mbedtls_net_recv_timeout);
        code = handshake();
    } while (code == MBEDTLS_ERR_SSL_HELLO_VERIFY_REQUIRED);
    check(code, "handshake");
    printf("suite %s\n", mbedtls_ssl_get_ciphersuite(&ssl));
    while ((length = receive(message, sizeof message)) > 0)
        send_message(message, (size_t)length);
}

static void connect_and_ask(const char *port)
{
    static const char question[] = "there and back again";
    char answer[2000];
    check(mbedtls_net_connect(&peer, "127.0.0.1", port, MBEDTLS_NET_PROTO_UDP), "connect");
    mbedtls_ssl_set_bio(&ssl, &peer, mbedtls_net_send, NULL, mbedtls_net_recv_timeout);
    check(handshake(), "handshake");
    printf("suite %s\n", mbedtls_ssl_get_ciphersuite(&ssl));
    send_message(question, strlen(question));
    if (receive(answer, sizeof answer) == 0 || strcmp(answer, question) != 0) {
        printf("failed: another answer\n");
        exit(1);
    }
}

int main(int argc, char **argv)
{
    int is_server = argc > 1 && strcmp(argv[1], "server") == 0;
    char **arguments = argv + (is_server ? 2 : 3);
    int count = argc - (is_server ? 2 : 3);
    setvbuf(stdout, NULL, _IOLBF, 0);
    configure(is_server ? MBEDTLS_SSL_IS_SERVER : MBEDTLS_SSL_IS_CLIENT);
    if (count == 3 && strcmp(arguments[0], "psk") == 0) {
        share_key(arguments[1], arguments[2]);
    } else if (is_server && count >= 3) {
        show_certificate(arguments[1], arguments[2]);
        if (count > 3)
            trust(arguments[3]);
    } else if (!is_server && count >= 3) {
        trust(arguments[1]);
        if (count > 4)
            show_certificate(arguments[3], arguments[4]);
    } else {
        printf("failed: usage\n");
        return 2;
    }
    check(mbedtls_ssl_setup(&ssl, &config), "setup");
    if (!is_server && strcmp(arguments[0], "ca") == 0)
        check(mbedtls_ssl_set_hostname(&ssl, arguments[2]), "name");
    mbedtls_ssl_set_timer_cb(&ssl, &timer, mbedtls_timing_set_delay, mbedtls_timing_get_delay);
    if (is_server)
        serve();
    else
        connect_and_ask(argv[2]);
    check(mbedtls_ssl_close_notify(&ssl), "close");
    printf("closed\n");
    return 0;
}
