//! Fifty hosts over networks that lose, repeat and reorder, while hosts restart and addresses change hands.

use std::time::Duration;

use openssl_dtls::{EndpointConfig, EndpointEvent, TransportConfig};

use super::world::{World, host_addr, read};
use crate::support::{Settings, clock, psk_contexts};

const HOSTS: usize = 50;

fn rough(seed: u64) -> Settings {
    Settings {
        seed,
        loss: 0.15,
        duplication: 0.05,
        reordering: 0.2,
        ..Settings::default()
    }
}

fn patient() -> TransportConfig {
    TransportConfig::default()
        .retransmission(Duration::from_millis(250), Duration::from_secs(4))
        .handshake_timeout(Duration::from_secs(170))
}

fn rough_world(seed: u64) -> World {
    let config = EndpointConfig::new().handshake_timeout(Duration::from_secs(170));
    let mut world = World::with_contexts(config, psk_contexts(&patient()));
    for number in 0..HOSTS {
        let host = world.host_over(host_addr(number), &rough(seed));
        world.connect(host);
    }
    world
}

impl World {
    /// No more losses from now on, and what is under way arrives.
    fn calm(&mut self) {
        for host in &mut self.hosts {
            for link in [&mut host.up, &mut host.down] {
                link.settings.loss = 0.0;
                link.settings.duplication = 0.0;
                link.settings.reordering = 0.0;
            }
        }
        self.travel(Duration::from_secs(1));
    }

    /// Every host talks, and its messages come from its own connection.
    fn assert_all_work(&mut self) {
        for host in 0..self.hosts.len() {
            let handle = self.server_handle(host);
            while read(&mut self.server, handle).is_some() {}
            self.say(host, format!("host {host}").as_bytes());
        }
        self.travel(Duration::from_secs(1));
        for host in 0..self.hosts.len() {
            let handle = self.server_handle(host);
            let message = read(&mut self.server, handle);
            assert_eq!(message, Some(format!("host {host}").into_bytes()));
        }
    }
}

#[test]
fn all_hosts_connect_over_a_rough_network_and_messages_reach_their_own_connection() {
    for seed in 0..4 {
        let mut world = rough_world(seed);
        world.establish();
        world.calm();
        world.assert_all_work();
        let stats = world.server.stats();
        assert_eq!(stats.established, HOSTS, "seed {seed}: {stats:?}");
        assert_eq!(stats.accepted.completed, HOSTS as u64);
        assert!(stats.retransmissions > 0);
    }
}

#[test]
fn hosts_that_restart_over_a_rough_network_come_back() {
    for seed in 10..13 {
        let mut world = rough_world(seed);
        world.establish();
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..15 {
            world.travel(Duration::from_millis(random.u64(..300)));
            let host = random.usize(..HOSTS);
            // Some say goodbye, which may be lost.
            if random.bool() {
                let host = &mut world.hosts[host];
                host.endpoint.close(host.handle.unwrap());
                world.drain();
            }
            world.restart(host);
        }
        world.establish();
        world.calm();
        world.assert_all_work();
        let stats = world.server.stats();
        assert_eq!(stats.established, HOSTS, "seed {seed}: {stats:?}");
        assert!(stats.ended.replaced > 0, "seed {seed}");
        assert!(stats.ended.closed_by_peer > 0, "seed {seed}");
    }
}

#[test]
fn addresses_that_change_hands_serve_their_new_owners() {
    for seed in 20..22 {
        let mut world = rough_world(seed);
        world.establish();
        let before: Vec<_> = (0..HOSTS).map(|host| world.server_handle(host)).collect();
        // Each takes its neighbour's address, as behind a translator that was restarted; all state at the hosts is lost.
        for host in 0..HOSTS {
            world.move_host(host, host_addr((host + 1) % HOSTS));
        }
        for host in 0..HOSTS {
            world.restart(host);
        }
        world.establish();
        world.calm();
        world.assert_all_work();
        for handle in before {
            assert!(world.close_reason(handle).is_some(), "seed {seed}");
        }
        assert_eq!(world.server.stats().ended.replaced, HOSTS as u64);
    }
}

#[test]
fn each_connection_is_told_of_once_and_ends_once() {
    let mut world = rough_world(30);
    world.establish();
    for host in 0..HOSTS {
        if host % 3 == 0 {
            world.restart(host);
        }
    }
    world.establish();
    world.server.shutdown(clock::now(), Duration::from_secs(5));
    world.travel(Duration::from_secs(6));
    assert!(world.server.is_drained());
    let mut ended = std::collections::HashSet::new();
    let mut connected = std::collections::HashSet::new();
    for (handle, event) in &world.events {
        assert!(!ended.contains(handle), "{event:?} after the end");
        match event {
            EndpointEvent::Connected => assert!(connected.insert(*handle)),
            EndpointEvent::Closed(_) | EndpointEvent::Failed(_) => assert!(ended.insert(*handle)),
            _ => {}
        }
    }
    let stats = world.server.stats();
    assert_eq!(connected.len() as u64, stats.accepted.completed);
    assert_eq!(ended.len() as u64, stats.accepted.begun);
    assert_eq!(stats.connections, 0);
}
