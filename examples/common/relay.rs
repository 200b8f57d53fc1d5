//! A stretch of network that loses datagrams: by chance, but by the same chance each time.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How long the relay sleeps at most before it looks whether it is to stop.
const LONGEST_SLEEP: Duration = Duration::from_millis(50);

/// Relays between one client and a server on this machine until it is dropped.
pub(crate) struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<io::Result<()>>>,
}

#[derive(Default)]
struct Shared {
    client: OnceLock<SocketAddr>,
    lossless: AtomicBool,
    stop: AtomicBool,
    to_server: Counts,
    to_client: Counts,
}

/// Counts of one direction.
#[derive(Default)]
struct Counts {
    sent: AtomicU64,
    lost: AtomicU64,
}

impl Relay {
    /// Relays to `server` and loses `loss`, of 1, of the datagrams in each direction, as `seed` says.
    pub(crate) fn new(server: SocketAddr, loss: f64, seed: u64) -> io::Result<Relay> {
        let front = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let back = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        back.connect(server)?;
        for socket in [&front, &back] {
            socket.set_read_timeout(Some(LONGEST_SLEEP))?;
        }
        let shared = Arc::new(Shared::default());
        let mut relay = Relay {
            address: front.local_addr()?,
            shared: shared.clone(),
            threads: Vec::new(),
        };
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut there, mut back_again) = (random.fork(), random);
        let (to_server, to_client) = ((front.try_clone()?, back.try_clone()?), (back, front));
        let forward = shared.clone();
        relay.threads.push(thread::spawn(move || {
            let (from, to) = to_server;
            forward.pass(
                &from,
                &forward.to_server,
                loss,
                &mut there,
                |datagram, client| {
                    let client = *forward.client.get_or_init(|| client);
                    to.send(datagram).map(|_| client)
                },
            )
        }));
        relay.threads.push(thread::spawn(move || {
            let (from, to) = to_client;
            shared.pass(
                &from,
                &shared.to_client,
                loss,
                &mut back_again,
                |datagram, server| {
                    // Nothing comes from the server before the client has sent something.
                    let client = shared.client.get().unwrap_or(&server);
                    to.send_to(datagram, client).map(|_| *client)
                },
            )
        }));
        Ok(relay)
    }

    /// Where the client finds the server.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Loses nothing from now on.
    pub(crate) fn stop_losing(&self) {
        self.shared.lossless.store(true, Ordering::Relaxed);
    }

    /// Datagrams lost of those sent, to the server and to the client.
    pub(crate) fn losses(&self) -> [(u64, u64); 2] {
        [&self.shared.to_server, &self.shared.to_client].map(|counts| {
            (
                counts.lost.load(Ordering::Relaxed),
                counts.sent.load(Ordering::Relaxed),
            )
        })
    }
}

impl Shared {
    /// Passes on what comes `from` a socket, in one direction.
    fn pass(
        &self,
        from: &UdpSocket,
        counts: &Counts,
        loss: f64,
        random: &mut fastrand::Rng,
        send: impl Fn(&[u8], SocketAddr) -> io::Result<SocketAddr>,
    ) -> io::Result<()> {
        let mut buffer = vec![0; 65_535];
        while !self.stop.load(Ordering::Relaxed) {
            match from.recv_from(&mut buffer) {
                Ok((length, sender)) => {
                    counts.sent.fetch_add(1, Ordering::Relaxed);
                    if random.f64() < loss && !self.lossless.load(Ordering::Relaxed) {
                        counts.lost.fetch_add(1, Ordering::Relaxed);
                    } else {
                        send(&buffer[..length], sender)?;
                    }
                }
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock
                    | ErrorKind::TimedOut
                    | ErrorKind::Interrupted
                    | ErrorKind::ConnectionRefused
                    | ErrorKind::ConnectionReset => {}
                    _ => return Err(error),
                },
            }
        }
        Ok(())
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            match thread.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => eprintln!("relay: {error}"),
                Err(_) => eprintln!("relay: a thread panicked"),
            }
        }
    }
}
