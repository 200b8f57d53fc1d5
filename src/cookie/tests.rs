//! What cookies must be, and what becomes of the errors of libssl's callbacks.

use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use openssl::ssl::SslMethod;

use super::*;

const STEP: Duration = Duration::from_secs(STEP_SECONDS);
/// Version, random, no session id.
const PREAMBLE: &[u8] = &[0xfe; 35];

fn secret(byte: u8) -> CookieSecret {
    CookieSecret::from_shared(&[byte; CookieSecret::LEN]).unwrap()
}

fn peer() -> SocketAddr {
    "192.0.2.1:40000".parse().unwrap()
}

/// An anchor at the beginning of a step.
fn anchor(instant: Instant) -> ClockAnchor {
    ClockAnchor::new(instant, UNIX_EPOCH + 29_000_000 * STEP)
}

fn ring(byte: u8, instant: Instant) -> CookieRing {
    CookieRing::shared(secret(byte), anchor(instant))
}

fn is_good(ring: &CookieRing, now: Instant, cookie: &[u8]) -> bool {
    ring.check(now, peer(), PREAMBLE, cookie) == Checked::Good
}

#[test]
fn mac_is_hmac_sha256() {
    for key in [&[1; 32][..], &[2; 64], &[3; 65], &[4; 200]] {
        let pkey = PKey::hmac(key).unwrap();
        let mut signer = Signer::new(MessageDigest::sha256(), &pkey).unwrap();
        let theirs = signer.sign_oneshot_to_vec(b"head and rest").unwrap();
        assert_eq!(Mac::new(key).tag(b"head ", b"and rest"), theirs[..]);
    }
}

#[test]
fn input_for_an_ipv4_peer_fits_into_one_block() {
    // What SHA-256 appends: one byte, and the length in eight.
    let head_v4 = 1 + 2 + 8 + 4;
    assert!(head_v4 + PREAMBLE.len() <= BLOCK_LEN - 9);
}

#[test]
fn cookie_is_good_for_its_peer_and_hello_only() {
    let now = Instant::now();
    let ring = ring(1, now);
    let cookie = ring.mint(now, peer(), PREAMBLE);
    assert!(is_good(&ring, now, &cookie));
    let other_hello = [&PREAMBLE[..34], &[1]].concat();
    for (peer, preamble) in [
        ("192.0.2.2:40000", PREAMBLE),
        ("192.0.2.1:40001", PREAMBLE),
        ("[2001:db8::1]:40000", PREAMBLE),
        ("192.0.2.1:40000", &other_hello),
        ("192.0.2.1:40000", &PREAMBLE[..34]),
    ] {
        let peer: SocketAddr = peer.parse().unwrap();
        // The answer is a cookie that is good there.
        let Checked::Wrong(fresh) = ring.check(now, peer, preamble, &cookie) else {
            panic!("good for {peer}");
        };
        assert_eq!(ring.check(now, peer, preamble, &fresh), Checked::Good);
    }
}

#[test]
fn every_bit_of_a_cookie_counts_and_so_does_its_length() {
    let now = Instant::now();
    let ring = ring(1, now);
    let cookie = ring.mint(now, peer(), PREAMBLE);
    for bit in 0..COOKIE_LEN * 8 {
        let mut wrong = cookie;
        wrong[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(
            ring.check(now, peer(), PREAMBLE, &wrong),
            Checked::Wrong(cookie),
            "bit {bit}"
        );
    }
    for length in (0..COOKIE_LEN).chain([COOKIE_LEN + 1, 254, 255]) {
        let mut wrong = cookie.to_vec();
        wrong.resize(length, 0);
        assert!(!is_good(&ring, now, &wrong), "{length} bytes");
    }
}

#[test]
fn cookie_lives_one_to_two_minutes() {
    let start = Instant::now();
    let ring = ring(1, start);
    let minute = Duration::from_secs(60);
    for made_at in [Duration::ZERO, STEP / 2, STEP - Duration::from_secs(1)] {
        let cookie = ring.mint(start + made_at, peer(), PREAMBLE);
        assert!(is_good(&ring, start + made_at + minute, &cookie));
        assert!(!is_good(&ring, start + made_at + 2 * minute, &cookie));
        assert!(is_good(
            &ring,
            start + 2 * STEP - Duration::from_secs(1),
            &cookie
        ));
        assert!(!is_good(&ring, start + 2 * STEP, &cookie));
        // Its step comes round again in the byte that the cookie carries.
        assert!(!is_good(&ring, start + 256 * STEP, &cookie));
    }
}

#[test]
fn clocks_may_differ_by_a_step_and_may_go_back() {
    let start = Instant::now() + Duration::from_secs(7200);
    let ahead = CookieRing::shared(
        secret(1),
        ClockAnchor::new(start, UNIX_EPOCH + 29_000_001 * STEP),
    );
    let behind = ring(1, start);
    let cookie = ahead.mint(start, peer(), PREAMBLE);
    assert!(is_good(&behind, start, &cookie));
    let cookie = behind.mint(start, peer(), PREAMBLE);
    assert!(is_good(&ahead, start, &cookie));

    // `now` before the anchor, and before the cookie was made.
    let cookie = behind.mint(start, peer(), PREAMBLE);
    assert!(is_good(&behind, start - STEP, &cookie));
    assert!(!is_good(&behind, start - 2 * STEP, &cookie));
    let early = start - Duration::from_secs(3600);
    let cookie = behind.mint(early, peer(), PREAMBLE);
    assert!(is_good(&behind, early, &cookie));

    // A calendar clock before 1970 is taken for 1970.
    let anchor = ClockAnchor::new(start, UNIX_EPOCH - Duration::from_secs(1));
    let odd = CookieRing::shared(secret(1), anchor);
    let cookie = odd.mint(start - STEP, peer(), PREAMBLE);
    assert!(is_good(&odd, start, &cookie));
}

#[test]
fn retired_secret_is_good_until_its_last_cookie_expires() {
    let start = Instant::now();
    let ring = ring(1, start);
    let of_first = ring.mint(start, peer(), PREAMBLE);
    let second = start + STEP;
    ring.rotate(secret(2), second);
    let of_second = ring.mint(second, peer(), PREAMBLE);
    assert_ne!(of_first, of_second);
    assert!(is_good(&ring, second, &of_first));
    assert!(is_good(&ring, second, &of_second));
    assert!(!is_good(&ring, second + STEP, &of_first));

    // Nobody can mint with the retired secret for longer than its cookies may live.
    let thief = self::ring(1, start);
    let stolen = thief.mint(second + OVERLAP, peer(), PREAMBLE);
    assert!(!is_good(&ring, second + OVERLAP, &stolen));

    // The one before the last is forgotten at once.
    ring.rotate(secret(3), second);
    assert!(!is_good(&ring, second, &of_first));
    assert!(is_good(&ring, second, &of_second));
}

#[test]
fn ring_of_random_secrets_rotates_by_age() {
    let start = Instant::now();
    let hour = Duration::from_secs(3600);
    let ring = CookieRing::random_every(hour, anchor(start)).unwrap();
    assert!(!ring.rotate_if_due(start).unwrap());
    let late = start + hour - Duration::from_secs(1);
    assert!(!ring.rotate_if_due(late).unwrap());
    let before = ring.mint(late, peer(), PREAMBLE);
    let due = start + hour;
    assert!(ring.rotate_if_due(due).unwrap());
    assert!(!ring.rotate_if_due(due).unwrap());
    assert!(is_good(&ring, due, &before));
    assert_ne!(ring.mint(due, peer(), PREAMBLE), before);
    // A shared secret is nobody's to change but its owner's.
    let shared = self::ring(1, start);
    assert!(!shared.rotate_if_due(start + 1000 * hour).unwrap());
}

#[test]
fn secrets_of_one_id_are_not_tried_in_turn() {
    let now = Instant::now();
    let ring = ring(1, now);
    let cookie = ring.mint(now, peer(), PREAMBLE);
    let mut twin = Key::new(&secret(2));
    twin.id = ring.read(|keys| keys.current.id);
    ring.install_key(twin, now);
    assert!(!is_good(&ring, now, &cookie));
    assert!(ring.read(|keys| keys.previous.is_none()));
}

#[test]
fn rings_that_share_a_secret_take_each_others_cookies() {
    let start = Instant::now();
    // Two processes: their monotonic clocks began at different times.
    let [one, other] = [ring(7, start), ring(7, start + Duration::from_secs(77))];
    let cookie = one.mint(start, peer(), PREAMBLE);
    let theirs = start + Duration::from_secs(77);
    assert!(is_good(&other, theirs, &cookie));
    assert!(!is_good(&ring(8, start), start, &cookie));
    // Clones share what is rotated.
    let clone = one.clone();
    one.rotate(secret(9), start);
    assert_eq!(
        clone.mint(start, peer(), PREAMBLE),
        one.mint(start, peer(), PREAMBLE)
    );
}

#[test]
fn mapped_addresses_are_ipv4_and_scopes_tell_links_apart() {
    let now = Instant::now();
    let ring = ring(1, now);
    let at = |text: &str| ring.mint(now, text.parse().unwrap(), PREAMBLE);
    assert_eq!(at("192.0.2.1:40000"), at("[::ffff:192.0.2.1]:40000"));
    assert_ne!(at("192.0.2.1:40000"), at("[::192.0.2.1]:40000"));
    assert_ne!(at("[fe80::1%1]:40000"), at("[fe80::1%2]:40000"));
    assert_ne!(at("[2001:db8::1]:40000"), at("[2001:db8::2]:40000"));
    assert_ne!(at("[2001:db8::1]:40000"), at("[2001:db8::1]:40001"));
}

#[test]
fn short_shared_secret_is_refused() {
    for given in [0, 1, CookieSecret::LEN - 1] {
        assert!(matches!(
            CookieSecret::from_shared(&vec![1; given]),
            Err(ConfigError::CookieSecretTooShort { min: CookieSecret::LEN, given: g }) if g == given
        ));
    }
    assert!(CookieSecret::from_shared(&[1; 100]).is_ok());
    let one = CookieSecret::random().unwrap();
    assert_ne!(*one.0, *CookieSecret::random().unwrap().0);
}

#[test]
fn debug_shows_no_secret() {
    let secret = secret(0xab);
    let ring = ring(0xab, Instant::now());
    for text in [format!("{secret:?}"), format!("{ring:?}")] {
        assert!(!text.contains("171") && !text.contains("ab, ab"), "{text}");
    }
}

fn cookie_ssl() -> Ssl {
    let mut builder = openssl::ssl::SslContext::builder(SslMethod::dtls()).unwrap();
    install(&mut builder).unwrap();
    Ssl::new(&builder.build()).unwrap()
}

fn call(ring: &CookieRing, now: Instant) -> CookieCall {
    CookieCall::new(Some(ring), now, peer(), PREAMBLE)
}

#[test]
fn callbacks_answer_for_the_call_that_is_parked() {
    let now = Instant::now();
    let ring = ring(1, now);
    let mut ssl = cookie_ssl();
    park(&mut ssl, call(&ring, now)).unwrap();
    let mut buffer = [0; 255];
    assert_eq!(generate(&ssl, &mut buffer).unwrap(), COOKIE_LEN);
    assert_eq!(buffer[..COOKIE_LEN], ring.mint(now, peer(), PREAMBLE));
    assert!(verify(&ssl, &buffer[..COOKIE_LEN]).unwrap());
    assert!(!verify(&ssl, &buffer[..COOKIE_LEN - 1]).unwrap());
    assert!(!verify(&ssl, &[]).unwrap());
    assert!(take_error(&mut ssl).is_none());
    // It ended with that.
    assert!(matches!(
        verify(&ssl, &buffer[..COOKIE_LEN]),
        Err(CookieError::NoPeer)
    ));
}

#[test]
fn cookie_that_nobody_parked_a_peer_for_is_an_error() {
    let mut ssl = cookie_ssl();
    assert!(take_error(&mut ssl).is_none());
    let error = generate(&ssl, &mut [0; 255]).unwrap_err();
    assert!(matches!(error, CookieError::NoPeer));
    assert!(park_error(&mut ssl, error).errors().is_empty());
    assert!(matches!(take_error(&mut ssl), Some(CookieError::NoPeer)));
    assert!(take_error(&mut ssl).is_none());
}

#[test]
fn cookie_that_does_not_fit_is_an_error() {
    let now = Instant::now();
    let mut ssl = cookie_ssl();
    park(&mut ssl, call(&ring(1, now), now)).unwrap();
    for available in [0, COOKIE_LEN - 1] {
        let error = generate(&ssl, &mut vec![0; available]).unwrap_err();
        assert!(matches!(
            error,
            CookieError::BufferTooSmall { needed: COOKIE_LEN, available: a } if a == available
        ));
        park_error(&mut ssl, error);
    }
    // The first one is told.
    assert!(matches!(
        take_error(&mut ssl),
        Some(CookieError::BufferTooSmall { available: 0, .. })
    ));
    assert_eq!(generate(&ssl, &mut [0; COOKIE_LEN]).ok(), None);
}

#[test]
fn longest_preamble_fits_and_a_longer_one_is_cut() {
    let now = Instant::now();
    let ring = ring(1, now);
    for length in [0, 35, MAX_PREAMBLE_LEN, MAX_PREAMBLE_LEN + 1] {
        let preamble = vec![5; length];
        let call = CookieCall::new(Some(&ring), now, peer(), &preamble);
        assert_eq!(call.preamble(), &preamble[..length.min(MAX_PREAMBLE_LEN)]);
    }
}

/// The cookies were calculated apart from this code, for machines that store the low byte of a number first.
#[cfg(target_endian = "little")]
#[test]
fn qt_compatible_cookies_are_those_of_qt() {
    let now = Instant::now();
    let qt = CookieRing::qt_compatible(secret(7), anchor(now));
    for (peer, expected) in [
        (
            "192.0.2.1:4433",
            "06f599d98e65f9f10d3d2bd48b97ef481a6bb974cffa20f7aada6935ed729fe4",
        ),
        (
            "[2001:db8::1]:4433",
            "502bb28fef4e34dad1dd1fbe0717e864b244662d81df72533b1d11ad0dc20848",
        ),
        (
            "[::ffff:192.0.2.1]:4433",
            "a4cb5e5c8d17709fa10a592d2be38780c0d4c4e2672d6553842071c787dda449",
        ),
    ] {
        let peer = peer.parse().unwrap();
        let cookie = qt.mint(now, peer, PREAMBLE);
        assert_eq!(hex::encode(cookie), expected);
        assert_eq!(qt.check(now, peer, b"any hello", &cookie), Checked::Good);
    }
}

#[test]
fn qt_compatible_cookie_is_good_for_its_peer_until_its_secret_is_retired() {
    let now = Instant::now();
    let ring = CookieRing::qt_compatible(secret(1), anchor(now));
    let cookie = ring.mint(now, peer(), PREAMBLE);
    assert!(is_good(&ring, now + 100 * STEP, &cookie));
    let elsewhere = "192.0.2.1:40001".parse().unwrap();
    assert_eq!(
        ring.check(now, elsewhere, PREAMBLE, &cookie),
        Checked::Wrong(ring.mint(now, elsewhere, PREAMBLE))
    );
    for wrong in [&cookie[..31], &[], &[0; 32], &[&cookie[..], &[0]].concat()] {
        assert!(!is_good(&ring, now, wrong));
    }
    ring.rotate(secret(2), now);
    assert!(is_good(
        &ring,
        now + OVERLAP - Duration::from_secs(1),
        &cookie
    ));
    assert!(!is_good(&ring, now + OVERLAP, &cookie));
    assert!(!is_good(&self::ring(1, now), now, &cookie));
}
