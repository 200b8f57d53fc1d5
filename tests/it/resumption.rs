//! Resumed handshakes: by ticket, by session cache, across restarts and fleets, and when they must not be.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use openssl_dtls::openssl::ssl::{SslContextBuilder, SslMethod, SslSessionCacheMode};
use openssl_dtls::{
    ClientCertificates, ClockAnchor, ConfigError, Connection, Context, ContextBuilder, ForClient,
    ForServer, PskLookup, Role, SavedSession, ServerName, TicketRing, TicketSecret,
    TransportConfig,
};

use crate::support::certs;
use crate::support::pair::server_addr;
use crate::support::{Pair, clock, psk};

const HOUR: Duration = Duration::from_secs(3600);

fn client() -> ContextBuilder<ForClient> {
    Context::client().trust_pem(&certs::authority().pem())
}

fn server() -> ContextBuilder<ForServer> {
    Context::server(certs::server_identity())
}

fn contexts() -> (Context, Context) {
    (client().build().unwrap(), server().build().unwrap())
}

fn name(name: &str) -> Option<ServerName> {
    Some(ServerName::try_from(name).unwrap())
}

fn save(pair: &Pair) -> SavedSession {
    pair.client.saved_session().expect("the server gave one")
}

/// A pair whose client offers `session` for the name it was made with, with its handshake done.
fn resumed(contexts: &(Context, Context), session: &SavedSession) -> Pair {
    let mut pair = Pair::new(contexts);
    let name = session.server_name().cloned();
    pair.client =
        Connection::client_resuming(&contexts.0, server_addr(), name, session, clock::now())
            .unwrap();
    pair.handshake();
    let told = pair.client.handshake_info().unwrap().is_resumed();
    assert_eq!(
        told,
        pair.server()
            .unwrap()
            .handshake_info()
            .unwrap()
            .is_resumed()
    );
    pair
}

fn is_resumed(pair: &Pair) -> bool {
    pair.client.handshake_info().unwrap().is_resumed()
}

fn shared_ring(byte: u8) -> TicketRing {
    // The stopped clock's moment is 2030 for libssl; for the ring any will do that all agree on.
    let anchor = ClockAnchor::new(clock::now(), UNIX_EPOCH + HOUR * 526_000);
    TicketRing::shared(TicketSecret::from_shared(&[byte; 32]).unwrap(), anchor)
}

#[test]
fn ticket_resumes_and_tells_who_the_peer_is() {
    let contexts = contexts();
    let first = Pair::connected(&contexts);
    assert!(!is_resumed(&first));
    let session = save(&first);
    let mut pair = resumed(&contexts, &session);
    assert!(is_resumed(&pair));
    pair.assert_works();
    let info = pair.client.handshake_info().unwrap();
    assert_eq!(info.verified_name(), Some("localhost"));
    assert_eq!(
        info.peer_certificate().unwrap().to_der().unwrap(),
        certs::server_identity().certificate().to_der().unwrap()
    );
    let info = pair.server().unwrap().handshake_info().unwrap();
    assert_eq!(info.server_name(), Some("localhost"));
    // It can be used again, and what it led to as well.
    assert!(is_resumed(&resumed(&contexts, &session)));
    assert!(is_resumed(&resumed(&contexts, &save(&pair))));
    // Fewer bytes are the point of it.
    let bytes = |pair: &Pair| pair.client.stats().bytes_received;
    assert!(bytes(&pair) < bytes(&first) / 2);
}

#[test]
fn session_survives_as_bytes() {
    let contexts = contexts();
    let session = save(&Pair::connected(&contexts));
    let bytes = session.to_bytes();
    let read = SavedSession::from_bytes(&bytes).unwrap();
    assert_eq!(read.server_name(), session.server_name());
    assert_eq!(read.expires_at(), session.expires_at());
    let pair = resumed(&contexts, &read);
    assert!(is_resumed(&pair));
    assert_eq!(
        pair.client.handshake_info().unwrap().verified_name(),
        Some("localhost")
    );

    for length in 0..bytes.len() {
        assert!(matches!(
            SavedSession::from_bytes(&bytes[..length]),
            Err(ConfigError::BadSavedSession)
        ));
    }
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..2000 {
        let mut changed = bytes.to_vec();
        let at = random.usize(..changed.len());
        changed[at] ^= random.u8(1..);
        // Many changes leave a session; none may do harm.
        drop(SavedSession::from_bytes(&changed));
    }
}

#[test]
fn saved_session_hides_its_secrets() {
    let pair = Pair::connected(&contexts());
    let session = save(&pair);
    let printed = format!("{session:?}");
    assert!(printed.contains("localhost"), "{printed}");
    let mut key = [0; 48];
    let master = pair.client.ssl().unwrap().session().unwrap();
    assert_eq!(master.master_key(&mut key), 48);
    assert!(
        session.to_bytes().windows(48).any(|window| window == key),
        "the session holds its master key"
    );
    assert!(!printed.contains(&hex::encode(key)));
    assert!(!printed.contains(&format!("{:?}", &key[..])[1..40]));
}

#[test]
fn psk_connections_resume() {
    let client = Context::client().psk(psk()).build().unwrap();
    let server = Context::server(PskLookup::single(psk())).build().unwrap();
    let contexts = (client, server);
    let session = save(&Pair::connected(&contexts));
    let mut pair = resumed(&contexts, &session);
    assert!(is_resumed(&pair));
    pair.assert_works();
    for end in [&pair.client, pair.server().unwrap()] {
        let info = end.handshake_info().unwrap();
        assert_eq!(info.psk_identity(), Some(crate::support::IDENTITY));
    }
}

#[test]
fn servers_with_one_secret_resume_each_others_sessions_also_after_a_restart() {
    let server = |ring| server().ticket_ring(ring).build().unwrap();
    let client = client().build().unwrap();
    let session = save(&Pair::connected(&(client.clone(), server(shared_ring(1)))));
    // Another context, another ring, the same secret.
    assert!(is_resumed(&resumed(
        &(client.clone(), server(shared_ring(1))),
        &session
    )));
    // Another secret: a full handshake, and a session of its own.
    let other = (client, server(shared_ring(2)));
    let pair = resumed(&other, &session);
    assert!(!is_resumed(&pair));
    assert!(is_resumed(&resumed(&other, &save(&pair))));
}

#[test]
fn server_that_restarts_with_random_keys_makes_a_full_handshake() {
    let client = client().build().unwrap();
    let session = save(&Pair::connected(&(
        client.clone(),
        server().build().unwrap(),
    )));
    let mut pair = resumed(&(client, server().build().unwrap()), &session);
    assert!(!is_resumed(&pair));
    pair.assert_works();
}

#[test]
fn keys_rotate_by_age_and_old_tickets_are_renewed() {
    let ring = TicketRing::random_every(HOUR).unwrap();
    let server = server()
        .ticket_ring(ring)
        .session_lifetime(HOUR * 24)
        .build()
        .unwrap();
    let contexts = (client().build().unwrap(), server);
    let session = save(&Pair::connected(&contexts));
    // The key has changed, but the one before is kept.
    clock::move_to(clock::now() + HOUR);
    let pair = resumed(&contexts, &session);
    assert!(is_resumed(&pair));
    let renewed = save(&pair);
    assert_ne!(session.to_bytes(), renewed.to_bytes());
    // One more, and the first is gone; the ticket that was renewed is good.
    clock::move_to(clock::now() + HOUR);
    assert!(!is_resumed(&resumed(&contexts, &session)));
    assert!(is_resumed(&resumed(&contexts, &renewed)));
}

#[test]
fn keys_rotate_by_hand() {
    let ring = TicketRing::random().unwrap();
    let server = server().ticket_ring(ring.clone()).build().unwrap();
    let contexts = (client().build().unwrap(), server);
    let session = save(&Pair::connected(&contexts));
    ring.rotate(TicketSecret::random().unwrap(), clock::now());
    let pair = resumed(&contexts, &session);
    assert!(is_resumed(&pair));
    for _ in 0..20 {
        ring.rotate(TicketSecret::random().unwrap(), clock::now());
    }
    assert!(!is_resumed(&resumed(&contexts, &session)));
}

#[test]
fn sessions_expire() {
    for cache in [false, true] {
        let mut builder = server().session_lifetime(Duration::from_secs(100));
        if cache {
            builder = builder.no_tickets().session_cache(10);
        }
        let contexts = (client().build().unwrap(), builder.build().unwrap());
        let session = save(&Pair::connected(&contexts));
        let begin = SystemTime::UNIX_EPOCH + Duration::from_secs(1_893_456_000);
        assert!(session.expires_at() > begin);
        clock::move_to(clock::now() + Duration::from_secs(90));
        assert!(is_resumed(&resumed(&contexts, &session)), "{cache}");
        clock::move_to(clock::now() + Duration::from_secs(20));
        assert!(!is_resumed(&resumed(&contexts, &session)), "{cache}");
    }
    for lifetime in [Duration::ZERO, HOUR * 24 * 8] {
        let refused = server().session_lifetime(lifetime).build();
        assert!(matches!(refused, Err(ConfigError::OutOfRange { .. })));
    }
}

#[test]
fn session_cache_is_off_by_default_and_has_a_size() {
    // Neither tickets nor a cache: nothing to resume by.
    let contexts = (
        client().build().unwrap(),
        server().no_tickets().build().unwrap(),
    );
    let pair = Pair::connected(&contexts);
    if let Some(session) = pair.client.saved_session() {
        assert!(!is_resumed(&resumed(&contexts, &session)));
    }

    let cached = server().no_tickets().session_cache(2).build().unwrap();
    let contexts = (client().build().unwrap(), cached);
    let sessions: Vec<_> = (0..3).map(|_| save(&Pair::connected(&contexts))).collect();
    // A connection that is just dropped, as one over UDP may be, leaves its session; the oldest had to go. It is asked for last,
    // since the full handshake that follows puts another one in.
    let told: Vec<_> = sessions
        .iter()
        .rev()
        .map(|session| is_resumed(&resumed(&contexts, session)))
        .collect();
    assert_eq!(told, [true, true, false]);
    let refused = server().session_cache(0).build();
    assert!(matches!(refused, Err(ConfigError::OutOfRange { .. })));
}

#[test]
fn session_is_not_offered_under_another_name_identity_or_verification() {
    let contexts = contexts();
    let session = save(&Pair::connected(&contexts));
    let offer = |context: &Context, name| {
        Connection::client_resuming(context, server_addr(), name, &session, clock::now())
    };
    for other in [name("elsewhere.example"), name("127.0.0.1")] {
        assert!(matches!(
            offer(&contexts.0, other),
            Err(ConfigError::SessionMismatch {
                what: "server name"
            })
        ));
    }
    assert!(offer(&contexts.0, name("LOCALHOST")).is_ok());

    let other_root = certs::Authority::root("another authority", certs::ec_key());
    for other in [
        client().identity(certs::client_identity()),
        client().trust_certificate(other_root.certificate),
        client().dangerous().no_verification(),
        client().dangerous().no_name_check(),
    ] {
        assert!(matches!(
            offer(&other.build().unwrap(), name("localhost")),
            Err(ConfigError::SessionMismatch {
                what: "client identity or verification"
            })
        ));
    }
    // The same settings in another context are the same rules.
    assert!(offer(&client().build().unwrap(), name("localhost")).is_ok());
    assert!(matches!(
        offer(&contexts.0, None),
        Err(ConfigError::NoServerName)
    ));
}

#[test]
fn server_does_not_resume_under_another_name() {
    for cache in [false, true] {
        let mut builder = server();
        if cache {
            builder = builder.no_tickets().session_cache(10);
        }
        let server = builder.build().unwrap();
        // A client that has no such scruples: its session says nothing of a name.
        let their_client = || {
            let mut builder = SslContextBuilder::new(SslMethod::dtls()).unwrap();
            builder
                .cert_store_mut()
                .add_cert(certs::authority().certificate.clone())
                .unwrap();
            builder.set_session_cache_mode(SslSessionCacheMode::CLIENT);
            Context::adopt(builder.build(), Role::Client, TransportConfig::default()).unwrap()
        };
        let contexts = (their_client(), server);
        let first = Pair::connected(&contexts);
        let bytes = save(&first).to_bytes();
        // Written for another name: as long as the one it was made for.
        let at = bytes.windows(9).position(|window| window == b"localhost");
        let mut forged = bytes.to_vec();
        forged[at.unwrap()..][..9].copy_from_slice(b"elsewhere");
        let forged = SavedSession::from_bytes(&forged).unwrap();
        assert_eq!(forged.server_name(), name("elsewhere").as_ref());
        let honest = SavedSession::from_bytes(&bytes).unwrap();
        assert!(is_resumed(&resumed(&contexts, &honest)), "{cache}");

        let mut pair = Pair::new(&contexts);
        pair.client = Connection::client_resuming(
            &contexts.0,
            server_addr(),
            name("elsewhere"),
            &forged,
            clock::now(),
        )
        .unwrap();
        pair.handshake();
        // The server went for a full handshake, in which a client that verifies sees the certificate.
        for end in [&pair.client, pair.server().unwrap()] {
            let info = end.handshake_info().unwrap();
            assert!(!info.is_resumed(), "{cache}");
            assert_eq!(info.server_name(), Some("elsewhere"));
        }
    }
}

#[test]
fn client_certificates_come_along_and_other_demands_end_it() {
    let server = |demand| {
        server()
            .trust_pem(&certs::authority().pem())
            .client_certificates(demand)
            .ticket_ring(shared_ring(3))
            .build()
            .unwrap()
    };
    let client = client().identity(certs::client_identity()).build().unwrap();
    let required = (client.clone(), server(ClientCertificates::Required));
    let session = save(&Pair::connected(&required));
    let pair = resumed(&required, &session);
    assert!(is_resumed(&pair));
    let info = pair.server().unwrap().handshake_info().unwrap();
    assert_eq!(
        info.peer_certificate().unwrap().to_der().unwrap(),
        certs::client_identity().certificate().to_der().unwrap()
    );

    // A session of a server that asked for less is not good for one that asks for more.
    for (made, used) in [
        (ClientCertificates::None, ClientCertificates::Required),
        (ClientCertificates::Optional, ClientCertificates::Required),
        (ClientCertificates::None, ClientCertificates::Optional),
    ] {
        let session = save(&Pair::connected(&(client.clone(), server(made))));
        let pair = resumed(&(client.clone(), server(used)), &session);
        assert!(!is_resumed(&pair), "{made:?} {used:?}");
        let info = pair.server().unwrap().handshake_info().unwrap();
        assert!(info.peer_certificate().is_some());
    }
}

#[test]
fn hazard_c31_resumption_works_where_client_certificates_are_asked_for_and_a_cache_is_on() {
    let server = server()
        .trust_pem(&certs::authority().pem())
        .client_certificates(ClientCertificates::Optional)
        .no_tickets()
        .session_cache(4)
        .build()
        .unwrap();
    let contexts = (client().build().unwrap(), server);
    let session = save(&Pair::connected(&contexts));
    assert!(is_resumed(&resumed(&contexts, &session)));
}

#[test]
fn session_is_there_while_the_connection_is() {
    let contexts = contexts();
    let mut pair = Pair::new(&contexts);
    assert!(pair.client.saved_session().is_none());
    pair.handshake();
    assert!(pair.client.saved_session().is_some());
    assert!(pair.server().unwrap().saved_session().is_none());
    pair.client.close();
    assert!(pair.client.saved_session().is_none());
}

#[test]
fn resumption_survives_loss() {
    for seed in 0..20 {
        let lossy = |seed| crate::support::Settings {
            seed,
            loss: 0.2,
            ..Default::default()
        };
        let contexts = contexts();
        let session = save(&Pair::connected(&contexts));
        let mut pair = Pair::over((&contexts.0, &contexts.1), lossy(seed), lossy(seed + 1000));
        pair.client = Connection::client_resuming(
            &contexts.0,
            server_addr(),
            name("localhost"),
            &session,
            clock::now(),
        )
        .unwrap();
        pair.handshake();
        assert!(is_resumed(&pair), "seed {seed}");
    }
}

#[test]
fn tickets_of_one_connection_do_not_name_its_peer() {
    // What an onlooker sees of a ticket is random but for the key's name.
    let ring = TicketRing::random().unwrap();
    let server = server().ticket_ring(ring).build().unwrap();
    let contexts = (client().build().unwrap(), server);
    let sessions: Vec<_> = (0..2)
        .map(|_| save(&Pair::connected(&contexts)).to_bytes())
        .collect();
    assert_ne!(sessions[0], sessions[1]);
}

#[test]
fn new_connections_start_a_random_ring_late_and_keep_it() {
    let ring = TicketRing::random_every(HOUR).unwrap();
    clock::now();
    clock::move_to(clock::now() + HOUR * 10);
    let server = server().ticket_ring(ring.clone()).build().unwrap();
    let contexts = (client().build().unwrap(), server);
    let session = save(&Pair::connected(&contexts));
    clock::move_to(clock::now() + HOUR / 2);
    assert!(is_resumed(&resumed(&contexts, &session)));
    assert!(ring.rotate_if_due(clock::now() + HOUR).unwrap());
}
