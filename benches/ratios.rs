//! What this crate costs beside libssl, as ratios to plain calls that do the same work, interleaved in one run.
//!
//! `cargo bench --bench ratios`, or with `-- --quick` for a tenth of the rounds. Prints one line per figure.

#[allow(dead_code, reason = "the other benchmark needs more of it")]
mod raw;

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use openssl_dtls::openssl::ssl::{SslContext, SslContextBuilder, SslMethod, SslVerifyMode};
use openssl_dtls::{
    AddressProof, ClockAnchor, Connection, Context, CookieRing, Incoming, Listener, Role,
    TransportConfig,
};
use raw::RawEnd;

/// What libssl is told in the reference: the crate takes off what OpenSSL 3 writes over it.
const MTU: u32 = 1176;
const RUNS: usize = 15;

fn peer() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 40_000))
}

/// Both ends' contexts, the same ones for the reference and for us.
struct Contexts {
    raw_client: SslContext,
    raw_server: SslContext,
    client: Context,
    server: Context,
}

impl Contexts {
    fn new() -> Contexts {
        let (certificate, key) = identity();
        let builder = || {
            let mut builder = SslContextBuilder::new(SslMethod::dtls()).expect("a context");
            builder
                .set_cipher_list("ECDHE-ECDSA-AES128-GCM-SHA256")
                .expect("a suite");
            builder.set_groups_list("X25519:P-256").expect("a group");
            builder.set_session_cache_mode(openssl_dtls::openssl::ssl::SslSessionCacheMode::OFF);
            builder
        };
        let mut client = builder();
        client.set_verify(SslVerifyMode::NONE);
        let mut server = builder();
        server.set_certificate(&certificate).expect("a certificate");
        server.set_private_key(&key).expect("a key");
        server.set_cookie_generate_cb(|_, out| {
            // As much work as ours: one HMAC.
            let tag = openssl_dtls::openssl::sha::sha256(&[7; 50]);
            out[..32].copy_from_slice(&tag);
            Ok(32)
        });
        server.set_cookie_verify_cb(|_, cookie| cookie.len() == 32 && cookie[0] == 1);
        let (client, server) = (client.build(), server.build());
        let adopt = |context: &SslContext, role| {
            Context::adopt(context.clone(), role, TransportConfig::default()).expect("adoptable")
        };
        Contexts {
            client: adopt(&client, Role::Client),
            server: adopt(&server, Role::Server),
            raw_client: client,
            raw_server: server,
        }
    }

    fn raw_pair(&self) -> (RawEnd, RawEnd) {
        let mut client = RawEnd::new(&self.raw_client, false, MTU);
        let mut server = RawEnd::new(&self.raw_server, true, MTU);
        raw::connect(&mut client, &mut server);
        (client, server)
    }

    fn pair(&self, now: Instant) -> (Connection, Connection) {
        let mut client = Connection::client(&self.client, peer(), None, now).expect("a client");
        let proof = AddressProof::ProvedElsewhere;
        let mut server = Connection::server(&self.server, peer(), now, proof).expect("a server");
        while !(client.is_established() && server.is_established()) {
            while let Some(transmit) = client.poll_transmit() {
                server
                    .handle_datagram(now, transmit.contents)
                    .expect("a handshake");
            }
            while let Some(transmit) = server.poll_transmit() {
                client
                    .handle_datagram(now, transmit.contents)
                    .expect("a handshake");
            }
        }
        while client.poll_event().is_some() || server.poll_event().is_some() {}
        (client, server)
    }
}

fn identity() -> (
    openssl_dtls::openssl::x509::X509,
    openssl_dtls::openssl::pkey::PKey<openssl_dtls::openssl::pkey::Private>,
) {
    use openssl_dtls::openssl::{
        asn1::Asn1Time, ec, hash::MessageDigest, nid::Nid, pkey::PKey, x509::X509,
    };
    let group = ec::EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).expect("a group");
    let key = PKey::from_ec_key(ec::EcKey::generate(&group).expect("a key")).expect("a key");
    let mut builder = X509::builder().expect("a builder");
    builder.set_version(2).expect("a version");
    builder.set_pubkey(&key).expect("a key");
    builder
        .set_not_before(&Asn1Time::days_from_now(0).expect("a time"))
        .expect("a time");
    builder
        .set_not_after(&Asn1Time::days_from_now(1).expect("a time"))
        .expect("a time");
    builder
        .sign(&key, MessageDigest::sha256())
        .expect("a signature");
    (builder.build(), key)
}

/// Runs both in turn and compares the fastest run of each, which is the one least disturbed.
fn ratio(name: &str, rounds: usize, mut reference: impl FnMut(usize), mut ours: impl FnMut(usize)) {
    let (mut best_reference, mut best_ours) = (Duration::MAX, Duration::MAX);
    for _ in 0..RUNS {
        best_reference = best_reference.min(timed(|| reference(rounds)));
        best_ours = best_ours.min(timed(|| ours(rounds)));
    }
    let per_round = |time: Duration| time.as_secs_f64() * 1e6 / rounds as f64;
    println!(
        "{name:<44} {:>9.3} us {:>9.3} us  ratio {:.3}",
        per_round(best_reference),
        per_round(best_ours),
        best_ours.as_secs_f64() / best_reference.as_secs_f64()
    );
}

fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let scale = if quick { 10 } else { 1 };
    let contexts = Contexts::new();
    let now = Instant::now();
    println!("{}", openssl_dtls::openssl::version::version());
    println!("{:<44} {:>12} {:>12}", "", "libssl", "ours");

    ratio(
        "full handshake, both ends",
        200 / scale,
        |rounds| (0..rounds).for_each(|_| drop(black_box(contexts.raw_pair()))),
        |rounds| (0..rounds).for_each(|_| drop(black_box(contexts.pair(now)))),
    );
    for size in [64, 1136] {
        round_trip(&contexts, size, 20_000 / scale, now);
    }
    rejected_hello(&contexts, 100_000 / scale, now);
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    idle_memory(&contexts, now);
}

/// Heap of an idle server connection, as the C library counts it.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn idle_memory(contexts: &Contexts, now: Instant) {
    #[expect(unsafe_code, reason = "asks the C library what is allocated")]
    fn allocated() -> usize {
        // SAFETY: takes no arguments and fills in a struct of numbers.
        unsafe { libc::mallinfo2() }.uordblks
    }
    const COUNT: usize = 200;
    let mut used = 0;
    for _ in 0..COUNT {
        let (client, mut server) = contexts.pair(now);
        server.release_buffers();
        let before = allocated();
        drop(server);
        used += before - allocated();
        drop(client);
    }
    println!(
        "heap of an idle server connection            {:>9.1} KB, of which the struct itself {} bytes",
        used as f64 / COUNT as f64 / 1024.0,
        size_of::<Connection>()
    );
}

/// One message there, the same one back.
fn round_trip(contexts: &Contexts, size: usize, rounds: usize, now: Instant) {
    let message = vec![7; size];
    let (mut raw_client, mut raw_server) = contexts.raw_pair();
    let (mut client, mut server) = contexts.pair(now);
    let mut buffer = vec![0; 16_384];
    ratio(
        &format!("round trip of {size} bytes"),
        rounds,
        |rounds| {
            for _ in 0..rounds {
                raw_client.send(&message);
                raw_client.drain(|datagram| raw_server.receives(datagram));
                assert_eq!(raw_server.read(), size);
                raw_server.send(&message);
                raw_server.drain(|datagram| raw_client.receives(datagram));
                assert_eq!(raw_client.read(), size);
            }
        },
        |rounds| {
            for _ in 0..rounds {
                exchange(&mut client, &mut server, &message, &mut buffer, now);
                exchange(&mut server, &mut client, &message, &mut buffer, now);
            }
        },
    );
}

fn exchange(
    from: &mut Connection,
    to: &mut Connection,
    message: &[u8],
    buffer: &mut [u8],
    now: Instant,
) {
    from.send(message).expect("sent");
    while let Some(transmit) = from.poll_transmit() {
        to.handle_datagram(now, transmit.contents).expect("taken");
    }
    while to.poll_event().is_some() {}
    assert_eq!(to.recv(buffer), Ok(Some(message.len())));
}

/// A ClientHello without a cookie, and one with a wrong one, answered with a HelloVerifyRequest.
fn rejected_hello(contexts: &Contexts, rounds: usize, now: Instant) {
    let ring = CookieRing::random(ClockAnchor::new(now, SystemTime::now())).expect("a ring");
    let mut listener = Listener::new(&contexts.server, ring).expect("a listener");
    let mut client = Connection::client(&contexts.client, peer(), None, now).expect("a client");
    let first = client.poll_transmit().expect("a hello").contents.to_vec();
    match listener
        .handle_datagram(now, peer(), &first)
        .expect("answered")
    {
        Incoming::Reply(reply) => client.handle_datagram(now, reply.contents).expect("taken"),
        other => panic!("{other:?}"),
    }
    let second = client.poll_transmit().expect("a hello").contents.to_vec();
    let elsewhere = SocketAddr::from(([192, 0, 2, 9], 40_000));
    for (name, hello) in [
        ("rejecting a hello without a cookie", &first),
        ("rejecting a hello with a wrong cookie", &second),
    ] {
        let mut raw = RawEnd::new(&contexts.raw_server, true, MTU);
        ratio(
            name,
            rounds,
            |rounds| {
                for _ in 0..rounds {
                    assert!(!raw.listen(hello));
                    raw.drain(|datagram| assert!(!datagram.is_empty()));
                }
            },
            |rounds| {
                for _ in 0..rounds {
                    let answer = listener.handle_datagram(now, elsewhere, hello);
                    assert!(matches!(answer, Ok(Incoming::Reply(_))));
                }
            },
        );
    }
}
