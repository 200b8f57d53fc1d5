//! Ends another thread's wait on a socket.

use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::sys::socket::Wake;

/// Wakes the thread that waits on a socket and on this.
///
/// Several wakes before the thread comes round are one.
#[derive(Debug)]
pub(crate) struct Waker {
    bell: Wake,
    ear: Wake,
    rung: AtomicBool,
}

impl Waker {
    pub(crate) fn new() -> io::Result<Waker> {
        let (bell, ear) = pair()?;
        bell.set_nonblocking(true)?;
        ear.set_nonblocking(true)?;
        Ok(Waker {
            bell,
            ear,
            rung: AtomicBool::new(false),
        })
    }

    /// Wakes the waiting thread, or keeps it from falling asleep the next time.
    pub(crate) fn wake(&self) {
        if self.rung.swap(true, Ordering::AcqRel) {
            return;
        }
        // A full pipe wakes as well, and the other end lives as long as this one.
        ring(&self.bell).unwrap_or_default();
    }

    /// Whether there is a wake to take note of.
    pub(crate) fn is_rung(&self) -> bool {
        self.rung.load(Ordering::Acquire)
    }

    /// What to wait on beside the socket.
    pub(crate) fn ear(&self) -> &Wake {
        &self.ear
    }

    /// Takes note of all wakes so far: what they announced must be looked at after this.
    pub(crate) fn hear(&self) {
        let mut bytes = [0; 8];
        while matches!(listen(&self.ear, &mut bytes), Ok(1..)) {}
        // After the reading: a wake in between finds the flag set, and what it announces is looked at next.
        self.rung.swap(false, Ordering::AcqRel);
    }
}

#[cfg(unix)]
fn pair() -> io::Result<(Wake, Wake)> {
    Wake::pair()
}

#[cfg(unix)]
fn ring(mut bell: &Wake) -> io::Result<()> {
    use std::io::Write as _;

    retry(|| bell.write(&[1])).map(drop)
}

#[cfg(unix)]
fn listen(mut ear: &Wake, bytes: &mut [u8]) -> io::Result<usize> {
    use std::io::Read as _;

    retry(|| ear.read(bytes))
}

#[cfg(windows)]
fn pair() -> io::Result<(Wake, Wake)> {
    use std::net::Ipv4Addr;

    let (one, other) = (
        Wake::bind((Ipv4Addr::LOCALHOST, 0))?,
        Wake::bind((Ipv4Addr::LOCALHOST, 0))?,
    );
    one.connect(other.local_addr()?)?;
    other.connect(one.local_addr()?)?;
    Ok((one, other))
}

#[cfg(windows)]
fn ring(bell: &Wake) -> io::Result<()> {
    retry(|| bell.send(&[1])).map(drop)
}

#[cfg(windows)]
fn listen(ear: &Wake, bytes: &mut [u8]) -> io::Result<usize> {
    retry(|| ear.recv(bytes))
}

fn retry(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sys::socket;

    fn woken(waker: &Waker) -> bool {
        let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let ready = socket::wait(&silent, waker.ear(), false, Some(Duration::ZERO)).unwrap();
        assert!(!ready.readable);
        ready.woken
    }

    #[test]
    fn wakes_are_heard_once() {
        let waker = Waker::new().unwrap();
        assert!(!woken(&waker));
        for _ in 0..100_000 {
            waker.wake();
        }
        assert!(woken(&waker));
        waker.hear();
        assert!(!woken(&waker));
        waker.wake();
        assert!(woken(&waker));
    }

    #[test]
    fn every_wake_ends_a_wait() {
        let waker = Waker::new().unwrap();
        let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| (0..10_000).for_each(|_| waker.wake()));
            let ready = socket::wait(&silent, waker.ear(), false, None).unwrap();
            assert!(ready.woken);
        });
    }
}
