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
const HEAD_LEN: usize = 2;
/// Cookies carry the time in steps of so many seconds, and are good in the step they were made in and in the one before and after:
/// long enough for a slow path and for clocks that differ, short for a collector of cookies.
const STEP_SECONDS: u64 = 30;
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

impl fmt::Debug for CookieSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CookieSecret").finish_non_exhaustive()
    }
}

/// HMAC-SHA256 with its key absorbed: the states after the first block of the inner and the outer hash.
struct Mac {
    inner: Sha256,
    outer: Sha256,
}

impl Mac {
    fn new(key: &[u8]) -> Mac {
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

    fn tag(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut inner = self.inner.clone();
        for part in parts {
            inner.update(part);
        }
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
    id: u8,
}

impl Key {
    fn new(secret: &CookieSecret) -> Key {
        let mac = Mac::new(&secret.0);
        let [id, ..] = mac.tag(&[b"openssl-dtls cookie key id"]);
        Key { mac, id }
    }

    fn cookie(&self, step: u64, peer: SocketAddr, preamble: &[u8]) -> [u8; COOKIE_LEN] {
        // The same peer whether the socket is dual-stack or not. The scope of a link-local address tells hosts of two links apart.
        let (ip, scope) = match (peer.ip().to_canonical(), peer) {
            (IpAddr::V4(ip), _) => (ip.to_ipv6_mapped(), 0),
            (IpAddr::V6(ip), SocketAddr::V6(peer)) => (ip, peer.scope_id()),
            (IpAddr::V6(ip), SocketAddr::V4(_)) => (ip, 0),
        };
        let mut fixed = [0_u8; 30];
        fixed[..16].copy_from_slice(&ip.octets());
        fixed[16..20].copy_from_slice(&scope.to_be_bytes());
        fixed[20..22].copy_from_slice(&peer.port().to_be_bytes());
        fixed[22..].copy_from_slice(&step.to_be_bytes());
        // Everything in front of the preamble has a fixed length, so no two inputs run together.
        let tag = self.mac.tag(&[b"openssl-dtls cookie 1", &fixed, preamble]);
        let [.., low] = step.to_be_bytes();
        let mut cookie = [0; COOKIE_LEN];
        cookie[..HEAD_LEN].copy_from_slice(&[self.id, low]);
        cookie[HEAD_LEN..].copy_from_slice(&tag[..COOKIE_LEN - HEAD_LEN]);
        cookie
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

    fn step(&self, now: Instant) -> u64 {
        let later = self
            .unix_time
            .saturating_add(now.saturating_duration_since(self.instant));
        let earlier = self.instant.saturating_duration_since(now);
        later.saturating_sub(earlier).as_secs() / STEP_SECONDS
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
    keys: RwLock<Keys>,
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

    /// As [`random`](Self::random), with a new secret every `interval`. A secret's cookies stay good for a minute after it.
    ///
    /// # Errors
    ///
    /// [`CookieError::Random`] if the generator fails.
    pub fn random_every(
        interval: Duration,
        anchor: ClockAnchor,
    ) -> Result<CookieRing, CookieError> {
        Ok(Self::new(&CookieSecret::random()?, anchor, Some(interval)))
    }

    /// A ring with a secret from outside, which changes through [`rotate`](Self::rotate) only.
    pub fn shared(secret: CookieSecret, anchor: ClockAnchor) -> CookieRing {
        Self::new(&secret, anchor, None)
    }

    fn new(
        secret: &CookieSecret,
        anchor: ClockAnchor,
        rotate_every: Option<Duration>,
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
        keys.previous = Some((retired, now + OVERLAP));
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
        let step = self.shared.anchor.step(now);
        self.read(|keys| keys.current.cookie(step, peer, preamble))
    }

    /// Whether `cookie` is one of this ring's for `peer` and `preamble`, and not too old.
    pub(crate) fn check(
        &self,
        now: Instant,
        peer: SocketAddr,
        preamble: &[u8],
        cookie: &[u8],
    ) -> bool {
        let Ok(&[id, low, ..]) = <&[u8; COOKIE_LEN]>::try_from(cookie) else {
            return false;
        };
        let step = self.shared.anchor.step(now);
        let near = [step, step.wrapping_sub(1), step.wrapping_add(1)];
        let Some(step) = near.into_iter().find(|step| step.to_be_bytes()[7] == low) else {
            return false;
        };
        self.read(|keys| {
            let previous = keys.previous.as_ref().filter(|(_, until)| now < *until);
            [Some(&keys.current), previous.map(|(key, _)| key)]
                .into_iter()
                .flatten()
                .filter(|key| key.id == id)
                .any(|key| memcmp::eq(&key.cookie(step, peer, preamble), cookie))
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

/// What libssl's cookie callbacks need to know about the call they run in; parked in the `SSL` while it runs.
pub(crate) struct CookieCall {
    ring: CookieRing,
    now: Instant,
    peer: SocketAddr,
    preamble: ([u8; MAX_PREAMBLE_LEN], usize),
}

impl CookieCall {
    /// A call for a ClientHello of `peer` that begins with `preamble`, cut to the most a ClientHello can have there.
    pub(crate) fn new(
        ring: &CookieRing,
        now: Instant,
        peer: SocketAddr,
        preamble: &[u8],
    ) -> CookieCall {
        let mut bytes = [0; MAX_PREAMBLE_LEN];
        let length = preamble.len().min(MAX_PREAMBLE_LEN);
        bytes[..length].copy_from_slice(&preamble[..length]);
        CookieCall {
            ring: ring.clone(),
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
    call: Option<CookieCall>,
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
        call: Some(call),
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
    parked.call.as_ref().ok_or(CookieError::NoPeer)
}

fn generate(ssl: &SslRef, out: &mut [u8]) -> Result<usize, CookieError> {
    let call = call_of(ssl)?;
    call.ring.rotate_if_due(call.now)?;
    let available = out.len();
    let Some(out) = out.get_mut(..COOKIE_LEN) else {
        return Err(CookieError::BufferTooSmall {
            needed: COOKIE_LEN,
            available,
        });
    };
    out.copy_from_slice(&call.ring.mint(call.now, call.peer, call.preamble()));
    Ok(COOKIE_LEN)
}

fn verify(ssl: &SslRef, cookie: &[u8]) -> Result<bool, CookieError> {
    let call = call_of(ssl)?;
    Ok(call
        .ring
        .check(call.now, call.peer, call.preamble(), cookie))
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
