//! What anybody can send into a handshake.

use std::time::Duration;

use super::{ROLES, certificate, completes, fragmented, psk, spoofed, spring};
use crate::gate::bypass;
use crate::support::forge::{message, renumbered, sequence};
use crate::support::{Pair, certs, fragment, record, records};
use crate::{Alert, Context, DropReason, Error, Role};

#[test]
fn hazard_c23_spoofed_records_in_the_clear_end_a_handshake() {
    let contexts = certificate();
    for receiver in ROLES {
        let alert = |payload: &'static [u8]| move |next| vec![record(21, 0, next + 20, payload)];
        for (what, reason, is_harmful, payload) in [
            (
                "a fatal alert",
                DropReason::AlertOverruled,
                true,
                &[2, 40][..],
            ),
            ("close_notify", DropReason::AlertOverruled, true, &[1, 0]),
            (
                "an alert of one byte",
                DropReason::UnprovenAlert,
                true,
                &[2],
            ),
            (
                "an alert of an unknown level",
                DropReason::UnprovenAlert,
                true,
                &[9, 40],
            ),
        ] {
            spring(
                what,
                &contexts,
                receiver,
                reason,
                is_harmful,
                alert(payload),
            );
        }
        let data = |next| vec![record(23, 0, next + 20, b"spoofed")];
        spring(
            "data",
            &contexts,
            receiver,
            DropReason::BadContentType,
            true,
            data,
        );
        // What libssl reads as the header of a fragment.
        let of_length = |length| {
            move |next| {
                let header = fragment(11, length, 9, 0, &[0; 5]);
                vec![record(22, 0, next + 20, &header)]
            }
        };
        spring(
            "a huge message",
            &contexts,
            receiver,
            DropReason::MessageTooLong,
            true,
            of_length(0xff_ffff),
        );
        let outside = |next| {
            let mut header = fragment(11, 20, 1, 0, &[0; 5]);
            header[8] = 18;
            vec![record(22, 0, next + 20, &header)]
        };
        spring(
            "a fragment outside of its message",
            &contexts,
            receiver,
            DropReason::BadFragment,
            true,
            outside,
        );
        // A copy of something harmless, numbered from far ahead: the real ones are too old from now on.
        let far = |next| vec![record(20, 0, next + 1_000, &[1])];
        spring(
            "a number from far ahead",
            &contexts,
            receiver,
            DropReason::SequenceTooFar,
            true,
            far,
        );
    }
    let unknown = |next| vec![record(99, 0, next + 20, b"spoofed")];
    for receiver in ROLES {
        spring(
            "an unknown content type",
            &contexts,
            receiver,
            DropReason::BadContentType,
            false,
            unknown,
        );
    }
}

#[test]
fn hazard_c23_peer_that_refuses_is_still_believed() {
    // The same alert, and nothing goes on after it.
    let client = Context::client()
        .trust_pem(&certs::authority().pem())
        .cipher_list("ECDHE-RSA-AES128-GCM-SHA256")
        .build()
        .unwrap();
    let mut pair = Pair::new(&(client, certificate().1));
    pair.travel(Duration::from_secs(10));
    assert!(
        matches!(
            pair.client_error,
            Some(Error::AlertReceived {
                alert: Alert::HANDSHAKE_FAILURE
            })
        ),
        "{pair:?}"
    );
}

#[test]
fn hazard_c26_fragments_of_future_messages_pin_memory_and_shut_out_real_ones() {
    // Each 26 bytes, each claiming a certificate list of the largest size.
    let length = u32::try_from(certificate().0.max_certificate_list()).unwrap();
    let forge = move |next| {
        let part = |seq| {
            record(
                22,
                0,
                next + 10 + u64::from(seq),
                &fragment(11, length, seq, 0, &[0]),
            )
        };
        (1..12).map(part).collect()
    };
    spring(
        "fragments",
        &fragmented(),
        Role::Client,
        DropReason::UnexpectedMessage,
        true,
        forge,
    );
    // What a server without client certificates takes is small.
    assert!(certificate().1.max_certificate_list() <= 8 * 1024);
    let forge = |next| vec![record(22, 0, next + 10, &fragment(11, 100_000, 2, 0, &[0]))];
    spring(
        "a certificate",
        &certificate(),
        Role::Server,
        DropReason::MessageTooLong,
        true,
        forge,
    );
}

#[test]
fn hazard_c26_forged_first_fragment_shuts_out_the_real_message() {
    for (what, length) in [("longer", 900), ("shorter", 60)] {
        let forge = move |next| {
            vec![record(
                22,
                0,
                next + 10,
                &fragment(11, length, 2, 0, &[0; 20]),
            )]
        };
        spring(
            what,
            &fragmented(),
            Role::Client,
            DropReason::Contradiction,
            true,
            forge,
        );
    }
}

#[test]
fn hazard_c27_records_of_the_next_epoch_are_kept_within_bounds() {
    let contexts = psk();
    for receiver in ROLES {
        let forge = |_| (0..150).map(|n| record(22, 1, n, &[0xa5; 40])).collect();
        // libssl bounds them as well: 3.0.22 and 4.0 at a few, 3.6 at a hundred of 17 KB each.
        spring(
            "150 records",
            &contexts,
            receiver,
            DropReason::TooManyEarlyRecords,
            false,
            forge,
        );
    }
}

#[test]
fn hazard_c44_empty_and_impossible_fragments_break_a_handshake() {
    let contexts = certificate();
    for (receiver, message_type, seq) in [(Role::Client, 2, 1), (Role::Server, 16, 2)] {
        let empty = move |next| {
            vec![record(
                22,
                0,
                next + 10,
                &fragment(message_type, 70, seq, 0, &[]),
            )]
        };
        spring(
            "an empty fragment",
            &contexts,
            receiver,
            DropReason::BadFragment,
            true,
            empty,
        );
        let impossible = move |next| {
            let mut fragment = fragment(message_type, 70, seq, 0, &[0; 20]);
            fragment[8] = 60;
            vec![record(22, 0, next + 10, &fragment)]
        };
        spring(
            "an impossible fragment",
            &contexts,
            receiver,
            DropReason::BadFragment,
            true,
            impossible,
        );
    }
}

#[test]
fn hazard_c52_libssl_answers_warnings_and_repeated_hellos() {
    let contexts = certificate();
    for receiver in ROLES {
        // Six in a row end a handshake.
        let warnings = |next| {
            (0..8)
                .map(|n| record(21, 0, next + 20 + n, &[1, 90]))
                .collect()
        };
        spring(
            "warnings",
            &contexts,
            receiver,
            DropReason::UnprovenAlert,
            true,
            warnings,
        );
    }
    let requests = |next| vec![message(0, 1, next + 20, &[0; 4])];
    spring(
        "a HelloRequest",
        &contexts,
        Role::Client,
        DropReason::RepeatedHello,
        true,
        requests,
    );
    let hellos = |next| vec![message(1, 2, next + 20, &[0xfe; 60])];
    spring(
        "a ClientHello",
        &contexts,
        Role::Server,
        DropReason::RepeatedHello,
        true,
        hellos,
    );

    // Nor is anything sent to whoever sends them to an established connection.
    let mut pair = Pair::connected(&contexts);
    let (to_client, to_server) = (pair.to_client.log.len(), pair.to_server.log.len());
    for n in 0..20 {
        for forged in [
            record(21, 0, 40 + n, &[1, 90]),
            message(0, 0, 70 + n, &[]),
            message(20, 5, 90 + n, &[0; 12]),
        ] {
            pair.client_receives(&forged);
            pair.server_receives(&forged);
        }
        pair.drain();
    }
    assert_eq!(
        (to_client, to_server),
        (pair.to_client.log.len(), pair.to_server.log.len())
    );
    pair.assert_works();
}

#[test]
fn hazard_c43_cipher_spec_that_comes_too_early_uses_up_its_number() {
    // Numbered as the next real records, before each datagram.
    for receiver in ROLES {
        for contexts in [psk(), certificate()] {
            let forge = |_: usize, real: &[u8]| {
                let next = sequence(real);
                (next..next + 4).map(|n| record(20, 0, n, &[1])).collect()
            };
            let mut pair = spoofed(&contexts, receiver, forge);
            assert!(completes(&mut pair), "{pair:?}");
            assert_eq!(pair.client.stats().retransmissions, 0, "{pair:?}");
            pair.assert_works();
            let mut pair = spoofed(&contexts, receiver, forge);
            let undisturbed = bypass::with(|| completes(&mut pair));
            let repeated = pair.client.stats().retransmissions > 0;
            assert!(
                !undisturbed || repeated || receiver == Role::Server,
                "{pair:?}"
            );
        }
    }
}

#[test]
fn copy_of_a_message_from_far_ahead_makes_the_real_ones_too_old() {
    let contexts = certificate();
    let forge = |number: usize, real: &[u8]| {
        if number == 1 {
            // A copy of the real ServerHello, behind it in everybody's count.
            vec![records(real)[0].to_vec(), renumbered(records(real)[0], 900)]
        } else {
            Vec::new()
        }
    };
    let mut pair = spoofed(&contexts, Role::Client, forge);
    assert!(completes(&mut pair), "{pair:?}");
    let mut pair = spoofed(&contexts, Role::Client, forge);
    assert!(!bypass::with(|| completes(&mut pair)), "{pair:?}");
}
