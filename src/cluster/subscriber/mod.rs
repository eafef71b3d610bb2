//! Publish / subscribe: what a program wants to hear of, and the connections that bring it.
//!
//! A subscriber has no thread. [`Subscriber::next`] brings together what is wanted and what is held: it opens connections
//! in fibers, subscribes, follows slots and failovers, and returns one message at a time. Messages take no fiber: they are
//! decoded from the receive buffer of their connection, many at once.
//!
//! From the bottom up: `channel`, the kinds of channels and their commands; `event`, what the library itself tells;
//! `subscriptions`, what is wanted and where it is held; `link`, the protocol of one connection; `replica_question`, whether
//! a primary knows its replica; `tasks`, the fibers; `links`; `delivery`, messages on their way to the program; `placement`,
//! on which node a channel belongs; `node_backoffs`; `refresh_plan`; and the subscriber, whose functions are also in
//! `command`, `reconcile`, `receive`, `replicas` and `supervise`.

mod channel;
mod command;
mod delivery;
mod event;
mod link;
mod links;
mod node_backoffs;
mod placement;
mod receive;
mod reconcile;
mod refresh_plan;
mod replica_question;
mod replicas;
mod subscriptions;
mod supervise;
mod tasks;
mod wake;

pub use delivery::DeliveredReply;
pub use wake::SubscriberWake;

use super::client::Client;
use super::event_loop::EventLoop;
use crate::deadline::{Deadline, Time, now};
use crate::error::{Code, Error, Result};
use crate::net::{Peer, PthreadCancelDisabled, process_number};
use crate::resp::Reply;
use channel::ChannelKey;
use delivery::DecodedMessages;
use links::{LinkState, Links};
use node_backoffs::NodeBackoffs;
use refresh_plan::RefreshPlan;
use std::collections::{BTreeSet, VecDeque};
use std::os::fd::RawFd;
use std::sync::Arc;
use subscriptions::{LinkNumber, Subscriptions};

use tasks::{Asking, Results, Task};

/// A consumer of messages. Used by one thread at a time.
pub struct Subscriber {
    client: Arc<Client>,
    /// The process that made it. The connections are that process's.
    process: i32,
    event_loop: Result<EventLoop>,
    wake: SubscriberWake,
    results: Results,
    subscriptions: Subscriptions,
    /// Those that are not held where they should be.
    unheld: BTreeSet<ChannelKey>,
    /// Those of them whose places are to be reviewed. The others wait for a connection or a confirmation.
    unplaced: BTreeSet<ChannelKey>,
    links: Links,
    /// Links with received bytes that are not decoded.
    readable: VecDeque<LinkNumber>,
    decoded: DecodedMessages,
    /// What the library itself tells, in order.
    events: VecDeque<Box<Reply>>,
    /// The next message, taken already: whether there is one decides whether the descriptor is readable.
    ahead: Option<DeliveredReply>,
    /// The node for channels and patterns.
    home: Option<Arc<Peer>>,
    backoffs: NodeBackoffs,
    /// The version of the topology that the places fit.
    version: u64,
    connecting: Option<Task>,
    /// Primaries that are asked whether they know a replica.
    asking: Vec<Asking>,
    /// How many were asked so far.
    questions: u64,
    /// Channels that nodes have confirmed, and of which primaries are to be asked: see `confirm_or_ask`.
    unproven: Vec<(LinkNumber, ChannelKey, bool)>,
    /// The program was told that the client cannot connect.
    has_failed_to_connect: bool,
    refresh: RefreshPlan,
    /// When a channel that was refused is tried again.
    retry_at: Option<Time>,
    /// Since when there are channels that are not held.
    unheld_since: Option<Time>,
    last_error: Option<Error>,
    /// How many messages have not been counted in the statistics.
    uncounted: u64,
    /// Something is to be done that waits for nothing.
    is_due: bool,
    /// The program has asked for the descriptor.
    has_poller: bool,
}

impl Subscriber {
    pub fn new(client: Arc<Client>) -> Subscriber {
        let event_loop = EventLoop::new(&client, "a subscriber");
        let fd = event_loop.as_ref().map_or(-1, |l| l.wake.fd());
        if let Ok(event_loop) = &event_loop {
            event_loop.wake.follow_topology();
        }
        Subscriber {
            process: process_number(),
            event_loop,
            wake: SubscriberWake::new(fd),
            client,
            results: Results::default(),
            subscriptions: Subscriptions::default(),
            unheld: BTreeSet::new(),
            unplaced: BTreeSet::new(),
            links: Links::default(),
            readable: VecDeque::new(),
            decoded: DecodedMessages::new(),
            events: VecDeque::new(),
            ahead: None,
            home: None,
            backoffs: NodeBackoffs::default(),
            version: 0,
            connecting: None,
            asking: Vec::new(),
            questions: 0,
            unproven: Vec::new(),
            has_failed_to_connect: false,
            refresh: RefreshPlan::default(),
            retry_at: None,
            unheld_since: None,
            last_error: None,
            uncounted: 0,
            is_due: false,
            has_poller: false,
        }
    }

    /// The descriptor. -1 if the system refused one.
    pub fn fd(&self) -> RawFd {
        self.event_loop.as_ref().map_or(-1, |l| l.tasks.fd())
    }

    /// The same. From now on it is readable if and only if there is something to do.
    pub fn fd_for_polling(&mut self) -> RawFd {
        if self.process == process_number() {
            self.has_poller = true;
            self.update_descriptor();
        }
        self.fd()
    }

    /// What makes [`Subscriber::next`] return.
    pub fn wake_handle(&self) -> SubscriberWake {
        self.wake.clone()
    }

    /// Fails if it cannot be used: in a forked child, after the handle was closed, or without a descriptor.
    #[inline]
    fn check(&self) -> Result<()> {
        if self.process != process_number() {
            return Err(after_fork());
        }
        self.client.ready()?;
        match &self.event_loop {
            Ok(_) => Ok(()),
            Err(error) => Err(error.clone()),
        }
    }

    /// The next message, confirmation, gap or error; nil if none comes until the time that `until` returns. Does not wait
    /// without one.
    #[inline]
    pub fn next(&mut self, until: impl FnOnce() -> Option<Deadline>) -> DeliveredReply {
        if let Err(error) = self.check() {
            return DeliveredReply::Whole(event::error(&error));
        }
        if let Some(reply) = self.take_next() {
            self.update_signal();
            return reply;
        }
        let reply = self.wait_for_next(until());
        self.update_descriptor();
        reply
    }

    #[inline(never)]
    fn wait_for_next(&mut self, until: Option<Deadline>) -> DeliveredReply {
        let _uncancelled = PthreadCancelDisabled::begin();
        let began = now();
        let cancels = self.client.cancels();
        let mut is_over = false;
        self.advance(began);
        loop {
            if let Some(reply) = self.take_next() {
                return reply;
            }
            if is_over {
                return DeliveredReply::Whole(Box::default());
            }
            if self.is_due {
                self.advance(now());
                if !self.events.is_empty() {
                    continue;
                }
            }
            let goes_on = self.poll(until, began);
            if let Err(error) = self.check() {
                return DeliveredReply::Whole(event::error(&error));
            }
            if self.client.cancels() != cancels || !goes_on {
                return DeliveredReply::Whole(event::error(&interrupted()));
            }
            let time = now();
            self.receive_all(time);
            self.supervise(time);
            self.advance(time);
            is_over = self.wake.take() || until.is_none_or(|until| until.passed(time));
        }
    }

    /// Waits until something can be done, at most until `until`. Returns whether the wait callback lets the call go on.
    fn poll(&mut self, until: Option<Deadline>, began: Time) -> bool {
        let next_at = self.next_at();
        let Ok(EventLoop { tasks, .. }) = &mut self.event_loop else {
            return false;
        };
        let until = until.map(|until| next_at.map_or(until, |at| until.min(Deadline::at(at))));
        let goes_on = tasks.poll(until, began);
        // What it was woken for is found out by the caller.
        tasks.take_woken();
        goes_on
    }

    /// Does what can be done without waiting.
    fn advance(&mut self, time: Time) {
        self.decoded.forget_held();
        loop {
            if let Ok(EventLoop { tasks, .. }) = &mut self.event_loop {
                tasks.run();
            }
            self.collect(time);
            self.reconcile(time);
            let has_runnable =
                (self.event_loop.as_ref()).is_ok_and(|event_loop| event_loop.tasks.has_runnable());
            if !has_runnable {
                break;
            }
        }
        self.is_due = false;
        self.flush();
        self.report_unheld(time);
    }

    /// Makes the descriptor readable when there is something to do.
    fn update_descriptor(&mut self) {
        self.count_messages();
        self.update_signal();
        if !self.has_poller {
            return;
        }
        let next_at = self.next_at();
        if let Ok(EventLoop { tasks, .. }) = &mut self.event_loop {
            tasks.set_timer(next_at);
        }
    }

    #[inline(always)]
    fn update_signal(&mut self) {
        if self.has_poller {
            self.signal();
        }
    }

    fn signal(&mut self) {
        if self.ahead.is_none() && self.events.is_empty() {
            self.ahead = self.take_received();
        }
        let is_known = self.ahead.is_some() || !self.events.is_empty() || self.is_due;
        if let Ok(EventLoop { tasks, .. }) = &mut self.event_loop {
            let has_runnable = tasks.has_runnable();
            tasks.set_signal(is_known || has_runnable);
        }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let is_child = self.process != process_number();
        let Ok(EventLoop { tasks, .. }) = &mut self.event_loop else {
            return;
        };
        let entries = self.links.take_all();
        if is_child {
            // The fibers are the parent's. Connections know that they are.
            return tasks.leak();
        }
        for entry in entries {
            if let LinkState::Opening(task) = &entry.state {
                task.cancel(tasks);
            }
        }
        let asking = self.asking.iter().map(|asking| &asking.task);
        for task in (self.connecting.iter())
            .chain(self.refresh.task())
            .chain(asking)
        {
            task.cancel(tasks);
        }
        // A fiber that does not end after it was cancelled is a bug. Unwinding it might abort the process.
        tasks.leak();
    }
}

#[cold]
fn after_fork() -> Error {
    Error::new(
        Code::Interrupted,
        "the subscriber belongs to the parent of this process: make a subscriber after the fork",
    )
}

#[cold]
fn interrupted() -> Error {
    Error::new(Code::Interrupted, "the call was interrupted")
}
