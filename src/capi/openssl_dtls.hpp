// openssl_dtls.hpp: openssl_dtls.h for C++11 and later. Objects free themselves and move; failures are thrown as openssl_dtls::error.
#ifndef OPENSSL_DTLS_HPP
#define OPENSSL_DTLS_HPP

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "openssl_dtls.h"

namespace openssl_dtls {

using bytes = std::vector<std::uint8_t>;

// A failed call: its code, and the text of the last failure on this thread.
class error : public std::runtime_error {
public:
    explicit error(odtls_result result) : std::runtime_error(text(result)), code(result) {}
    odtls_result code;

private:
    static std::string text(odtls_result result) {
        std::string text(odtls_last_error(nullptr, 0) + 1, '\0');
        odtls_last_error(&text[0], text.size());
        text.pop_back();
        return std::string(odtls_result_text(result)) + (text.empty() ? "" : ": ") + text;
    }
};

// Throws unless `result` is ODTLS_OK; false says that there is nothing now.
inline bool check(odtls_result result) {
    if (result != ODTLS_OK && result != ODTLS_NOTHING) throw error(result);
    return result == ODTLS_OK;
}

template <typename T, void (*Free)(T *)> struct deleter {
    void operator()(T *object) const { Free(object); }
};
template <typename T, void (*Free)(T *)> using owner = std::unique_ptr<T, deleter<T, Free>>;

using context = owner<odtls_context, odtls_context_free>;
using cookie_ring = owner<odtls_cookie_ring, odtls_cookie_ring_free>;
using listener = owner<odtls_listener, odtls_listener_free>;
using endpoint = owner<odtls_endpoint, odtls_endpoint_free>;

inline context make_context(int role, const odtls_context_options &options) {
    odtls_context *made = nullptr;
    check(odtls_context_new(role, &options, &made));
    return context(made);
}

inline context adopt(SSL_CTX *ssl_ctx, int role, const odtls_transport_options *transport = nullptr) {
    odtls_context *made = nullptr;
    check(odtls_context_adopt(ssl_ctx, role, transport, &made));
    return context(made);
}

inline cookie_ring make_cookie_ring() {
    odtls_cookie_ring *made = nullptr;
    check(odtls_cookie_ring_new(&made));
    return cookie_ring(made);
}

inline endpoint make_endpoint(const odtls_endpoint_options *options = nullptr) {
    odtls_endpoint *made = nullptr;
    check(odtls_endpoint_new(options, &made));
    return endpoint(made);
}

// Calls `call(buffer, size, &length)` until its output fits; false says that there is nothing.
template <typename Call> bool read(bytes &out, Call call) {
    std::size_t length = 0;
    out.resize(2048);
    odtls_result result = call(out.data(), out.size(), &length);
    if (result == ODTLS_BUFFER_TOO_SMALL) {
        out.resize(length);
        result = call(out.data(), out.size(), &length);
    }
    out.resize(result == ODTLS_OK ? length : 0);
    return check(result);
}

class connection {
public:
    explicit connection(odtls_connection *made) : made_(made) {}
    static connection client(const context &on, const sockaddr *peer, socklen_t peer_len, const char *server_name = nullptr) {
        odtls_connection *made = nullptr;
        check(odtls_connection_client_new(on.get(), peer, peer_len, server_name, &made));
        return connection(made);
    }
    static connection server(const context &on, const sockaddr *peer, socklen_t peer_len, int proof) {
        odtls_connection *made = nullptr;
        check(odtls_connection_server_new(on.get(), peer, peer_len, proof, &made));
        return connection(made);
    }
    void handle_datagram(const bytes &datagram) { check(odtls_connection_handle_datagram(get(), datagram.data(), datagram.size())); }
    void handle_timeout() { check(odtls_connection_handle_timeout(get())); }
    bool take_datagram(bytes &out) {
        return read(out, [&](std::uint8_t *to, std::size_t size, std::size_t *length) { return odtls_connection_take_datagram(get(), to, size, length); });
    }
    bool recv(bytes &out) {
        return read(out, [&](std::uint8_t *to, std::size_t size, std::size_t *length) { return odtls_connection_recv(get(), to, size, length); });
    }
    bool info(int what, bytes &out) const {
        return read(out, [&](std::uint8_t *to, std::size_t size, std::size_t *length) { return odtls_connection_info(get(), what, to, size, length); });
    }
    bool poll_event(odtls_event &event) { return check(odtls_connection_poll_event(get(), &event)); }
    bool timeout(std::uint64_t &milliseconds) const { return check(odtls_connection_timeout(get(), &milliseconds)); }
    void send(const bytes &message) { check(odtls_connection_send(get(), message.data(), message.size())); }
    void close() { check(odtls_connection_close(get())); }
    bool is_established() const { return odtls_connection_is_established(get()) != 0; }
    odtls_connection *get() const { return made_.get(); }

private:
    owner<odtls_connection, odtls_connection_free> made_;
};

} // namespace openssl_dtls

#endif
