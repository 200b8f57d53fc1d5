//! Sockets on loopback.

use super::*;

const LONG: Option<Duration> = Some(Duration::from_secs(10));

fn socket(address: &str) -> Socket {
    Socket::bind(address.parse().unwrap(), &SocketConfig::new()).unwrap()
}

fn path_to(socket: &Socket) -> Path {
    Path::from(socket.local_addr().unwrap())
}

/// Receives until there are `count` datagrams.
fn receive(socket: &Socket, count: usize) -> Vec<(Path, Vec<u8>)> {
    let waker = Waker::new().unwrap();
    let mut batch = socket.batch();
    let mut all = Vec::new();
    while all.len() < count {
        let ready = socket.wait(&waker, false, LONG).unwrap();
        assert!(ready.readable, "only {} of {count} arrived", all.len());
        socket.receive(&mut batch).unwrap();
        all.extend(batch.datagrams().map(|(path, data)| (path, data.to_vec())));
    }
    all
}

#[test]
fn trains_keep_their_borders() {
    let (sender, receiver) = (socket("127.0.0.1:0"), socket("127.0.0.1:0"));
    let contents: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
    let from = sender.local_addr().unwrap();
    for length in [1, 99, 100, 101, 6_400, 6_401, 64_000, 100_000] {
        let train = &contents[..length];
        assert_eq!(sender.send(path_to(&receiver), train, Some(100)), Sent::All);
        let datagrams = receive(&receiver, length.div_ceil(100));
        assert!(datagrams.iter().all(|(path, _)| path.peer == from));
        let sent: Vec<_> = train.chunks(100).collect();
        let received: Vec<_> = datagrams.iter().map(|(_, data)| &data[..]).collect();
        assert_eq!(received, sent, "length {length}");
    }
    let (sent, received) = (sender.stats(), receiver.stats());
    assert_eq!(sent.datagrams_sent, received.datagrams_received);
    assert_eq!(sent.bytes_sent, received.bytes_received);
    assert_eq!(sent.send_errors, 0);
}

#[test]
fn empty_and_largest_datagrams_arrive_whole() {
    let receiver = socket("127.0.0.1:0");
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = receiver.local_addr().unwrap();
    let largest = vec![7; 65_507];
    for data in [&[][..], &largest, &[], b"x"] {
        sender.send_to(data, to).unwrap();
        assert_eq!(receive(&receiver, 1)[0].1, data);
    }
    assert_eq!(receiver.stats().datagrams_received, 4);
}

#[test]
fn dual_stack_socket_names_v4_peers_as_v4() {
    let both = socket("[::]:0");
    let port = both.local_addr().unwrap().port();
    for address in ["127.0.0.1", "[::1]"] {
        let peer = socket(&format!("{address}:0"));
        let to: SocketAddr = format!("{address}:{port}").parse().unwrap();
        assert_eq!(peer.send(to.into(), b"question", None), Sent::All);
        let (path, _) = receive(&both, 1).remove(0);
        assert_eq!(path.peer, peer.local_addr().unwrap());
        assert_eq!(path.local, Some(to.ip()));
        assert_eq!(both.send(path, b"answer", None), Sent::All);
        assert_eq!(receive(&peer, 1)[0].0.peer, to);
    }
}

#[test]
fn v6_only_socket_refuses_v4() {
    let config = SocketConfig::new().only_v6(true);
    let v6 = Socket::bind("[::]:0".parse().unwrap(), &config).unwrap();
    let port = v6.local_addr().unwrap().port();
    // The port is free for IPv4.
    drop(UdpSocket::bind(("0.0.0.0", port)).unwrap());
}

/// Linux routes all of 127.0.0.0/8 to this host, so it is multi-homed.
#[cfg(target_os = "linux")]
#[test]
fn answers_leave_from_the_address_that_was_asked() {
    let server = socket("0.0.0.0:0");
    let peer = socket("127.0.0.1:0");
    for last in [1, 2, 77] {
        let to = SocketAddr::from(([127, 0, 0, last], server.local_addr().unwrap().port()));
        assert_eq!(peer.send(to.into(), b"question", None), Sent::All);
        let (path, _) = receive(&server, 1).remove(0);
        assert_eq!(path.local, Some(to.ip()));
        assert_eq!(server.send(path, b"answer", None), Sent::All);
        assert_eq!(receive(&peer, 1)[0].0.peer, to);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn question_to_a_broadcast_address_is_answered() {
    let server = socket("0.0.0.0:0");
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_broadcast(true).unwrap();
    peer.set_read_timeout(LONG).unwrap();
    let port = server.local_addr().unwrap().port();
    peer.send_to(b"question", ("127.255.255.255", port))
        .unwrap();
    let (path, _) = receive(&server, 1).remove(0);
    assert_eq!(path.local, Some([127, 255, 255, 255].into()));
    assert_eq!(server.send(path, b"answer", None), Sent::All);
    let mut buffer = [0; 16];
    assert_eq!(peer.recv(&mut buffer).unwrap(), 6);
    assert_eq!(server.stats().send_errors, 0);
}

#[test]
fn hazard_c38_an_unreachable_peer_harms_no_other() {
    let server = socket("127.0.0.1:0");
    let live = socket("127.0.0.1:0");
    let gone = path_to(&socket("127.0.0.1:0"));
    for round in 0..50 {
        assert_eq!(server.send(gone, b"lost", None), Sent::All);
        assert_eq!(server.send(path_to(&live), &[round], None), Sent::All);
        assert_eq!(live.send(path_to(&server), &[round], None), Sent::All);
        assert_eq!(receive(&live, 1)[0].1, [round]);
        assert_eq!(receive(&server, 1)[0].1, [round]);
    }
    let stats = server.stats();
    assert_eq!((stats.send_errors, stats.receive_errors), (0, 0));
    if cfg!(target_os = "linux") {
        assert_eq!(stats.icmp_errors, 50);
        let peers = server.take_icmp_peers();
        assert_eq!(peers, vec![gone.peer; 50]);
        assert!(server.take_icmp_peers().is_empty());
    }
}

#[cfg(target_os = "linux")]
#[test]
fn icmp_messages_that_nobody_asks_for_are_forgotten() {
    let server = socket("127.0.0.1:0");
    let gone = path_to(&socket("127.0.0.1:0"));
    for _ in 0..2 * ICMP_BATCH {
        assert_eq!(server.send(gone, b"lost", None), Sent::All);
    }
    assert!(server.take_icmp_peers().len() <= ICMP_BATCH);
    assert_eq!(server.stats().send_errors, 0);
}

#[test]
fn datagram_that_cannot_be_sent_is_counted() {
    let server = socket("127.0.0.1:0");
    let live = socket("127.0.0.1:0");
    // More than IP takes.
    assert_eq!(server.send(path_to(&live), &[0; 65_536], None), Sent::All);
    assert_eq!(server.stats().send_errors, 1);
    assert_eq!(server.stats().datagrams_sent, 0);
    assert_eq!(server.send(path_to(&live), b"fits", None), Sent::All);
    assert_eq!(receive(&live, 1)[0].1, b"fits");
}

#[cfg(target_os = "linux")]
#[test]
fn fragments_are_allowed_on_request_only() {
    for fragments in [false, true] {
        let config = SocketConfig::new().allow_fragments(fragments);
        let socket = Socket::bind("[::1]:0".parse().unwrap(), &config).unwrap();
        // The headers of IPv6 and UDP have 48 bytes, and the loopback interface takes 65,536.
        assert_eq!(socket.send(path_to(&socket), &[1; 65_488], None), Sent::All);
        assert_eq!(socket.stats().send_errors, 0);
        assert_eq!(socket.send(path_to(&socket), &[1; 65_489], None), Sent::All);
        assert_eq!(socket.stats().send_errors, u64::from(!fragments));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn several_sockets_share_a_port_on_request_only() {
    let shared = SocketConfig::new().reuse_port(true);
    let first = Socket::bind("127.0.0.1:0".parse().unwrap(), &shared).unwrap();
    let address = first.local_addr().unwrap();
    assert!(Socket::bind(address, &shared).is_ok());
    assert!(Socket::bind(address, &SocketConfig::new()).is_err());
}

#[test]
fn existing_socket_is_taken_over() {
    let io = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = io.local_addr().unwrap();
    let socket = Socket::over(io, &SocketConfig::new()).unwrap();
    assert_eq!(socket.local_addr().unwrap(), address);
    let mut batch = socket.batch();
    socket.receive(&mut batch).unwrap();
    assert!(batch.is_empty());
}
