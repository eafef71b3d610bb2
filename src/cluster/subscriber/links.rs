//! The links of a subscriber: one connection per node, opened in a task.

use super::channel::ChannelKey;
use super::link::Link;
use super::subscriptions::LinkNumber;
use super::tasks::Task;
use crate::deadline::Time;
use crate::net::Peer;
use crate::topology::Topology;
use std::sync::Arc;
use std::time::Duration;

/// A connection to a node, or the task that opens it.
pub(super) struct Entry {
    /// Which of the entries that have had this number it is.
    pub(super) serial: u64,
    pub(super) peer: Arc<Peer>,
    pub(super) state: LinkState,
    /// The number of places of subscriptions here.
    pub(super) places: usize,
    /// Channels to subscribe to.
    pub(super) pending: Vec<ChannelKey>,
    /// The topology does not have the node.
    pub(super) is_absent: bool,
    /// Until then, channels that may be anywhere stay nevertheless.
    pub(super) stays_until: Option<Time>,
}

/// How long a node may be absent from the topology until its channels are moved. After a failover, nodes leave out the former
/// primary for a moment.
const MAX_ABSENCE: Duration = Duration::from_millis(1000);

pub(super) enum LinkState {
    Opening(Task),
    Open(Box<Link>),
}

impl Entry {
    pub(super) fn link(&mut self) -> Option<&mut Link> {
        match &mut self.state {
            LinkState::Open(link) => Some(link),
            LinkState::Opening(_) => None,
        }
    }

    fn is_usable(&self) -> bool {
        match &self.state {
            LinkState::Open(link) => link.is_usable(),
            LinkState::Opening(_) => true,
        }
    }
}

/// The entries by their numbers.
#[derive(Default)]
pub(super) struct Links {
    entries: Vec<Option<Entry>>,
    serials: u64,
}

impl Links {
    #[inline]
    pub(super) fn get_mut(&mut self, number: LinkNumber) -> Option<&mut Entry> {
        self.entries.get_mut(number)?.as_mut()
    }

    pub(super) fn peer(&self, number: LinkNumber) -> Option<&Arc<Peer>> {
        let entry = self.entries.get(number)?.as_ref();
        entry.map(|entry| &entry.peer)
    }

    #[inline]
    pub(super) fn link(&mut self, number: LinkNumber) -> Option<&mut Link> {
        self.get_mut(number)?.link()
    }

    /// The number and the serial number of the next entry.
    pub(super) fn next_number(&mut self) -> (LinkNumber, u64) {
        self.serials += 1;
        let free = self.entries.iter().position(Option::is_none);
        (free.unwrap_or(self.entries.len()), self.serials)
    }

    pub(super) fn insert(&mut self, number: LinkNumber, entry: Entry) {
        if number == self.entries.len() {
            self.entries.push(None);
        }
        self.entries[number] = Some(entry);
    }

    pub(super) fn remove(&mut self, number: LinkNumber) -> Option<Entry> {
        self.entries.get_mut(number)?.take()
    }

    /// The entry of a node that takes new subscriptions.
    pub(super) fn usable_at(&self, peer: &Arc<Peer>) -> Option<LinkNumber> {
        let is_it = |entry: &Entry| Arc::ptr_eq(&entry.peer, peer) && entry.is_usable();
        let mut entries = self.entries.iter();
        entries.position(|entry| entry.as_ref().is_some_and(is_it))
    }

    /// Notes which nodes a new topology does not have. Returns whether any has gone.
    pub(super) fn note_absence(&mut self, topology: &Topology, time: Time) -> bool {
        let mut has_gone = false;
        for entry in self.entries.iter_mut().flatten() {
            let was_absent = entry.is_absent;
            entry.is_absent = topology.node_at(entry.peer.address()).is_none();
            if !entry.is_absent {
                entry.stays_until = None;
            } else if !was_absent {
                entry.stays_until = Some(time.plus(MAX_ABSENCE));
                has_gone = true;
            }
        }
        has_gone
    }

    /// Whether the node is absent from the topology, but not for long.
    pub(super) fn is_briefly_absent(&self, number: LinkNumber) -> bool {
        let entry = self.entries.get(number).and_then(Option::as_ref);
        entry.is_some_and(|entry| entry.stays_until.is_some())
    }

    /// When the next absence is too long.
    pub(super) fn next_absence(&self) -> Option<Time> {
        self.iter().filter_map(|entry| entry.stays_until).min()
    }

    /// Ends the absences that are too long. Returns whether there are any.
    pub(super) fn end_absences(&mut self, time: Time) -> bool {
        let mut has_ended = false;
        for entry in self.entries.iter_mut().flatten() {
            has_ended |= entry.stays_until.take_if(|until| *until <= time).is_some();
        }
        has_ended
    }

    pub(super) fn numbers(&self) -> Vec<LinkNumber> {
        let all = self.entries.iter().enumerate();
        all.filter(|(_, entry)| entry.is_some())
            .map(|(number, _)| number)
            .collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().flatten()
    }

    pub(super) fn take_all(&mut self) -> impl Iterator<Item = Entry> {
        std::mem::take(&mut self.entries).into_iter().flatten()
    }
}
