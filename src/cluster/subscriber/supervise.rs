//! What a subscriber does at certain times: looks after silent connections, refreshes the topology, reports what lasts.

use super::Subscriber;
use super::event;
use super::links::LinkState;
use super::subscriptions::LinkNumber;
use crate::cluster::event_loop::EventLoop;
use crate::deadline::Time;
use crate::error::{Code, Error};
use std::time::Duration;

impl Subscriber {
    fn half_ping(&self) -> Duration {
        Duration::from_millis(self.client.config.subscriber_ping_ms / 2)
    }

    /// When the subscriber itself has something to do.
    pub(super) fn next_at(&self) -> Option<Time> {
        if self.subscriptions.is_empty() && self.links.iter().next().is_none() {
            return None;
        }
        let half = self.half_ping();
        let silent = self.links.iter().filter_map(|entry| match &entry.state {
            LinkState::Open(link) => Some(link.pinged_at.unwrap_or(link.received_at).plus(half)),
            LinkState::Opening(_) => None,
        });
        let mut times: Vec<Time> = silent.collect();
        if !self.subscriptions.is_empty() {
            times.extend(self.refresh.next_at());
        }
        times.extend(self.links.next_absence());
        if !self.unheld.is_empty() {
            times.extend(self.retry_at);
            times.extend(self.unheld_since.map(|since| self.report_at(since)));
        }
        times.into_iter().min()
    }

    fn report_at(&self, since: Time) -> Time {
        since.plus(Duration::from_millis(self.client.config.timeout_ms))
    }

    /// Pings silent nodes, and gives up those that do not answer. What has arrived has been received before.
    pub(super) fn supervise(&mut self, time: Time) {
        let half = self.half_ping();
        for number in self.links.numbers() {
            let Some(entry) = self.links.get_mut(number) else {
                continue;
            };
            let is_unused = entry.places == 0;
            let Some(link) = entry.link() else { continue };
            if let Some(pinged_at) = link.pinged_at {
                if time.since(pinged_at) >= half {
                    self.lose_silent(number);
                }
            } else if time.since(link.received_at) >= half {
                match is_unused && link.is_idle() {
                    true => self.close(number),
                    false => {
                        link.ping(time);
                        self.is_due = true;
                    }
                }
            }
        }
    }

    fn lose_silent(&mut self, number: LinkNumber) {
        let Some(peer) = self.links.peer(number) else {
            return;
        };
        let (node, ms) = (
            peer.address().to_string(),
            self.client.config.subscriber_ping_ms,
        );
        let problem = format_args!(
            "{node} has sent nothing for {ms} ms (option subscriber_ping_ms), not even a reply to PING"
        );
        let error = Error::new(Code::Timeout, problem).at(node).sent(true);
        self.lose(number, &error);
    }

    /// Closes a connection that nothing is expected from.
    pub(super) fn close(&mut self, number: LinkNumber) {
        let Some(entry) = self.links.remove(number) else {
            return;
        };
        self.decoded.drop_of(number);
        self.readable.retain(|readable| *readable != number);
        let Ok(EventLoop { tasks, .. }) = &mut self.event_loop else {
            return;
        };
        match &entry.state {
            LinkState::Opening(task) => task.cancel(tasks),
            LinkState::Open(link) => tasks.end_watch(link.connection.fd()),
        }
    }

    /// Channels that may be anywhere avoid this node for a while.
    pub(super) fn avoid(&mut self, node: &str) {
        self.backoffs.avoid(node);
        let home = self.home.as_ref();
        if home.is_some_and(|home| home.address().to_string() == node) {
            self.home = None;
        }
    }

    /// Starts a refresh of the topology if one is wanted or due.
    pub(super) fn refresh_if_wanted(&mut self, time: Time) {
        let interval_ms = self.client.config.subscriber_ping_ms;
        if !self.refresh.takes_turn(time, interval_ms) {
            return;
        }
        if let Ok(EventLoop { tasks, .. }) = &mut self.event_loop {
            match self.results.refresh(tasks, &self.client) {
                Ok(task) => self.refresh.begin(task),
                Err(error) => self.last_error = Some(error),
            }
        }
    }

    pub(super) fn end_refresh(&mut self, time: Time) {
        let core = self.client.core.as_ref();
        let last = core.and_then(|core| core.last_refresh(core.process()));
        let next = core.and_then(|core| core.next_refresh(core.process()));
        self.refresh.end(time, last, next);
    }

    /// Tells the program, once per `timeout_ms`, that channels are not held.
    pub(super) fn report_unheld(&mut self, time: Time) {
        if self.unheld.is_empty() {
            self.unheld_since = None;
            self.last_error = None;
            return;
        }
        let since = *self.unheld_since.get_or_insert(time);
        if self.report_at(since) > time {
            return;
        }
        self.unheld_since = Some(time);
        let (count, ms) = (self.unheld.len(), self.client.config.timeout_ms);
        let last = self.last_error.take();
        let (code, node) = last
            .as_ref()
            .map_or((Code::Timeout, None), |e| (e.code, e.node.clone()));
        let reason = last.map_or_else(String::new, |error| format!(": {}", error.message));
        let channels = event::channels_are(count);
        let problem = format_args!(
            "{channels} not subscribed after {ms} ms (timeout_ms), which goes on{reason}"
        );
        let mut error = Error::new(code, problem);
        error.node = node;
        self.events.push_back(event::error(&error));
    }
}
