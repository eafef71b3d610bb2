//! What the handles of a client have written and seen, slot by slot: for reads that must not be older
//! than that (read your writes, monotonic reads).
//!
//! Nothing is recorded until a handle needs it, and then two 64-bit words for each slot. There are no
//! locks, so that a forked child can go on with its parent's record.

use crate::deadline::{Time, now};
use crate::topology::SLOTS;
use once_cell::race::OnceBox;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// One word for each slot.
type SlotWords = Box<[AtomicU64]>;

#[derive(Default)]
pub struct Session {
    /// Whether anything is recorded.
    on: AtomicBool,
    /// When the last write to each slot had ended.
    written: OnceBox<SlotWords>,
    /// The same for all slots: of commands without a slot, and of writes before recording began.
    written_everywhere: AtomicU64,
    /// What reads have last seen of each slot, as [`Seen`].
    seen: OnceBox<SlotWords>,
    incarnations: AtomicU32,
}

/// What reads have seen of a slot: nothing that its primary executed after `by`. If `incarnation` is
/// not 0, the node with this incarnation has all of it.
///
/// Stored in 64 bits: 42 bits of time in units of 65.5 us (enough for nine years), and 22 bits of
/// incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen(u64);

const INCARNATION_BITS: u32 = 22;
const UNIT_BITS: u32 = 16;
/// Incarnations are numbered from 1 to this, and then from 1 again.
const MAX_INCARNATION: u32 = (1 << INCARNATION_BITS) - 1;

impl Seen {
    pub const NOTHING: Seen = Seen(0);

    fn new(by: Time, incarnation: u32) -> Seen {
        // Rounded up: a proof of an earlier time within the unit would not be enough.
        let units = match by.nanos() {
            0 => 0,
            ns => (ns >> UNIT_BITS) + 1,
        };
        Seen(units << INCARNATION_BITS | u64::from(incarnation & MAX_INCARNATION))
    }

    pub fn by(self) -> Time {
        Time::from_nanos((self.0 >> INCARNATION_BITS) << UNIT_BITS)
    }

    pub fn incarnation(self) -> u32 {
        (self.0 & u64::from(MAX_INCARNATION)) as u32
    }
}

fn slot_words() -> Box<SlotWords> {
    Box::new((0..SLOTS).map(|_| AtomicU64::new(0)).collect())
}

impl Session {
    /// Records writes from now on.
    pub fn keep_writes(&self) {
        self.written.get_or_init(slot_words);
        self.on.store(true, Ordering::SeqCst);
        // A write of another thread that did not see the flag ended before this time.
        self.written_everywhere
            .fetch_max(now().nanos(), Ordering::SeqCst);
    }

    /// Records what reads have seen from now on.
    pub fn keep_seen(&self) {
        self.seen.get_or_init(slot_words);
        self.on.store(true, Ordering::SeqCst);
    }

    #[inline]
    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Records that a write has ended, to this slot or to unknown ones. It may have failed.
    pub fn wrote(&self, slot: Option<u16>) {
        let Some(written) = self.written.get() else {
            return;
        };
        let word = slot.and_then(|slot| written.get(usize::from(slot)));
        word.unwrap_or(&self.written_everywhere)
            .fetch_max(now().nanos(), Ordering::SeqCst);
    }

    /// When the last write to a slot had ended.
    pub fn written(&self, slot: u16) -> Time {
        let everywhere = self.written_everywhere.load(Ordering::SeqCst);
        let here = self
            .written
            .get()
            .and_then(|words| words.get(usize::from(slot)));
        let here = here.map_or(0, |word| word.load(Ordering::SeqCst));
        Time::from_nanos(here.max(everywhere))
    }

    /// What reads have last seen of a slot.
    pub fn seen(&self, slot: u16) -> Seen {
        let word = self
            .seen
            .get()
            .and_then(|words| words.get(usize::from(slot)));
        word.map_or(Seen::NOTHING, |word| Seen(word.load(Ordering::SeqCst)))
    }

    /// Records a reply of a slot from the node with this incarnation (0 for its primary). `before` is
    /// what had been seen when the node was chosen.
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
            // Another thread may have read the slot from another node meanwhile. Which of the two nodes
            // is ahead is unknown, so neither is recorded as having all.
            let has_all = present == before || present.incarnation() == incarnation;
            let mut next = Seen::new(time, if has_all { incarnation } else { 0 });
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

    /// An incarnation that no node has yet.
    pub fn next_incarnation(&self) -> u32 {
        self.incarnations.fetch_add(1, Ordering::Relaxed) % MAX_INCARNATION + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn session_stores_nothing_until_first_use() {
        let session = Session::default();
        session.wrote(Some(7));
        session.saw(7, Seen::NOTHING, 1, at(5));
        assert!(!session.is_on());
        assert_eq!(session.written(7), Time::ZERO);
        assert_eq!(session.seen(7), Seen::NOTHING);
    }

    #[test]
    fn write_is_recorded_for_its_slot_or_all_slots() {
        let session = Session::default();
        session.keep_writes();
        let before = session.written(7);
        assert!(before > Time::ZERO, "earlier writes count as ended now");
        session.wrote(Some(8));
        assert_eq!(session.written(7), before);
        assert!(session.written(8) > before);
        session.wrote(None);
        assert!(session.written(7) > session.written(8).min(before));
        assert_eq!(session.written(7), session.written(9));
    }

    #[test]
    fn read_data_is_attributed_to_its_node_incarnation() {
        let session = Session::default();
        session.keep_seen();
        session.saw(7, session.seen(7), 3, at(100));
        let first = session.seen(7);
        assert_eq!(first.incarnation(), 3);
        assert!(first.by() >= at(100) && first.by() < at(101));
        // The primary, then another replica: neither is read from unless it has what was seen before.
        session.saw(7, first, 0, at(200));
        assert_eq!(session.seen(7).incarnation(), 0);
        session.saw(7, session.seen(7), 4, at(300));
        assert_eq!(session.seen(7).incarnation(), 4);
        assert_eq!(session.seen(8), Seen::NOTHING);
    }

    #[test]
    fn concurrent_reads_from_two_nodes_clear_the_incarnation() {
        let session = Session::default();
        session.keep_seen();
        let both = session.seen(7);
        session.saw(7, both, 3, at(100));
        session.saw(7, both, 4, at(90));
        assert_eq!(session.seen(7).incarnation(), 0);
        assert!(
            session.seen(7).by() >= at(100),
            "recorded time never decreases"
        );
        // Two reads through the same node keep it.
        let both = session.seen(8);
        session.saw(8, both, 3, at(100));
        session.saw(8, both, 3, at(90));
        assert_eq!(session.seen(8).incarnation(), 3);
        assert!(session.seen(8).by() >= at(100));
    }

    #[test]
    fn incarnation_is_never_zero() {
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
