//! The commands of a subscriber.

use super::Subscriber;
use super::channel::{ChannelCommand, ChannelKey, ChannelKind, PushType, Verb};
use super::delivery::DeliveredReply;
use super::event;
use super::subscriptions::Progress;
use crate::deadline::now;
use crate::error::Result;
use crate::net::PthreadCancelDisabled;
use crate::resp::{Reply, Value, View};

impl Subscriber {
    /// Executes a command: what it asks for is wanted from now on. [`Subscriber::next`] returns its confirmations.
    pub fn command(&mut self, args: &[&[u8]]) -> Box<Reply> {
        match self.try_command(args) {
            Ok(()) => Box::new(Reply::of(Value::ok())),
            Err(error) => event::error(&error),
        }
    }

    fn try_command(&mut self, args: &[&[u8]]) -> Result<()> {
        let _uncancelled = PthreadCancelDisabled::begin();
        self.check()?;
        let command = ChannelCommand::parse(args)?;
        match command.verb {
            Verb::Subscribe => {
                for name in command.names {
                    self.subscribe(command.kind, name);
                }
            }
            Verb::Unsubscribe if command.names.is_empty() => self.unsubscribe_all(command.kind),
            Verb::Unsubscribe => {
                for name in command.names {
                    self.unsubscribe(command.kind, name);
                }
            }
        }
        self.advance(now());
        self.update_descriptor();
        Ok(())
    }

    fn subscribe(&mut self, kind: ChannelKind, name: &[u8]) {
        let key = self.subscriptions.add(kind, name);
        if let Some(subscription) = self.subscriptions.get_mut(&key) {
            subscription.owed += 1;
            if subscription.is_confirmed && !self.unheld.contains(&key) {
                return self.confirm(&key);
            }
        }
        self.want_place(key);
    }

    /// Gives the program the confirmations that it is owed.
    pub(super) fn confirm(&mut self, key: &ChannelKey) {
        self.subscriptions.confirm(key);
        let count = self.subscriptions.count(key.0);
        let Some(subscription) = self.subscriptions.get_mut(key) else {
            return;
        };
        let place = subscription.places.last();
        let peer = place.and_then(|place| self.links.peer(place.link));
        let node = peer.map(|peer| peer.origin());
        for _ in 0..std::mem::take(&mut subscription.owed) {
            let what = (key.0, Verb::Subscribe);
            let confirmation = event::confirmation(what, Some(&key.1), count, node);
            self.events.push_back(confirmation);
        }
    }

    fn unsubscribe_all(&mut self, kind: ChannelKind) {
        let names = self.subscriptions.names(kind);
        if names.is_empty() {
            let count = self.subscriptions.count(kind);
            let what = (kind, Verb::Unsubscribe);
            self.events
                .push_back(event::confirmation(what, None, count, None));
        }
        for name in names {
            self.unsubscribe(kind, &name);
        }
    }

    fn unsubscribe(&mut self, kind: ChannelKind, name: &[u8]) {
        if let Some(key) = self.subscriptions.key(kind, name) {
            // Each command has its confirmations, also one that this command overtakes.
            self.confirm(&key);
            self.forget(&key);
        }
        let count = self.subscriptions.count(kind);
        let what = (kind, Verb::Unsubscribe);
        let confirmation = event::confirmation(what, Some(name), count, None);
        self.events.push_back(confirmation);
    }

    /// Ends a subscription, and drops its message that was decoded ahead.
    pub(super) fn forget(&mut self, key: &ChannelKey) {
        if let Some(ahead) = &self.ahead
            && is_message_of(ahead, key)
        {
            self.ahead = None;
        }
        self.unheld.remove(key);
        self.unplaced.remove(key);
        let removed = self.subscriptions.remove(key);
        for place in removed.into_iter().flat_map(|removed| removed.places) {
            self.leave(key, place.link, place.progress);
        }
    }

    /// A channel has no place at a link any more: unsubscribes there.
    pub(super) fn leave(&mut self, key: &ChannelKey, link: usize, progress: Progress) {
        let Some(entry) = self.links.get_mut(link) else {
            return;
        };
        entry.places -= 1;
        if progress != Progress::Waiting
            && let Some(link) = entry.link()
        {
            link.unsubscribe(key.clone());
            self.is_due = true;
        }
    }
}

/// Whether this is a message of this channel or pattern.
fn is_message_of(reply: &DeliveredReply, (kind, name): &ChannelKey) -> bool {
    match reply {
        DeliveredReply::Message(slab, index) => {
            let (of_kind, of_name) = slab.channel(&slab.messages[*index]);
            (ChannelKind::from(of_kind), of_name) == (*kind, name)
        }
        DeliveredReply::Whole(reply) => {
            let view = reply.view();
            let word = view.at(0).and_then(View::text).unwrap_or_default();
            PushType::of(word, view.len()) == Some(PushType::Message(*kind))
                && view.at(1).and_then(View::text) == Some(name)
        }
    }
}
