//! What must hold for an endpoint after every call, for tests to ask.

use std::collections::BTreeSet;

use super::Endpoint;
use super::entry::Stage;
use super::table::Route;

impl Endpoint {
    /// Panics where the endpoint's books do not agree with its connections, or a limit is passed.
    pub(crate) fn check(&self) {
        let config = &self.config;
        assert!(self.table.len() <= config.max_connections);
        assert!(self.half_open.len() <= config.max_half_open);
        assert!(self.replies.len() <= config.max_replies);
        self.table.check();
        self.timers.check();

        let (mut send_bytes, mut receive_bytes) = (0, 0);
        let mut half_open = BTreeSet::new();
        let mut routed = 0;
        let outbox = self.outbox.check(&self.table);
        let inbox = self.inbox.check(&self.table);
        for (handle, entry) in self.table.iter() {
            let slot = handle.slot();
            let connection = &entry.connection;
            let (datagrams, bytes) = connection.queued_output();
            assert_eq!(entry.send_bytes, bytes);
            send_bytes += bytes;
            let (_, bytes) = connection.queued_input();
            assert_eq!(entry.receive_bytes, bytes);
            receive_bytes += bytes;

            let times = outbox.iter().filter(|&&other| other == slot).count();
            assert_eq!(times, usize::from(entry.in_outbox));
            assert!(datagrams == 0 || entry.in_outbox);
            let times = inbox.iter().filter(|&&other| other == slot).count();
            assert_eq!(times, usize::from(entry.in_inbox));
            assert!(!entry.has_event() || entry.in_inbox);

            let route = self.table.route(entry.address);
            let leads_here =
                route.is_some_and(|route| route.first == slot || route.second == Some(slot));
            assert_eq!(leads_here, entry.stage != Stage::Ended);
            routed += usize::from(leads_here);
            match entry.stage {
                Stage::HalfOpen(prefix) => {
                    assert!(self.half_open.of_prefix(prefix) <= config.max_half_open_per_prefix);
                    half_open.insert(slot);
                    assert!(!connection.is_established() && !connection.is_closed());
                }
                Stage::Connecting => {
                    assert!(!connection.is_established() && !connection.is_closed());
                }
                Stage::Established => assert!(connection.is_established()),
                Stage::Ended => {
                    assert!(connection.is_closed());
                    // Seen by the next `poll_transmit`, or noted already.
                    let will_be_freed = entry.in_outbox || self.finished.contains(&slot);
                    assert!(!entry.is_done() || will_be_freed);
                }
            }
            // Whatever has something to do has a timer that does not come too late.
            let due = entry.due(config);
            match (self.timers.get(slot), due) {
                (Some(set), Some(due)) => {
                    let latest = self.latest.map(|now| due.max(now + super::life::SOON));
                    assert!(latest.is_some_and(|latest| set <= latest));
                }
                (None, None) => {}
                // Left to run out.
                (Some(_), None) => assert_eq!(entry.stage, Stage::Established),
                (None, Some(_)) => panic!("{handle:?} has no timer"),
            }
        }
        assert_eq!(self.send_bytes, send_bytes);
        assert_eq!(self.receive_bytes, receive_bytes);
        let listed: BTreeSet<u32> = self.half_open.check().values().copied().collect();
        assert_eq!(listed, half_open);

        let mut leading = 0;
        for Route { first, second } in self.table.routes().values() {
            let stage = |slot| self.table.entry(slot).map(|entry| entry.stage);
            leading += 1;
            assert!(stage(*first).is_some_and(|stage| stage != Stage::Ended));
            if let Some(second) = second {
                leading += 1;
                assert_eq!(stage(*first), Some(Stage::Established));
                assert!(matches!(stage(*second), Some(Stage::HalfOpen(_))));
            }
        }
        assert_eq!(leading, routed);
        for (&age, &slot) in &self.lingering {
            let entry = self.table.entry(slot);
            assert!(entry.is_some_and(|entry| {
                entry.age == age && entry.stage == Stage::Ended && entry.end_told
            }));
        }

        let stats = self.stats();
        let under_way = self
            .table
            .iter()
            .filter(|(_, entry)| matches!(entry.stage, Stage::HalfOpen(_) | Stage::Connecting));
        let begun = stats.accepted.begun + stats.opened.begun;
        let over = [stats.accepted, stats.opened].map(|counts| {
            counts.completed
                + counts.failed
                + counts.timed_out
                + counts.evicted
                + counts.replaced
                + counts.closed
        });
        assert_eq!(begun - over.iter().sum::<u64>(), under_way.count() as u64);
        let ended = stats.ended;
        let completed = stats.accepted.completed + stats.opened.completed;
        let gone = ended.closed + ended.closed_by_peer + ended.idle + ended.replaced + ended.failed;
        assert_eq!(completed - gone, stats.established as u64);
    }
}
