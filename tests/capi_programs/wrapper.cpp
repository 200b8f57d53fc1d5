// The C++ wrapper: a handshake in memory, failures as exceptions, objects that free themselves.

#include "openssl_dtls.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace dtls = openssl_dtls;

#define CHECK(condition)                                                     \
    do {                                                                     \
        if (!(condition)) {                                                  \
            std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            std::exit(1);                                                    \
        }                                                                    \
    } while (0)

static dtls::context psk_context(int role, const char *key) {
    odtls_context_options options{};
    options.size = sizeof options;
    options.psk_identity = reinterpret_cast<const std::uint8_t *>("sensor");
    options.psk_identity_len = 6;
    options.psk_key = reinterpret_cast<const std::uint8_t *>(key);
    options.psk_key_len = std::strlen(key);
    return dtls::make_context(role, options);
}

static void carry(dtls::connection &from, dtls::connection &to) {
    dtls::bytes datagram;
    while (from.take_datagram(datagram)) to.handle_datagram(datagram);
}

int main() {
    sockaddr_storage storage{};
    storage.ss_family = AF_INET;
    const sockaddr *peer = reinterpret_cast<const sockaddr *>(&storage);
    socklen_t peer_len = 16;

    bool thrown = false;
    try {
        odtls_context_options nothing{};
        nothing.size = sizeof nothing;
        dtls::make_context(ODTLS_CLIENT, nothing);
    } catch (const dtls::error &error) {
        thrown = error.code == ODTLS_CONFIG && std::strlen(error.what()) > 30;
    }
    CHECK(thrown);

    dtls::context client_context = psk_context(ODTLS_CLIENT, "0123456789abcdef");
    dtls::context server_context = psk_context(ODTLS_SERVER, "0123456789abcdef");
    dtls::connection client = dtls::connection::client(client_context, peer, peer_len);
    dtls::connection server = dtls::connection::server(server_context, peer, peer_len, ODTLS_PROVED_ELSEWHERE);
    std::uint64_t milliseconds = 0;
    CHECK(client.timeout(milliseconds) && milliseconds <= 1000);
    while (!client.is_established() || !server.is_established()) {
        carry(client, server);
        carry(server, client);
    }
    dtls::connection moved = std::move(server);
    dtls::bytes message(1000, 7), received;
    client.send(message);
    carry(client, moved);
    CHECK(moved.recv(received) && received == message);
    CHECK(!moved.recv(received) && received.empty());
    CHECK(client.info(ODTLS_INFO_CIPHER_SUITE, received) && !received.empty());
    odtls_event event{};
    CHECK(client.poll_event(event) && event.kind == ODTLS_EVENT_CONNECTED);
    client.close();
    thrown = false;
    try {
        client.send(message);
    } catch (const dtls::error &error) {
        thrown = error.code == ODTLS_CLOSED;
    }
    CHECK(thrown);
    std::printf("wrapper: ok\n");
    return 0;
}
