//! Floods for tests over loopback: what an attacker sends who makes up addresses, or who owns many.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// How many sockets, and so ports, are in use at once, and how many datagrams each sends before it is given up for a new one.
const SOCKETS: usize = 256;
const PER_SOCKET: usize = 16;
/// Bytes of a record's and of a handshake message's header.
const RECORD_HEADER: usize = 13;
const MESSAGE_HEADER: usize = 12;
/// Bytes of a ClientHello in front of the length of its session id: version and random.
const HELLO_FIXED: usize = 2 + 32;
/// The longest cookie of DTLS 1.0, and what servers make that serve it.
const COOKIE_LEN: usize = 32;
/// How long a HelloVerifyRequest may take on a loopback interface under load.
const REPLY: Duration = Duration::from_millis(500);

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// ClientHellos without a cookie.
    Hellos,
    /// ClientHellos with a cookie that nobody made.
    WrongCookies,
    /// Bytes that look like records until they are read.
    Garbage,
    /// ClientHellos that return the cookie they were sent, and nothing after.
    HalfOpen,
}

/// What was sent.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sent {
    pub(crate) datagrams: u64,
    pub(crate) bytes: u64,
    /// Datagrams this host had no room for.
    pub(crate) refused: u64,
    /// Handshakes begun and left.
    pub(crate) half_open: u64,
    pub(crate) elapsed: Duration,
}

/// Sends `count` datagrams, or begins as many handshakes, made of `hello`, from many ports. `progress` hears how many are done.
///
/// Only a loopback address is taken for `to`.
pub(crate) fn flood(
    kind: Kind,
    to: SocketAddr,
    hello: &[u8],
    count: u64,
    mut progress: impl FnMut(u64),
) -> io::Result<Sent> {
    if !to.ip().is_loopback() {
        let refusal = "floods are for loopback addresses only";
        return Err(io::Error::new(ErrorKind::InvalidInput, refusal));
    }
    let mut random = fastrand::Rng::with_seed(count);
    let mut sent = Sent::default();
    let begun = Instant::now();
    let mut done = 0;
    while done < count {
        let left = usize::try_from(count - done).unwrap_or(usize::MAX);
        let sockets = (0..SOCKETS.min(left))
            .map(|_| open(to.ip()))
            .collect::<io::Result<Vec<_>>>()?;
        if kind == Kind::HalfOpen {
            begin_handshakes(&sockets, to, hello, &mut random, &mut sent)?;
            done += sockets.len() as u64;
        } else {
            let turns = PER_SOCKET.min(left.div_ceil(sockets.len()));
            for socket in (0..turns).flat_map(|_| &sockets).take(left) {
                let datagram = match kind {
                    Kind::Garbage => garbage(&mut random, hello),
                    Kind::WrongCookies => {
                        let cookie: [u8; COOKIE_LEN] = std::array::from_fn(|_| random.u8(..));
                        with_cookie(hello, &cookie).unwrap_or_default()
                    }
                    Kind::Hellos | Kind::HalfOpen => hello.to_vec(),
                };
                send(socket, to, &datagram, &mut sent)?;
                done += 1;
            }
        }
        progress(done);
    }
    sent.elapsed = begun.elapsed();
    Ok(sent)
}

fn open(host: IpAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((host, 0))?;
    socket.set_read_timeout(Some(REPLY))?;
    Ok(socket)
}

fn send(socket: &UdpSocket, to: SocketAddr, datagram: &[u8], sent: &mut Sent) -> io::Result<()> {
    match socket.send_to(datagram, to) {
        Ok(length) => {
            sent.datagrams += 1;
            sent.bytes += length as u64;
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            sent.refused += 1;
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// Asks for a cookie from each socket, and returns those that come.
fn begin_handshakes(
    sockets: &[UdpSocket],
    to: SocketAddr,
    hello: &[u8],
    random: &mut fastrand::Rng,
    sent: &mut Sent,
) -> io::Result<()> {
    // A port that comes round again must not look like the handshake it had before.
    let mut hello = hello.to_vec();
    let at = RECORD_HEADER + MESSAGE_HEADER + 2;
    if let Some(bytes) = hello.get_mut(at..at + 32) {
        random.fill(bytes);
    }
    for socket in sockets {
        send(socket, to, &hello, sent)?;
    }
    let mut reply = [0; 512];
    for socket in sockets {
        let Ok(length) = socket.recv(&mut reply) else {
            continue;
        };
        let second = cookie_of(&reply[..length]).and_then(|cookie| with_cookie(&hello, cookie));
        if let Some(second) = second {
            send(socket, to, &second, sent)?;
            sent.half_open += 1;
        }
    }
    Ok(())
}

/// The cookie in a HelloVerifyRequest.
fn cookie_of(reply: &[u8]) -> Option<&[u8]> {
    let body = reply.get(RECORD_HEADER + MESSAGE_HEADER..)?;
    let (&length, cookie) = body.get(2..)?.split_first()?;
    cookie.get(..usize::from(length))
}

/// A ClientHello as it is sent the second time, with a cookie in it.
pub(crate) fn with_cookie(hello: &[u8], cookie: &[u8]) -> Option<Vec<u8>> {
    let body = hello.get(RECORD_HEADER + MESSAGE_HEADER..)?;
    let cookie_at = HELLO_FIXED + 1 + usize::from(*body.get(HELLO_FIXED)?);
    let rest = body.get(cookie_at + 1 + usize::from(*body.get(cookie_at)?)..)?;
    let mut message = body.get(..cookie_at)?.to_vec();
    message.push(u8::try_from(cookie.len()).ok()?);
    message.extend(cookie);
    message.extend(rest);

    let length = u32::try_from(message.len()).ok()?.to_be_bytes();
    let record_length = u16::try_from(message.len() + MESSAGE_HEADER).ok()?;
    let mut datagram = hello.get(..3)?.to_vec();
    // Epoch 0, record 1.
    datagram.extend([0, 0, 0, 0, 0, 0, 0, 1]);
    datagram.extend(record_length.to_be_bytes());
    // ClientHello, message 1, in one fragment.
    datagram.push(1);
    datagram.extend(&length[1..]);
    datagram.extend([0, 1, 0, 0, 0]);
    datagram.extend(&length[1..]);
    datagram.extend(message);
    Some(datagram)
}

/// Random bytes behind a byte that DTLS begins with, or a hello that was damaged.
fn garbage(random: &mut fastrand::Rng, hello: &[u8]) -> Vec<u8> {
    if random.bool() {
        let mut damaged = hello.to_vec();
        for _ in 0..random.usize(1..8) {
            let at = random.usize(..damaged.len());
            damaged[at] = random.u8(..);
        }
        damaged.truncate(random.usize(1..=hello.len()));
        return damaged;
    }
    let mut bytes: Vec<u8> = (0..random.usize(1..1400)).map(|_| random.u8(..)).collect();
    bytes[0] = random.u8(20..64);
    bytes
}
