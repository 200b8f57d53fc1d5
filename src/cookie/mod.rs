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
mod tests;
