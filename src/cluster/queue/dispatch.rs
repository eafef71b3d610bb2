//! Starts what a queue can start, and handles what its fibers leave behind.

use super::Queue;
use super::batch::Batch;
use super::decide::{slots_of_pipeline, work_of};
use super::entry::{EntryRef, Inbox, OtherWork, Progress};
use super::gathered::Gathered;
use super::replies::{Ended, EndedTask};
use super::running::{Running, run_caught};
use super::shard_number::ShardNumber;
use crate::cluster::client::Client;
use crate::cluster::event_loop::EventLoop;
use crate::cluster::state::Core;
use crate::deadline::{Deadline, Time, now};
use crate::error::{Code, Error, Result};
use crate::net::TaskNumber;
use crate::resp::{Reply, parse_command};
use crate::route::classify;
use crate::topology::{KeySpace, Topology};
use arc_swap::Guard;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

impl Queue {
    /// Starts what can be started and runs the fibers that can go on, until nothing can.
    pub(super) fn go_on(&mut self, time: Time) {
        loop {
            // Those that have waited come before those that are submitted now.
            self.start_admitted();
            self.route_inboxes();
            self.start_admitted();
            self.start_batches(time);
            if let Ok(EventLoop { tasks, .. }) = &mut self.event_loop {
                tasks.run();
            }
            if !self.collect() && !self.has_new_groups() {
                return;
            }
        }
    }

    /// Whether a redirection has changed the topology, so that gathered commands belong to other shards.
    fn has_new_groups(&self) -> bool {
        self.groups.has_commands()
            && (self.topology()).is_some_and(|topology| self.groups.is_outdated(&topology))
    }

    /// Gives the submitted commands their place in the order of their slots, once the client has connected.
    pub(super) fn route_inboxes(&mut self) {
        let Some(first) = self.unrouted.front() else {
            return;
        };
        let client = self.client.clone();
        let core = match client.ready() {
            Ok(core) => core,
            Err(error) => return self.fail_unrouted(&error, |_| true),
        };
        let Some(key_space) = core.process().key_space() else {
            let at = first.at.unwrap_or(Time::ZERO);
            return self.start_connecting(at);
        };
        let topology = core.process().load_topology();
        self.groups.regroup(&topology);
        self.shard_inboxes.update(&topology);
        let has_timeout = Deadline::after(now(), client.config.timeout_ms) != Deadline::NEVER;
        let order = self.order.clone();
        let order = &mut *order.borrow_mut();
        while let Some(mut inbox) = self.unrouted.pop_front() {
            if inbox.is_undecided {
                self.decide(&mut inbox, core, key_space);
            }
            let inbox = Rc::new(inbox);
            let is_whole = match inbox.shard.filter(|shard| self.groups.has_shard(*shard)) {
                Some(shard) if order.admit_whole(&inbox, shard) => {
                    self.groups.push_whole(&inbox, shard);
                    true
                }
                _ => false,
            };
            let one_by_one = if is_whole { &[] } else { &inbox.entries[..] };
            for (index, entry) in one_by_one.iter().enumerate() {
                match (entry.batch_slot(), inbox.other(entry)) {
                    _ if !entry.is_open() => {}
                    (Some(slot), _) if order.admit_at_once(slot) => {
                        let entry = EntryRef::new(&inbox, index);
                        self.groups.push(entry, slot, &topology);
                    }
                    (_, Some(OtherWork::Blocking)) => {
                        let own = Rc::new(inbox.split_off_blocking(index));
                        self.held_bytes += own.bytes.len();
                        order.add(EntryRef::new(&own, 0));
                        self.inboxes.push_back(own);
                    }
                    _ => order.add(EntryRef::new(&inbox, index)),
                }
            }
            self.inboxes.push_back(inbox.clone());
            if has_timeout {
                self.expiring.push_back(inbox);
            }
        }
    }

    /// Decides about the commands that were submitted before the client had connected.
    pub(super) fn decide(&self, inbox: &mut Inbox, core: &Core, key_space: KeySpace) {
        for index in 0..inbox.entries.len() {
            if let Some(OtherWork::Pipeline {
                pipeline, slots, ..
            }) = inbox.other_mut(index)
                && let Some(pipeline) = pipeline.get_mut()
                && pipeline.route_in(key_space)
            {
                *slots = slots_of_pipeline(pipeline);
            }
            let entry = &inbox.entries[index];
            if !matches!(inbox.other(entry), Some(OtherWork::Undecided)) || !entry.is_open() {
                continue;
            }
            let mut args = Vec::new();
            let parsed = parse_command(&inbox.bytes[..entry.end], entry.begin, &mut args);
            let work =
                parsed.and_then(|_| work_of(&self.client, core, &classify(&args), key_space));
            match work {
                Ok(work) => inbox.decide(index, work),
                Err(error) => {
                    self.replies.fail_tag(entry.tag, &error);
                    inbox.close(&inbox.entries[index]);
                }
            }
        }
    }

    pub(super) fn fail_unrouted(&mut self, error: &Error, which: impl Fn(&Inbox) -> bool) {
        let (failed, kept) = std::mem::take(&mut self.unrouted)
            .into_iter()
            .partition(which);
        self.unrouted = kept;
        let failed: VecDeque<Inbox> = failed;
        for inbox in &failed {
            self.held_bytes -= inbox.bytes.len();
            self.close_where(inbox, error, |_| true);
        }
    }

    /// Connects in a fiber. `at` is when the timeout of the oldest command began.
    pub(super) fn start_connecting(&mut self, at: Time) {
        if std::mem::replace(&mut self.is_connecting, true) {
            return;
        }
        let client = Arc::new(self.client.for_task(at));
        let (connecting, replies) = (client.clone(), self.replies.clone());
        let running = Running::new(client, self.client.clone(), self.cancels, None);
        let spawned = self.spawn(running, move |number| {
            let mut result = Ok(());
            let caught = run_caught(|| result = connecting.connect());
            let what = EndedTask::Connect(caught.and(result));
            replies.end(Ended { number, what });
        });
        if let Err(error) = spawned {
            self.is_connecting = false;
            self.fail_unrouted(&error, |_| true);
        }
    }

    /// What follows an attempt to connect.
    pub(super) fn end_connecting(&mut self, result: Result<()>) {
        self.is_connecting = false;
        let Err(error) = result else { return };
        if error.code == Code::Interrupted {
            // What was submitted before the interrupt has its reply. The rest connects anew.
            return self.fail_unrouted(&error, |inbox| inbox.open.get() == 0);
        }
        // The oldest commands have timed out, or waiting cannot help. In the former case others have time left.
        let (time, timeout_ms) = (now(), self.client.config.timeout_ms);
        let is_over = |inbox: &Inbox| inbox.deadline(timeout_ms).passed(time);
        let has_timed_out = self.unrouted.front().is_some_and(is_over);
        self.fail_unrouted(&error, |inbox| !has_timed_out || is_over(inbox));
    }

    pub(super) fn spawn(
        &mut self,
        running: Running,
        run: impl FnOnce(TaskNumber) + 'static,
    ) -> Result<()> {
        let event_loop = self.event_loop.as_mut().map_err(|error| error.clone())?;
        let number = event_loop.tasks.spawn(run)?;
        self.running.insert(number, running);
        Ok(())
    }

    pub(super) fn start_admitted(&mut self) {
        if !self.order.borrow().has_admitted() && self.alone.is_empty() {
            return;
        }
        let admitted = self.order.borrow_mut().take_admitted();
        self.start_all_alone(admitted.alone);
        if let Some(topology) = self.topology().filter(|_| !admitted.in_batch.is_empty()) {
            self.groups.regroup(&topology);
            for (entry, slot) in admitted.in_batch {
                self.groups.push(entry, slot, &topology);
            }
        }
    }

    pub(super) fn topology(&self) -> Option<Guard<Arc<Topology>>> {
        let core = self.client.core.as_ref()?;
        Some(core.process().load_topology())
    }

    /// Starts commands that are executed by themselves. Each of them takes connections, of which some are left to the
    /// threads of the program. Blocking commands have connections of their own.
    pub(super) fn start_all_alone(&mut self, admitted: Vec<EntryRef>) {
        for entry in admitted {
            match entry.is_blocking() {
                true => self.start_alone(entry),
                false => self.alone.push_back(entry),
            }
        }
        let most = self.client.config.connections_per_node.div_ceil(2);
        while self.sharing < most
            && let Some(entry) = self.alone.pop_front()
        {
            self.start_alone(entry);
        }
    }

    /// Starts a command that is executed by itself.
    pub(super) fn start_alone(&mut self, entry: EntryRef) {
        let started = match entry.is_open() {
            true => self.try_start_alone(&entry),
            false => Ok(false),
        };
        if let Err(error) = &started {
            self.replies.fail(entry.location(), error);
        }
        if !matches!(started, Ok(true)) {
            self.end_alone(&entry);
        }
    }

    pub(super) fn try_start_alone(&mut self, entry: &EntryRef) -> Result<bool> {
        let pipeline = match entry.other() {
            Some(OtherWork::Pipeline {
                pipeline,
                is_atomic,
                ..
            }) => pipeline.take().map(|pipeline| (pipeline, *is_atomic)),
            _ => None,
        };
        let owner = match &pipeline {
            Some((pipeline, _)) => pipeline.client.clone(),
            None => self.client.clone(),
        };
        owner.ready()?;
        let client = Arc::new(owner.for_task(entry.at()));
        let cancels = match Arc::ptr_eq(&owner, &self.client) {
            true => self.cancels,
            false => owner.cancels(),
        };
        let running = Running::new(client.clone(), owner, cancels, Some(entry.clone()));
        let (replies, entry) = (self.replies.clone(), entry.clone());
        entry.set_progress(Progress::Alone);
        let sharing = usize::from(!entry.is_blocking());
        self.spawn(running, move |number| {
            let caught = run_caught(|| {
                let reply = match pipeline {
                    None => execute(&client, &entry),
                    Some((mut pipeline, is_atomic)) => {
                        pipeline.client = client;
                        match is_atomic {
                            true => pipeline.execute_atomic(),
                            false => pipeline.execute(),
                        }
                    }
                };
                replies.complete(entry.location(), reply);
            });
            if let Err(error) = caught {
                replies.fail(entry.location(), &error);
            }
            let what = EndedTask::Alone(entry);
            replies.end(Ended { number, what });
        })?;
        self.sharing += sharing;
        Ok(true)
    }

    pub(super) fn end_alone(&mut self, entry: &EntryRef) {
        for slot in entry.slots() {
            self.order.borrow_mut().end(*slot);
        }
    }

    pub(super) fn start_batches(&mut self, time: Time) {
        let timeout_ms = self.client.config.timeout_ms;
        if !self.groups.has_commands() {
            return;
        }
        let Some(topology) = self.topology() else {
            return;
        };
        while let Some((group, mut entries)) = self.groups.next_batch(&topology, time, timeout_ms) {
            self.order_batch(group, &mut entries);
            self.start_batch(group, entries);
        }
    }

    /// Gives the commands of a batch their turn in the order of their slots, and removes those that were cancelled.
    fn order_batch(&mut self, group: ShardNumber, entries: &mut Gathered) {
        let order = &mut *self.order.borrow_mut();
        if let Gathered::Whole(inbox) = entries
            && order.start_whole(inbox)
        {
            return;
        }
        order.count_all();
        let mut has_closed = false;
        entries.for_each(|entry| {
            if let Some(slot) = entry.batch_slot() {
                match entry.is_open() {
                    true => order.start(slot),
                    false => {
                        has_closed = true;
                        order.abandon(slot);
                    }
                }
            }
        });
        if has_closed {
            entries.mixed().retain(|entry| entry.is_open());
        }
        self.groups.retain_left(group, |entry| {
            let slot = entry.batch_slot();
            slot.is_none_or(|slot| order.postpone_behind_running(entry, slot))
        });
    }

    pub(super) fn start_batch(&mut self, group: ShardNumber, entries: Gathered) {
        let Some(submitted) = entries.oldest() else {
            return self.groups.end_batch(group);
        };
        let client = Arc::new(self.client.for_task(submitted));
        // One command is cancelled like the call of a thread.
        let only = (entries.len() == 1).then(|| entries.first()).flatten();
        if let Some(only) = &only {
            only.set_progress(Progress::Alone);
        }
        let batch = Rc::new(Batch {
            group,
            entries,
            client: client.clone(),
            replies: self.replies.clone(),
            order: self.order.clone(),
        });
        let running = Running::new(client, self.client.clone(), self.cancels, only);
        let in_fiber = batch.clone();
        let spawned = self.spawn(running, move |number| {
            if let Err(error) = run_caught(|| in_fiber.run()) {
                in_fiber.end(&error);
            }
            let what = EndedTask::Batch(group);
            in_fiber.replies.end(Ended { number, what });
        });
        if let Err(error) = spawned {
            batch.end(&error);
            self.groups.end_batch(group);
        }
    }

    /// Handles what the fibers have left behind. Returns whether something else may be started now.
    pub(super) fn collect(&mut self) -> bool {
        let mut has_ended = false;
        while let Some(Ended { number, what }) = self.replies.next_ended() {
            has_ended = true;
            self.running.remove(number);
            match what {
                EndedTask::Batch(group) => self.groups.end_batch(group),
                EndedTask::Alone(entry) => {
                    self.sharing -= usize::from(!entry.is_blocking());
                    self.end_alone(&entry);
                }
                EndedTask::Connect(result) => self.end_connecting(result),
            }
        }
        has_ended || self.order.borrow().has_admitted()
    }
}

/// Executes a command that is executed by itself.
fn execute(client: &Client, entry: &EntryRef) -> Box<Reply> {
    let Some(OtherWork::Selected(selector)) = entry.other() else {
        return client.command_resp(entry.bytes()).whole();
    };
    let mut args = Vec::new();
    match parse_command(entry.bytes(), 0, &mut args) {
        Ok(_) => client.command_to(selector, &args),
        Err(error) => Box::new(Reply::error(&error)),
    }
}
