//! Hints, names, application protocols, fragment lengths, staples, pins and key types against `openssl`, in both roles.

use openssl_dtls::openssl::pkey::PKey;
use openssl_dtls::{
    Alert, AlpnPolicy, Context, Error, Fingerprint, MaxFragmentLength, OcspStaple, OcspStapling,
    Psk, PskLookup, StapleProblem, UnknownName,
};

use super::super::{
    Files, assert_alert, assert_conversation, assert_rejected, assert_served, connect, files,
    localhost, missing, quick, refusal, requiring_certificate, serving_certificate, trusting,
};
use super::client::{s_client, trusting_s_client};
use super::hex;
use super::server::{s_server, s_server_with};
use crate::loopback::Server;
use crate::support::certs::{self, Leaf, NOT_AFTER};
use crate::support::status::{Status, ocsp_response, revocation_list};
use crate::support::{IDENTITY, KEY, psk};

/// `openssl` takes suites with short tags at this level only, if it is new.
const CCM_8: &str = "PSK-AES128-CCM8:@SECLEVEL=0";
const CCM_8_NAME: &str = "TLS_PSK_WITH_AES_128_CCM_8";

#[test]
fn s_server_gives_a_hint() {
    if missing("openssl") {
        return;
    }
    let key = hex(KEY);
    let identity = std::str::from_utf8(IDENTITY).unwrap();
    let arguments = [
        "-dtls1_2",
        "-nocert",
        "-psk",
        &key,
        "-psk_identity",
        identity,
        "-psk_hint",
        "plant-2",
        "-cipher",
        CCM_8,
    ];
    let (mut peer, address) = s_server(&arguments);
    let context = Context::client()
        .transport(quick())
        .cipher_list("PSK-AES128-CCM8")
        .security_level(0)
        .psk_by_hint(|hint| match hint {
            Some(b"plant-2") => Psk::new(IDENTITY, KEY).map(Some),
            _ => Ok(None),
        })
        .build()
        .unwrap();
    let client = connect(&context, address, None).unwrap();
    assert_conversation(&client, &mut peer);
    let info = client.handshake_info().unwrap();
    assert_eq!(info.cipher_suite(), CCM_8_NAME);
    assert_eq!(info.psk_identity(), Some(IDENTITY));
}

#[test]
fn s_client_is_given_a_hint_and_has_one_of_many_identities() {
    if missing("openssl") {
        return;
    }
    let keys = PskLookup::table([psk(), Psk::new(b"sensor-8", b"another key").unwrap()]);
    let context = Context::server(keys.with_hint(b"plant-2").unwrap())
        .transport(quick())
        .cipher_list("PSK-AES128-CCM8")
        .security_level(0)
        .build()
        .unwrap();
    let server = Server::new(&context);
    for (identity, key) in [("sensor-7", KEY), ("sensor-8", b"another key")] {
        let key = hex(key);
        let arguments = [
            "-dtls1_2",
            "-psk",
            &key,
            "-psk_identity",
            identity,
            "-cipher",
            CCM_8,
        ];
        let mut peer = s_client(&server, &arguments);
        let info = server.connected();
        assert_eq!(info.cipher_suite(), CCM_8_NAME);
        assert_eq!(info.psk_identity(), Some(identity.as_bytes()));
        peer.expect("PSK identity hint: plant-2");
        assert_served(&server, &mut peer);
        peer.say("Q\n");
        server.closed();
    }
}

#[test]
fn s_client_asks_for_names() {
    if missing("openssl") {
        return;
    }
    let identity = |name| certs::authority().issue(&Leaf::named(name));
    let context = serving_certificate()
        .identity_for("gateway.example", identity("gateway.example"))
        .identity_for("*.plant.example", identity("*.plant.example"))
        .unknown_name(UnknownName::Refuse)
        .build()
        .unwrap();
    let server = Server::new(&context);
    for (asked, shown) in [
        (
            &["-servername", "gateway.example"][..],
            "CN = gateway.example",
        ),
        (
            &["-servername", "two.plant.example"],
            "CN = *.plant.example",
        ),
        (&["-noservername"], "CN = localhost"),
    ] {
        let mut arguments = vec!["-dtls1_2"];
        arguments.extend(asked);
        let mut peer = s_client(&server, &arguments);
        server.connected();
        peer.expect(shown);
        assert_served(&server, &mut peer);
        peer.say("Q\n");
        server.closed();
    }
    let peer = s_client(&server, &["-dtls1_2", "-servername", "elsewhere.example"]);
    let error = server.failed();
    assert!(
        matches!(&error, Error::UnknownServerName { name } if name == "elsewhere.example"),
        "{error:?}"
    );
    peer.expect("unrecognized name");
}

#[test]
fn s_server_agrees_on_an_application_protocol() {
    if missing("openssl") {
        return;
    }
    let context = |protocol: &str| {
        trusting(certs::authority())
            .application_protocols([protocol])
            .alpn_policy(AlpnPolicy::Require)
            .require_extended_master_secret()
            .build()
            .unwrap()
    };
    let arguments = ["-dtls1_2", "-alpn", "h2,coap"];
    let (mut peer, address) = s_server_with(&files::localhost(), &arguments);
    let client = connect(&context("coap"), address, localhost()).unwrap();
    assert_conversation(&client, &mut peer);
    let info = client.handshake_info().unwrap();
    assert_eq!(info.application_protocol(), Some(&b"coap"[..]));
    assert!(info.has_extended_master_secret());

    let (_peer, address) = s_server_with(&files::localhost(), &arguments);
    let error = refusal(&context("webrtc"), address);
    assert_alert(&error, Alert::NO_APPLICATION_PROTOCOL);
}

#[test]
fn s_client_agrees_on_an_application_protocol() {
    if missing("openssl") {
        return;
    }
    let context = serving_certificate()
        .application_protocols(["coap", "h2"])
        .build()
        .unwrap();
    let server = Server::new(&context);
    let mut peer = s_client(&server, &["-dtls1_2", "-alpn", "h2,coap"]);
    let info = server.connected();
    assert_eq!(info.application_protocol(), Some(&b"coap"[..]));
    peer.expect("ALPN protocol: coap");
    assert_served(&server, &mut peer);
    peer.say("Q\n");
    server.closed();

    let peer = s_client(&server, &["-dtls1_2", "-alpn", "webrtc"]);
    let error = server.failed();
    assert!(
        matches!(error, Error::NoSharedApplicationProtocol(_)),
        "{error:?}"
    );
    peer.expect("no application protocol");
}

#[test]
fn fragment_length_is_agreed_on_in_both_roles() {
    if missing("openssl") {
        return;
    }
    let (mut peer, address) = s_server_with(&files::localhost(), &["-dtls1_2"]);
    let context = trusting(certs::authority())
        .max_fragment_length(MaxFragmentLength::Bytes512)
        .build()
        .unwrap();
    let client = connect(&context, address, localhost()).unwrap();
    let info = client.handshake_info().unwrap();
    assert_eq!(
        info.max_fragment_length(),
        Some(MaxFragmentLength::Bytes512)
    );
    assert_eq!(client.data_mtu(), Some(512));
    assert_conversation(&client, &mut peer);

    let server = Server::new(&serving_certificate().build().unwrap());
    let mut peer = s_client(&server, &["-dtls1_2", "-maxfraglen", "1024"]);
    let info = server.connected();
    assert_eq!(
        info.max_fragment_length(),
        Some(MaxFragmentLength::Bytes1024)
    );
    assert_served(&server, &mut peer);
    peer.say("Q\n");
    server.closed();
}

#[test]
fn short_send_fragments_arrive_whole() {
    if missing("openssl") {
        return;
    }
    let (root, credentials) = files::rsa();
    let (mut peer, address) = s_server_with(&files::localhost(), &["-dtls1_2"]);
    let context = trusting(certs::authority()).max_send_fragment(512);
    let client = connect(&context.build().unwrap(), address, localhost()).unwrap();
    assert_eq!(client.data_mtu(), Some(512));
    assert_conversation(&client, &mut peer);

    // Certificates that take many fragments.
    let context = Context::server(credentials.identity())
        .transport(quick())
        .max_send_fragment(512)
        .build()
        .unwrap();
    let server = Server::new(&context);
    let files = Files::new();
    let ca = files.authority(root);
    let arguments = ["-dtls1_2", "-CAfile", &ca, "-verify_return_error"];
    let mut peer = s_client(&server, &arguments);
    server.connected();
    assert_served(&server, &mut peer);
    peer.say("Q\n");
    server.closed();
}

#[test]
fn s_server_staples() {
    if missing("openssl") {
        return;
    }
    let credentials = files::localhost();
    let authority = certs::authority();
    let context = trusting(authority)
        .ocsp_stapling(OcspStapling::Require)
        .build()
        .unwrap();
    let files = Files::new();
    for (status, problem) in [
        (Status::Good, None),
        (Status::Revoked, Some(StapleProblem::Revoked)),
    ] {
        let response = ocsp_response(
            &credentials.chain[0],
            authority,
            authority,
            status,
            NOT_AFTER,
        );
        let file = files.write("response.der", &response);
        let arguments = ["-dtls1_2", "-status_file", &file];
        let (mut peer, address) = s_server_with(&credentials, &arguments);
        match problem {
            None => {
                let client = connect(&context, address, localhost()).unwrap();
                assert_conversation(&client, &mut peer);
                let info = client.handshake_info().unwrap();
                assert_eq!(info.ocsp_staple(), Some(&response[..]));
            }
            Some(problem) => {
                let error = refusal(&context, address);
                assert!(
                    matches!(error, Error::CertificateStatus(told) if told == problem),
                    "{error:?}"
                );
            }
        }
    }
    let (_peer, address) = s_server_with(&credentials, &["-dtls1_2"]);
    let error = refusal(&context, address);
    assert!(
        matches!(error, Error::CertificateStatus(StapleProblem::Missing)),
        "{error:?}"
    );
}

#[test]
fn s_client_is_shown_a_staple() {
    if missing("openssl") {
        return;
    }
    let authority = certs::authority();
    let identity = certs::server_identity();
    let response = ocsp_response(
        identity.certificate(),
        authority,
        authority,
        Status::Good,
        NOT_AFTER,
    );
    let staple = OcspStaple::from_der(&response).unwrap();
    let context = serving_certificate()
        .ocsp_staple(move |_| Some(staple.clone()))
        .build()
        .unwrap();
    let server = Server::new(&context);
    let mut peer = s_client(&server, &["-dtls1_2", "-status"]);
    server.connected();
    peer.expect("OCSP Response Status: successful");
    peer.expect("Cert Status: good");
    assert_served(&server, &mut peer);
    peer.say("Q\n");
    server.closed();
}

#[test]
fn s_client_chooses_the_key_by_its_signature_algorithms() {
    if missing("openssl") {
        return;
    }
    let rsa = certs::authority().issue(&Leaf {
        key: certs::rsa_key(2048),
        ..Leaf::named("localhost")
    });
    let identities = vec![certs::server_identity(), rsa];
    let context = Context::server(identities).transport(quick()).build();
    let server = Server::new(&context.unwrap());
    let files = Files::new();
    for (algorithm, kind) in [("ECDSA+SHA256", "ECDSA"), ("RSA-PSS+SHA256", "RSA-PSS")] {
        let arguments = ["-dtls1_2", "-sigalgs", algorithm];
        let mut peer = trusting_s_client(&server, &files, &arguments);
        server.connected();
        peer.expect(&format!("Peer signature type: {kind}"));
        assert_served(&server, &mut peer);
        peer.say("Q\n");
        server.closed();
    }
}

#[test]
fn s_server_takes_clients_with_keys_of_every_type() {
    if missing("openssl") {
        return;
    }
    let files = Files::new();
    let ca = files.authority(certs::authority());
    for key in [
        certs::rsa_pss_key(),
        PKey::generate_ed25519().unwrap(),
        PKey::generate_ed448().unwrap(),
    ] {
        let identity = certs::authority().issue(&Leaf {
            key,
            ..Leaf::named("a client")
        });
        let arguments = [
            "-dtls1_2",
            "-CAfile",
            &ca,
            "-Verify",
            "1",
            "-verify_return_error",
        ];
        let (mut peer, address) = s_server_with(&files::localhost(), &arguments);
        let context = trusting(certs::authority()).identity(identity);
        let client = connect(&context.build().unwrap(), address, localhost()).unwrap();
        assert_conversation(&client, &mut peer);
    }
}

#[test]
fn pins_know_peers_that_signed_themselves() {
    if missing("openssl") {
        return;
    }
    let files = Files::new();
    let own = certs::Authority::self_signed("nobody", certs::ec_key());
    let credentials = files::Credentials {
        chain: vec![own.certificate.clone()],
        key: own.key.clone(),
    };
    let pin = Fingerprint::of(&own.certificate).unwrap();
    let context = |pin| {
        let client = Context::client().transport(quick()).pin([pin]);
        client.build().unwrap()
    };
    let (mut peer, address) = s_server_with(&credentials, &["-dtls1_2"]);
    let client = connect(&context(pin), address, None).unwrap();
    assert_conversation(&client, &mut peer);
    let (_peer, address) = s_server_with(&credentials, &["-dtls1_2"]);
    let error = refusal(&context(Fingerprint::from([7; 32])), address);
    assert!(
        matches!(error, Error::UnpinnedCertificate { fingerprint } if fingerprint == pin),
        "{error:?}"
    );

    let context = serving_certificate()
        .client_certificates(openssl_dtls::ClientCertificates::Required)
        .pin([pin])
        .build()
        .unwrap();
    let server = Server::new(&context);
    let [cert, key] = files.identity("own", &credentials);
    let mut peer = s_client(&server, &["-dtls1_2", "-cert", &cert, "-key", &key]);
    assert_eq!(server.connected().peer_fingerprint(), Some(pin));
    assert_served(&server, &mut peer);
    peer.say("Q\n");
    server.closed();
    let [cert, key] = files.identity("other", &files::named("another"));
    let peer = s_client(&server, &["-dtls1_2", "-cert", &cert, "-key", &key]);
    let error = server.failed();
    assert!(
        matches!(error, Error::UnpinnedCertificate { .. }),
        "{error:?}"
    );
    peer.expect("alert bad certificate");
}

#[test]
fn revoked_peers_are_refused_in_both_roles() {
    const REVOKED: i32 = 23;
    if missing("openssl") {
        return;
    }
    let (good, revoked) = (files::localhost(), files::localhost());
    let list = revocation_list(certs::authority(), &[&revoked.chain[0]], NOT_AFTER);
    let list = list.to_der().unwrap();
    let context = trusting(certs::authority()).crl_der(&list).build().unwrap();
    let (mut peer, address) = s_server_with(&good, &["-dtls1_2"]);
    let client = connect(&context, address, localhost()).unwrap();
    assert_conversation(&client, &mut peer);
    let (_peer, address) = s_server_with(&revoked, &["-dtls1_2"]);
    assert_rejected(&refusal(&context, address), REVOKED);

    let server = Server::new(&requiring_certificate().crl_der(&list).build().unwrap());
    let files = Files::new();
    let [cert, key] = files.identity("revoked", &revoked);
    let peer = s_client(&server, &["-dtls1_2", "-cert", &cert, "-key", &key]);
    assert_rejected(&server.failed(), REVOKED);
    peer.expect("alert certificate revoked");
}
