//! Channels that count only when a primary has been asked: sharded channels on replicas, whose primary has to know them.

use super::Subscriber;
use super::channel::{ChannelKey, ChannelKind};
use super::event::GapReason;
use super::placement::Placement;
use super::replica_question::ReplicaQuestion;
use super::subscriptions::{LinkNumber, Place, Progress};
use super::tasks::Asking;
use crate::cluster::event_loop::EventLoop;
use crate::config::ReadFrom;
use crate::deadline::now;
use crate::error::Result;

impl Subscriber {
    /// A node has confirmed a channel. It counts now, or when a primary has been asked. `is_unchecked` if it depends on the role
    /// of the node, which the node was not asked for.
    pub(super) fn confirm_or_ask(
        &mut self,
        number: LinkNumber,
        key: &ChannelKey,
        is_unchecked: bool,
    ) {
        let question = self.question(number, key, is_unchecked);
        match (question, self.place(number, key)) {
            (Some(_), Some(place)) => {
                place.progress = Progress::Unproven;
                self.unproven.push((number, key.clone(), is_unchecked));
            }
            _ => self.on_confirmed(number, key),
        }
    }

    fn place(&mut self, number: LinkNumber, key: &ChannelKey) -> Option<&mut Place> {
        self.subscriptions.get_mut(key)?.place(number)
    }

    /// What a primary is to be asked about the node of a link, for a channel. None if nothing.
    fn question(
        &mut self,
        link: LinkNumber,
        (kind, name): &ChannelKey,
        is_unchecked: bool,
    ) -> Option<ReplicaQuestion> {
        let is_on_replica =
            *kind == ChannelKind::Sharded && self.client.config.read_from() != ReadFrom::Primary;
        if !is_unchecked && !is_on_replica {
            return None;
        }
        let core = self.client.core.as_ref()?;
        let topology = core.process().load_whole_topology();
        let entry = self.links.get_mut(link)?;
        let placement = Placement {
            topology: &topology,
            config: &self.client.config,
            time: now(),
            is_failing: &|_| false,
        };
        let (primary, replica) = match is_unchecked {
            true => (placement.node_to_ask(&entry.peer)?, None),
            false => {
                let (primary, replica) = placement.primary_to_ask(name, &entry.peer)?;
                (primary, Some(replica))
            }
        };
        Some(ReplicaQuestion {
            number: self.questions,
            link,
            serial: entry.serial,
            primary,
            replica,
        })
    }

    /// Asks the primaries of replicas that have confirmed channels: one question for all channels of a shard.
    pub(super) fn ask_primaries(&mut self) {
        let mut questions: Vec<(ReplicaQuestion, Vec<ChannelKey>)> = Vec::new();
        for (link, key, is_unchecked) in std::mem::take(&mut self.unproven) {
            let Some(question) = self.question(link, &key, is_unchecked) else {
                self.leave_unproven(link, &[key]);
                continue;
            };
            let is_same = |(other, _): &&mut (ReplicaQuestion, Vec<ChannelKey>)| {
                other.link == link
                    && other.primary.id == question.primary.id
                    && other.replica == question.replica
            };
            match questions.iter_mut().find(is_same) {
                Some((_, channels)) => channels.push(key),
                None => questions.push((question, vec![key])),
            }
        }
        for (mut question, channels) in questions {
            self.questions += 1;
            question.number = self.questions;
            let Ok(EventLoop { tasks, .. }) = &mut self.event_loop else {
                return;
            };
            let (link, number) = (question.link, question.number);
            match self.results.ask(tasks, &self.client, question) {
                Ok(task) => self.asking.push(Asking {
                    task,
                    number,
                    channels,
                }),
                Err(error) => {
                    self.last_error = Some(error);
                    self.leave_unproven(link, &channels);
                }
            }
        }
    }

    /// A primary has answered.
    pub(super) fn end_asking(&mut self, question: &ReplicaQuestion, is_known: Result<bool>) {
        let number = question.number;
        let at = self
            .asking
            .iter()
            .position(|asking| asking.number == number);
        let Some(Asking { channels, .. }) = at.map(|at| self.asking.remove(at)) else {
            return;
        };
        let entry = self.links.get_mut(question.link);
        if entry.is_none_or(|entry| entry.serial != question.serial) {
            return;
        }
        if !matches!(is_known, Ok(true)) {
            self.last_error = is_known.err().or(self.last_error.take());
            return self.leave_unproven(question.link, &channels);
        }
        for key in &channels {
            let present = self.question(question.link, key, question.replica.is_none());
            if present.is_none_or(|present| present.primary.id != question.primary.id) {
                self.leave_unproven(question.link, std::slice::from_ref(key));
            }
            let place = self.place(question.link, key);
            if let Some(place) = place.filter(|place| place.progress == Progress::Unproven) {
                place.known_to = question
                    .replica
                    .as_ref()
                    .map(|_| question.primary.id.clone());
                self.on_confirmed(question.link, key);
            }
        }
    }

    /// The primary does not know the replica, or does not answer: the channels are placed again.
    fn leave_unproven(&mut self, number: LinkNumber, channels: &[ChannelKey]) {
        for key in channels {
            let place = self.place(number, key);
            if place.is_some_and(|place| place.progress == Progress::Unproven) {
                self.lose_place(key, number, GapReason::Moved);
                if let Some(link) = self.links.link(number) {
                    link.unsubscribe(key.clone());
                }
                self.try_later(key);
            }
        }
        self.refresh.want();
    }

    /// A confirmed channel stays at its link, whose node has another primary now.
    pub(super) fn ask_new_primary(&mut self, number: LinkNumber, key: &ChannelKey) {
        let Some(place) = self.place(number, key) else {
            return;
        };
        if place.progress == Progress::Confirmed {
            place.gap = Some(GapReason::Topology);
            self.decoded.forget_held();
            self.confirm_or_ask(number, key, false);
        }
    }
}
