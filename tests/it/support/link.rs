//! One direction of a network: loses, repeats, delays and reorders datagrams, by seed or by script.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// What a link does to datagrams.
#[derive(Debug, Clone)]
pub struct Settings {
    pub seed: u64,
    /// Of 1.
    pub loss: f64,
    /// Of 1.
    pub duplication: f64,
    /// Of 1: so many datagrams are late by up to `lateness` and are overtaken.
    pub reordering: f64,
    pub latency: Duration,
    pub lateness: Duration,
    /// Bytes of UDP payload; larger datagrams are lost.
    pub mtu: usize,
    /// Numbers of datagrams to lose, from 0.
    pub lost: BTreeSet<usize>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            seed: 0,
            loss: 0.0,
            duplication: 0.0,
            reordering: 0.0,
            latency: Duration::from_millis(10),
            lateness: Duration::from_millis(100),
            mtu: usize::MAX,
            lost: BTreeSet::new(),
        }
    }
}

impl Settings {
    /// Loses the datagram of this number.
    pub fn losing(number: usize) -> Settings {
        Settings {
            lost: BTreeSet::from([number]),
            ..Settings::default()
        }
    }
}

/// Sees a datagram's number and bytes, and answers what arrives just before it.
pub type Forger = Box<dyn FnMut(usize, &[u8]) -> Vec<Vec<u8>>>;

pub struct Link {
    /// Somebody who can send to the receiver in the sender's name.
    pub forger: Option<Forger>,
    pub settings: Settings,
    random: fastrand::Rng,
    in_flight: Vec<(Instant, Vec<u8>)>,
    /// Every datagram that was sent, in order, lost or not.
    pub log: Vec<Vec<u8>>,
    pub lost: usize,
}

impl Link {
    pub fn new(settings: Settings) -> Link {
        let random = fastrand::Rng::with_seed(settings.seed);
        Link {
            forger: None,
            settings,
            random,
            in_flight: Vec::new(),
            log: Vec::new(),
            lost: 0,
        }
    }

    pub fn send(&mut self, now: Instant, datagram: &[u8]) {
        let number = self.log.len();
        self.log.push(datagram.to_vec());
        if let Some(forger) = &mut self.forger {
            let at = now + self.settings.latency;
            let forged = forger(number, datagram);
            self.in_flight
                .extend(forged.into_iter().map(|forged| (at, forged)));
        }
        let lost_by_chance = self.random.f64() < self.settings.loss;
        let too_large = datagram.len() > self.settings.mtu;
        if lost_by_chance || too_large || self.settings.lost.contains(&number) {
            self.lost += 1;
            return;
        }
        let copies = if self.random.f64() < self.settings.duplication {
            2
        } else {
            1
        };
        for _ in 0..copies {
            let mut at = now + self.settings.latency;
            if self.random.f64() < self.settings.reordering {
                at += self.settings.lateness.mul_f64(self.random.f64());
            }
            self.in_flight.push((at, datagram.to_vec()));
        }
    }

    /// When the next datagram arrives.
    pub fn next_arrival(&self) -> Option<Instant> {
        self.in_flight.iter().map(|(at, _)| *at).min()
    }

    /// Takes a datagram that has arrived.
    pub fn receive(&mut self, now: Instant) -> Option<Vec<u8>> {
        let next = self.next_arrival().filter(|at| *at <= now)?;
        let index = self.in_flight.iter().position(|(at, _)| *at == next)?;
        Some(self.in_flight.remove(index).1)
    }
}
