/* An application that has its own SSL_CTX and its own libssl, which must be the only one in the process. */

#include "check.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

static int alpn_calls = 0;

static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in,
                           unsigned int in_len, void *data) {
    (void)ssl;
    (void)in_len;
    CHECK(data == &alpn_calls);
    alpn_calls++;
    *out = in + 1;
    *out_len = in[0];
    return SSL_TLSEXT_ERR_OK;
}

static SSL_CTX *server_ctx(void) {
    SSL_CTX *ctx = SSL_CTX_new(DTLS_server_method());
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    CHECK(ctx != NULL && key != NULL && certificate != NULL);
    CHECK(X509_set_version(certificate, X509_VERSION_3));
    CHECK(X509_gmtime_adj(X509_getm_notBefore(certificate), -60) != NULL);
    CHECK(X509_gmtime_adj(X509_getm_notAfter(certificate), 3600) != NULL);
    CHECK(X509_set_pubkey(certificate, key));
    CHECK(X509_sign(certificate, key, EVP_sha256()));
    CHECK(SSL_CTX_use_certificate(ctx, certificate) == 1);
    CHECK(SSL_CTX_use_PrivateKey(ctx, key) == 1);
    SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, &alpn_calls);
    X509_free(certificate);
    EVP_PKEY_free(key);
    return ctx;
}

/* How many different libssls are mapped into this process. */
static int libssls(void) {
    char line[4096];
    char seen[4096] = "";
    int count = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    CHECK(maps != NULL);
    while (fgets(line, sizeof line, maps) != NULL) {
        const char *path = strchr(line, '/');
        if (path != NULL && strstr(path, "/libssl") != NULL && strcmp(path, seen) != 0) {
            strcpy(seen, path);
            count++;
        }
    }
    fclose(maps);
    return count;
}

int main(void) {
    SSL_CTX *server_theirs = server_ctx();
    SSL_CTX *client_theirs = SSL_CTX_new(DTLS_client_method());
    SSL_CTX *stream = SSL_CTX_new(TLS_method());
    uint64_t options = SSL_CTX_get_options(server_theirs);
    struct sockaddr_in peer = address(4433);
    odtls_context *server_context = NULL, *client_context = NULL;
    odtls_cookie_ring *ring = NULL;
    odtls_listener *listener = NULL;
    odtls_connection *client = NULL, *server;
    char text[256];

    CHECK(SSL_CTX_set_alpn_protos(client_theirs, (const unsigned char *)"\4coap", 5) == 0);
    CHECK(odtls_context_adopt(stream, ODTLS_SERVER, NULL, &server_context) == ODTLS_CONFIG);
    CHECK(odtls_last_error(text, sizeof text) > 0);
    CHECK(odtls_context_adopt(client_theirs, ODTLS_SERVER, NULL, &server_context) == ODTLS_CONFIG);
    CHECK(server_context == NULL);
    CHECK_OK(odtls_context_adopt(server_theirs, ODTLS_SERVER, NULL, &server_context));
    CHECK_OK(odtls_context_adopt(client_theirs, ODTLS_CLIENT, NULL, &client_context));
    CHECK(odtls_context_ssl_ctx(server_context) == server_theirs);
    CHECK_OK(odtls_cookie_ring_new(&ring));
    CHECK_OK(odtls_listener_new(server_context, ring, &listener));
    CHECK_OK(odtls_connection_client_new(client_context, (const struct sockaddr *)&peer, sizeof peer, NULL, &client));
    server = accept_from(client, listener);
    say(client, server, "through their SSL_CTX");
    say(server, client, "and back");
    CHECK(alpn_calls == 1);
    CHECK(SSL_CTX_get_options(server_theirs) == options);
    CHECK(ERR_peek_error() == 0);

    odtls_connection_free(client);
    odtls_connection_free(server);
    odtls_listener_free(listener);
    odtls_cookie_ring_free(ring);
    odtls_context_free(server_context);
    odtls_context_free(client_context);
    /* The application's references are still its own. */
    SSL_CTX_free(server_theirs);
    SSL_CTX_free(client_theirs);
    SSL_CTX_free(stream);
    printf("adopt: ok, %d libssl mapped\n", libssls());
    return 0;
}
