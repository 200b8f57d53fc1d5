//! Several servers at one address.

use std::collections::{HashMap, HashSet};
use std::thread;

use openssl_dtls::udp::blocking::{Peer, Server, ServerConfig};

use super::{ANY_PORT, connect, contexts, recv};

/// Each worker's handler knows its number and says it.
#[test]
fn peers_stay_with_their_worker() {
    const PEERS: usize = 32;
    let (client, server) = contexts();
    let workers = Server::bind_workers(ANY_PORT.into(), 3, &server, ServerConfig::new()).unwrap();
    let address = workers[0].local_addr().unwrap();
    assert!(workers.iter().all(|it| it.local_addr().unwrap() == address));
    thread::scope(|scope| {
        for (number, worker) in workers.iter().enumerate() {
            scope.spawn(move || {
                worker.run(&mut |peer: &mut Peer<'_>, _: &[u8]| {
                    peer.send(&[number as u8]).unwrap();
                })
            });
        }
        let clients: Vec<_> = (0..PEERS).map(|_| connect(&client, address)).collect();
        let mut peers_of: HashMap<u8, usize> = HashMap::new();
        for client in &clients {
            let mut answers = HashSet::new();
            for _ in 0..5 {
                client.send(b"which?").unwrap();
                answers.insert(recv(client).unwrap()[0]);
            }
            assert_eq!(answers.len(), 1);
            *peers_of
                .entry(answers.into_iter().next().unwrap())
                .or_default() += 1;
        }
        // That one worker of three gets all 32 by chance happens once in 10^15 runs.
        assert!(peers_of.len() > 1, "{peers_of:?}");
        let completed = workers
            .iter()
            .map(|it| it.stats().endpoint.accepted.completed);
        assert_eq!(completed.sum::<u64>(), PEERS as u64);
        workers.iter().for_each(Server::stop);
    });
}
