//! SCAN over a whole cluster: which slots have been seen, and which node to walk next. No I/O.
//!
//! A server's cursor is valid only for the keys of the process that returned it. It does not cover slots that arrive
//! later, and a promoted replica cannot continue it. So a scan records which *slots* have been seen. A slot counts as
//! seen only if one walk over one node covered all of the slot's keys. That requires:
//!
//! - the node owned the slot before the walk and after it (its own CLUSTER NODES says so);
//! - the process was the same before and after (INFO's `run_id`: after a restart keys are in another order);
//! - the epoch was the same: after a change, slots may have left the node and returned, or the node was a
//!   replica in between.
//!
//! A slot that is not seen then is walked again, at the node that owns it by that time.
//!
//! The keys of a migrating slot are at two nodes, perhaps for long. The walk of the source node, followed by a
//! walk of the destination node, covers them: a key that was not seen at the source had moved to the
//! destination, where it stays. (A key is missed only if a user moves it against the direction of the
//! migration during the scan.)
//!
//! A scan ends as soon as the remaining slots stay where they are for the walk of one node.

use crate::address::Address;
use crate::topology::{MigratingOut, SelfReport, SlotSet, Topology, key_slot};
use std::sync::Arc;

/// The progress of a scan. Cheap to clone: a caller may use a cursor twice.
#[derive(Clone, Debug, Default)]
pub struct Scan {
    seen: Arc<SlotSet>,
    half_seen: Vec<HalfSeenSlot>,
    walk: Option<Walk>,
}

/// A migrating slot whose source node has been walked.
#[derive(Clone, Debug)]
struct HalfSeenSlot {
    slot: u16,
    /// The node ids of source and destination.
    source: String,
    destination: String,
    /// Of the destination.
    address: Option<Address>,
}

/// The walk over one node.
#[derive(Clone, Debug)]
pub struct Walk {
    /// "host:port".
    pub node: String,
    /// The server's cursor; 0 at the begin.
    pub cursor: u64,
    /// The server has returned its last cursor.
    is_finished: bool,
    /// The node's report before the walk.
    before: Arc<SelfReport>,
    /// The node has keys of slots that have been seen.
    repeats: bool,
}

/// The node to walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WalkTarget {
    /// The primary that owns this slot.
    Slot(u16),
    /// The destination of a migration: its id, and its address if it is known.
    Node(String, Option<Address>),
}

/// What a scan does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScanStep {
    /// Begin to walk a node.
    BeginWalk(WalkTarget),
    /// Get the next page of the node that is being walked.
    NextPage,
    /// End the walk with the node's report.
    EndWalk,
    /// All slots have been seen.
    Done,
    /// Wait: no node serves any of the remaining slots, of which this is one.
    Unserved(u16),
}

impl Scan {
    pub fn next_step(&self, topology: &Topology) -> ScanStep {
        if let Some(walk) = &self.walk {
            return if walk.is_finished {
                ScanStep::EndWalk
            } else {
                ScanStep::NextPage
            };
        }
        if let Some(half) = self.half_seen.first() {
            let (id, address) = (half.destination.clone(), half.address.clone());
            return ScanStep::BeginWalk(WalkTarget::Node(id, address));
        }
        let is_served = |slot: &u16| topology.shard(*slot).is_some_and(|s| s.primary.is_some());
        let mut missing = self.seen.missing().peekable();
        let Some(first) = missing.peek().copied() else {
            return ScanStep::Done;
        };
        match missing.find(is_served) {
            Some(slot) => ScanStep::BeginWalk(WalkTarget::Slot(slot)),
            None => ScanStep::Unserved(first),
        }
    }

    pub fn walk(&self) -> Option<&Walk> {
        self.walk.as_ref()
    }

    /// Begins the walk of a node; false if the node is not the target.
    pub fn begin_walk(&mut self, target: &WalkTarget, node: &str, mut report: SelfReport) -> bool {
        let is_target = match target {
            WalkTarget::Slot(slot) => report.slots.contains(usize::from(*slot)),
            WalkTarget::Node(id, _) => report.id == *id,
        };
        // The destination of a slot that has moved on in the meantime is another node.
        self.half_seen
            .retain(|half| half.destination != report.id || half.is_at(&report));
        if !is_target || !report.primary {
            self.forget_half_seen(target);
            return false;
        }
        let mut slots_here = report.slots.clone();
        slots_here.union_with(&report.importing);
        // The owners of the other slots are taken from the report at the end.
        report.other_slots = Vec::new();
        self.walk = Some(Walk {
            node: node.to_owned(),
            cursor: 0,
            is_finished: false,
            repeats: self.seen.intersects(&slots_here),
            before: Arc::new(report),
        });
        true
    }

    /// Stores the server's next cursor.
    pub fn set_cursor(&mut self, cursor: u64) {
        if let Some(walk) = &mut self.walk {
            walk.cursor = cursor;
            walk.is_finished = cursor == 0;
        }
    }

    /// Whether a key of a page is new: keys of slots that have been seen were returned before.
    pub fn is_new(&self, key: &[u8]) -> bool {
        !self.repeats() || !self.seen.contains(usize::from(key_slot(key)))
    }

    /// Whether the node that is being walked has keys that were returned before.
    pub fn repeats(&self) -> bool {
        self.walk.as_ref().is_some_and(|walk| walk.repeats)
    }

    /// Abandons a walk: the node has gone, or another one has answered.
    pub fn abandon_walk(&mut self) {
        if let Some(walk) = self.walk.take() {
            self.half_seen
                .retain(|half| half.destination != walk.before.id);
        }
    }

    /// Gives up the slots whose destination is not available: they are walked again from the source.
    pub fn forget_half_seen(&mut self, target: &WalkTarget) {
        if let WalkTarget::Node(id, _) = target {
            self.half_seen.retain(|half| half.destination != *id);
        }
    }

    /// Ends a walk, with the node's report after it.
    pub fn end_walk(&mut self, after: &SelfReport) {
        let Some(walk) = self.walk.take() else {
            return;
        };
        let before = &walk.before;
        let (completed, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.half_seen)
            .into_iter()
            .partition(|half| half.destination == before.id);
        self.half_seen = others;
        let is_same_process =
            (&after.id, &after.run, after.epoch) == (&before.id, &before.run, before.epoch);
        if !is_same_process || !after.primary {
            return;
        }
        let mut seen = before.slots.intersection(&after.slots);
        for migration in before.migrating_out.iter().chain(&after.migrating_out) {
            seen.remove(migration.slot);
        }
        for half in completed.iter().filter(|half| half.is_at(after)) {
            seen.add(half.slot, half.slot);
        }
        Arc::make_mut(&mut self.seen).union_with(&seen);
        for migration in &after.migrating_out {
            let slot = usize::from(migration.slot);
            let has_other_destination =
                |l: &MigratingOut| l.slot == migration.slot && l.to != migration.to;
            if before.slots.contains(slot)
                && after.slots.contains(slot)
                && !self.seen.contains(slot)
                && !before.migrating_out.iter().any(has_other_destination)
            {
                self.half_seen.push(HalfSeenSlot {
                    slot: migration.slot,
                    source: after.id.clone(),
                    destination: migration.to.clone(),
                    address: migration.address.clone(),
                });
            }
        }
    }
}

impl HalfSeenSlot {
    /// Whether a node still is the destination: the slot is migrating to it, has arrived, or belongs to
    /// the source according to this node.
    fn is_at(&self, report: &SelfReport) -> bool {
        let slot = usize::from(self.slot);
        let owner = report
            .other_slots
            .iter()
            .find(|(first, last, _)| (*first..=*last).contains(&self.slot));
        report.slots.contains(slot)
            || report.importing.contains(slot)
            || owner.is_some_and(|(_, _, id)| *id == self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The report of a node, written as "a 7 0-99,200 leaving 5>b coming 300 others 0-9:c".
    fn node(words: &str) -> SelfReport {
        let words: Vec<&str> = words.split(' ').collect();
        let mut own = SelfReport {
            id: words[0].to_owned(),
            run: "run".to_owned(),
            primary: true,
            epoch: words[1].parse().unwrap(),
            slots: SlotSet::new(),
            migrating_out: Vec::new(),
            importing: SlotSet::new(),
            other_slots: Vec::new(),
        };
        let run = |word: &str| {
            let (first, last) = word.split_once('-').unwrap_or((word, word));
            (first.parse::<u16>().unwrap(), last.parse::<u16>().unwrap())
        };
        for word in words[2].split(',').filter(|word| *word != "none") {
            let (first, last) = run(word);
            own.slots.add(first, last);
        }
        for pair in words[3..].chunks(2) {
            match pair[0] {
                "leaving" => {
                    let (slot, to) = pair[1].split_once('>').unwrap();
                    own.migrating_out.push(MigratingOut {
                        slot: slot.parse().unwrap(),
                        to: to.to_owned(),
                        address: None,
                    });
                }
                "coming" => own.importing.add(run(pair[1]).0, run(pair[1]).1),
                _ => {
                    let (runs, id) = pair[1].split_once(':').unwrap();
                    own.other_slots
                        .push((run(runs).0, run(runs).1, id.to_owned()));
                }
            }
        }
        own
    }

    /// Walks a node with these reports before and after.
    fn walk(scan: &mut Scan, target: WalkTarget, before: &str, after: &str) -> bool {
        if !scan.begin_walk(&target, "node", node(before)) {
            return false;
        }
        scan.set_cursor(17);
        assert_eq!(scan.next_step(&Topology::empty()), ScanStep::NextPage);
        scan.set_cursor(0);
        assert_eq!(scan.next_step(&Topology::empty()), ScanStep::EndWalk);
        scan.end_walk(&node(after));
        true
    }

    fn missing(scan: &Scan) -> Vec<u16> {
        scan.seen.missing().collect()
    }

    fn unseen_of(before: &str, after: &str) -> Vec<u16> {
        let mut scan = Scan::default();
        assert!(walk(&mut scan, WalkTarget::Slot(0), before, after));
        missing(&scan)
    }

    const ALL: &str = "a 1 0-16383";

    #[test]
    fn scan_of_node_with_stable_slots_covers_them() {
        assert_eq!(unseen_of(ALL, ALL), []);
        let mut scan = Scan::default();
        walk(&mut scan, WalkTarget::Slot(0), ALL, ALL);
        assert_eq!(scan.next_step(&Topology::empty()), ScanStep::Done);
    }

    #[test]
    fn slots_that_change_during_scan_are_not_covered() {
        assert_eq!(unseen_of(ALL, "a 1 0-99,101-16383"), [100]);
        assert_eq!(unseen_of("a 1 0-99,101-16383", ALL), [100]);
        // Moved away and back within one walk: only the epoch shows it.
        assert_eq!(unseen_of(ALL, "a 2 0-16383").len(), 16384);
    }

    #[test]
    fn scan_across_restart_or_replica_covers_no_slot() {
        let mut scan = Scan::default();
        scan.begin_walk(&WalkTarget::Slot(0), "node", node(ALL));
        scan.set_cursor(0);
        let mut restarted = node(ALL);
        restarted.run = "another".to_owned();
        scan.end_walk(&restarted);
        assert_eq!(missing(&scan).len(), 16384);
        scan.begin_walk(&WalkTarget::Slot(0), "node", node(ALL));
        scan.set_cursor(0);
        let mut demoted = node(ALL);
        demoted.primary = false;
        scan.end_walk(&demoted);
        assert_eq!(missing(&scan).len(), 16384);
        assert!(!scan.begin_walk(&WalkTarget::Slot(0), "node", demoted));
        assert!(!scan.begin_walk(&WalkTarget::Slot(5), "node", node("b 1 6-10")));
    }

    #[test]
    fn migrating_slot_is_scanned_at_source_then_target() {
        let mut scan = Scan::default();
        let (a, b) = ("a 1 0-99 leaving 5>b", "b 2 100-16383 coming 5");
        // The destination was walked first: that does not count.
        walk(&mut scan, WalkTarget::Slot(100), b, b);
        walk(&mut scan, WalkTarget::Slot(0), a, a);
        assert_eq!(missing(&scan), [5]);
        let destination = WalkTarget::Node("b".to_owned(), None);
        assert_eq!(
            scan.next_step(&Topology::empty()),
            ScanStep::BeginWalk(destination.clone())
        );
        walk(&mut scan, destination.clone(), b, b);
        assert_eq!(missing(&scan), []);

        // The slot has arrived in the meantime.
        let mut scan = Scan::default();
        walk(&mut scan, WalkTarget::Slot(0), a, a);
        walk(&mut scan, destination.clone(), b, "b 2 5,100-16383");
        assert_eq!(missing(&scan), []);

        // Only the source was marked as migrating.
        let mut scan = Scan::default();
        let closed = "b 2 100-16383 others 0-99:a";
        walk(&mut scan, WalkTarget::Slot(0), a, a);
        walk(&mut scan, destination.clone(), closed, closed);
        assert_eq!(missing(&scan), []);

        // The slot has moved on to a third node.
        let mut scan = Scan::default();
        walk(&mut scan, WalkTarget::Slot(0), a, a);
        walk(
            &mut scan,
            destination.clone(),
            b,
            "b 2 100-16383 others 5:c",
        );
        assert_eq!(missing(&scan), [5]);
        assert!(scan.half_seen.is_empty(), "walked again");
        let mut scan = Scan::default();
        walk(&mut scan, WalkTarget::Slot(0), a, a);
        let moved_on = "b 2 100-16383 others 5:c";
        walk(&mut scan, destination.clone(), moved_on, moved_on);
        assert_eq!(missing(&scan), [5]);

        // The migration was cancelled, but keys may have moved and come back.
        let mut scan = Scan::default();
        walk(&mut scan, WalkTarget::Slot(0), a, "a 1 0-99");
        assert!(scan.half_seen.is_empty() && missing(&scan).contains(&5));

        // The destination has gone.
        let mut scan = Scan::default();
        walk(&mut scan, WalkTarget::Slot(0), a, a);
        assert!(!walk(
            &mut scan,
            destination.clone(),
            "c 1 none",
            "c 1 none"
        ));
        assert!(scan.half_seen.is_empty());
        walk(&mut scan, WalkTarget::Slot(0), a, a);
        scan.begin_walk(&destination, "node", node(b));
        scan.abandon_walk();
        assert!(scan.half_seen.is_empty() && scan.walk().is_none());
    }

    #[test]
    fn keys_of_covered_slots_are_filtered_out() {
        let mut scan = Scan::default();
        let slot = key_slot(b"foo");
        walk(
            &mut scan,
            WalkTarget::Slot(0),
            ALL,
            &format!("a 1 0-{},{}-16383", slot - 1, slot + 1),
        );
        assert!(scan.begin_walk(&WalkTarget::Slot(slot), "node", node(ALL)));
        assert!(scan.is_new(b"foo") && scan.is_new(b"{foo}1"));
        assert!(!scan.is_new(b"bar"));
        scan.abandon_walk();
        // No filter is needed where no key repeats.
        assert!(scan.begin_walk(
            &WalkTarget::Slot(slot),
            "node",
            node(&format!("b 1 {slot}"))
        ));
        assert!(!scan.repeats());
    }

    #[test]
    fn unserved_slot_is_reported_by_scan() {
        assert_eq!(
            Scan::default().next_step(&Topology::empty()),
            ScanStep::Unserved(0)
        );
    }
}
