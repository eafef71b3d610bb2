//! Brings together what a subscriber wants and what it holds.

use super::Subscriber;
use super::channel::{ChannelKey, ChannelKind};
use super::event::{self, GapReason};
use super::link::{Link, Request};
use super::links::{Entry, LinkState, Links};
use super::node_backoffs::AUTH_RETRY;
use super::placement::Placement;
use super::subscriptions::{LinkNumber, Place, Progress};
use super::tasks::Ended;
use crate::cluster::event_loop::EventLoop;
use crate::config::ReadFrom;
use crate::deadline::{Time, now};
use crate::error::{Code, Error, Result};
use crate::net::{Connection, ConnectionKind, Peer};
use crate::topology::Topology;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// When a client that could not connect tries again.
const CONNECT_RETRY: Duration = Duration::from_millis(50);

impl Subscriber {
    /// Handles what the tasks have left behind.
    pub(super) fn collect(&mut self, time: Time) {
        for ended in self.results.take() {
            match ended {
                Ended::Connected(result) => self.end_connecting(result, time),
                Ended::Refreshed => self.end_refresh(time),
                Ended::Opened {
                    link,
                    serial,
                    result,
                } => self.end_opening(link, serial, result, time),
                Ended::Asked { question, is_known } => self.end_asking(&question, is_known),
            }
        }
    }

    fn end_connecting(&mut self, result: Result<()>, time: Time) {
        self.connecting = None;
        let Err(error) = result else {
            self.has_failed_to_connect = false;
            return;
        };
        let wait = match error.code {
            Code::Auth => AUTH_RETRY,
            _ => CONNECT_RETRY,
        };
        self.retry_at = Some(time.plus(wait));
        // The first is told at once, the others once per timeout_ms.
        if !std::mem::replace(&mut self.has_failed_to_connect, true) {
            self.unheld_since = Some(time);
            self.events.push_back(event::error(&error));
        }
        self.last_error = Some(error);
    }

    fn end_opening(
        &mut self,
        number: LinkNumber,
        serial: u64,
        result: Result<Box<Connection>>,
        time: Time,
    ) {
        let Some(entry) = self.links.get_mut(number).filter(|e| e.serial == serial) else {
            return;
        };
        let node = entry.peer.address().to_string();
        match result {
            Ok(connection) => {
                entry.state = LinkState::Open(Box::new(Link::new(connection, time)));
                self.watch(number);
                self.backoffs.succeed(&node);
            }
            Err(error) => {
                self.backoffs.fail(&node, error.code);
                self.avoid(&node);
                self.lose(number, &error);
                self.refresh.want();
                if error.code == Code::Auth
                    && self
                        .last_error
                        .as_ref()
                        .is_none_or(|e| e.code != Code::Auth)
                {
                    self.events.push_back(event::error(&error));
                }
                self.last_error = Some(error);
            }
        }
    }

    /// Makes the descriptor readable when something arrives, or what could not be sent can be sent.
    fn watch(&mut self, number: LinkNumber) {
        let Ok(EventLoop { tasks, .. }) = &mut self.event_loop else {
            return;
        };
        let Some(link) = self.links.link(number) else {
            return;
        };
        let (fd, events) = (link.connection.fd(), link.connection.interest());
        if !tasks.watch(fd, events, number) {
            let node = link.connection.origin().name().to_string();
            let problem = format_args!("the connection to {node} cannot be watched");
            self.lose(number, &Error::new(Code::Io, problem).at(node));
        }
    }

    /// Finds a node for each channel that is not held where it should be.
    pub(super) fn reconcile(&mut self, time: Time) {
        let Some(core) = self.client.core.clone() else {
            return;
        };
        if self.subscriptions.is_empty() && self.unheld.is_empty() {
            return self.close_unused();
        }
        let process = core.process();
        if !process.has_topology() {
            return self.connect(time);
        }
        let topology = process.load_whole_topology();
        let is_new = std::mem::replace(&mut self.version, topology.version) != topology.version;
        if is_new && self.links.note_absence(&topology, time) {
            self.refresh.want();
        }
        if self.links.end_absences(time) || is_new {
            self.review(&topology, time);
        }
        self.place_unheld(&topology, time);
        self.ask_primaries();
        self.close_unused();
        self.refresh_if_wanted(time);
    }

    fn connect(&mut self, time: Time) {
        let is_due = self.retry_at.is_none_or(|at| at <= time);
        if let Ok(EventLoop { tasks, .. }) = &mut self.event_loop
            && self.connecting.is_none()
            && is_due
        {
            self.retry_at = None;
            match self.results.connect(tasks, &self.client) {
                Ok(task) => self.connecting = Some(task),
                Err(error) => self.events.push_back(event::error(&error)),
            }
        }
    }

    /// The topology has changed: finds the channels that are on a wrong node.
    fn review(&mut self, topology: &Topology, time: Time) {
        let placement = Placement {
            topology,
            config: &self.client.config,
            time,
            is_failing: &|_| false,
        };
        for (key, subscription) in self.subscriptions.iter_mut() {
            let fits = |place: &Place| fits(&placement, &self.links, &key, place);
            let is_right = !subscription.is_node_local && subscription.places.iter().any(fits);
            if !is_right {
                self.unheld.insert(key);
            }
        }
        self.unplaced = self.unheld.clone();
        let is_known = |home: &Arc<Peer>| {
            let node = topology.node_at(home.address());
            node.is_some_and(|node| Arc::ptr_eq(&node.peer, home))
        };
        self.home = self.home.take().filter(is_known);
    }

    /// A channel is not held where it should be: its places are to be reviewed.
    pub(super) fn want_place(&mut self, key: ChannelKey) {
        self.unplaced.insert(key.clone());
        self.unheld.insert(key);
    }

    fn place_unheld(&mut self, topology: &Topology, time: Time) {
        self.retry_at = None;
        for key in std::mem::take(&mut self.unplaced) {
            let Some(subscription) = self.subscriptions.get_mut(&key) else {
                self.unheld.remove(&key);
                continue;
            };
            if let Some(at) = subscription.retry_at.filter(|at| *at > time) {
                self.retry_by(at);
                self.unplaced.insert(key);
                continue;
            }
            let is_placed = match subscription.is_node_local {
                true => self.place_on_primaries(&key, topology, time),
                false => self.place_on_one(&key, topology, time),
            };
            if !is_placed {
                self.unplaced.insert(key);
            }
        }
    }

    fn retry_by(&mut self, at: Time) {
        self.retry_at = Some(self.retry_at.map_or(at, |earlier| earlier.min(at)));
    }

    /// Returns whether the channel has all its places.
    fn place_on_one(&mut self, key: &ChannelKey, topology: &Topology, time: Time) -> bool {
        let is_failing = |peer: &Peer| {
            let backoffs = &self.backoffs;
            !backoffs.is_empty() && backoffs.is_avoided(&peer.address().to_string(), time)
        };
        let placement = Placement {
            topology,
            config: &self.client.config,
            time,
            is_failing: &is_failing,
        };
        let Some(subscription) = self.subscriptions.get(key.0, &key.1) else {
            return true;
        };
        let fits = |place: &&Place| fits(&placement, &self.links, key, place);
        let mut is_held = false;
        let mut wrong = Vec::new();
        let good = subscription.places.iter().find(fits).map(|place| {
            is_held = place.progress == Progress::Confirmed;
            place.link
        });
        let target = match good {
            Some(_) => None,
            None => self.choose(key, &placement),
        };
        for place in &subscription.places {
            let is_other = good.is_some_and(|good| good != place.link);
            // A confirmed place is left when the new one is confirmed.
            if is_other && is_held
                || good != Some(place.link) && place.progress != Progress::Confirmed
            {
                wrong.push(place.link);
            }
        }
        for link in wrong {
            self.remove_place(key, link);
        }
        if is_held {
            self.unheld.remove(key);
            self.confirm(key);
        }
        match target {
            Some(peer) => self.add_place(key, &peer, time),
            None if good.is_none() => {
                self.on_unroutable(key, time);
                false
            }
            None => true,
        }
    }

    /// No node is known for a channel.
    fn on_unroutable(&mut self, key: &ChannelKey, time: Time) {
        self.refresh.want();
        self.retry_by(time.plus(CONNECT_RETRY));
        let problem = match key.0 {
            ChannelKind::Sharded => "no node serves the slot of a sharded channel",
            ChannelKind::Channel | ChannelKind::Pattern => "the cluster has no usable node",
        };
        self.last_error = Some(Error::new(Code::Down, problem));
    }

    fn choose(&self, key: &ChannelKey, placement: &Placement<'_>) -> Option<Arc<Peer>> {
        if key.0 == ChannelKind::Sharded {
            return placement.of_sharded(&key.1);
        }
        let home = self.home.clone();
        let home = home.filter(|_| !self.client.config.spread_channels);
        home.or_else(|| placement.of_unsharded(key))
    }

    /// Returns whether the channel has all its places.
    fn place_on_primaries(&mut self, key: &ChannelKey, topology: &Topology, time: Time) -> bool {
        let primaries = Placement {
            topology,
            config: &self.client.config,
            time,
            is_failing: &|_| false,
        }
        .primaries();
        let Some(subscription) = self.subscriptions.get(key.0, &key.1) else {
            return true;
        };
        let is_there = |peer: &Arc<Peer>, place: &Place| {
            (self.links.peer(place.link)).is_some_and(|at| Arc::ptr_eq(at, peer))
        };
        let places = &subscription.places;
        let missing: Vec<Arc<Peer>> = primaries
            .iter()
            .filter(|peer| !places.iter().any(|place| is_there(peer, place)))
            .cloned()
            .collect();
        let wrong: Vec<LinkNumber> = places
            .iter()
            .filter(|place| !primaries.iter().any(|peer| is_there(peer, place)))
            .map(|place| place.link)
            .collect();
        let is_held = places.iter().all(|p| p.progress == Progress::Confirmed);
        if missing.is_empty() && is_held && !primaries.is_empty() {
            self.unheld.remove(key);
            self.confirm(key);
        }
        // Without those, it may be held already.
        let mut is_placed = wrong.is_empty() && !primaries.is_empty();
        for link in wrong {
            self.remove_place(key, link);
        }
        for peer in &missing {
            is_placed &= self.add_place(key, peer, time);
        }
        if primaries.is_empty() {
            self.on_unroutable(key, time);
        }
        if let Some(subscription) = self.subscriptions.get_mut(key) {
            subscription.has_all_places = is_placed;
        }
        is_placed
    }

    fn remove_place(&mut self, key: &ChannelKey, link: LinkNumber) {
        let Some(subscription) = self.subscriptions.get_mut(key) else {
            return;
        };
        if let Some(place) = subscription.remove_place(link) {
            if let Some(gap) = place.gap {
                subscription.lost = Some(gap);
            }
            self.leave(key, link, place.progress);
        }
    }

    /// Begins to subscribe at a node. Returns whether it does.
    fn add_place(&mut self, key: &ChannelKey, peer: &Arc<Peer>, time: Time) -> bool {
        let link = match self.links.usable_at(peer) {
            Some(link) => link,
            None => match self.open(peer, time) {
                Some(link) => link,
                None => return false,
            },
        };
        if key.0 != ChannelKind::Sharded
            && !self.client.config.spread_channels
            && !key.0.is_node_local(&key.1)
        {
            self.home = Some(peer.clone());
        }
        let (Some(subscription), Some(entry)) =
            (self.subscriptions.get_mut(key), self.links.get_mut(link))
        else {
            return true;
        };
        if subscription.has_place(link) {
            self.ask_new_primary(link, key);
            return true;
        }
        let default = match subscription.is_node_local {
            true => GapReason::Added,
            false => GapReason::Topology,
        };
        let gap = subscription.lost.unwrap_or(default);
        subscription.places.push(Place {
            link,
            progress: Progress::Waiting,
            gap: subscription.is_confirmed.then_some(gap),
            known_to: None,
        });
        entry.places += 1;
        entry.pending.push(key.clone());
        true
    }

    /// Starts to open a connection, unless one has failed just now.
    fn open(&mut self, peer: &Arc<Peer>, time: Time) -> Option<LinkNumber> {
        if let Some(at) = self.backoffs.until(&peer.address().to_string(), time) {
            self.retry_by(at);
            return None;
        }
        let kind = match self.client.config.read_from() {
            ReadFrom::Primary => ConnectionKind::primary(0),
            _ => ConnectionKind::replicas(0),
        };
        let Ok(EventLoop { tasks, .. }) = &mut self.event_loop else {
            return None;
        };
        let (number, serial) = self.links.next_number();
        let to = (peer.clone(), kind);
        match self.results.open(tasks, &self.client, (number, serial), to) {
            Ok(task) => {
                let entry = Entry {
                    serial,
                    peer: peer.clone(),
                    state: LinkState::Opening(task),
                    places: 0,
                    pending: Vec::new(),
                    is_absent: false,
                    stays_until: None,
                };
                self.links.insert(number, entry);
                Some(number)
            }
            Err(error) => {
                self.last_error = Some(error);
                self.retry_by(time.plus(CONNECT_RETRY));
                None
            }
        }
    }

    /// Closes the connections that serve nothing any more. Others than the last are not kept.
    fn close_unused(&mut self) {
        let mut open = self.links.iter().count();
        for number in self.links.numbers() {
            let Some(entry) = self.links.get_mut(number) else {
                continue;
            };
            if entry.places > 0 {
                continue;
            }
            let is_kept = match &entry.state {
                LinkState::Opening(_) => false,
                LinkState::Open(link) => open == 1 && link.is_usable() && !link.has_unheld(),
            };
            if !is_kept {
                open -= 1;
                self.close(number);
            }
        }
    }

    /// Sends what there is to send.
    pub(super) fn flush(&mut self) {
        for number in self.links.numbers() {
            let requests = self.requests(number);
            let Some(link) = self.links.link(number) else {
                continue;
            };
            link.push_unsubscribes();
            link.push_subscribes(&requests);
            if link.connection.is_flushed() {
                continue;
            }
            match link.send() {
                Ok(()) => self.watch(number),
                Err(error) => self.lose(number, &error),
            }
        }
    }

    /// The channels that are to be subscribed at an open link: in the order in which the program has named them, as it expects
    /// the confirmations, but those of a slot together.
    fn requests(&mut self, number: LinkNumber) -> Vec<Request> {
        let (Some(entry), Some(core)) = (self.links.get_mut(number), &self.client.core) else {
            return Vec::new();
        };
        if entry.pending.is_empty() || matches!(entry.state, LinkState::Opening(_)) {
            return Vec::new();
        }
        let topology = core.process().load_whole_topology();
        let placement = Placement {
            topology: &topology,
            config: &self.client.config,
            time: now(),
            is_failing: &|_| false,
        };
        let reads_primaries = self.client.config.read_from() == ReadFrom::Primary;
        let mut requests = Vec::new();
        for key in std::mem::take(&mut entry.pending) {
            let Some(subscription) = self.subscriptions.get_mut(&key) else {
                continue;
            };
            let (is_alone, is_node_local) = (subscription.is_alone, subscription.is_node_local);
            let order = subscription.order;
            let place = subscription.place(number);
            let Some(place) = place.filter(|place| place.progress == Progress::Waiting) else {
                continue;
            };
            place.progress = Progress::Sent;
            let slot = (key.0 == ChannelKind::Sharded).then(|| topology.key_space().slot(&key.1));
            let is_on_primary = || reads_primaries || placement.is_primary_of(&key.1, &entry.peer);
            let request = Request {
                needs_primary: is_node_local || slot.is_some() && is_on_primary(),
                slot,
                is_alone,
                key,
            };
            requests.push((order, request));
        }
        let mut first_of_slot = BTreeMap::new();
        for (order, request) in requests
            .iter()
            .filter(|(_, request)| request.slot.is_some())
        {
            let first = first_of_slot.entry(request.slot).or_insert(*order);
            *first = (*first).min(*order);
        }
        requests.sort_unstable_by_key(|(order, request)| {
            let first = first_of_slot.get(&request.slot).unwrap_or(order);
            (*first, *order)
        });
        requests.into_iter().map(|(_, request)| request).collect()
    }
}

/// Whether a channel may stay at a place.
fn fits(placement: &Placement<'_>, links: &Links, key: &ChannelKey, place: &Place) -> bool {
    let peer = links.peer(place.link);
    key.0 != ChannelKind::Sharded && links.is_briefly_absent(place.link)
        || peer.is_some_and(|peer| placement.fits(key, peer, place.known_to()))
}
