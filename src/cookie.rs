//! Stateless cookies (RFC 6347, 4.2.1): a ring of secrets that mints and checks them, for the fast path and for libssl's callbacks
//! alike.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use openssl::error::ErrorStack;
use openssl::ex_data::Index;
use openssl::memcmp;
use openssl::rand::rand_bytes;
use openssl::sha::Sha256;
use openssl::ssl::{Ssl, SslContextBuilder, SslRef};
use zeroize::Zeroizing;

use crate::error::{ConfigError, CookieError};
use crate::guard;
use crate::wire::MAX_COOKIE_LEN;

/// Bytes of a cookie: what DTLS 1.0 allows.
const COOKIE_LEN: usize = MAX_COOKIE_LEN;
/// Bytes of a cookie in front of its tag: the secret's id and the low byte of the step.
const HEAD_LEN: usize = ID_LEN + 1;
/// Bytes that tell secrets apart.
const ID_LEN: usize = 2;
/// Cookies carry the time in steps of so many seconds, and are good in the step they were made in and in the one before and after:
/// for one to two minutes. A client sends its cookie for as long as its handshake may take, and many clients never take another
/// one, so the least must be as long as handshakes take; a collector of cookies should have little time.
const STEP_SECONDS: u64 = 60;
/// How long a retired secret is kept: until its last cookie has expired.
const OVERLAP: Duration = Duration::from_secs(2 * STEP_SECONDS);
/// How often a ring of random secrets makes a new one.
const ROTATION: Duration = Duration::from_secs(3600);
/// Bytes of a SHA-256 block, to which HMAC pads its key (RFC 2104).
const BLOCK_LEN: usize = 64;
/// Version, random, and a session id of 32 bytes with its length.
const MAX_PREAMBLE_LEN: usize = 2 + 32 + 1 + 32;

/// A secret that cookies are made with.
///
/// It never appears in `Debug` output and is wiped when dropped.
pub struct CookieSecret(Zeroizing<Vec<u8>>);

impl CookieSecret {
    /// Bytes of a random secret, and the fewest a shared one may have.
    pub const LEN: usize = 32;

    /// A secret of [`CookieSecret::LEN`] random bytes. Corresponds to `RAND_bytes`.
    ///
    /// # Errors
    ///
    /// [`CookieError::Random`] if the generator fails; there is no secret then.
    pub fn random() -> Result<CookieSecret, CookieError> {
        let mut bytes = Zeroizing::new(vec![0; Self::LEN]);
        // What an earlier call left on this thread is not this one's failure.
        drop(ErrorStack::get());
        rand_bytes(&mut bytes).map_err(CookieError::Random)?;
        Ok(CookieSecret(bytes))
    }

    /// A secret that several servers share, so that each takes the others' cookies: at least [`CookieSecret::LEN`] bytes that
    /// nobody else can guess.
    ///
    /// # Errors
    ///
    /// [`ConfigError::CookieSecretTooShort`].
    pub fn from_shared(bytes: &[u8]) -> Result<CookieSecret, ConfigError> {
        if bytes.len() < Self::LEN {
            return Err(ConfigError::CookieSecretTooShort {
                min: Self::LEN,
                given: bytes.len(),
            });
        }
        Ok(CookieSecret(Zeroizing::new(bytes.to_vec())))
    }
}

impl CookieSecret {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for CookieSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CookieSecret").finish_non_exhaustive()
    }
}

/// HMAC-SHA256 with its key absorbed: the states after the first block of the inner and the outer hash.
pub(crate) struct Mac {
    inner: Sha256,
    outer: Sha256,
}

impl Mac {
    pub(crate) fn new(key: &[u8]) -> Mac {
        let mut block = Zeroizing::new([0_u8; BLOCK_LEN]);
        if let Some(start) = block.get_mut(..key.len()) {
            start.copy_from_slice(key);
        } else {
            let digest = Zeroizing::new(openssl::sha::sha256(key));
            block[..digest.len()].copy_from_slice(&*digest);
        }
        let absorb = |pad: u8| {
            let padded = Zeroizing::new(block.map(|byte| byte ^ pad));
            let mut hash = Sha256::new();
            hash.update(&*padded);
            hash
        };
        Mac {
            inner: absorb(0x36),
            outer: absorb(0x5c),
        }
    }

    pub(crate) fn tag(&self, head: &[u8], rest: &[u8]) -> [u8; 32] {
        let mut inner = self.inner.clone();
        inner.update(head);
        inner.update(rest);
        let mut outer = self.outer.clone();
        outer.update(&inner.finish());
        outer.finish()
    }
}

impl Drop for Mac {
    fn drop(&mut self) {
        // Whoever has these states can mint. `black_box` keeps the overwriting from being optimised away.
        self.inner = Sha256::new();
        self.outer = Sha256::new();
        std::hint::black_box(self);
    }
}

/// A secret ready for use.
struct Key {
    mac: Mac,
    /// Tells from the cookie which secret made it. Derived from the secret, so that servers that share it agree.
    id: [u8; ID_LEN],
}

/// First bytes of what a [`Key`] signs: each is followed by fields of fixed lengths, so no two inputs run together.
mod domain {
    pub(super) const KEY_ID: u8 = 0;
    pub(super) const IPV4: u8 = 4;
    pub(super) const IPV6: u8 = 6;
}

impl Key {
    fn new(secret: &CookieSecret) -> Key {
        let mac = Mac::new(&secret.0);
        let [id0, id1, ..] = mac.tag(&[domain::KEY_ID], &[]);
        Key {
            mac,
            id: [id0, id1],
        }
    }

    fn cookie(&self, step: u64, peer: SocketAddr, preamble: &[u8]) -> [u8; COOKIE_LEN] {
        // The same peer whether the socket is dual-stack or not. The scope of a link-local address tells hosts of two links apart.
        // With an IPv4 address and an empty session id it all fits into one block of the hash.
        let [p0, p1] = peer.port().to_be_bytes();
        let [t0, t1, t2, t3, t4, t5, t6, t7] = step.to_be_bytes();
        let tag = match peer.ip().to_canonical() {
            IpAddr::V4(ip) => {
                let [a, b, c, d] = ip.octets();
                #[rustfmt::skip]
                let head = [domain::IPV4, p0, p1, t0, t1, t2, t3, t4, t5, t6, t7, a, b, c, d];
                self.mac.tag(&head, preamble)
            }
            IpAddr::V6(ip) => {
                let scope = match peer {
                    SocketAddr::V6(peer) => peer.scope_id(),
                    SocketAddr::V4(_) => 0,
                };
                let mut head = [0; 31];
                head[..11].copy_from_slice(&[domain::IPV6, p0, p1, t0, t1, t2, t3, t4, t5, t6, t7]);
                head[11..27].copy_from_slice(&ip.octets());
                head[27..].copy_from_slice(&scope.to_be_bytes());
                self.mac.tag(&head, preamble)
            }
        };
        let mut cookie = [0; COOKIE_LEN];
        let (head, rest) = cookie.split_at_mut(HEAD_LEN);
        head.copy_from_slice(&[self.id[0], self.id[1], t7]);
        rest.copy_from_slice(&tag[..COOKIE_LEN - HEAD_LEN]);
        cookie
    }
}

impl Key {
    /// Port and address of `peer` as Qt writes them: as numbers of this machine, but for an IPv6 address. One that holds an IPv4
    /// address stays what it is.
    fn qt_cookie(&self, peer: SocketAddr) -> [u8; COOKIE_LEN] {
        let port = peer.port().to_ne_bytes();
        match peer.ip() {
            IpAddr::V4(ip) => self.mac.tag(&port, &u32::from(ip).to_ne_bytes()),
            IpAddr::V6(ip) => self.mac.tag(&port, &ip.octets()),
        }
    }
}

/// One moment on the monotonic and on the calendar clock, from which Unix time follows for any later `Instant`.
///
/// Cookies carry Unix time, so that servers that share a secret agree, and one that restarts agrees with itself.
#[derive(Debug, Clone, Copy)]
pub struct ClockAnchor {
    instant: Instant,
    unix_time: Duration,
}

impl ClockAnchor {
    /// States that `instant` was at `time`. Pass `Instant::now()` and `SystemTime::now()`, read together.
    pub fn new(instant: Instant, time: SystemTime) -> ClockAnchor {
        let unix_time = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        ClockAnchor { instant, unix_time }
    }

    /// The moment it was made for.
    pub(crate) fn instant(&self) -> Instant {
        self.instant
    }

    /// The time since 1970 at `now`.
    pub(crate) fn unix_time(&self, now: Instant) -> Duration {
        let later = self
            .unix_time
            .saturating_add(now.saturating_duration_since(self.instant));
        let earlier = self.instant.saturating_duration_since(now);
        later.saturating_sub(earlier)
    }

    fn step(&self, now: Instant) -> u64 {
        self.unix_time(now).as_secs() / STEP_SECONDS
    }
}

/// The secrets of a server's cookies: the current one, and the one before until its cookies have expired.
///
/// Clones share their secrets: keep one to rotate by hand what a [`Listener`](crate::Listener) uses.
#[derive(Clone)]
pub struct CookieRing {
    shared: Arc<Shared>,
}

struct Shared {
    anchor: ClockAnchor,
    /// `None`: secrets come from outside only.
    rotate_every: Option<Duration>,
    formula: Formula,
    keys: RwLock<Keys>,
}

/// What cookies are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Formula {
    /// Address, port, time and the ClientHello.
    Bound,
    /// Address and port alone, as Qt has it.
    Qt,
}

struct Keys {
    current: Key,
    since: Instant,
    /// The one before, and until when it is good.
    previous: Option<(Key, Instant)>,
}

impl CookieRing {
    /// A ring with a random secret, which makes a new one every hour while it is used.
    ///
    /// # Errors
    ///
    /// [`CookieError::Random`] if the generator fails.
    pub fn random(anchor: ClockAnchor) -> Result<CookieRing, CookieError> {
        Self::random_every(ROTATION, anchor)
    }

    /// As [`random`](Self::random), with a new secret every `interval`. A secret's cookies stay good for up to two minutes after it.
    ///
    /// # Errors
    ///
    /// [`CookieError::Random`] if the generator fails.
    pub fn random_every(
        interval: Duration,
        anchor: ClockAnchor,
    ) -> Result<CookieRing, CookieError> {
        let secret = CookieSecret::random()?;
        Ok(Self::new(&secret, anchor, Some(interval), Formula::Bound))
    }

    /// A ring with a secret from outside, which changes through [`rotate`](Self::rotate) only.
    pub fn shared(secret: CookieSecret, anchor: ClockAnchor) -> CookieRing {
        Self::new(&secret, anchor, None, Formula::Bound)
    }

    /// A ring that makes and takes the cookies of Qt's `QDtlsClientVerifier` with its default hash, SHA-256: for a server that
    /// stands beside Qt programs with the same secret and the same byte order.
    ///
    /// Weaker than [`shared`](Self::shared): such a cookie is bound to address and port alone and is good for as long as its
    /// secret is. It changes through [`rotate`](Self::rotate) only.
    pub fn qt_compatible(secret: CookieSecret, anchor: ClockAnchor) -> CookieRing {
        Self::new(&secret, anchor, None, Formula::Qt)
    }

    fn new(
        secret: &CookieSecret,
        anchor: ClockAnchor,
        rotate_every: Option<Duration>,
        formula: Formula,
    ) -> CookieRing {
        let keys = Keys {
            current: Key::new(secret),
            since: anchor.instant,
            previous: None,
        };
        CookieRing {
            shared: Arc::new(Shared {
                anchor,
                rotate_every,
                formula,
                keys: RwLock::new(keys),
            }),
        }
    }

    /// Makes cookies with `secret` from now on. Those of the secret before stay good until they expire, those of the one before
    /// that are not good any more.
    pub fn rotate(&self, secret: CookieSecret, now: Instant) {
        self.install_key(Key::new(&secret), now);
    }

    fn install_key(&self, key: Key, now: Instant) {
        let mut keys = self
            .shared
            .keys
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let retired = std::mem::replace(&mut keys.current, key);
        // Two secrets with one id cannot be told apart by a cookie without trying both. It happens once in 65,536 rotations.
        let is_told_apart = retired.id != keys.current.id;
        keys.previous = is_told_apart.then_some((retired, now + OVERLAP));
        keys.since = now;
    }

    /// Rotates to a new random secret if this ring does so by itself and it is time. Answers whether it did.
    ///
    /// # Errors
    ///
    /// [`CookieError::Random`] if the generator fails; the old secret stays in use.
    pub fn rotate_if_due(&self, now: Instant) -> Result<bool, CookieError> {
        let Some(interval) = self.shared.rotate_every else {
            return Ok(false);
        };
        let since = self.read(|keys| keys.since);
        if now.saturating_duration_since(since) < interval {
            return Ok(false);
        }
        self.install_key(Key::new(&CookieSecret::random()?), now);
        Ok(true)
    }

    /// The cookie of `peer` for a ClientHello that begins with `preamble`: its bytes before the cookie.
    pub(crate) fn mint(&self, now: Instant, peer: SocketAddr, preamble: &[u8]) -> [u8; COOKIE_LEN] {
        if self.shared.formula == Formula::Qt {
            return self.read(|keys| keys.current.qt_cookie(peer));
        }
        let step = self.shared.anchor.step(now);
        self.read(|keys| keys.current.cookie(step, peer, preamble))
    }

    /// Whether `cookie` is one of this ring's for `peer` and `preamble`, and not too old; if not, answers the one to send.
    ///
    /// A cookie that shows at a glance that this ring did not make it, or too long ago, costs nothing; any other costs one HMAC.
    pub(crate) fn check(
        &self,
        now: Instant,
        peer: SocketAddr,
        preamble: &[u8],
        cookie: &[u8],
    ) -> Checked {
        if self.shared.formula == Formula::Qt {
            return self.check_qt(now, peer, cookie);
        }
        let current_step = self.shared.anchor.step(now);
        self.read(|keys| {
            let mint = || Checked::Wrong(keys.current.cookie(current_step, peer, preamble));
            let Ok(&[id0, id1, low, ..]) = <&[u8; COOKIE_LEN]>::try_from(cookie) else {
                return mint();
            };
            let near = [
                current_step,
                current_step.wrapping_sub(1),
                current_step.wrapping_add(1),
            ];
            let previous = keys.previous.as_ref().filter(|(_, until)| now < *until);
            let mut good_keys = [Some(&keys.current), previous.map(|(key, _)| key)]
                .into_iter()
                .flatten();
            let step = near.into_iter().find(|step| step.to_be_bytes()[7] == low);
            let key = good_keys.find(|key| key.id == [id0, id1]);
            let (Some(step), Some(key)) = (step, key) else {
                return mint();
            };
            let expected = key.cookie(step, peer, preamble);
            if memcmp::eq(&expected, cookie) {
                Checked::Good
            } else if step == current_step && key.id == keys.current.id {
                Checked::Wrong(expected)
            } else {
                mint()
            }
        })
    }

    fn check_qt(&self, now: Instant, peer: SocketAddr, cookie: &[u8]) -> Checked {
        self.read(|keys| {
            let is_made_by =
                |key: &Key| cookie.len() == COOKIE_LEN && memcmp::eq(&key.qt_cookie(peer), cookie);
            let previous = keys.previous.as_ref().filter(|(_, until)| now < *until);
            if is_made_by(&keys.current) || previous.is_some_and(|(key, _)| is_made_by(key)) {
                Checked::Good
            } else {
                Checked::Wrong(keys.current.qt_cookie(peer))
            }
        })
    }

    fn read<R>(&self, look: impl FnOnce(&Keys) -> R) -> R {
        look(
            &self
                .shared
                .keys
                .read()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }
}

impl fmt::Debug for CookieRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CookieRing")
            .field("rotate_every", &self.shared.rotate_every)
            .finish_non_exhaustive()
    }
}

/// What a cookie was found to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checked {
    Good,
    /// Made by somebody else, for somebody else, or too long ago. This is the one to send instead.
    Wrong([u8; COOKIE_LEN]),
}

/// What libssl's cookie callbacks need to know about the call they run in; parked in the `SSL` while it runs.
pub(crate) struct CookieCall {
    /// `None`: any cookie is good.
    ring: Option<CookieRing>,
    now: Instant,
    peer: SocketAddr,
    preamble: ([u8; MAX_PREAMBLE_LEN], usize),
}

impl CookieCall {
    /// A call for a ClientHello of `peer` that begins with `preamble`, cut to the most a ClientHello can have there.
    pub(crate) fn new(
        ring: Option<&CookieRing>,
        now: Instant,
        peer: SocketAddr,
        preamble: &[u8],
    ) -> CookieCall {
        let mut bytes = [0; MAX_PREAMBLE_LEN];
        let length = preamble.len().min(MAX_PREAMBLE_LEN);
        bytes[..length].copy_from_slice(&preamble[..length]);
        CookieCall {
            ring: ring.cloned(),
            now,
            peer,
            preamble: (bytes, length),
        }
    }

    fn preamble(&self) -> &[u8] {
        let (bytes, length) = &self.preamble;
        &bytes[..*length]
    }
}

/// What is parked in an `SSL`: the call, and the first error of a callback.
#[derive(Default)]
struct Parked {
    /// Boxed because an `SSL` keeps its parking place after the call.
    call: Option<Box<CookieCall>>,
    error: Option<CookieError>,
}

fn parking_place() -> Result<Index<Ssl, Parked>, ErrorStack> {
    static INDEX: OnceLock<Index<Ssl, Parked>> = OnceLock::new();
    if let Some(index) = INDEX.get() {
        return Ok(*index);
    }
    let index = Ssl::new_ex_index()?;
    Ok(*INDEX.get_or_init(|| index))
}

/// Makes `builder`'s contexts ask the ring that is parked in each `SSL`.
pub(crate) fn install(builder: &mut SslContextBuilder) -> Result<(), ErrorStack> {
    parking_place()?;
    builder.set_cookie_generate_cb(|ssl, cookie| {
        guard::run(Err(ErrorStack::get()), || match generate(ssl, cookie) {
            Ok(length) => Ok(length),
            Err(error) => Err(park_error(ssl, error)),
        })
    });
    builder.set_cookie_verify_cb(|ssl, cookie| {
        guard::run(false, || match verify(ssl, cookie) {
            Ok(good) => good,
            Err(error) => {
                park_error(ssl, error);
                false
            }
        })
    });
    Ok(())
}

/// Parks what the callbacks need to know, for the next call into libssl.
pub(crate) fn park(ssl: &mut SslRef, call: CookieCall) -> Result<(), ErrorStack> {
    let parked = Parked {
        call: Some(Box::new(call)),
        error: None,
    };
    ssl.set_ex_data(parking_place()?, parked);
    Ok(())
}

/// Ends the call that was parked, and answers the error of a callback, which libssl takes for a wrong cookie.
pub(crate) fn take_error(ssl: &mut SslRef) -> Option<CookieError> {
    let parked = ssl.ex_data_mut(parking_place().ok()?)?;
    parked.call = None;
    parked.error.take()
}

fn call_of(ssl: &SslRef) -> Result<&CookieCall, CookieError> {
    let index = parking_place().map_err(|_| CookieError::NoPeer)?;
    let parked = ssl.ex_data(index).ok_or(CookieError::NoPeer)?;
    parked.call.as_deref().ok_or(CookieError::NoPeer)
}

fn generate(ssl: &SslRef, out: &mut [u8]) -> Result<usize, CookieError> {
    let call = call_of(ssl)?;
    let ring = call.ring.as_ref().ok_or(CookieError::NoPeer)?;
    ring.rotate_if_due(call.now)?;
    let available = out.len();
    let Some(out) = out.get_mut(..COOKIE_LEN) else {
        return Err(CookieError::BufferTooSmall {
            needed: COOKIE_LEN,
            available,
        });
    };
    out.copy_from_slice(&ring.mint(call.now, call.peer, call.preamble()));
    Ok(COOKIE_LEN)
}

fn verify(ssl: &SslRef, cookie: &[u8]) -> Result<bool, CookieError> {
    let call = call_of(ssl)?;
    let Some(ring) = &call.ring else {
        return Ok(true);
    };
    let checked = ring.check(call.now, call.peer, call.preamble(), cookie);
    Ok(checked == Checked::Good)
}

/// Keeps the first error of a call for [`take_error`], and answers an empty stack: the error is told there.
fn park_error(ssl: &mut SslRef, error: CookieError) -> ErrorStack {
    if let Ok(index) = parking_place() {
        match ssl.ex_data_mut(index) {
            Some(parked) => {
                parked.error.get_or_insert(error);
            }
            None => ssl.set_ex_data(
                index,
                Parked {
                    call: None,
                    error: Some(error),
                },
            ),
        }
    }
    ErrorStack::get()
}

#[cfg(test)]
mod tests {
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
}
