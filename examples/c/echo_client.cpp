// A DTLS client: sends its arguments, one message each, and prints what comes back.
//
//   echo_client ADDRESS PORT (--ca FILE NAME | --psk IDENTITY KEY) MESSAGE...
//
// Ends with 0 only if every message came back.

#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <string>

#include "openssl_dtls.hpp"

namespace dtls = openssl_dtls;

namespace {

// A UDP socket that is connected to its peer.
class udp_socket {
public:
    udp_socket(const char *address, const char *port) {
        addrinfo hints{}, *found = nullptr;
        hints.ai_socktype = SOCK_DGRAM;
        int failure = getaddrinfo(address, port, &hints, &found);
        if (failure != 0) throw std::runtime_error(gai_strerror(failure));
        peer_len = found->ai_addrlen;
        std::memcpy(&peer, found->ai_addr, peer_len);
        freeaddrinfo(found);
        descriptor_ = ::socket(peer.ss_family, SOCK_DGRAM, 0);
        if (descriptor_ < 0) throw std::runtime_error(std::strerror(errno));
        if (::connect(descriptor_, address_of_peer(), peer_len) != 0 || ::fcntl(descriptor_, F_SETFL, O_NONBLOCK) != 0) {
            std::string reason = std::strerror(errno);
            ::close(descriptor_);
            throw std::runtime_error(reason);
        }
    }
    ~udp_socket() { ::close(descriptor_); }
    udp_socket(const udp_socket &) = delete;
    udp_socket &operator=(const udp_socket &) = delete;

    const sockaddr *address_of_peer() const { return reinterpret_cast<const sockaddr *>(&peer); }
    void send(const dtls::bytes &datagram) { ::send(descriptor_, datagram.data(), datagram.size(), 0); }

    // Waits for one datagram; false if none came in time.
    bool receive(dtls::bytes &datagram, int milliseconds) {
        pollfd readable{descriptor_, POLLIN, 0};
        int ready = ::poll(&readable, 1, milliseconds);
        if (ready < 0 && errno != EINTR) throw std::runtime_error(std::strerror(errno));
        if (ready == 0) return false;
        datagram.resize(65535);
        ssize_t length = ::recv(descriptor_, datagram.data(), datagram.size(), 0);
        // An ICMP error can be forged: to DTLS it is as if nothing had come.
        if (length < 0) length = 0;
        datagram.resize(static_cast<std::size_t>(length));
        return true;
    }

    sockaddr_storage peer{};
    socklen_t peer_len = 0;

private:
    int descriptor_ = -1;
};

void send_all(dtls::connection &connection, udp_socket &socket) {
    dtls::bytes datagram;
    while (connection.take_datagram(datagram)) socket.send(datagram);
}

// One turn: sends what waits, waits for a datagram or the timer, hands it over. False if nothing came for `patience` milliseconds.
bool turn(dtls::connection &connection, udp_socket &socket, int patience) {
    dtls::bytes datagram;
    send_all(connection, socket);
    std::uint64_t timer = 0;
    bool has_timer = connection.timeout(timer) && timer < static_cast<std::uint64_t>(patience);
    try {
        if (socket.receive(datagram, has_timer ? static_cast<int>(timer) : patience)) {
            connection.handle_datagram(datagram);
            return true;
        }
        if (has_timer) connection.handle_timeout();
    } catch (const dtls::error &) {
        // An alert for the peer may wait.
        send_all(connection, socket);
        throw;
    }
    return has_timer;
}

dtls::context make_context(const std::string &kind, const char *first, const char *second) {
    odtls_context_options options{};
    options.size = sizeof options;
    if (kind == "--ca") {
        options.trust_file = first;
    } else {
        options.psk_identity = reinterpret_cast<const std::uint8_t *>(first);
        options.psk_identity_len = std::strlen(first);
        options.psk_key = reinterpret_cast<const std::uint8_t *>(second);
        options.psk_key_len = std::strlen(second);
    }
    return dtls::make_context(ODTLS_CLIENT, options);
}

int run(int argc, char **argv) {
    const std::string kind = argv[3];
    dtls::context context = make_context(kind, argv[4], argv[5]);
    udp_socket socket(argv[1], argv[2]);
    dtls::connection connection =
        dtls::connection::client(context, socket.address_of_peer(), socket.peer_len, kind == "--ca" ? argv[5] : nullptr);
    while (!connection.is_established()) turn(connection, socket, 1000);
    for (int argument = 6; argument < argc; argument++) {
        dtls::bytes sent(argv[argument], argv[argument] + std::strlen(argv[argument])), received;
        connection.send(sent);
        while (!connection.recv(received))
            if (!turn(connection, socket, 10000)) throw std::runtime_error("no echo");
        if (received != sent) throw std::runtime_error("another message came back");
        std::printf("%.*s\n", static_cast<int>(received.size()), reinterpret_cast<const char *>(received.data()));
    }
    connection.close();
    send_all(connection, socket);
    return 0;
}

} // namespace

int main(int argc, char **argv) {
    if (argc < 6 || (std::strcmp(argv[3], "--ca") != 0 && std::strcmp(argv[3], "--psk") != 0)) {
        std::fprintf(stderr, "usage: %s ADDRESS PORT (--ca FILE NAME | --psk IDENTITY KEY) MESSAGE...\n", argv[0]);
        return 2;
    }
    try {
        return run(argc, argv);
    } catch (const std::exception &failure) {
        std::fprintf(stderr, "%s\n", failure.what());
        return 1;
    }
}
