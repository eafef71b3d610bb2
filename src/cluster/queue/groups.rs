//! Commands that may be sent, gathered by the shard that serves their slot. What is gathered while a batch of the shard
//! is under way leaves as the next batch.

use super::entry::{EntryRef, Inbox};
use super::gathered::Gathered;
use super::shard_number::ShardNumber;
use crate::deadline::Time;
use crate::topology::Topology;
use std::rc::Rc;
use std::time::Duration;

/// A batch that has been under way for longer does not hold up the next one: that uses another connection.
const NEXT_BATCH_AFTER: Duration = Duration::from_millis(5);

/// The most commands of one batch.
const MAX_COMMANDS: usize = 4096;

/// The gathered commands of all shards. No other command of their slots is running.
#[derive(Default)]
pub(super) struct Groups {
    /// The version of the topology that they are gathered by.
    version: u64,
    /// One for each shard, and the last for slots that no shard serves.
    groups: Vec<Group>,
    /// The groups that have commands.
    filled: Vec<usize>,
}

#[derive(Default)]
struct Group {
    gathered: Gathered,
    /// Bounds of their times.
    oldest: Time,
    newest: Time,
    /// How many batches are under way.
    running: usize,
    last_started: Option<Time>,
}

impl Groups {
    /// Adds a command with this slot. The groups must be those of the topology: see [`Groups::regroup`].
    #[inline]
    pub(super) fn push(&mut self, entry: EntryRef, slot: u16, topology: &Topology) {
        let index = topology.owner(slot).unwrap_or(self.groups.len() - 1);
        let at = entry.at();
        self.group(index, at).gathered.mixed().push(entry);
    }

    /// Adds all commands of an inbox of a shard. The shard must be one of the groups: see
    /// [`Groups::has_shard`].
    pub(super) fn push_whole(&mut self, inbox: &Rc<Inbox>, shard: ShardNumber) {
        let group = self.group(shard.index, inbox.at.unwrap_or(Time::ZERO));
        if group.gathered.is_empty() {
            group.gathered = Gathered::Whole(inbox.clone());
            return;
        }
        let entries = (0..inbox.entries.len()).map(|index| EntryRef::new(inbox, index));
        group.gathered.mixed().extend(entries);
    }

    /// Whether the groups are those of the same version of the topology as this shard.
    pub(super) fn has_shard(&self, shard: ShardNumber) -> bool {
        self.version == shard.version && shard.index < self.groups.len()
    }

    /// A group that gets a command of this time.
    #[inline]
    fn group(&mut self, index: usize, at: Time) -> &mut Group {
        let group = &mut self.groups[index];
        if group.gathered.is_empty() {
            self.filled.push(index);
            (group.oldest, group.newest) = (at, at);
        }
        group.oldest = group.oldest.min(at);
        group.newest = group.newest.max(at);
        group
    }

    pub(super) fn is_outdated(&self, topology: &Topology) -> bool {
        self.version != topology.version || self.groups.is_empty()
    }

    /// Gathers the commands anew if the topology has changed.
    pub(super) fn regroup(&mut self, topology: &Topology) {
        if !self.is_outdated(topology) {
            return;
        }
        self.version = topology.version;
        let count = topology.shards.len() + 1;
        let former = std::mem::take(&mut self.groups);
        self.groups.resize_with(count, Group::default);
        self.filled.clear();
        for entry in former
            .into_iter()
            .flat_map(|mut group| std::mem::take(group.gathered.mixed()))
        {
            if let [slot] = entry.slots() {
                let slot = *slot;
                self.push(entry, slot, topology);
            }
        }
    }

    /// The commands of a batch that can leave now. `timeout_ms` is that of the commands.
    pub(super) fn next_batch(
        &mut self,
        topology: &Topology,
        time: Time,
        timeout_ms: u64,
    ) -> Option<(ShardNumber, Gathered)> {
        self.regroup(topology);
        let may_leave = |index: &usize| self.groups[*index].may_leave(time);
        let at = self.filled.iter().position(may_leave)?;
        let index = self.filled[at];
        let group = &mut self.groups[index];
        // A batch has one deadline, that of its oldest command, which suits commands of about the same age.
        let age = Duration::from_millis(timeout_ms / 8);
        let batch = group.take_oldest(age);
        group.running += 1;
        group.last_started = Some(time);
        if group.gathered.is_empty() {
            self.filled.swap_remove(at);
        }
        let version = self.version;
        Some((ShardNumber { version, index }, batch))
    }

    /// Keeps of the commands that a batch has left behind those that `may_stay`, which is asked from the last to the first.
    pub(super) fn retain_left(
        &mut self,
        number: ShardNumber,
        mut may_stay: impl FnMut(&EntryRef) -> bool,
    ) {
        let gathered = &mut self.groups[number.index].gathered;
        if gathered.is_empty() {
            return;
        }
        let gathered = gathered.mixed();
        let mut kept = Vec::with_capacity(gathered.len());
        kept.extend(gathered.drain(..).rev().filter(|entry| may_stay(entry)));
        kept.reverse();
        *gathered = kept;
        if gathered.is_empty() {
            self.filled.retain(|filled| *filled != number.index);
        }
    }

    pub(super) fn has_commands(&self) -> bool {
        !self.filled.is_empty()
    }

    /// A batch has ended.
    pub(super) fn end_batch(&mut self, number: ShardNumber) {
        if number.version == self.version {
            self.groups[number.index].running -= 1;
        }
    }

    /// When the next batch can leave although another one is under way.
    pub(super) fn next_at(&self) -> Option<Time> {
        let started = |index: &usize| self.groups[*index].last_started;
        let first = self.filled.iter().filter_map(started).min();
        first.map(|time| time.plus(NEXT_BATCH_AFTER))
    }
}

impl Group {
    /// Takes the oldest commands and those that are younger by at most `age`. Their order stays. No command is taken before
    /// an older one of its slot.
    fn take_oldest(&mut self, age: Duration) -> Gathered {
        let gathered = &mut self.gathered;
        if gathered.len() <= MAX_COMMANDS && self.newest.since(self.oldest) <= age {
            return gathered.take();
        }
        let gathered = gathered.mixed();
        let times = gathered.iter().map(|entry| entry.at());
        self.oldest = times.min().unwrap_or(self.newest);
        let mut batch = Vec::new();
        gathered.retain(|entry| {
            let is_left = batch.len() == MAX_COMMANDS || entry.at().since(self.oldest) > age;
            if !is_left {
                batch.push(entry.clone());
            }
            is_left
        });
        Gathered::Mixed(batch)
    }

    fn may_leave(&self, time: Time) -> bool {
        let is_late = |started: Time| time.since(started) >= NEXT_BATCH_AFTER;
        self.running == 0 || self.last_started.is_none_or(is_late)
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::inbox_of;
    use super::*;
    use crate::topology::topology_of_shards;

    const TIMEOUT_MS: u64 = 800;

    fn topology(shards: usize, version: u64) -> Topology {
        let mut topology = topology_of_shards(shards);
        topology.version = version;
        topology
    }

    fn at(ms: u64) -> Time {
        Time::ZERO.plus(Duration::from_millis(1000 + ms))
    }

    /// Adds commands of these slots, submitted at this time.
    fn add(groups: &mut Groups, topology: &Topology, ms: u64, slots: &[u16]) {
        groups.regroup(topology);
        let commands: Vec<&[u16]> = slots.iter().map(std::slice::from_ref).collect();
        let inbox = inbox_of(at(ms), &commands);
        for (number, slot) in slots.iter().enumerate() {
            groups.push(EntryRef::new(&inbox, number), *slot, topology);
        }
    }

    /// The slots of the batches that leave at this time, and the numbers of their groups.
    fn batches(groups: &mut Groups, topology: &Topology, ms: u64) -> Vec<(ShardNumber, Vec<u16>)> {
        let next = || groups.next_batch(topology, at(ms), TIMEOUT_MS);
        std::iter::from_fn(next)
            .map(|(number, batch)| {
                let entries = (0..batch.len()).map(|n| batch.entry(n));
                (
                    number,
                    entries.map(|entry| entry.batch_slot().unwrap()).collect(),
                )
            })
            .collect()
    }

    fn slots(batches: &[(ShardNumber, Vec<u16>)]) -> Vec<&[u16]> {
        batches.iter().map(|(_, slots)| slots.as_slice()).collect()
    }

    #[test]
    fn shard_has_one_batch_and_another_one_after_5_ms() {
        let topology = topology(2, 1);
        let mut groups = Groups::default();
        add(&mut groups, &topology, 0, &[1, 16000, 2, 1]);
        let first = batches(&mut groups, &topology, 0);
        assert_eq!(slots(&first), [&[1, 2, 1][..], &[16000]]);
        assert_eq!(groups.next_at(), None, "nothing is left");
        add(&mut groups, &topology, 1, &[3, 16001]);
        // (time, which of the first batches ends before, the batches that leave)
        type Row<'a> = (u64, Option<usize>, &'a [&'a [u16]]);
        let rows: [Row<'_>; 4] = [
            (1, None, &[]),
            (4, None, &[]),
            (4, Some(1), &[&[16001]]),
            (5, None, &[&[3]]),
        ];
        for (ms, ended, expected) in rows {
            if let Some(ended) = ended {
                groups.end_batch(first[ended].0);
            }
            if groups.has_commands() {
                assert_eq!(groups.next_at(), Some(at(5)), "{ms} ms");
            }
            let left = batches(&mut groups, &topology, ms);
            assert_eq!(slots(&left), expected, "{ms} ms");
        }
        assert!(!groups.has_commands());
        assert_eq!(groups.next_at(), None);
    }

    #[test]
    fn commands_that_have_waited_leave_before_younger_ones() {
        let topology = topology(1, 1);
        let mut groups = Groups::default();
        // Those of slot 2 have waited behind an earlier one of their slot, and were admitted last.
        for (ms, slot) in [(150, 1), (0, 2), (160, 3), (90, 2), (170, 2)] {
            add(&mut groups, &topology, ms, &[slot]);
        }
        for expected in [&[2, 2][..], &[1, 3, 2]] {
            let left = batches(&mut groups, &topology, 170);
            assert_eq!(slots(&left), [expected]);
            groups.end_batch(left[0].0);
        }
        assert!(!groups.has_commands());
    }

    #[test]
    fn batch_holds_commands_of_one_age_and_at_most_4096() {
        let topology = topology(1, 1);
        let mut groups = Groups::default();
        // A batch has one deadline: an eighth of the timeout is the most that its commands differ by.
        for (ms, slot) in [(0, 1), (100, 2), (101, 3)] {
            add(&mut groups, &topology, ms, &[slot]);
        }
        let left = batches(&mut groups, &topology, 101);
        assert_eq!(slots(&left), [&[1, 2][..]]);
        groups.end_batch(left[0].0);
        let left = batches(&mut groups, &topology, 101);
        assert_eq!(slots(&left), [&[3][..]]);
        groups.end_batch(left[0].0);
        add(&mut groups, &topology, 200, &[7; MAX_COMMANDS + 1]);
        let left = batches(&mut groups, &topology, 200);
        assert_eq!(left[0].1.len(), MAX_COMMANDS);
        groups.retain_left(left[0].0, |_| false);
        assert!(!groups.has_commands(), "the last one was taken out");
    }

    #[test]
    fn new_topology_groups_commands_anew_and_in_order() {
        let before = topology(2, 1);
        let mut groups = Groups::default();
        add(&mut groups, &before, 0, &[1, 9000]);
        let first = batches(&mut groups, &before, 0);
        add(&mut groups, &before, 1, &[9000, 2, 9000, 1]);
        assert_eq!(slots(&batches(&mut groups, &before, 1)), [] as [&[u16]; 0]);
        // One shard serves all slots now. What is under way belongs to shards that exist no more.
        let after = topology(1, 2);
        let second = batches(&mut groups, &after, 1);
        assert_eq!(slots(&second), [&[2, 1, 9000, 9000][..]]);
        first
            .iter()
            .for_each(|(number, _)| groups.end_batch(*number));
        add(&mut groups, &after, 2, &[5]);
        assert_eq!(slots(&batches(&mut groups, &after, 2)), [] as [&[u16]; 0]);
        groups.end_batch(second[0].0);
        assert_eq!(slots(&batches(&mut groups, &after, 2)), [&[5][..]]);
    }

    #[test]
    fn slots_without_shard_share_one_group() {
        let topology = Topology::empty();
        let mut groups = Groups::default();
        add(&mut groups, &topology, 0, &[1, 16383]);
        assert_eq!(
            slots(&batches(&mut groups, &topology, 0)),
            [&[1, 16383][..]]
        );
    }
}
