//! What a subscriber receives.

use super::Subscriber;
use super::channel::{ChannelKey, ChannelKind};
use super::delivery::DeliveredReply;
use super::event::{self, GapReason};
use super::link::Frame;
use super::links::LinkState;
use super::subscriptions::{LinkNumber, Progress};
use crate::cluster::event_loop::EventLoop;
use crate::cluster::state::{backoff, count};
use crate::deadline::Time;
use crate::error::{Code, Error, ErrorFields, Result};
use crate::log;
use crate::net::PthreadCancelDisabled;
use crate::resp::{Kind, Reply, View};
use crate::route::{ErrorContext, RetryAction, Wording, action_for_reply, printable};
use std::sync::atomic::Ordering;

impl Subscriber {
    /// The next thing to tell the program, if it is known already.
    #[inline(always)]
    pub(super) fn take_next(&mut self) -> Option<DeliveredReply> {
        if self.ahead.is_some() {
            return self.ahead.take();
        }
        if let Some(event) = self.events.pop_front() {
            return Some(DeliveredReply::Whole(event));
        }
        self.take_decoded().or_else(|| self.take_received())
    }

    /// The next message that is decoded already.
    #[inline(always)]
    fn take_decoded(&mut self) -> Option<DeliveredReply> {
        let message = self.decoded.pop(&self.subscriptions)?;
        self.uncounted = self.uncounted.wrapping_add(1);
        Some(message)
    }

    /// The next message that has been received, or an event that a frame before it has caused.
    #[inline(never)]
    pub(super) fn take_received(&mut self) -> Option<DeliveredReply> {
        loop {
            if let Some(message) = self.take_decoded() {
                return Some(message);
            }
            let number = *self.readable.front()?;
            if let Some(reply) = self.decode_more(number) {
                return Some(DeliveredReply::Whole(reply));
            }
        }
    }

    /// Decodes what a link has received next. Returns it if it is a long message, or an event that it has caused.
    fn decode_more(&mut self, number: LinkNumber) -> Option<Box<Reply>> {
        let Some(link) = self.links.link(number) else {
            self.readable.pop_front();
            return None;
        };
        if self.decoded.take_from(number, &mut link.connection) {
            return None;
        }
        let message = self.take_other(number);
        message.or_else(|| self.events.pop_front())
    }

    /// A message, unless its channel is not held there.
    fn if_held(
        &mut self,
        number: LinkNumber,
        kind: ChannelKind,
        message: Box<Reply>,
    ) -> Option<Box<Reply>> {
        let name = message.view().at(1).and_then(View::text);
        let subscription = self.subscriptions.get(kind, name.unwrap_or_default());
        let is_held = subscription.is_some_and(|s| s.is_held_at(number));
        self.uncounted += u64::from(is_held);
        is_held.then_some(message)
    }

    /// The same for a frame that is long or no message.
    #[cold]
    fn take_other(&mut self, number: LinkNumber) -> Option<Box<Reply>> {
        let _uncancelled = PthreadCancelDisabled::begin();
        let link = self.links.link(number)?;
        let interpreted = match link.connection.take_frame() {
            Ok(Some(mut frame)) => match link.interpret(&frame) {
                Ok(Frame::Message(kind)) => {
                    frame.root.value.kind = Kind::Push;
                    return self.if_held(number, kind, frame);
                }
                other => other.map(Some),
            },
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        self.on_other(number, interpreted);
        None
    }

    /// Handles what is no message: another frame, the end of the received bytes, or an error.
    fn on_other(&mut self, number: LinkNumber, interpreted: Result<Option<Frame>>) {
        match interpreted {
            Ok(Some(frame)) => self.on_frame(number, frame),
            Ok(None) => self.receive_rest(number),
            Err(error) => self.lose(number, &error),
        }
    }

    /// All frames are decoded. A TLS session may hold more bytes, which no poll would report.
    fn receive_rest(&mut self, number: LinkNumber) {
        self.readable.pop_front();
        let Some(link) = self.links.link(number) else {
            return;
        };
        if link.connection.has_buffered() {
            let time = link.received_at;
            match link.receive(time) {
                Ok(true) => self.readable.push_front(number),
                Ok(false) => {}
                Err(error) => self.lose(number, &error),
            }
        }
    }

    /// Receives from the connections that were ready in the last poll.
    pub(super) fn receive_all(&mut self, time: Time) {
        let Ok(EventLoop { tasks, .. }) = &mut self.event_loop else {
            return;
        };
        for (number, _) in tasks.take_ready() {
            let Some(link) = self.links.link(number) else {
                continue;
            };
            match link.receive(time) {
                Ok(true) => self.readable.push_back(number),
                Ok(false) => {}
                Err(error) => self.lose(number, &error),
            }
        }
        self.count_messages();
    }

    /// Adds the messages that were delivered to the statistics.
    pub(super) fn count_messages(&mut self) {
        if self.uncounted > 0
            && let Some(core) = &self.client.core
        {
            let messages = std::mem::take(&mut self.uncounted);
            core.stats.messages.fetch_add(messages, Ordering::Relaxed);
        }
    }

    fn on_frame(&mut self, number: LinkNumber, frame: Frame) {
        self.is_due |= !matches!(frame, Frame::Handled);
        match frame {
            Frame::Handled | Frame::Message(_) => {}
            Frame::Confirmed(key) => self.confirm_or_ask(number, &key, false),
            Frame::Unchecked(key) => self.confirm_or_ask(number, &key, true),
            Frame::Revoked(key) => {
                if self.lose_place(&key, number, GapReason::Moved).is_some() {
                    self.refresh.want();
                }
            }
            Frame::Demoted(keys) => {
                for key in keys {
                    if self.lose_place(&key, number, GapReason::Moved).is_some() {
                        if let Some(link) = self.links.link(number) {
                            link.unsubscribe(key.clone());
                        }
                        self.try_later(&key);
                    }
                }
                self.refresh.want();
            }
            Frame::Refused {
                channels,
                text,
                is_single,
            } => self.on_refused(number, &channels, &text, is_single),
        }
    }

    /// A node has confirmed a subscription. Messages of the channel follow from there only.
    pub(super) fn on_confirmed(&mut self, number: LinkNumber, key: &ChannelKey) {
        let Some(subscription) = self.subscriptions.get_mut(key) else {
            return;
        };
        let was_confirmed = subscription.is_confirmed;
        let lost = subscription.lost.unwrap_or(GapReason::Topology);
        let Some(place) = subscription.place(number) else {
            return;
        };
        place.progress = Progress::Confirmed;
        let gap = place.gap.take().or(was_confirmed.then_some(lost));
        subscription.failures = 0;
        subscription.retry_at = None;
        let mut others = Vec::new();
        let is_complete = match subscription.is_node_local {
            true => {
                let mut places = subscription.places.iter();
                subscription.has_all_places && places.all(|p| p.progress == Progress::Confirmed)
            }
            false => {
                let (here, elsewhere) = std::mem::take(&mut subscription.places)
                    .into_iter()
                    .partition(|place| place.link == number);
                subscription.places = here;
                others = elsewhere;
                true
            }
        };
        if is_complete {
            subscription.lost = None;
        }
        if let Some(reason) = gap {
            self.report_gap(key, reason, number);
        }
        for other in others {
            self.leave(key, other.link, other.progress);
        }
        if is_complete {
            self.unheld.remove(key);
            self.unplaced.remove(key);
            self.confirm(key);
        }
    }

    fn report_gap(&mut self, key: &ChannelKey, reason: GapReason, number: LinkNumber) {
        let Some(peer) = self.links.peer(number) else {
            return;
        };
        self.events
            .push_back(event::gap(key.0, &key.1, reason, peer.origin()));
        if let Some(core) = &self.client.core {
            count(&core.stats.gaps);
        }
    }

    /// A link does not bring a channel any more. Returns how far it was there.
    pub(super) fn lose_place(
        &mut self,
        key: &ChannelKey,
        number: LinkNumber,
        reason: GapReason,
    ) -> Option<Progress> {
        let subscription = self.subscriptions.get_mut(key)?;
        let place = subscription.remove_place(number)?;
        subscription.has_all_places = false;
        if place.progress == Progress::Confirmed || place.gap.is_some() {
            subscription.lost = Some(place.gap.unwrap_or(reason));
        }
        self.want_place(key.clone());
        if let Some(entry) = self.links.get_mut(number) {
            entry.places -= 1;
        }
        Some(place.progress)
    }

    /// A channel was refused: it is tried again, the first time at once.
    pub(super) fn try_later(&mut self, key: &ChannelKey) {
        if let Some(subscription) = self.subscriptions.get_mut(key) {
            let failures = subscription.failures;
            subscription.failures = failures.saturating_add(1);
            subscription.retry_at = match failures {
                0 => None,
                _ => backoff(failures).time(),
            };
        }
    }

    fn on_refused(
        &mut self,
        number: LinkNumber,
        channels: &[ChannelKey],
        text: &str,
        is_single: bool,
    ) {
        let Some(peer) = self.links.peer(number).cloned() else {
            return;
        };
        let context = ErrorContext {
            repeatable: true,
            node_chosen_by_caller: false,
            any_replica_ok: false,
            is_not_primary: false,
            wording: Wording::Server,
        };
        let action = action_for_reply(text.as_bytes(), peer.address(), context);
        if let RetryAction::Moved { slot, to } = &action
            && let Some(core) = &self.client.core
        {
            count(&core.stats.moved);
            core.patch(core.process(), *slot, to);
        }
        let is_final = matches!(action, RetryAction::Deliver(_) | RetryAction::Refused(_));
        let error = Error::from(ErrorFields {
            code: Code::Server,
            message: text.to_string(),
            sent: true,
            node: Some(peer.address().to_string()),
        });
        for key in channels {
            self.lose_place(key, number, GapReason::Moved);
            if !is_final {
                self.try_later(key);
            } else if is_single {
                self.give_up(key, &error);
            } else if let Some(subscription) = self.subscriptions.get_mut(key) {
                subscription.is_alone = true;
            }
        }
        if !is_final {
            self.refresh.want();
            self.last_error = Some(error);
        }
    }

    /// A node refuses a channel, and another attempt would not help.
    fn give_up(&mut self, key: &ChannelKey, error: &Error) {
        self.forget(key);
        let node = error.node.as_deref().unwrap_or_default();
        let (code, text) = error
            .message
            .split_once(' ')
            .unwrap_or((&error.message, ""));
        let (command, name) = (key.0.subscribe(), printable(&key.1));
        let advice = match key.0 == ChannelKind::Sharded && text.contains("unknown command") {
            true => " (sharded channels need Redis 7.0 or later, or Valkey)",
            false => "",
        };
        let mut refused = error.clone();
        refused.message = format!(
            "{code} {node} refused {command} {name}, which is not tried again: {text}{advice}"
        );
        self.events.push_back(event::given_up(&refused));
    }

    /// A connection is lost, and with it what was held there.
    pub(super) fn lose(&mut self, number: LinkNumber, error: &Error) {
        let Some(entry) = self.links.remove(number) else {
            return;
        };
        self.decoded.drop_of(number);
        self.readable.retain(|readable| *readable != number);
        if let LinkState::Open(link) = &entry.state
            && let Ok(EventLoop { tasks, .. }) = &mut self.event_loop
        {
            tasks.end_watch(link.connection.fd());
        }
        let mut lost = 0;
        for key in self.subscriptions.keys() {
            let held = self.lose_place(&key, number, GapReason::Disconnected);
            lost += usize::from(held == Some(Progress::Confirmed));
        }
        let (node, reason) = (entry.peer.address().clone(), error.message.clone());
        drop(entry);
        self.is_due = true;
        if lost == 0 {
            return;
        }
        self.refresh.want();
        self.avoid(&node.to_string());
        if let Some(core) = &self.client.core {
            count(&core.stats.subscriber_losses);
        }
        let again = event::channels_are(lost) + " subscribed again";
        log::log(log::WARN, || format!("subscriber: {again}: {reason}"));
        let mut told = error.clone();
        told.message = format!("{reason}; {again}: call again to go on");
        self.events.push_back(event::subscribed_again(&told));
    }
}
