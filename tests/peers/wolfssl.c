/* A DTLS 1.2 peer over wolfSSL, on 127.0.0.1. Its arguments and its output are those of mbedtls.c, without PEER_MTU.
 */

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

static WOLFSSL_CTX *context;
static WOLFSSL *ssl;
static const char *psk_identity, *psk_key;

static void check(int good, const char *what)
{
    if (!good) {
        char text[WOLFSSL_MAX_ERROR_SZ] = "";
        if (ssl)
            wolfSSL_ERR_error_string((unsigned long)wolfSSL_get_error(ssl, -1), text);
        printf("failed: %s: %s\n", what, text);
        exit(1);
    }
}

static void show_certificate(const char *chain_file, const char *key_file)
{
    check(wolfSSL_CTX_use_certificate_chain_file(context, chain_file) == WOLFSSL_SUCCESS, "chain");
    check(wolfSSL_CTX_use_PrivateKey_file(context, key_file, WOLFSSL_FILETYPE_PEM) ==
              WOLFSSL_SUCCESS,
          "key");
}

static void trust(const char *file)
{
    check(wolfSSL_CTX_load_verify_locations(context, file, NULL) == WOLFSSL_SUCCESS, "authority");
    wolfSSL_CTX_set_verify(context, WOLFSSL_VERIFY_PEER | WOLFSSL_VERIFY_FAIL_IF_NO_PEER_CERT,
                           NULL);
}

static unsigned int client_key(WOLFSSL *of, const char *hint, char *identity, unsigned int most,
                               unsigned char *out, unsigned int room)
{
    (void)of;
    (void)hint;
    if (strlen(psk_identity) >= most || strlen(psk_key) > room)
        return 0;
    strcpy(identity, psk_identity);
    memcpy(out, psk_key, strlen(psk_key));
    return (unsigned int)strlen(psk_key);
}

static unsigned int server_key(WOLFSSL *of, const char *identity, unsigned char *out,
                               unsigned int room)
{
    (void)of;
    if (strcmp(identity, psk_identity) != 0 || strlen(psk_key) > room)
        return 0;
    memcpy(out, psk_key, strlen(psk_key));
    return (unsigned int)strlen(psk_key);
}

static void share_key(const char *identity, const char *secret)
{
    psk_identity = identity;
    psk_key = secret;
    wolfSSL_CTX_set_psk_client_callback(context, client_key);
    wolfSSL_CTX_set_psk_server_callback(context, server_key);
}

static int receive(char *message, int room)
{
    int length = wolfSSL_read(ssl, message, room - 1);
    if (length <= 0 && wolfSSL_get_error(ssl, length) == WOLFSSL_ERROR_ZERO_RETURN)
        return 0;
    check(length > 0, "read");
    message[length] = '\0';
    printf("got %s\n", message);
    return length;
}

static void send_message(const char *message, int length)
{
    check(wolfSSL_write(ssl, message, length) == length, "write");
}

/* A socket on a free port, or with a peer on any. */
static int open_socket(struct sockaddr_in *address)
{
    socklen_t size = sizeof *address;
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    memset(address, 0, sizeof *address);
    address->sin_family = AF_INET;
    address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    check(fd >= 0 && bind(fd, (struct sockaddr *)address, size) == 0, "bind");
    check(getsockname(fd, (struct sockaddr *)address, &size) == 0, "address");
    return fd;
}

static void attach(int fd, struct sockaddr_in *peer)
{
    check(wolfSSL_dtls_set_peer(ssl, peer, sizeof *peer) == WOLFSSL_SUCCESS, "peer");
    check(wolfSSL_set_fd(ssl, fd) == WOLFSSL_SUCCESS, "socket");
}

static void serve(void)
{
    struct sockaddr_in address;
    socklen_t size = sizeof address;
    char message[2000];
    int length;
    int fd = open_socket(&address);
    printf("port %d\n", ntohs(address.sin_port));
    /* Looks who asks. */
    check(recvfrom(fd, message, sizeof message, MSG_PEEK, (struct sockaddr *)&address, &size) > 0,
          "peek");
    attach(fd, &address);
    check(wolfSSL_accept(ssl) == WOLFSSL_SUCCESS, "handshake");
    printf("suite %s\n", wolfSSL_get_cipher(ssl));
    while ((length = receive(message, sizeof message)) > 0)
        send_message(message, length);
}

static void connect_and_ask(const char *port)
{
    static const char question[] = "there and back again";
    struct sockaddr_in address;
    char answer[2000];
    int fd = open_socket(&address);
    address.sin_port = htons((unsigned short)atoi(port));
    attach(fd, &address);
    check(wolfSSL_connect(ssl) == WOLFSSL_SUCCESS, "handshake");
    printf("suite %s\n", wolfSSL_get_cipher(ssl));
    send_message(question, (int)strlen(question));
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
    wolfSSL_Init();
    context = wolfSSL_CTX_new(is_server ? wolfDTLSv1_2_server_method()
                                        : wolfDTLSv1_2_client_method());
    check(context != NULL, "context");
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
    ssl = wolfSSL_new(context);
    check(ssl != NULL, "connection");
    if (!is_server && strcmp(arguments[0], "ca") == 0) {
        const char *name = arguments[2];
        check(wolfSSL_check_domain_name(ssl, name) == WOLFSSL_SUCCESS, "name");
        check(wolfSSL_UseSNI(ssl, WOLFSSL_SNI_HOST_NAME, name, (unsigned short)strlen(name)) ==
                  WOLFSSL_SUCCESS,
              "server name");
    }
    if (is_server)
        serve();
    else
        connect_and_ask(argv[2]);
    wolfSSL_shutdown(ssl);
    printf("closed\n");
    return 0;
}
