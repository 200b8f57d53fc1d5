//! What sockets need from the system and neither std nor socket2 has: waiting on several of them, and the switch for IP fragments.

use std::io;
use std::net::UdpSocket;
use std::time::Duration;

pub(crate) use self::imp::{Wake, allow_fragments, prepare, tell_less, wait};

/// What [`wait`] found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Ready {
    /// A datagram or an error waits to be read.
    pub(crate) readable: bool,
    /// An error waits.
    pub(crate) failed: bool,
    /// A datagram can be sent. Only looked for when asked.
    pub(crate) writable: bool,
    /// The other descriptor has something to read.
    pub(crate) woken: bool,
}

/// The system counts whole milliseconds, and -1 is for ever. Rounded up: waking early would mean to wait again.
fn milliseconds(timeout: Option<Duration>) -> i32 {
    match timeout {
        None => -1,
        Some(timeout) => {
            let rounded = timeout.as_nanos().div_ceil(1_000_000);
            i32::try_from(rounded).unwrap_or(i32::MAX)
        }
    }
}

#[cfg(unix)]
mod imp {
    use std::os::fd::{AsFd, AsRawFd};
    use std::os::unix::net::UnixStream;

    use super::{Duration, Ready, UdpSocket, io, milliseconds};

    /// What wakes a thread in [`wait`].
    pub(crate) type Wake = UnixStream;

    /// Waits until `socket` can be read, can be written (if `writable` asks), `wake` can be read, or `timeout` is over.
    ///
    /// A signal ends the wait with nothing found.
    pub(crate) fn wait(
        socket: &impl AsFd,
        wake: &impl AsFd,
        writable: bool,
        timeout: Option<Duration>,
    ) -> io::Result<Ready> {
        let entry = |fd, events| libc::pollfd {
            fd,
            events,
            revents: 0,
        };
        let wanted = if writable {
            libc::POLLIN | libc::POLLOUT
        } else {
            libc::POLLIN
        };
        let mut entries = [
            entry(socket.as_fd().as_raw_fd(), wanted),
            entry(wake.as_fd().as_raw_fd(), libc::POLLIN),
        ];
        // SAFETY: `entries` is an array of two, whose descriptors the caller lends open for the duration of the call.
        let found = unsafe { libc::poll(entries.as_mut_ptr(), 2, milliseconds(timeout)) };
        if found < 0 {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::Interrupted => Ok(Ready::default()),
                _ => Err(error),
            };
        }
        let [socket, wake] = entries.map(|entry| entry.revents);
        Ok(Ready {
            readable: socket & !libc::POLLOUT != 0,
            failed: socket & libc::POLLERR != 0,
            writable: socket & libc::POLLOUT != 0,
            woken: wake != 0,
        })
    }

    /// Sets what every socket of ours needs. Nothing here.
    #[expect(clippy::unnecessary_wraps, reason = "other systems can fail")]
    pub(crate) fn prepare(_socket: &UdpSocket) -> io::Result<()> {
        Ok(())
    }

    /// Lets IP cut datagrams that are larger than the path takes.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(crate) fn allow_fragments(socket: &UdpSocket, v6: bool) -> io::Result<()> {
        let (v4_option, v6_option) = (libc::IP_MTU_DISCOVER, libc::IPV6_MTU_DISCOVER);
        set(socket, libc::IPPROTO_IP, v4_option, libc::IP_PMTUDISC_DONT)?;
        if v6 {
            set(
                socket,
                libc::IPPROTO_IPV6,
                v6_option,
                libc::IPV6_PMTUDISC_DONT,
            )?;
            set(socket, libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, 0)?;
        }
        Ok(())
    }

    /// Lets IP cut datagrams that are larger than the path takes.
    #[cfg(any(target_vendor = "apple", target_os = "freebsd"))]
    pub(crate) fn allow_fragments(socket: &UdpSocket, v6: bool) -> io::Result<()> {
        if v6 {
            set(socket, libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, 0)
        } else {
            set(socket, libc::IPPROTO_IP, libc::IP_DONTFRAG, 0)
        }
    }

    /// Lets IP cut datagrams that are larger than the path takes: what these systems do anyway.
    #[cfg(not(any(
        target_os = "linux",
        target_os = "android",
        target_vendor = "apple",
        target_os = "freebsd"
    )))]
    pub(crate) fn allow_fragments(_socket: &UdpSocket, _v6: bool) -> io::Result<()> {
        Ok(())
    }

    /// Keeps the system from telling with each datagram what nobody asks for here: when it came, its ECN bits, and for a socket
    /// with one address where it was sent to. Each costs time.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(crate) fn tell_less(socket: &UdpSocket, v6: bool, one_address: bool) {
        let options = [
            (true, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS),
            (true, libc::IPPROTO_IP, libc::IP_RECVTOS),
            (v6, libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS),
            (one_address, libc::IPPROTO_IP, libc::IP_PKTINFO),
            (
                v6 && one_address,
                libc::IPPROTO_IPV6,
                libc::IPV6_RECVPKTINFO,
            ),
        ];
        for (applies, level, option) in options {
            if applies {
                // What is told needlessly does no harm.
                set(socket, level, option, 0).unwrap_or_default();
            }
        }
    }

    /// Nothing here.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    pub(crate) fn tell_less(_socket: &UdpSocket, _v6: bool, _one_address: bool) {}

    #[cfg(any(
        target_os = "linux",
        target_os = "android",
        target_vendor = "apple",
        target_os = "freebsd"
    ))]
    fn set(
        socket: &UdpSocket,
        level: libc::c_int,
        option: libc::c_int,
        value: libc::c_int,
    ) -> io::Result<()> {
        let length = size_of::<libc::c_int>() as libc::socklen_t;
        // SAFETY: `value` outlives the call and has `length` bytes; the descriptor is open as long as `socket` is borrowed.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                level,
                option,
                (&raw const value).cast(),
                length,
            )
        };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

#[cfg(windows)]
mod imp {
    use core::ffi::{c_int, c_ulong, c_void};
    use std::os::windows::io::{AsRawSocket, AsSocket, RawSocket};
    use std::ptr;

    use super::{Duration, Ready, UdpSocket, io, milliseconds};

    /// What wakes a thread in [`wait`]: of two loopback sockets connected to each other, the one that is read.
    pub(crate) type Wake = UdpSocket;

    /// `winsock2.h`
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct WSAPOLLFD {
        fd: RawSocket,
        events: i16,
        revents: i16,
    }

    const POLLRDNORM: i16 = 0x0100;
    const POLLWRNORM: i16 = 0x0010;
    const POLLERR: i16 = 0x0001;
    /// `mstcpip.h`
    const SIO_UDP_CONNRESET: c_ulong = 0x9800_000C;
    const IPPROTO_IP: c_int = 0;
    const IPPROTO_IPV6: c_int = 41;
    const IP_DONTFRAGMENT: c_int = 14;
    const IPV6_DONTFRAG: c_int = 14;

    #[link(name = "ws2_32")]
    unsafe extern "system" {
        fn WSAPoll(entries: *mut WSAPOLLFD, count: c_ulong, timeout: c_int) -> c_int;
        fn WSAIoctl(
            socket: RawSocket,
            code: c_ulong,
            input: *const c_void,
            input_length: c_ulong,
            output: *mut c_void,
            output_length: c_ulong,
            returned: *mut c_ulong,
            overlapped: *mut c_void,
            completion: *mut c_void,
        ) -> c_int;
        fn setsockopt(
            socket: RawSocket,
            level: c_int,
            option: c_int,
            value: *const c_void,
            length: c_int,
        ) -> c_int;
    }

    /// Waits until `socket` can be read, can be written (if `writable` asks), `wake` can be read, or `timeout` is over.
    pub(crate) fn wait(
        socket: &impl AsSocket,
        wake: &impl AsSocket,
        writable: bool,
        timeout: Option<Duration>,
    ) -> io::Result<Ready> {
        let entry = |fd, events| WSAPOLLFD {
            fd,
            events,
            revents: 0,
        };
        let wanted = if writable {
            POLLRDNORM | POLLWRNORM
        } else {
            POLLRDNORM
        };
        let mut entries = [
            entry(socket.as_socket().as_raw_socket(), wanted),
            entry(wake.as_socket().as_raw_socket(), POLLRDNORM),
        ];
        // SAFETY: `entries` is an array of two, whose sockets the caller lends open for the duration of the call.
        let found = unsafe { WSAPoll(entries.as_mut_ptr(), 2, milliseconds(timeout)) };
        if found < 0 {
            return Err(io::Error::last_os_error());
        }
        let [socket, wake] = entries.map(|entry| entry.revents);
        Ok(Ready {
            readable: socket & !POLLWRNORM != 0,
            failed: socket & POLLERR != 0,
            writable: socket & POLLWRNORM != 0,
            woken: wake != 0,
        })
    }

    /// Keeps ICMP messages for one peer from failing the next call for another.
    pub(crate) fn prepare(socket: &UdpSocket) -> io::Result<()> {
        let off: c_int = 0;
        let mut returned: c_ulong = 0;
        // SAFETY: `off` and `returned` outlive the call, which is not overlapped; lengths are those of `off` and of no output.
        let result = unsafe {
            WSAIoctl(
                socket.as_raw_socket(),
                SIO_UDP_CONNRESET,
                (&raw const off).cast(),
                size_of::<c_int>() as c_ulong,
                ptr::null_mut(),
                0,
                &raw mut returned,
                ptr::null_mut(),
                ptr::null_mut(),
            )
        };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// Nothing here.
    pub(crate) fn tell_less(_socket: &UdpSocket, _v6: bool, _one_address: bool) {}

    /// Lets IP cut datagrams that are larger than the path takes.
    pub(crate) fn allow_fragments(socket: &UdpSocket, v6: bool) -> io::Result<()> {
        let (level, option) = if v6 {
            (IPPROTO_IPV6, IPV6_DONTFRAG)
        } else {
            (IPPROTO_IP, IP_DONTFRAGMENT)
        };
        let off: c_int = 0;
        // SAFETY: `off` outlives the call and has the length that is named; the socket is open as long as it is borrowed.
        let result = unsafe {
            setsockopt(
                socket.as_raw_socket(),
                level,
                option,
                (&raw const off).cast(),
                size_of::<c_int>() as c_int,
            )
        };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_round_up_and_saturate() {
        assert_eq!(milliseconds(None), -1);
        assert_eq!(milliseconds(Some(Duration::ZERO)), 0);
        assert_eq!(milliseconds(Some(Duration::from_nanos(1))), 1);
        assert_eq!(milliseconds(Some(Duration::from_micros(2001))), 3);
        assert_eq!(milliseconds(Some(Duration::MAX)), i32::MAX);
    }
}
