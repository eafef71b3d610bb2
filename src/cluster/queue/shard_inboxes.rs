//! The inboxes of the shards. Most commands have one slot, and are gathered by shard as they are submitted, so that they
//! leave as they are.

use super::entry::Inbox;
use super::shard_number::ShardNumber;
use crate::topology::{SlotOwners, Topology};
use std::rc::Rc;

/// What has been submitted since the last run for each shard, as long as nothing else has been submitted.
#[derive(Default)]
pub(super) struct ShardInboxes {
    /// The version of the topology that names the shards.
    version: u64,
    owners: SlotOwners,
    inboxes: Vec<Inbox>,
    /// The shards whose inboxes have commands.
    filled: Vec<usize>,
    /// Empty inboxes, for their memory.
    spare: Vec<Inbox>,
}

/// The most inboxes that are kept for their memory.
const MAX_SPARE: usize = 64;

impl ShardInboxes {
    pub(super) fn is_empty(&self) -> bool {
        self.filled.is_empty()
    }

    /// The inbox of the shard that owns a slot, if one does, to add a command.
    #[inline(always)]
    pub(super) fn of_slot(&mut self, slot: u16) -> Option<&mut Inbox> {
        let index = self.owners.shard(slot)?;
        let inbox = self.inboxes.get_mut(index)?;
        if inbox.entries.is_empty() {
            self.filled.push(index);
        }
        Some(inbox)
    }

    /// Gathers by the shards of this topology from now on.
    pub(super) fn update(&mut self, topology: &Topology) {
        if self.version != topology.version && self.is_empty() {
            self.version = topology.version;
            self.owners = topology.slot_owners();
            self.inboxes.clear();
            self.inboxes
                .resize_with(topology.shards.len(), Inbox::default);
        }
    }

    /// Takes the inboxes that have commands.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Inbox> {
        let (version, inboxes, spare) = (self.version, &mut self.inboxes, &mut self.spare);
        let taken = self.filled.drain(..).map(move |index| {
            let empty = spare.pop().unwrap_or_default();
            let mut inbox = std::mem::replace(&mut inboxes[index], empty);
            inbox.shard = Some(ShardNumber { version, index });
            inbox
        });
        // A panic may have left one without its command.
        taken.filter(|inbox| !inbox.entries.is_empty())
    }

    /// Keeps the memory of an inbox that is not needed any more.
    pub(super) fn recycle(&mut self, inbox: Rc<Inbox>) {
        if self.spare.len() < MAX_SPARE
            && let Ok(mut inbox) = Rc::try_unwrap(inbox)
            && inbox.clear()
        {
            self.spare.push(inbox);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Inbox> {
        self.filled.iter().map(|index| &self.inboxes[*index])
    }
}
