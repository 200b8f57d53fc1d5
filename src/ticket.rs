//! The keys of session tickets (RFC 5077): a ring of them that rotates, for one server or for a fleet.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use openssl::error::ErrorStack;
use openssl::rand::rand_bytes;
use zeroize::Zeroizing;

use crate::cookie::{ClockAnchor, Mac};
use crate::error::ConfigError;

/// How often a ring changes its key: the lifetime libssl gives sessions, so that a ticket's key lasts as long as its session.
const ROTATION: Duration = Duration::from_secs(2 * 3600);
/// The shortest time between two keys: a ring counts in seconds.
const MIN_ROTATION: Duration = Duration::from_secs(1);
/// The most keys that decrypt beside the current one, however often somebody rotates by hand.
const MAX_RETIRED: usize = 8;

/// A secret that ticket keys are made of.
///
/// It never appears in `Debug` output and is wiped when dropped.
pub struct TicketSecret(Zeroizing<Vec<u8>>);

impl TicketSecret {
    /// Bytes of a random secret, and the fewest a shared one may have.
    pub const LEN: usize = 32;

    /// A secret of [`TicketSecret::LEN`] random bytes. Corresponds to `RAND_bytes`.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Random`] if the generator fails; there is no secret then.
    pub fn random() -> Result<TicketSecret, ConfigError> {
        let mut bytes = Zeroizing::new(vec![0; Self::LEN]);
        // What an earlier call left on this thread is not this one's failure.
        drop(ErrorStack::get());
        rand_bytes(&mut bytes).map_err(ConfigError::Random)?;
        Ok(TicketSecret(bytes))
    }

    /// A secret that several servers share, so that each resumes the others' sessions: at least [`TicketSecret::LEN`] bytes that
    /// nobody else can guess.
    ///
    /// # Errors
    ///
    /// [`ConfigError::TicketSecretTooShort`].
    pub fn from_shared(bytes: &[u8]) -> Result<TicketSecret, ConfigError> {
        if bytes.len() < Self::LEN {
            return Err(ConfigError::TicketSecretTooShort {
                min: Self::LEN,
                given: bytes.len(),
            });
        }
        Ok(TicketSecret(Zeroizing::new(bytes.to_vec())))
    }
}

impl fmt::Debug for TicketSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketSecret").finish_non_exhaustive()
    }
}

/// What one ticket is encrypted and authenticated with.
pub(crate) struct TicketKey {
    /// Sent with each ticket: tells which key made it.
    pub(crate) name: [u8; 16],
    /// For AES-256.
    pub(crate) cipher: Zeroizing<[u8; 32]>,
    /// For HMAC-SHA256.
    pub(crate) mac: Zeroizing<[u8; 32]>,
}

impl TicketKey {
    /// The key of `secret` for one period of time.
    fn derive(secret: &TicketSecret, period: u64) -> TicketKey {
        let mac = Mac::new(&secret.0);
        let part = |label: &[u8]| Zeroizing::new(mac.tag(label, &period.to_be_bytes()));
        let long_name = part(b"openssl-dtls ticket name");
        let mut name = [0; 16];
        name.copy_from_slice(&long_name[..16]);
        TicketKey {
            name,
            cipher: part(b"openssl-dtls ticket cipher"),
            mac: part(b"openssl-dtls ticket mac"),
        }
    }
}

/// The keys of a server's session tickets: the current one, and those before it until their tickets have expired.
///
/// Tickets hold the whole session, so whoever has a key can decrypt the connections it was used for: keys are changed often and
/// wiped, and shared secrets guarded like private keys. Clones share their keys: keep one to rotate by hand what a
/// [`Context`](crate::Context) uses.
#[derive(Clone)]
pub struct TicketRing {
    shared: Arc<Shared>,
}

struct Shared {
    source: Source,
    interval: Duration,
    keys: RwLock<Keys>,
}

/// Where the next key comes from.
enum Source {
    /// The random generator.
    Random,
    /// A secret from outside and the time.
    Secret(ClockAnchor),
}

struct Keys {
    current: Arc<TicketKey>,
    /// When `current` was first used; `None` before that.
    since: Option<Instant>,
    /// Those before, and until when they are good.
    retired: Vec<(Arc<TicketKey>, Instant)>,
    /// For a shared secret: itself, the period of `current`, and the keys of the periods beside that.
    secret: Option<(TicketSecret, u64)>,
    neighbours: Vec<Arc<TicketKey>>,
}

impl TicketRing {
    /// A ring with a random key, which makes a new one every two hours while it is used.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Random`] if the generator fails.
    pub fn random() -> Result<TicketRing, ConfigError> {
        Self::random_every(ROTATION)
    }

    /// As [`random`](Self::random), with a new key every `interval`, which is at least one second. A key's tickets stay good for
    /// one `interval` after it.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Random`] if the generator fails.
    pub fn random_every(interval: Duration) -> Result<TicketRing, ConfigError> {
        let keys = Keys {
            current: Arc::new(TicketKey::derive(&TicketSecret::random()?, 0)),
            since: None,
            retired: Vec::new(),
            secret: None,
            neighbours: Vec::new(),
        };
        Ok(Self::new(Source::Random, interval, keys))
    }

    /// A ring whose keys follow from a secret and the Unix time, a new one every two hours: all servers that share the secret have
    /// the same, also after a restart.
    ///
    /// Whoever learns the secret can make all its keys, those of the past too: change it with [`rotate`](Self::rotate).
    pub fn shared(secret: TicketSecret, anchor: ClockAnchor) -> TicketRing {
        Self::shared_every(secret, ROTATION, anchor)
    }

    /// As [`shared`](Self::shared), with a new key every `interval`, in whole seconds and at least one. Tickets of the interval
    /// before and of the one after are good as well, since clocks differ.
    pub fn shared_every(
        secret: TicketSecret,
        interval: Duration,
        anchor: ClockAnchor,
    ) -> TicketRing {
        let interval = interval.max(MIN_ROTATION);
        let period = period(&anchor, anchor.instant(), interval);
        let keys = Keys {
            current: Arc::new(TicketKey::derive(&secret, period)),
            since: None,
            retired: Vec::new(),
            neighbours: neighbours(&secret, period),
            secret: Some((secret, period)),
        };
        Self::new(Source::Secret(anchor), interval, keys)
    }

    fn new(source: Source, interval: Duration, keys: Keys) -> TicketRing {
        TicketRing {
            shared: Arc::new(Shared {
                source,
                interval: interval.max(MIN_ROTATION),
                keys: RwLock::new(keys),
            }),
        }
    }

    /// Makes tickets with `secret` from now on. The key that was current decrypts for one interval more.
    pub fn rotate(&self, secret: TicketSecret, now: Instant) {
        let interval = self.shared.interval;
        let mut keys = self.write();
        match &self.shared.source {
            Source::Random => keys.install(TicketKey::derive(&secret, 0), now, interval),
            Source::Secret(anchor) => {
                let period = period(anchor, now, interval);
                keys.install(TicketKey::derive(&secret, period), now, interval);
                keys.neighbours = neighbours(&secret, period);
                keys.secret = Some((secret, period));
                // The periods say when its time is over.
                keys.since = None;
            }
        }
    }

    /// Goes on to the next key if it is time. Answers whether it did.
    ///
    /// Servers of this crate call it for each new connection.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Random`] if the generator fails; the old key stays in use.
    pub fn rotate_if_due(&self, now: Instant) -> Result<bool, ConfigError> {
        let interval = self.shared.interval;
        if !self.is_due(now) {
            return Ok(false);
        }
        match &self.shared.source {
            Source::Random => {
                let first_use = self.read().since.is_none();
                if first_use {
                    self.write().since = Some(now);
                    return Ok(false);
                }
                let key = TicketKey::derive(&TicketSecret::random()?, 0);
                self.write().install(key, now, interval);
                Ok(true)
            }
            Source::Secret(anchor) => {
                let period = period(anchor, now, interval);
                let mut keys = self.write();
                let keys = &mut *keys;
                keys.retired.retain(|(_, until)| now < *until);
                let Some((secret, at)) = &mut keys.secret else {
                    return Ok(false);
                };
                *at = period;
                keys.current = Arc::new(TicketKey::derive(secret, period));
                keys.neighbours = neighbours(secret, period);
                Ok(true)
            }
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        let keys = self.read();
        match &self.shared.source {
            Source::Random => keys
                .since
                .is_none_or(|since| now.saturating_duration_since(since) >= self.shared.interval),
            Source::Secret(anchor) => {
                let period = period(anchor, now, self.shared.interval);
                keys.secret.as_ref().is_none_or(|(_, at)| *at != period)
            }
        }
    }

    /// The key for a new ticket.
    pub(crate) fn current(&self) -> Arc<TicketKey> {
        self.read().current.clone()
    }

    /// The key of a ticket, and whether it is the current one.
    pub(crate) fn find(&self, name: &[u8]) -> Option<(Arc<TicketKey>, bool)> {
        let keys = self.read();
        if keys.current.name == name {
            return Some((keys.current.clone(), true));
        }
        let retired = keys.retired.iter().map(|(key, _)| key);
        retired
            .chain(&keys.neighbours)
            .find(|key| key.name == name)
            .map(|key| (key.clone(), false))
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Keys> {
        self.shared
            .keys
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Keys> {
        self.shared
            .keys
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keys {
    /// Makes `key` the current one, and keeps the one before for the rest of its time.
    fn install(&mut self, key: TicketKey, now: Instant, interval: Duration) {
        self.retired.retain(|(_, until)| now < *until);
        let retired = std::mem::replace(&mut self.current, Arc::new(key));
        // A server that was idle changes keys late: its old key's time is counted from when it should have been changed.
        let due = self.since.map_or(now, |since| now.min(since + interval));
        if now < due + interval {
            if self.retired.len() >= MAX_RETIRED {
                self.retired.remove(0);
            }
            self.retired.push((retired, due + interval));
        }
        self.since = Some(now);
    }
}

/// The keys of the periods before and after `period`.
fn neighbours(secret: &TicketSecret, period: u64) -> Vec<Arc<TicketKey>> {
    [period.checked_sub(1), period.checked_add(1)]
        .into_iter()
        .flatten()
        .map(|period| Arc::new(TicketKey::derive(secret, period)))
        .collect()
}

/// The number of the interval in which `now` lies, by Unix time.
fn period(anchor: &ClockAnchor, now: Instant, interval: Duration) -> u64 {
    anchor.unix_time(now).as_secs() / interval.as_secs().max(1)
}

impl fmt::Debug for TicketRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketRing")
            .field("interval", &self.shared.interval)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn secret(byte: u8) -> TicketSecret {
        TicketSecret::from_shared(&[byte; 32]).unwrap()
    }

    fn anchor(now: Instant, unix_hours: u32) -> ClockAnchor {
        ClockAnchor::new(now, UNIX_EPOCH + HOUR * unix_hours)
    }

    #[test]
    fn random_keys_change_by_age_and_are_kept_for_one_interval() {
        let ring = TicketRing::random_every(HOUR).unwrap();
        let start = Instant::now();
        let first = ring.current().name;
        // The first use starts the clock.
        assert!(!ring.rotate_if_due(start).unwrap());
        assert!(!ring.rotate_if_due(start + HOUR / 2).unwrap());
        assert!(ring.rotate_if_due(start + HOUR).unwrap());
        let second = ring.current().name;
        assert_ne!(first, second);
        assert!(ring.find(&second).is_some_and(|(_, current)| current));
        assert!(ring.find(&first).is_some_and(|(_, current)| !current));
        assert!(ring.rotate_if_due(start + HOUR * 2).unwrap());
        assert!(ring.find(&first).is_none());
        assert!(ring.find(&second).is_some());
        // After a long sleep the old key's time is over.
        assert!(ring.rotate_if_due(start + HOUR * 24).unwrap());
        assert!(ring.find(&second).is_none());
        assert!(ring.find(&[0; 16]).is_none());
    }

    #[test]
    fn servers_that_share_a_secret_share_keys_by_unix_time() {
        let (start, later) = (Instant::now(), Instant::now() + HOUR * 3);
        let here = TicketRing::shared_every(secret(1), HOUR, anchor(start, 500_000));
        // Another server, whose monotonic clock has another origin, started an hour ago.
        let there = TicketRing::shared_every(secret(1), HOUR, anchor(later, 499_999));
        let old = there.current();
        assert!(here.find(&old.name).is_some_and(|(_, current)| !current));
        assert!(there.rotate_if_due(later + HOUR).unwrap());
        assert_eq!(here.current().name, there.current().name);
        assert_eq!(*here.current().cipher, *there.current().cipher);
        assert_eq!(*here.current().mac, *there.current().mac);
        // One interval of skew either way is taken, more is not.
        assert!(there.rotate_if_due(later + HOUR * 2).unwrap());
        assert!(here.find(&there.current().name).is_some());
        assert!(there.rotate_if_due(later + HOUR * 3).unwrap());
        assert!(here.find(&there.current().name).is_none());
        assert!(here.rotate_if_due(start + HOUR * 2).unwrap());
        assert!(
            here.find(&there.current().name)
                .is_some_and(|(_, current)| current)
        );
        assert!(!here.rotate_if_due(start + HOUR * 2).unwrap());
    }

    #[test]
    fn a_new_shared_secret_leaves_the_old_key_for_a_while() {
        let start = Instant::now();
        let ring = TicketRing::shared_every(secret(1), HOUR, anchor(start, 500_000));
        let old = ring.current().name;
        ring.rotate(secret(2), start);
        assert_ne!(ring.current().name, old);
        assert!(ring.find(&old).is_some_and(|(_, current)| !current));
        assert!(ring.rotate_if_due(start + HOUR).unwrap());
        assert!(ring.find(&old).is_none());
    }

    #[test]
    fn rotating_by_hand_keeps_a_bounded_number_of_keys() {
        let ring = TicketRing::random_every(HOUR).unwrap();
        let now = Instant::now();
        let names: Vec<_> = (0..20)
            .map(|n| {
                ring.rotate(secret(n), now);
                ring.current().name
            })
            .collect();
        let kept = names.iter().filter(|name| ring.find(&name[..]).is_some());
        assert_eq!(kept.count(), MAX_RETIRED + 1);
    }

    #[test]
    fn short_secrets_are_refused_and_intervals_have_a_floor() {
        assert!(matches!(
            TicketSecret::from_shared(&[7; 31]),
            Err(ConfigError::TicketSecretTooShort { min: 32, given: 31 })
        ));
        let now = Instant::now();
        let anchor = ClockAnchor::new(now, SystemTime::now());
        let ring = TicketRing::shared_every(secret(1), Duration::ZERO, anchor);
        assert!(!ring.rotate_if_due(now).unwrap());
        assert_eq!(
            format!("{ring:?} {:?}", secret(9)),
            "TicketRing { interval: 1s, .. } TicketSecret { .. }"
        );
    }
}
