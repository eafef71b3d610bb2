//! What a subscriber wants, and where it has it.

use super::channel::{ChannelKey, ChannelKind};
use super::event::GapReason;
use crate::deadline::Time;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

/// The number of a link, which may be that of another one once it has ended.
pub(super) type LinkNumber = usize;

/// Where a channel is subscribed, or will be.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) link: LinkNumber,
    pub(super) progress: Progress,
    /// The gap that its confirmation ends.
    pub(super) gap: Option<GapReason>,
    /// On a replica: the id of the primary that knows it, and so passes messages on to it.
    pub(super) known_to: Option<Arc<str>>,
}

impl Place {
    /// The primary that knows the node as its replica, once the place is confirmed.
    pub(super) fn known_to(&self) -> Option<&Option<Arc<str>>> {
        (self.progress == Progress::Confirmed).then_some(&self.known_to)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Waiting,
    Sent,
    /// The node is a replica, and has confirmed. Its primary is asked whether it knows it.
    Unproven,
    Confirmed,
}

/// A channel or pattern that the program wants.
#[derive(Debug, Default)]
pub(super) struct Subscription {
    /// The order in which they were added.
    pub(super) order: u64,
    /// How many confirmations the program is owed.
    pub(super) owed: u32,
    /// The program has had a confirmation: from then on, gaps are reported.
    pub(super) is_confirmed: bool,
    pub(super) is_node_local: bool,
    /// One, or two while it moves; or one for each primary.
    pub(super) places: Vec<Place>,
    /// Of a channel on all primaries: it has a place on each that the topology names.
    pub(super) has_all_places: bool,
    /// Why it lost its last place.
    pub(super) lost: Option<GapReason>,
    /// A command with several channels was refused: this one gets a command of its own.
    pub(super) is_alone: bool,
    /// Successive failures.
    pub(super) failures: u32,
    /// When it is tried again.
    pub(super) retry_at: Option<Time>,
}

impl Subscription {
    pub(super) fn place(&mut self, link: LinkNumber) -> Option<&mut Place> {
        self.places.iter_mut().find(|place| place.link == link)
    }

    pub(super) fn has_place(&self, link: LinkNumber) -> bool {
        self.places.iter().any(|place| place.link == link)
    }

    /// Whether messages of this link are delivered. Those of a channel on all primaries are not before the program has its
    /// confirmation: a gap that precedes it would not be told.
    pub(super) fn is_held_at(&self, link: LinkNumber) -> bool {
        let is_confirmed =
            |place: &Place| place.link == link && place.progress == Progress::Confirmed;
        (self.is_confirmed || !self.is_node_local) && self.places.iter().any(is_confirmed)
    }

    pub(super) fn remove_place(&mut self, link: LinkNumber) -> Option<Place> {
        let at = self.places.iter().position(|place| place.link == link)?;
        Some(self.places.remove(at))
    }
}

/// The subscriptions of a subscriber, by kind and name.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    by_kind: [BTreeMap<Rc<[u8]>, Subscription>; 3],
    /// How many of each kind are confirmed.
    confirmed: [usize; 3],
    /// How many have been added so far.
    added: u64,
}

impl Subscriptions {
    pub(super) fn get(&self, kind: ChannelKind, name: &[u8]) -> Option<&Subscription> {
        self.by_kind[kind as usize].get(name)
    }

    pub(super) fn get_mut(&mut self, key: &ChannelKey) -> Option<&mut Subscription> {
        self.by_kind[key.0 as usize].get_mut(&key.1)
    }

    /// The subscription and the name that it is stored with.
    pub(super) fn key(&self, kind: ChannelKind, name: &[u8]) -> Option<ChannelKey> {
        let (name, _) = self.by_kind[kind as usize].get_key_value(name)?;
        Some((kind, name.clone()))
    }

    pub(super) fn add(&mut self, kind: ChannelKind, name: &[u8]) -> ChannelKey {
        if let Some(known) = self.key(kind, name) {
            return known;
        }
        let key: ChannelKey = (kind, name.into());
        self.added += 1;
        let subscription = Subscription {
            order: self.added,
            is_node_local: kind.is_node_local(name),
            ..Subscription::default()
        };
        self.by_kind[kind as usize].insert(key.1.clone(), subscription);
        key
    }

    pub(super) fn remove(&mut self, key: &ChannelKey) -> Option<Subscription> {
        let removed = self.by_kind[key.0 as usize].remove(&key.1);
        if removed.as_ref().is_some_and(|removed| removed.is_confirmed) {
            self.confirmed[key.0 as usize] -= 1;
        }
        removed
    }

    /// The program gets its first confirmation.
    pub(super) fn confirm(&mut self, key: &ChannelKey) {
        if let Some(subscription) = self.get_mut(key)
            && !std::mem::replace(&mut subscription.is_confirmed, true)
        {
            self.confirmed[key.0 as usize] += 1;
        }
    }

    /// The number in a confirmation: of confirmed channels and patterns, or of confirmed sharded channels.
    pub(super) fn count(&self, kind: ChannelKind) -> usize {
        let [channels, patterns, sharded] = self.confirmed;
        match kind {
            ChannelKind::Sharded => sharded,
            ChannelKind::Channel | ChannelKind::Pattern => channels + patterns,
        }
    }

    pub(super) fn names(&self, kind: ChannelKind) -> Vec<Rc<[u8]>> {
        self.by_kind[kind as usize].keys().cloned().collect()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (ChannelKey, &mut Subscription)> {
        let kinds = [
            ChannelKind::Channel,
            ChannelKind::Pattern,
            ChannelKind::Sharded,
        ];
        let all = kinds.into_iter().zip(&mut self.by_kind);
        all.flat_map(|(kind, of_kind)| {
            of_kind
                .iter_mut()
                .map(move |(name, subscription)| ((kind, name.clone()), subscription))
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_kind.iter().all(BTreeMap::is_empty)
    }

    /// Whether any channel is bound to a node: then a change of the topology matters soon.
    pub(super) fn keys(&self) -> Vec<ChannelKey> {
        let kinds = [
            ChannelKind::Channel,
            ChannelKind::Pattern,
            ChannelKind::Sharded,
        ];
        let all = kinds.into_iter().zip(&self.by_kind);
        all.flat_map(|(kind, of_kind)| of_kind.keys().map(move |name| (kind, name.clone())))
            .collect()
    }
}
