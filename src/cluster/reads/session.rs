//! What the handles of a client have written and seen, slot by slot, for reads that consistency not to
//! go back behind it.
//!
//! Nothing is kept until a handle asks for such a consistency, and then two words for each slot. No
//! locks: a forked child goes on with what its parent knew.

use crate::deadline::{Time, now};
use crate::topology::SLOTS;
use once_cell::sync::OnceCell;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

type Words = Box<[AtomicU64]>;

#[derive(Default)]
pub struct Session {
    /// Whether anything is kept.
    on: AtomicBool,
    /// When a write to each slot was last known to be over.
    written: OnceCell<Words>,
    /// The same for all slots: of commands that are not of one, and of what was written before
    /// anybody kept count.
    written_everywhere: AtomicU64,
    /// What was last seen of each slot: see [`Seen`].
    seen: OnceCell<Words>,
    incarnations: AtomicU32,
}

/// What was seen of a slot: nothing that its primary executed after `by`, and, if `incarnation` is not 0,
/// nothing that the node with this incarnation does not have.
///
/// One word: 42 bits of time, in units of 65.5 us (for nine years), and 22 of the incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen(u64);

const INCARNATION_BITS: u32 = 22;
const UNIT_BITS: u32 = 16;
/// Lives are numbers from 1 to this, and then from 1 again.
const MAX_INCARNATION: u32 = (1 << INCARNATION_BITS) - 1;

impl Seen {
    pub const NOTHING: Seen = Seen(0);

    fn new(by: Time, incarnation: u32) -> Seen {
        // Rounded up: a proof that is older than the unit's end proves nothing.
        let units = match by.nanos() {
            0 => 0,
            ns => (ns >> UNIT_BITS) + 1,
        };
        Seen(units << INCARNATION_BITS | u64::from(incarnation & MAX_INCARNATION))
    }

    pub fn by(self) -> Time {
        Time::of_nanos((self.0 >> INCARNATION_BITS) << UNIT_BITS)
    }

    pub fn incarnation(self) -> u32 {
        (self.0 & u64::from(MAX_INCARNATION)) as u32
    }
}

fn words() -> Words {
    (0..SLOTS).map(|_| AtomicU64::new(0)).collect()
}

impl Session {
    /// Keeps count of writes from now on.
    pub fn keep_writes(&self) {
        self.written.get_or_init(words);
        self.on.store(true, Ordering::SeqCst);
        // Whoever has just written and not seen the flag had done so before this.
        self.written_everywhere
            .fetch_max(now().nanos(), Ordering::SeqCst);
    }

    /// Keeps count of what is seen.
    pub fn keep_seen(&self) {
        self.seen.get_or_init(words);
        self.on.store(true, Ordering::SeqCst);
    }

    #[inline]
    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// A write to the slot, or to slots that nobody knows, is over, as far as it will ever be.
    pub fn wrote(&self, slot: Option<u16>) {
        let Some(written) = self.written.get() else {
            return;
        };
        let word = slot.and_then(|slot| written.get(usize::from(slot)));
        word.unwrap_or(&self.written_everywhere)
            .fetch_max(now().nanos(), Ordering::SeqCst);
    }

    /// By when all writes to a slot were over.
    pub fn written(&self, slot: u16) -> Time {
        let everywhere = self.written_everywhere.load(Ordering::SeqCst);
        let here = self
            .written
            .get()
            .and_then(|words| words.get(usize::from(slot)));
        let here = here.map_or(0, |word| word.load(Ordering::SeqCst));
        Time::of_nanos(here.max(everywhere))
    }

    /// What was last seen of a slot.
    pub fn seen(&self, slot: u16) -> Seen {
        let word = self
            .seen
            .get()
            .and_then(|words| words.get(usize::from(slot)));
        word.map_or(Seen::NOTHING, |word| Seen(word.load(Ordering::SeqCst)))
    }

    /// A reply of a slot has come, from the node with this incarnation (0: its primary). `before` is what
    /// had been seen when the node was chosen.
    pub fn saw(&self, slot: u16, before: Seen, incarnation: u32, time: Time) {
        let Some(word) = self
            .seen
            .get()
            .and_then(|words| words.get(usize::from(slot)))
        else {
            return;
        };
        let mut present = Seen(word.load(Ordering::SeqCst));
        loop {
            // Somebody else has seen the slot meanwhile, through another node: which of the two is
            // ahead is not known, so neither stands for both.
            let alone = present == before || present.incarnation() == incarnation;
            let mut next = Seen::new(time, if alone { incarnation } else { 0 });
            if next.by() < present.by() {
                next = Seen::new(Time::ZERO, next.incarnation());
                next.0 |= present.0 >> INCARNATION_BITS << INCARNATION_BITS;
            }
            match word.compare_exchange(present.0, next.0, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return,
                Err(changed) => present = Seen(changed),
            }
        }
    }

    /// A incarnation that no node has.
    pub fn next_incarnation(&self) -> u32 {
        self.incarnations.fetch_add(1, Ordering::Relaxed) % MAX_INCARNATION + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::of_nanos(ms * 1_000_000)
    }

    #[test]
    fn nothing_is_kept_until_somebody_asks() {
        let session = Session::default();
        session.wrote(Some(7));
        session.saw(7, Seen::NOTHING, 1, at(5));
        assert!(!session.is_on());
        assert_eq!(session.written(7), Time::ZERO);
        assert_eq!(session.seen(7), Seen::NOTHING);
    }

    #[test]
    fn a_write_is_one_to_its_slot_or_to_all() {
        let session = Session::default();
        session.keep_writes();
        let before = session.written(7);
        assert!(before > Time::ZERO, "who knows what was written before");
        session.wrote(Some(8));
        assert_eq!(session.written(7), before);
        assert!(session.written(8) > before);
        session.wrote(None);
        assert!(session.written(7) > session.written(8).min(before));
        assert_eq!(session.written(7), session.written(9));
    }

    #[test]
    fn what_was_seen_through_one_node_that_node_has() {
        let session = Session::default();
        session.keep_seen();
        session.saw(7, session.seen(7), 3, at(100));
        let first = session.seen(7);
        assert_eq!(first.incarnation(), 3);
        assert!(first.by() >= at(100) && first.by() < at(101));
        // The primary, and then another: each has what was seen before, or it was not asked.
        session.saw(7, first, 0, at(200));
        assert_eq!(session.seen(7).incarnation(), 0);
        session.saw(7, session.seen(7), 4, at(300));
        assert_eq!(session.seen(7).incarnation(), 4);
        assert_eq!(session.seen(8), Seen::NOTHING);
    }

    #[test]
    fn two_that_see_a_slot_at_once_through_two_nodes_leave_nobody_who_has_it_all() {
        let session = Session::default();
        session.keep_seen();
        let both = session.seen(7);
        session.saw(7, both, 3, at(100));
        session.saw(7, both, 4, at(90));
        assert_eq!(session.seen(7).incarnation(), 0);
        assert!(
            session.seen(7).by() >= at(100),
            "time does not run backwards"
        );
        // Through the same node they do no harm.
        let both = session.seen(8);
        session.saw(8, both, 3, at(100));
        session.saw(8, both, 3, at(90));
        assert_eq!(session.seen(8).incarnation(), 3);
        assert!(session.seen(8).by() >= at(100));
    }

    #[test]
    fn lives_are_never_nobody() {
        let session = Session::default();
        session
            .incarnations
            .store(MAX_INCARNATION - 1, Ordering::Relaxed);
        assert_eq!(
            [session.next_incarnation(), session.next_incarnation()],
            [MAX_INCARNATION, 1]
        );
    }
}
