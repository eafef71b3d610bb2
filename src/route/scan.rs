//! SCAN over a whole cluster: whose keys have been seen, and whose come next. No I/O.
//!
//! A server's cursor is good for the keys that its process has and for no other: it says nothing of
//! slots that come, and nothing to a replica that is promoted. So what is kept of a scan is which
//! *slots* have been seen, and a slot counts as seen only if one node has been walked from one end
//! to the other while it had all of the slot's keys: by its own word before the walk and after it
//! (CLUSTER NODES), in one run of its process (INFO's `run_id`: after a restart keys lie elsewhere),
//! and in one epoch, which is another when slots have been away and have come back, or the node has been
//! a replica meanwhile. Whatever is not seen then is walked again, at whoever has it by that time.
//!
//! The keys of a slot that is on its way lie at two nodes, perhaps for long. There the walk of the
//! one that loses it is one half, and that of the one that gets it, begun after the first has ended, the
//! other: a key that was not seen at the first had gone to the second, where it stays.
//! (Not seen is only what moves against the direction of a migration: keys that somebody carries back
//! by hand in the middle of a scan.)
//!
//! A scan ends as soon as the slots that are left stay where they are for the walk of one node.

use crate::address::Address;
use crate::topology::{SelfReport, SlotSet, Topology, key_slot};
use std::sync::Arc;

/// What a scan has seen so far. Cheap to copy: a caller may come back with a cursor that it has used.
#[derive(Clone, Debug, Default)]
pub struct Scan {
    seen: Arc<SlotSet>,
    halves: Vec<Half>,
    walk: Option<Walk>,
}

/// A slot of which one half has been seen: what is left of it at the node that loses it.
#[derive(Clone, Debug)]
struct Half {
    slot: u16,
    /// The ids of the node that loses it and of the one that gets it.
    from: String,
    to: String,
    address: Option<Address>,
}

/// The walk of one node.
#[derive(Clone, Debug)]
pub struct Walk {
    /// "host:port".
    pub node: String,
    /// The server's own; where it begins is 0.
    pub cursor: u64,
    over: bool,
    /// What the node said of itself before.
    begun: Arc<SelfReport>,
    /// It has keys of slots that have been seen.
    repeats: bool,
}

/// Whom to walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    /// The primary that serves this slot.
    Slot(u16),
    /// This node, for the other half of a slot; by id, and by address where it has one.
    Node(String, Option<Address>),
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Begin to walk a node.
    Open(At),
    /// Ask the node that is being walked for more.
    Page,
    /// Ask it what it has, at the end.
    Close,
    /// Nothing: all has been seen.
    Done,
    /// Wait: what has not been seen is served by nobody.
    Unserved(u16),
}

impl Scan {
    pub fn next(&self, topology: &Topology) -> Next {
        if let Some(walk) = &self.walk {
            return if walk.over { Next::Close } else { Next::Page };
        }
        if let Some(half) = self.halves.first() {
            return Next::Open(At::Node(half.to.clone(), half.address.clone()));
        }
        let served = |slot: &u16| topology.shard(*slot).is_some_and(|s| s.primary.is_some());
        let mut missing = self.seen.missing().peekable();
        let Some(first) = missing.peek().copied() else {
            return Next::Done;
        };
        match missing.find(served) {
            Some(slot) => Next::Open(At::Slot(slot)),
            None => Next::Unserved(first),
        }
    }

    pub fn walk(&self) -> Option<&Walk> {
        self.walk.as_ref()
    }

    /// Begins to walk a node; false if it is not the one to be walked.
    pub fn open(&mut self, at: &At, node: &str, mut own: SelfReport) -> bool {
        let right = match at {
            At::Slot(slot) => own.slots.has(usize::from(*slot)),
            At::Node(id, _) => own.id == *id,
        };
        // The other half of a slot that has gone on meanwhile is not here.
        self.halves
            .retain(|half| half.to != own.id || half.is_at(&own));
        if !right || !own.primary {
            self.drop_halves(at);
            return false;
        }
        let mut here = own.slots.clone();
        here.join(&own.coming);
        // Who has the rest is asked again at the end.
        own.others = Vec::new();
        self.walk = Some(Walk {
            node: node.to_owned(),
            cursor: 0,
            over: false,
            repeats: self.seen.meets(&here),
            begun: Arc::new(own),
        });
        true
    }

    /// A page has come, with the server's next cursor.
    pub fn turn(&mut self, cursor: u64) {
        if let Some(walk) = &mut self.walk {
            walk.cursor = cursor;
            walk.over = cursor == 0;
        }
    }

    /// Whether a key of a page is news: a slot that has been seen is not shown again.
    pub fn is_news(&self, key: &[u8]) -> bool {
        !self.repeats() || !self.seen.has(usize::from(key_slot(key)))
    }

    pub fn repeats(&self) -> bool {
        self.walk.as_ref().is_some_and(|walk| walk.repeats)
    }

    /// The walk is of no use: the node has gone, or somebody else has answered.
    pub fn lost(&mut self) {
        if let Some(walk) = self.walk.take() {
            self.halves.retain(|half| half.to != walk.begun.id);
        }
    }

    /// The node that is to be walked for other halves is not there.
    pub fn drop_halves(&mut self, at: &At) {
        if let At::Node(id, _) = at {
            self.halves.retain(|half| half.to != *id);
        }
    }

    /// Ends a walk, with what the node says of itself now.
    pub fn close(&mut self, own: &SelfReport) {
        let Some(walk) = self.walk.take() else {
            return;
        };
        let begun = &walk.begun;
        let (mine, others): (Vec<Half>, Vec<Half>) = std::mem::take(&mut self.halves)
            .into_iter()
            .partition(|half| half.to == begun.id);
        self.halves = others;
        let same = (&own.id, &own.run, own.epoch) == (&begun.id, &begun.run, begun.epoch);
        if !same || !own.primary {
            return;
        }
        let mut seen = begun.slots.common(&own.slots);
        for leaving in begun.leaving.iter().chain(&own.leaving) {
            seen.remove(leaving.slot);
        }
        for half in mine.iter().filter(|half| half.is_at(own)) {
            seen.add(half.slot, half.slot);
        }
        Arc::make_mut(&mut self.seen).join(&seen);
        for leaving in &own.leaving {
            let slot = usize::from(leaving.slot);
            let elsewhere = |l: &&_| matches!(l, crate::topology::MigratingOut { slot, to, .. } if *slot == leaving.slot && *to != leaving.to);
            if begun.slots.has(slot)
                && own.slots.has(slot)
                && !self.seen.has(slot)
                && !begun.leaving.iter().any(|l| elsewhere(&l))
            {
                self.halves.push(Half {
                    slot: leaving.slot,
                    from: own.id.clone(),
                    to: leaving.to.clone(),
                    address: leaving.address.clone(),
                });
            }
        }
    }
}

impl Half {
    /// Whether a node has the other half still: the slot is on its way to it, or has arrived, or the
    /// node that loses it is, for all this one knows, still its owner.
    fn is_at(&self, own: &SelfReport) -> bool {
        let slot = usize::from(self.slot);
        let owner = own
            .others
            .iter()
            .find(|(first, last, _)| (*first..=*last).contains(&self.slot));
        own.slots.has(slot)
            || own.coming.has(slot)
            || owner.is_some_and(|(_, _, id)| *id == self.from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::MigratingOut;

    /// A node by its own word: "a 7 0-99,200 leaving 5>b coming 300 others 0-9:c".
    fn node(words: &str) -> SelfReport {
        let words: Vec<&str> = words.split(' ').collect();
        let mut own = SelfReport {
            id: words[0].to_owned(),
            run: "run".to_owned(),
            primary: true,
            epoch: words[1].parse().unwrap(),
            slots: SlotSet::new(),
            leaving: Vec::new(),
            coming: SlotSet::new(),
            others: Vec::new(),
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
                    own.leaving.push(MigratingOut {
                        slot: slot.parse().unwrap(),
                        to: to.to_owned(),
                        address: None,
                    });
                }
                "coming" => own.coming.add(run(pair[1]).0, run(pair[1]).1),
                _ => {
                    let (runs, id) = pair[1].split_once(':').unwrap();
                    own.others.push((run(runs).0, run(runs).1, id.to_owned()));
                }
            }
        }
        own
    }

    /// Walks a node that says this before and that after.
    fn walk(scan: &mut Scan, at: At, before: &str, after: &str) -> bool {
        if !scan.open(&at, "node", node(before)) {
            return false;
        }
        scan.turn(17);
        assert_eq!(scan.next(&Topology::empty()), Next::Page);
        scan.turn(0);
        assert_eq!(scan.next(&Topology::empty()), Next::Close);
        scan.close(&node(after));
        true
    }

    fn missing(scan: &Scan) -> Vec<u16> {
        scan.seen.missing().collect()
    }

    fn unseen_of(before: &str, after: &str) -> Vec<u16> {
        let mut scan = Scan::default();
        assert!(walk(&mut scan, At::Slot(0), before, after));
        missing(&scan)
    }

    const ALL: &str = "a 1 0-16383";

    #[test]
    fn a_node_that_keeps_its_slots_shows_them_all() {
        assert_eq!(unseen_of(ALL, ALL), []);
        let mut scan = Scan::default();
        walk(&mut scan, At::Slot(0), ALL, ALL);
        assert_eq!(scan.next(&Topology::empty()), Next::Done);
    }

    #[test]
    fn slots_that_come_or_go_in_the_middle_are_not_seen() {
        assert_eq!(unseen_of(ALL, "a 1 0-99,101-16383"), [100]);
        assert_eq!(unseen_of("a 1 0-99,101-16383", ALL), [100]);
        // Gone and back again within one walk: only the epoch tells.
        assert_eq!(unseen_of(ALL, "a 2 0-16383").len(), 16384);
    }

    #[test]
    fn a_walk_of_two_processes_or_of_a_replica_has_seen_nothing() {
        let mut scan = Scan::default();
        scan.open(&At::Slot(0), "node", node(ALL));
        scan.turn(0);
        let mut restarted = node(ALL);
        restarted.run = "another".to_owned();
        scan.close(&restarted);
        assert_eq!(missing(&scan).len(), 16384);
        scan.open(&At::Slot(0), "node", node(ALL));
        scan.turn(0);
        let mut demoted = node(ALL);
        demoted.primary = false;
        scan.close(&demoted);
        assert_eq!(missing(&scan).len(), 16384);
        assert!(!scan.open(&At::Slot(0), "node", demoted));
        assert!(!scan.open(&At::Slot(5), "node", node("b 1 6-10")));
    }

    #[test]
    fn a_slot_that_stays_open_is_seen_at_the_one_that_loses_it_and_then_at_the_other() {
        let mut scan = Scan::default();
        let (a, b) = ("a 1 0-99 leaving 5>b", "b 2 100-16383 coming 5");
        // The one that gets it was walked first: that does not count.
        walk(&mut scan, At::Slot(100), b, b);
        walk(&mut scan, At::Slot(0), a, a);
        assert_eq!(missing(&scan), [5]);
        let other = At::Node("b".to_owned(), None);
        assert_eq!(scan.next(&Topology::empty()), Next::Open(other.clone()));
        walk(&mut scan, other.clone(), b, b);
        assert_eq!(missing(&scan), []);

        // It has arrived meanwhile.
        let mut scan = Scan::default();
        walk(&mut scan, At::Slot(0), a, a);
        walk(&mut scan, other.clone(), b, "b 2 5,100-16383");
        assert_eq!(missing(&scan), []);

        // Only one side of it was ever opened.
        let mut scan = Scan::default();
        let closed = "b 2 100-16383 others 0-99:a";
        walk(&mut scan, At::Slot(0), a, a);
        walk(&mut scan, other.clone(), closed, closed);
        assert_eq!(missing(&scan), []);

        // It has gone on to a third.
        let mut scan = Scan::default();
        walk(&mut scan, At::Slot(0), a, a);
        walk(&mut scan, other.clone(), b, "b 2 100-16383 others 5:c");
        assert_eq!(missing(&scan), [5]);
        assert!(scan.halves.is_empty(), "begun anew");
        let mut scan = Scan::default();
        walk(&mut scan, At::Slot(0), a, a);
        let gone_on = "b 2 100-16383 others 5:c";
        walk(&mut scan, other.clone(), gone_on, gone_on);
        assert_eq!(missing(&scan), [5]);

        // It was not moved after all, but keys may have been there and back.
        let mut scan = Scan::default();
        walk(&mut scan, At::Slot(0), a, "a 1 0-99");
        assert!(scan.halves.is_empty() && missing(&scan).contains(&5));

        // The one that gets it has gone.
        let mut scan = Scan::default();
        walk(&mut scan, At::Slot(0), a, a);
        assert!(!walk(&mut scan, other.clone(), "c 1 none", "c 1 none"));
        assert!(scan.halves.is_empty());
        walk(&mut scan, At::Slot(0), a, a);
        scan.open(&other, "node", node(b));
        scan.lost();
        assert!(scan.halves.is_empty() && scan.walk().is_none());
    }

    #[test]
    fn keys_of_slots_that_have_been_seen_are_not_shown_again() {
        let mut scan = Scan::default();
        let slot = key_slot(b"foo");
        walk(
            &mut scan,
            At::Slot(0),
            ALL,
            &format!("a 1 0-{},{}-16383", slot - 1, slot + 1),
        );
        assert!(scan.open(&At::Slot(slot), "node", node(ALL)));
        assert!(scan.is_news(b"foo") && scan.is_news(b"{foo}1"));
        assert!(!scan.is_news(b"bar"));
        scan.lost();
        // Nothing is sifted where nothing repeats itself.
        assert!(scan.open(&At::Slot(slot), "node", node(&format!("b 1 {slot}"))));
        assert!(!scan.repeats());
    }

    #[test]
    fn what_nobody_serves_is_waited_for() {
        assert_eq!(Scan::default().next(&Topology::empty()), Next::Unserved(0));
    }
}
