//! Datagrams that anybody can send in a peer's name.

use openssl_dtls::Role;

use super::{fragment, record, records};

const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;

const HELLO_REQUEST: u8 = 0;
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
const HELLO_VERIFY_REQUEST: u8 = 3;
const NEW_SESSION_TICKET: u8 = 4;
const CERTIFICATE: u8 = 11;
const SERVER_KEY_EXCHANGE: u8 = 12;
const CERTIFICATE_REQUEST: u8 = 13;
const CERTIFICATE_VERIFY: u8 = 15;
const CLIENT_KEY_EXCHANGE: u8 = 16;
const FINISHED: u8 = 20;

/// The number of the first record of a datagram.
pub fn sequence(datagram: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    bytes[2..].copy_from_slice(&datagram[5..11]);
    u64::from_be_bytes(bytes)
}

/// `datagram`, its first record numbered `sequence`.
pub fn renumbered(datagram: &[u8], sequence: u64) -> Vec<u8> {
    let mut copy = datagram.to_vec();
    copy[5..11].copy_from_slice(&sequence.to_be_bytes()[2..]);
    copy
}

/// A whole handshake message in a record of its own.
pub fn message(message_type: u8, seq: u16, sequence: u64, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap();
    record(
        HANDSHAKE,
        0,
        sequence,
        &fragment(message_type, length, seq, 0, body),
    )
}

/// Everything that a receiver must survive without help, each kind with its name. None is a well-formed message that could be the
/// peer's next; `real` is the datagram that comes next, whose numbers a forger can guess.
pub fn forgeries(receiver: Role, real: &[u8]) -> Vec<(String, Vec<Vec<u8>>)> {
    let mut all = Vec::new();
    let mut add = |name: &str, datagrams: Vec<Vec<u8>>| all.push((name.to_owned(), datagrams));
    let next = sequence(real);
    let first = records(real)[0];

    add("empty datagram", vec![Vec::new()]);
    add("five bytes", vec![real[..5].to_vec()]);
    add(
        "record without its end",
        vec![first[..first.len() - 1].to_vec()],
    );
    add("record without a body", vec![real[..13].to_vec()]);
    add(
        "STUN",
        vec![[&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[0; 12]].concat()],
    );
    add("unified header", vec![vec![0x2e; 40]]);
    for content_type in [0, 19, 24, 99, 255] {
        add(
            "unknown content type",
            vec![record(content_type, 0, next, &[0; 30])],
        );
    }
    for version in [[3, 3], [0xfe, 0xfc], [0xfe, 0xff], [1, 0]] {
        let mut datagram = record(HANDSHAKE, 0, next, &fragment(FINISHED, 12, 1, 0, &[0; 12]));
        datagram[1..3].copy_from_slice(&version);
        add("another version", vec![datagram]);
    }
    for (epoch, length) in [(0, 0), (1, 0), (2, 40), (65_535, 40)] {
        let forged = |content_type| record(content_type, epoch, next, &vec![0; length]);
        add(
            &format!("{length} bytes of epoch {epoch}"),
            (20..=23).map(forged).collect(),
        );
    }

    let alert = |payload: &[u8]| vec![record(ALERT, 0, next, payload)];
    add("fatal alert", alert(&[2, 40]));
    add(
        "fatal alert from far ahead",
        vec![record(ALERT, 0, next + 9_999, &[2, 10])],
    );
    add("fatal close_notify", alert(&[2, 0]));
    add("close_notify", alert(&[1, 0]));
    add("warning", alert(&[1, 90]));
    add(
        "ten warnings",
        (0..10)
            .flat_map(|n| vec![record(ALERT, 0, next + n, &[1, 90])])
            .collect(),
    );
    add("no_renegotiation", alert(&[1, 100]));
    add("alert of one byte", alert(&[2]));
    add("alert of three bytes", alert(&[2, 40, 0]));
    add("alert of an unknown level", alert(&[255, 40]));
    add("data in the clear", vec![record(DATA, 0, next, b"spoofed")]);

    let cipher_spec = |sequence| record(CHANGE_CIPHER_SPEC, 0, sequence, &[1]);
    add("ChangeCipherSpec", vec![cipher_spec(next)]);
    add("ChangeCipherSpec from ahead", vec![cipher_spec(next + 20)]);
    add(
        "ChangeCipherSpec from far ahead",
        vec![cipher_spec(next + 9_999)],
    );
    add(
        "eight ChangeCipherSpecs",
        (next..next + 8).map(cipher_spec).collect(),
    );
    add(
        "ChangeCipherSpec of two bytes",
        vec![record(CHANGE_CIPHER_SPEC, 0, next, &[1, 1])],
    );
    add(
        "wrong ChangeCipherSpec",
        vec![record(CHANGE_CIPHER_SPEC, 0, next, &[2])],
    );

    let not_for = match receiver {
        Role::Client => [CLIENT_HELLO, CLIENT_KEY_EXCHANGE, CERTIFICATE_VERIFY],
        Role::Server => [SERVER_HELLO, HELLO_VERIFY_REQUEST, SERVER_KEY_EXCHANGE],
    };
    for message_type in not_for
        .into_iter()
        .chain([HELLO_REQUEST, FINISHED, 99, 254])
    {
        let at = |seq| message(message_type, seq, next, &[0; 40]);
        add(&format!("message {message_type}"), (0..3).map(at).collect());
    }
    add("HelloRequest", vec![message(HELLO_REQUEST, 0, next, &[])]);
    let kinds = match receiver {
        Role::Client => &[
            CERTIFICATE,
            SERVER_KEY_EXCHANGE,
            CERTIFICATE_REQUEST,
            NEW_SESSION_TICKET,
        ][..],
        Role::Server => &[CERTIFICATE, CLIENT_KEY_EXCHANGE, CERTIFICATE_VERIFY],
    };
    for &message_type in kinds {
        let part = |seq, length, offset, body: &[u8]| {
            record(
                HANDSHAKE,
                0,
                next,
                &fragment(message_type, length, seq, offset, body),
            )
        };
        let mut first = Vec::new();
        for seq in 0..7 {
            first.push(part(seq, 1_500, 0, &[6; 40]));
            first.push(part(seq, 70, 3, &[6; 4]));
        }
        add(
            &format!("first fragments of messages {message_type}"),
            first,
        );
        let name = format!("of messages {message_type}");
        let mut each = |what: &str, forge: &dyn Fn(u16) -> Vec<u8>| {
            add(&format!("{what} {name}"), (1..4).map(forge).collect());
        };
        each("empty fragments", &|seq| part(seq, 100, 0, &[]));
        each("impossible fragments", &|seq| part(seq, 10, 8, &[0; 5]));
        each("fragments of 16 MB", &|seq| {
            part(seq, 0xff_ffff, 0, &[0; 5])
        });
        each("fragments of 99 KB", &|seq| part(seq, 99_000, 0, &[0; 5]));
        each("too long fragments", &|seq| {
            part(seq, 60_000, 0, &vec![0; 17_000])
        });
        each("far fragments", &|seq| {
            renumbered(&part(seq, 70, 0, &[6; 10]), next + (1 << 40))
        });
        let future = |seq| part(seq, 1_000, 0, &[0; 5]);
        add(
            "fragments of future messages",
            (4..30).map(future).collect(),
        );
    }
    let half = [&fragment(FINISHED, 12, 1, 0, &[0; 12])[..7]].concat();
    add(
        "half a message header",
        vec![record(HANDSHAKE, 0, next, &half)],
    );

    for length in [1, 8, 15, 16, 17, 23, 24, 25, 40, 64, 93, 1_000, 17_000] {
        let name = format!("{length} bytes of epoch 1");
        let forged = |content_type| record(content_type, 1, 0, &vec![0xa5; length]);
        add(&name, (20..=23).map(forged).collect());
    }
    let many = |sequence| record(HANDSHAKE, 1, sequence, &[0xa5; 40]);
    add("150 records of epoch 1", (0..150).map(many).collect());
    all
}
