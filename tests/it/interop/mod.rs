//! Against software that others wrote: its command line tools, and small programs over its libraries.
//!
//! A peer that is not installed is skipped with a printed line, but under continuous integration (`CI` is set) it is a failure.

mod coap;
mod coturn;
mod files;
mod gnutls;
mod library;
mod mbedtls;
mod openssl;
#[allow(dead_code, reason = "other test binaries use the rest")]
mod peer;
mod qt;
mod wolfssl;

use std::net::SocketAddr;
use std::time::Duration;

use openssl_dtls::udp::blocking::{Client, ClientError};
use openssl_dtls::{
    Alert, ClientCertificates, Context, ContextBuilder, Error, ForClient, ForServer, PskLookup,
    ServerName, TransportConfig,
};

use self::files::Files;
use self::peer::Peer;
use crate::loopback::{DEADLINE, Server};
use crate::support::certs::{self, Authority};
use crate::support::psk;

const GCM_SUITE: &str = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384";

/// Whether `program` is not installed, which is said, or is a failure where it must be.
fn missing(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|directory| directory.join(program).is_file());
    if !found {
        skip(&format!("{program} is not installed"));
    }
    !found
}

/// Says that a test is skipped, which is a failure under continuous integration.
fn skip(reason: &str) {
    assert!(std::env::var_os("CI").is_none(), "{reason}");
    println!("skipped: {reason}");
}

/// Refusals are believed after one interval and never tried twice, so that tests of them are quick.
fn quick() -> TransportConfig {
    TransportConfig::new()
        .retransmission(Duration::from_millis(250), Duration::from_secs(5))
        .handshake_restarts(0)
}

fn trusting(authority: &Authority) -> ContextBuilder<ForClient> {
    Context::client()
        .trust_pem(&authority.pem())
        .transport(quick())
}

fn serving_certificate() -> ContextBuilder<ForServer> {
    Context::server(certs::server_identity()).transport(quick())
}

/// A server that requires certificates of the authority.
fn requiring_certificate() -> ContextBuilder<ForServer> {
    serving_certificate()
        .trust_pem(&certs::authority().pem())
        .client_certificates(ClientCertificates::Required)
}

fn serving_psk() -> ContextBuilder<ForServer> {
    Context::server(PskLookup::single(psk())).transport(quick())
}

fn localhost() -> Option<ServerName> {
    Some(ServerName::try_from("localhost").unwrap())
}

fn connect(
    context: &Context,
    address: SocketAddr,
    name: Option<ServerName>,
) -> Result<Client, ClientError> {
    let client = Client::connect(context, address, name)?;
    client.set_read_timeout(Some(DEADLINE));
    Ok(client)
}

/// The error of the connection that could not be made.
fn refusal(context: &Context, address: SocketAddr) -> Error {
    match connect(context, address, localhost()) {
        Err(ClientError::Connection(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn assert_alert(error: &Error, expected: Alert) {
    assert!(
        matches!(error, Error::AlertReceived { alert } if *alert == expected),
        "{error:?}"
    );
}

#[track_caller]
fn assert_rejected(error: &Error, expected: i32) {
    assert!(
        matches!(error, Error::CertificateRejected { result, .. } if result.as_raw() == expected),
        "{error:?}"
    );
}

/// The peer sends `message` back by itself.
#[track_caller]
fn assert_echo(client: &Client, message: &[u8]) {
    client.send(message).unwrap();
    let mut answer = vec![0; 16_384];
    let length = client.recv(&mut answer).unwrap().expect("an answer");
    assert_eq!(&answer[..length], message);
}

/// The peer shows what it got, and sends what it is told: here the same.
#[track_caller]
fn assert_conversation(client: &Client, peer: &mut Peer) {
    let message = "there and back again\n";
    client.send(message.as_bytes()).unwrap();
    peer.expect(message);
    peer.say(message);
    let mut answer = vec![0; 16_384];
    let length = client.recv(&mut answer).unwrap().expect("an answer");
    assert_eq!(&answer[..length], message.as_bytes());
}

/// The peer sends what it is told, and shows that it came back.
#[track_caller]
fn assert_served(server: &Server, peer: &mut Peer) {
    let message = "there and back again\n";
    peer.say(message);
    server.assert_message(message.as_bytes());
    peer.expect(message);
}
