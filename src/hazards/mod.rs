//! libssl's traps: each is sprung twice, once with the gate and once around it.
//!
//! With the gate the handshake or the connection goes on and the drop is counted. Around it the same datagram does the harm, or
//! the test says that this libssl is immune.

mod connections;
mod handshakes;
mod hellos;

use std::time::Duration;

use crate::gate::bypass;
use crate::support::forge::sequence;
use crate::support::{Pair, certificate_contexts, psk_contexts};
use crate::{Connection, Context, DropReason, Mtu, Role, TransportConfig};

type Contexts = (Context, Context);

const ROLES: [Role; 2] = [Role::Client, Role::Server];

fn psk() -> Contexts {
    psk_contexts(&TransportConfig::default())
}

fn certificate() -> Contexts {
    certificate_contexts(&TransportConfig::default())
}

/// Contexts whose certificate takes several fragments.
fn fragmented() -> Contexts {
    certificate_contexts(&TransportConfig::default().mtu(Mtu::new(300).unwrap()))
}

/// A pair whose `receiver` gets what `forge` makes of each real datagram, just before it.
fn spoofed(
    contexts: &Contexts,
    receiver: Role,
    mut forge: impl FnMut(usize, &[u8]) -> Vec<Vec<u8>> + 'static,
) -> Pair {
    let mut pair = Pair::new(contexts);
    let link = match receiver {
        Role::Client => &mut pair.to_client,
        Role::Server => &mut pair.to_server,
    };
    link.forger = Some(Box::new(move |number, real| forge(number, real)));
    pair
}

/// Whether the handshake completes within seconds, at the first try.
fn completes(pair: &mut Pair) -> bool {
    pair.run(Duration::from_secs(6), Pair::is_established)
        && pair.client_error.is_none()
        && pair.server_errors.is_empty()
        && pair.client.stats().handshake_restarts == 0
}

fn end(pair: &Pair, role: Role) -> &Connection {
    match role {
        Role::Client => &pair.client,
        Role::Server => pair.server().expect("there is a server"),
    }
}

/// Shows that `forge`, before the second datagram to `receiver`, is dropped for `reason`, and whether it does harm around the gate.
fn spring(
    what: &str,
    contexts: &Contexts,
    receiver: Role,
    reason: DropReason,
    is_harmful: bool,
    forge: impl Fn(u64) -> Vec<Vec<u8>> + Clone + 'static,
) {
    let make = |forge: Box<dyn Fn(u64) -> Vec<Vec<u8>>>| {
        // Before its second datagram a client waits for a ServerHello; before its third a server has sent its flight.
        let at = match receiver {
            Role::Client => 1,
            Role::Server => 2,
        };
        spoofed(contexts, receiver, move |number, real| {
            if number == at {
                forge(sequence(real))
            } else {
                Vec::new()
            }
        })
    };
    let mut pair = make(Box::new(forge.clone()));
    assert!(completes(&mut pair), "{what} to the {receiver:?}: {pair:?}");
    let drops = &end(&pair, receiver).stats().drops;
    assert!(
        drops.count(reason) > 0,
        "{what} to the {receiver:?}: {drops:?}"
    );
    pair.assert_works();

    let survived = bypass::with(|| completes(&mut make(Box::new(forge))));
    assert_eq!(
        survived, !is_harmful,
        "{what} to the {receiver:?}, around the gate"
    );
}
