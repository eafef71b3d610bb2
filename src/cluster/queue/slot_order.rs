//! The order of the commands of one slot: a command is sent when all earlier ones of its slot have their replies, or in
//! one batch with them.

use super::entry::{Admission, Entry, EntryRef, Inbox};
use super::shard_number::ShardNumber;
use crate::topology::SLOTS;
use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

/// Which commands may be sent, slot by slot.
///
/// Mostly, all commands of an inbox are admitted, and nothing else of their shard is under way. The commands of such an
/// inbox are counted only when other commands may meet them: see [`SlotOrder::admit_whole`].
#[derive(Default)]
pub(super) struct SlotOrder {
    /// Inboxes all of whose commands have been admitted and are not counted in `slots`. Each has a shard of its own.
    uncounted: Vec<Rc<Inbox>>,
    /// Empty until a command is counted.
    slots: Vec<Slot>,
    /// The number of commands that are counted in `slots`, once for each of their slots.
    counted: usize,
    /// Commands that have to wait, in order. Few slots have any.
    waiting: HashMap<u16, VecDeque<Waiter>>,
    admitted: Admitted,
}

/// Commands that may be sent.
#[derive(Default)]
pub(super) struct Admitted {
    /// In a batch.
    pub(super) in_batch: Vec<(EntryRef, u16)>,
    /// By themselves.
    pub(super) alone: Vec<EntryRef>,
}

/// How many commands of a slot have been admitted and have no reply.
#[derive(Clone, Copy, Default)]
struct Slot {
    /// Those that are not in a batch yet. Others may follow in the same batch.
    gathered: u32,
    running: u32,
}

enum Waiter {
    InBatch(EntryRef),
    Alone(Rc<AloneWaiter>),
}

/// A command of several slots.
struct AloneWaiter {
    entry: EntryRef,
    /// How many of its slots it has to wait for.
    missing: Cell<usize>,
}

impl SlotOrder {
    /// Adds a command of this slot that is executed in a batch, if it can be sent. Otherwise [`SlotOrder::add`] adds it.
    /// What was admitted before must have been taken: see [`SlotOrder::take_admitted`].
    #[inline]
    pub(super) fn admit_at_once(&mut self, number: u16) -> bool {
        self.count_all();
        let slot = &mut self.slots[usize::from(number)];
        let may_be_sent =
            slot.running == 0 && (self.waiting.is_empty() || !self.waiting.contains_key(&number));
        slot.gathered += u32::from(may_be_sent);
        self.counted += usize::from(may_be_sent);
        may_be_sent
    }

    /// Adds all commands of an inbox, each of which is executed in a batch of this shard, if all can be sent. Returns
    /// whether they can. What was admitted before must have been taken.
    pub(super) fn admit_whole(&mut self, inbox: &Rc<Inbox>, shard: ShardNumber) -> bool {
        if !self.waiting.is_empty() || inbox.has_closed() {
            return false;
        }
        let is_apart = |other: &Rc<Inbox>| other.shard.is_some_and(|o| o.is_apart(shard));
        if self.counted == 0 && self.uncounted.iter().all(is_apart) {
            inbox.admission.set(Admission::Gathered);
            self.uncounted.push(inbox.clone());
            return true;
        }
        self.count_all();
        let slots = || inbox.entries.iter().filter_map(Entry::batch_slot);
        let may_be_sent = slots().all(|slot| self.slots[usize::from(slot)].running == 0);
        if may_be_sent {
            for slot in slots() {
                self.slots[usize::from(slot)].gathered += 1;
            }
            self.counted += inbox.entries.len();
        }
        may_be_sent
    }

    /// All commands of an inbox are in a batch now, if they are not counted and none has been cancelled. Returns whether
    /// that is so.
    pub(super) fn start_whole(&mut self, inbox: &Inbox) -> bool {
        let is_whole = inbox.admission.get() == Admission::Gathered && !inbox.has_closed();
        if is_whole {
            inbox.admission.set(Admission::Running);
        }
        is_whole
    }

    /// The batch of an inbox whose commands are not counted has ended.
    pub(super) fn end_whole(&mut self, inbox: &Rc<Inbox>) {
        self.uncounted.retain(|other| !Rc::ptr_eq(inbox, other));
    }

    /// Counts the commands of all inboxes.
    #[inline]
    pub(super) fn count_all(&mut self) {
        if self.slots.is_empty() || !self.uncounted.is_empty() {
            self.count_uncounted();
        }
    }

    #[inline(never)]
    fn count_uncounted(&mut self) {
        self.slots.resize_with(SLOTS, Slot::default);
        for inbox in self.uncounted.drain(..) {
            let held = inbox.entries.iter().filter(|e| !e.is_released.get());
            for number in held.filter_map(Entry::batch_slot) {
                let slot = &mut self.slots[usize::from(number)];
                match inbox.admission.get() {
                    Admission::Running => slot.running += 1,
                    Admission::Gathered | Admission::Counted => slot.gathered += 1,
                }
                self.counted += 1;
            }
            inbox.admission.set(Admission::Counted);
        }
    }

    /// Adds a command that cannot be sent yet, or that is executed by itself, in the order of submission.
    pub(super) fn add(&mut self, entry: EntryRef) {
        self.count_all();
        match entry.batch_slot() {
            Some(slot) => {
                let waiting = self.waiting.entry(slot).or_default();
                waiting.push_back(Waiter::InBatch(entry));
            }
            None => self.add_alone(entry),
        }
    }

    fn add_alone(&mut self, entry: EntryRef) {
        let waiter = Rc::new(AloneWaiter {
            missing: Cell::new(entry.slots().len()),
            entry,
        });
        for number in waiter.entry.slots() {
            let waiting = self.waiting.entry(*number).or_default();
            waiting.push_back(Waiter::Alone(waiter.clone()));
        }
        for number in waiter.entry.slots() {
            self.admit(*number);
        }
        if waiter.entry.slots().is_empty() {
            self.admitted.alone.push(waiter.entry.clone());
        }
    }

    pub(super) fn has_admitted(&self) -> bool {
        !(self.admitted.in_batch.is_empty() && self.admitted.alone.is_empty())
    }

    /// What may be sent since this was last asked.
    pub(super) fn take_admitted(&mut self) -> Admitted {
        std::mem::take(&mut self.admitted)
    }

    /// A command that was admitted is in a batch now.
    pub(super) fn start(&mut self, slot: u16) {
        let slot = &mut self.slots[usize::from(slot)];
        slot.gathered -= 1;
        slot.running += 1;
    }

    /// Makes an admitted command wait if others of its slot are running: a batch had no room for it. Called from the last
    /// command to the first. Returns whether the command can still be sent.
    pub(super) fn postpone_behind_running(&mut self, entry: &EntryRef, number: u16) -> bool {
        let slot = &mut self.slots[usize::from(number)];
        if slot.running == 0 {
            return true;
        }
        slot.gathered -= 1;
        self.counted -= 1;
        let waiting = self.waiting.entry(number).or_default();
        waiting.push_front(Waiter::InBatch(entry.clone()));
        false
    }

    /// A command that was admitted will not be sent.
    pub(super) fn abandon(&mut self, slot: u16) {
        self.slots[usize::from(slot)].gathered -= 1;
        self.counted -= 1;
        self.admit(slot);
    }

    /// A command that ran has its reply, or never gets one.
    #[inline]
    pub(super) fn end(&mut self, slot: u16) {
        self.slots[usize::from(slot)].running -= 1;
        self.counted -= 1;
        if !self.waiting.is_empty() {
            self.admit(slot);
        }
    }

    /// Admits waiting commands of a slot as far as possible.
    fn admit(&mut self, number: u16) {
        let Some(waiting) = self.waiting.get_mut(&number) else {
            return;
        };
        let slot = &mut self.slots[usize::from(number)];
        while slot.running == 0
            && let Some(waiter) = waiting.front()
        {
            match waiter {
                Waiter::InBatch(entry) => {
                    if entry.is_open() {
                        slot.gathered += 1;
                        self.counted += 1;
                        self.admitted.in_batch.push((entry.clone(), number));
                    }
                }
                Waiter::Alone(_) if slot.gathered > 0 => break,
                Waiter::Alone(waiter) => {
                    slot.running += 1;
                    self.counted += 1;
                    waiter.missing.set(waiter.missing.get() - 1);
                    if waiter.missing.get() == 0 {
                        self.admitted.alone.push(waiter.entry.clone());
                    }
                }
            }
            waiting.pop_front();
        }
        if waiting.is_empty() {
            self.waiting.remove(&number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::inbox_of;
    use super::*;
    use crate::deadline::Time;
    use crate::simulation::SeededRng;

    /// Commands, by their numbers, and the order of their slots.
    struct Commands {
        inbox: Rc<Inbox>,
        order: SlotOrder,
        /// Those that may be sent and have not been started: in a batch, by themselves.
        in_batch: Vec<usize>,
        alone: Vec<usize>,
    }

    impl Commands {
        fn new(commands: &[&[u16]]) -> Commands {
            Commands {
                inbox: inbox_of(Time::ZERO, commands),
                order: SlotOrder::default(),
                in_batch: Vec::new(),
                alone: Vec::new(),
            }
        }

        fn entry(&self, number: usize) -> EntryRef {
            EntryRef::new(&self.inbox, number)
        }

        /// As `Queue::route_inboxes` does.
        fn submit(&mut self, number: usize) {
            let entry = self.entry(number);
            match entry.batch_slot() {
                Some(slot) if self.order.admit_at_once(slot) => {
                    self.in_batch.push(number);
                }
                _ => self.order.add(entry),
            }
            self.take_admitted();
        }

        fn submit_all(&mut self) {
            (0..self.inbox.entries.len()).for_each(|number| self.submit(number));
        }

        fn take_admitted(&mut self) {
            let admitted = self.order.take_admitted();
            assert!(!self.order.has_admitted());
            let in_batch = admitted.in_batch.into_iter();
            self.in_batch
                .extend(in_batch.map(|(entry, _)| entry.tag as usize));
            let alone = admitted.alone.into_iter();
            self.alone.extend(alone.map(|entry| entry.tag as usize));
        }

        /// Starts a batch of the first `count` admitted commands, as `Queue::start_batches` does. Returns their numbers.
        fn start_batch(&mut self, count: usize) -> Vec<usize> {
            let started: Vec<usize> = self.in_batch.drain(..count).collect();
            for number in &started {
                self.order.start(self.entry(*number).slots()[0]);
            }
            let mut kept = Vec::new();
            for number in std::mem::take(&mut self.in_batch).into_iter().rev() {
                let entry = self.entry(number);
                if (self.order).postpone_behind_running(&entry, entry.slots()[0]) {
                    kept.insert(0, number);
                }
            }
            self.in_batch = kept;
            started
        }

        fn end(&mut self, number: usize) {
            let entry = self.entry(number);
            entry.close();
            for slot in entry.slots() {
                self.order.end(*slot);
            }
            self.take_admitted();
        }
    }

    #[test]
    fn commands_of_one_slot_are_sent_together_until_one_runs() {
        let mut commands = Commands::new(&[&[1], &[1], &[2], &[1], &[2]]);
        (0..3).for_each(|number| commands.submit(number));
        assert_eq!(commands.start_batch(2), [0, 1]);
        commands.submit(3);
        commands.submit(4);
        assert_eq!(commands.in_batch, [2, 4], "slot 1 is busy, slot 2 is not");
        commands.end(0);
        assert_eq!(commands.in_batch, [2, 4], "one of two has ended");
        commands.end(1);
        assert_eq!(commands.in_batch, [2, 4, 3]);
    }

    #[test]
    fn command_of_several_slots_waits_for_each_and_holds_up_later_ones() {
        let mut commands = Commands::new(&[&[1], &[2], &[1, 2], &[1], &[2, 3], &[3]]);
        commands.submit_all();
        assert_eq!(
            (&commands.in_batch[..], &commands.alone[..]),
            (&[0, 1][..], &[][..])
        );
        commands.start_batch(2);
        commands.end(0);
        assert_eq!(commands.alone, [], "slot 2 is busy");
        commands.end(1);
        assert_eq!(commands.alone, [2]);
        commands.end(2);
        assert_eq!(
            (&commands.in_batch[..], &commands.alone[..]),
            (&[3][..], &[2, 4][..])
        );
        commands.end(4);
        assert_eq!(commands.in_batch, [3, 5]);
    }

    #[test]
    fn command_without_slot_waits_for_nothing() {
        let mut commands = Commands::new(&[&[1, 2], &[], &[1]]);
        commands.submit_all();
        assert_eq!(
            (&commands.in_batch[..], &commands.alone[..]),
            (&[][..], &[0, 1][..])
        );
    }

    #[test]
    fn cancelled_command_holds_up_no_later_one() {
        let mut commands = Commands::new(&[&[1], &[1], &[1, 2], &[2], &[1]]);
        commands.submit(0);
        commands.start_batch(1);
        (1..5).for_each(|number| commands.submit(number));
        commands.entry(1).close();
        commands.entry(2).close();
        commands.end(0);
        assert_eq!(
            (&commands.in_batch[..], &commands.alone[..]),
            (&[][..], &[2][..])
        );
        // The queue ends a cancelled command that it would start by itself.
        commands.end(2);
        assert_eq!(commands.in_batch, [4, 3]);
        let mut unsent = Commands::new(&[&[7], &[7, 8]]);
        unsent.submit_all();
        unsent.order.abandon(7);
        unsent.take_admitted();
        assert_eq!(unsent.alone, [1]);
    }

    #[test]
    fn command_that_a_batch_leaves_behind_keeps_its_place() {
        let mut commands = Commands::new(&[&[1], &[1], &[2], &[1], &[1, 2], &[1]]);
        commands.submit_all();
        assert_eq!(commands.in_batch, [0, 1, 2, 3]);
        assert_eq!(commands.start_batch(1), [0]);
        assert_eq!(commands.in_batch, [2], "the rest of slot 1 waits");
        commands.end(0);
        assert_eq!(commands.in_batch, [2, 1, 3]);
        commands.start_batch(3);
        [2, 1, 3]
            .into_iter()
            .for_each(|number| commands.end(number));
        assert_eq!(
            (&commands.in_batch[..], &commands.alone[..]),
            (&[][..], &[4][..])
        );
        commands.end(4);
        assert_eq!(commands.in_batch, [5]);
    }

    /// Whether command `b` may run now, with these commands under way, by the rule of the queue: every earlier command of its
    /// slots has ended, or is in its batch.
    fn assert_in_order(commands: &Commands, started: &[usize], running: &[usize]) {
        for number in started {
            let entry = commands.entry(*number);
            for earlier in 0..*number {
                let other = commands.entry(earlier);
                let is_shared = other
                    .slots()
                    .iter()
                    .any(|slot| entry.slots().contains(slot));
                let is_in_batch = started.contains(&earlier);
                assert!(
                    !is_shared || is_in_batch || !other.is_open(),
                    "{number} overtakes {earlier}; {running:?} are running"
                );
            }
        }
    }

    #[test]
    fn random_commands_keep_their_order_and_all_run() {
        for seed in 0..300 {
            let mut rng = SeededRng(seed);
            let slots: Vec<Vec<u16>> = (0..rng.between(1, 40))
                .map(|_| {
                    let count = if rng.chance(700) { 1 } else { rng.below(4) };
                    let mut slots: Vec<u16> = (0..count).map(|_| rng.below(5) as u16).collect();
                    slots.sort_unstable();
                    slots.dedup();
                    slots
                })
                .collect();
            let slots: Vec<&[u16]> = slots.iter().map(Vec::as_slice).collect();
            let mut commands = Commands::new(&slots);
            let (mut submitted, mut running) = (0, Vec::new());
            while submitted < slots.len()
                || !(running.is_empty()
                    && commands.in_batch.is_empty()
                    && commands.alone.is_empty())
            {
                match rng.below(4) {
                    0 if submitted < slots.len() => {
                        commands.submit(submitted);
                        submitted += 1;
                    }
                    1 if !commands.in_batch.is_empty() => {
                        let most = commands.in_batch.len() as u64;
                        let started = commands.start_batch(rng.between(1, most) as usize);
                        assert_in_order(&commands, &started, &running);
                        running.extend(started);
                    }
                    2 if !commands.alone.is_empty() => {
                        let number = commands.alone.remove(0);
                        assert_in_order(&commands, &[number], &running);
                        running.push(number);
                    }
                    3 if !running.is_empty() => {
                        let at = rng.below(running.len() as u64) as usize;
                        commands.end(running.swap_remove(at));
                    }
                    _ => {}
                }
            }
            assert_eq!(commands.inbox.open.get(), 0, "seed {seed}: some never ran");
            assert!(commands.order.waiting.is_empty());
        }
    }

    /// Inboxes of two shards, each with three slots, and the commands that have been admitted or are in batches.
    #[derive(Default)]
    struct Inboxes {
        order: SlotOrder,
        all: Vec<Rc<Inbox>>,
        gathered: [Vec<Rc<Inbox>>; 2],
        singles: [Vec<EntryRef>; 2],
        /// The commands of each batch that have no reply, and the inbox if it is the batch.
        running: Vec<(Vec<EntryRef>, Option<Rc<Inbox>>)>,
        wholes: usize,
    }

    fn shard_of(slot: u16) -> usize {
        usize::from(slot / 3)
    }

    impl Inboxes {
        /// As `Queue::route_inboxes` does.
        fn submit(&mut self, slots: &[u16], shard: Option<usize>) {
            let commands: Vec<&[u16]> = slots.iter().map(std::slice::from_ref).collect();
            let mut inbox = Rc::into_inner(inbox_of(Time::ZERO, &commands)).unwrap();
            let number = shard.map(|index| ShardNumber { version: 1, index });
            inbox.shard = number;
            let inbox = Rc::new(inbox);
            self.all.push(inbox.clone());
            if let Some(number) = number
                && self.order.admit_whole(&inbox, number)
            {
                return self.gathered[number.index].push(inbox);
            }
            for (index, slot) in slots.iter().enumerate() {
                let entry = EntryRef::new(&inbox, index);
                match self.order.admit_at_once(*slot) {
                    true => self.singles[shard_of(*slot)].push(entry),
                    false => self.order.add(entry),
                }
            }
            self.take_admitted();
        }

        fn take_admitted(&mut self) {
            for (entry, slot) in self.order.take_admitted().in_batch {
                self.singles[shard_of(slot)].push(entry);
            }
        }

        /// Starts a batch of what has been gathered of a shard, as `Queue::order_batch` does.
        fn start(&mut self, shard: usize) {
            let wholes = std::mem::take(&mut self.gathered[shard]);
            let mut entries = std::mem::take(&mut self.singles[shard]);
            let mut only = None;
            match &wholes[..] {
                [whole] if entries.is_empty() && self.order.start_whole(whole) => {
                    only = Some(whole.clone());
                    self.wholes += 1;
                }
                _ => self.order.count_all(),
            }
            for whole in wholes {
                entries.extend((0..whole.entries.len()).map(|n| EntryRef::new(&whole, n)));
            }
            if only.is_none() {
                for entry in &entries {
                    match entry.is_open() {
                        true => self.order.start(entry.slots()[0]),
                        false => self.order.abandon(entry.slots()[0]),
                    }
                }
            }
            entries.retain(|entry| entry.is_open());
            self.assert_in_order(&entries);
            self.running.push((entries, only));
            self.take_admitted();
        }

        /// Every earlier command of the slots of a batch has ended, or is in the batch.
        fn assert_in_order(&self, batch: &[EntryRef]) {
            let at = |entry: &EntryRef| {
                let inbox = self.all.iter().position(|of| Rc::ptr_eq(of, &entry.inbox));
                (inbox.unwrap(), entry.location().1)
            };
            for entry in batch {
                let (last, index) = at(entry);
                for (number, inbox) in self.all[..=last].iter().enumerate() {
                    for earlier in (0..inbox.entries.len())
                        .map(|index| EntryRef::new(inbox, index))
                        .filter(|earlier| (number, earlier.location().1) < (last, index))
                        .filter(|earlier| earlier.slots() == entry.slots())
                    {
                        let is_in_batch = batch.iter().any(|other| at(other) == at(&earlier));
                        // One that was cancelled in a batch keeps its place there.
                        let mut sent = self.running.iter().flat_map(|(entries, _)| entries);
                        let is_running = sent.any(|other| at(other) == at(&earlier));
                        let has_ended = !earlier.is_open() && !is_running;
                        assert!(is_in_batch || has_ended, "{:?} overtakes", (last, index));
                    }
                }
            }
        }

        /// A command of a batch has its reply, as in `Batch`.
        fn end_one(&mut self, batch: usize) {
            let (entries, only) = &mut self.running[batch];
            if let Some(entry) = entries.pop() {
                entry.close();
                entry.is_released.set(true);
                if entry.inbox.admission.get() == Admission::Counted {
                    self.order.end(entry.slots()[0]);
                }
            } else {
                if let Some(whole) = only
                    && whole.admission.get() == Admission::Running
                {
                    self.order.end_whole(whole);
                }
                self.running.swap_remove(batch);
            }
            self.take_admitted();
        }
    }

    #[test]
    fn random_inboxes_keep_their_order_whether_they_are_counted_or_not() {
        let mut wholes = 0;
        for seed in 0..400 {
            let (mut rng, mut inboxes) = (SeededRng(seed), Inboxes::default());
            let mut left = rng.between(1, 12);
            while left > 0
                || !inboxes.running.is_empty()
                || (inboxes.gathered.iter().any(|of| !of.is_empty()))
                || (inboxes.singles.iter().any(|of| !of.is_empty()))
            {
                let shard = rng.below(2);
                match rng.below(5) {
                    0 if left > 0 => {
                        left -= 1;
                        let is_mixed = rng.chance(200);
                        let slots: Vec<u16> = (0..rng.between(1, 4))
                            .map(|_| match is_mixed {
                                true => rng.below(6) as u16,
                                false => (shard * 3 + rng.below(3)) as u16,
                            })
                            .collect();
                        inboxes.submit(&slots, (!is_mixed).then_some(shard as usize));
                    }
                    1 => {
                        let shard = shard as usize;
                        if !(inboxes.gathered[shard].is_empty()
                            && inboxes.singles[shard].is_empty())
                        {
                            inboxes.start(shard);
                        }
                    }
                    2 if !inboxes.all.is_empty() && rng.chance(200) => {
                        let inbox = &inboxes.all[rng.below(inboxes.all.len() as u64) as usize];
                        let index = rng.below(inbox.entries.len() as u64) as usize;
                        EntryRef::new(inbox, index).close();
                    }
                    _ if !inboxes.running.is_empty() => {
                        let batch = rng.below(inboxes.running.len() as u64);
                        inboxes.end_one(batch as usize);
                    }
                    _ => {}
                }
            }
            let order = &inboxes.order;
            assert!(
                inboxes.all.iter().all(|inbox| inbox.open.get() == 0),
                "seed {seed}"
            );
            assert!(
                order.waiting.is_empty() && order.uncounted.is_empty(),
                "seed {seed}"
            );
            assert_eq!(order.counted, 0, "seed {seed}");
            wholes += inboxes.wholes;
        }
        assert!(wholes > 150, "few inboxes were not counted: {wholes}");
    }
}
