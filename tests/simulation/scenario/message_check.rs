//! Compares what a subscriber returned with what the servers sent to it.
//!
//! The messages of a channel, from its confirmation or a gap to the next gap, are a run. A run must consist of the first
//! messages that one connection was sent since its subscription was confirmed: none is left out, doubled or out of order.
//! A channel of all primaries is confirmed when all have, one on a replica when the primary knows the replica, and with RESP2 the
//! role of a node may have to be asked for elsewhere. Such runs may begin later, but not after the first message that was sent
//! when the program had been told that messages follow.

use super::caller::{Caller, describe};
use crate::error::Code;
use crate::resp::{Kind, Reply, View};
use crate::simulation::cluster_model::{ChannelKind, SentMessages};
use crate::simulation::simulator::node_address;
use std::collections::{BTreeMap, BTreeSet};

/// A channel or pattern.
pub(super) type ChannelName = (ChannelKind, String);

/// A run of messages.
struct Run {
    node: usize,
    /// The records that it may belong to, and where it begins there.
    candidates: Vec<(usize, usize)>,
    len: usize,
    /// When the program was told that it follows.
    told_at: u64,
}

/// The runs of a confirmed channel: one, or one for each node if its events are those of the node.
type Runs = BTreeMap<Option<usize>, Run>;

pub(super) struct MessageCheck {
    thread: usize,
    confirmed: BTreeSet<ChannelName>,
    runs: BTreeMap<ChannelName, Runs>,
    /// The confirmations that are outstanding, and whether they are those of subscribing.
    owed: BTreeMap<(ChannelName, bool), usize>,
    /// When the program was told that messages follow: by a confirmation, or a gap.
    told_at: BTreeMap<ChannelName, u64>,
    /// The record of the last run of a node, and where the run ended.
    used: BTreeMap<(ChannelName, usize), (usize, usize)>,
    /// The latest messages of each channel, and their nodes.
    latest: BTreeMap<ChannelName, Vec<(String, usize)>>,
    pub(super) messages: u64,
    pub(super) gaps: u64,
    pub(super) errors: u64,
}

pub(super) fn is_node_local((kind, name): &ChannelName) -> bool {
    *kind != ChannelKind::Sharded && name.starts_with("__key")
}

/// The number of the node with this name.
fn node_number(name: &str) -> usize {
    let is_it = |node: &usize| {
        name == node_address(*node).to_string() || name == format!("node-{node}.sim:7000")
    };
    (0..).take(1000).find(is_it).unwrap_or(usize::MAX)
}

impl MessageCheck {
    pub(super) fn new(thread: usize) -> MessageCheck {
        MessageCheck {
            thread,
            confirmed: BTreeSet::new(),
            runs: BTreeMap::new(),
            owed: BTreeMap::new(),
            told_at: BTreeMap::new(),
            used: BTreeMap::new(),
            latest: BTreeMap::new(),
            messages: 0,
            gaps: 0,
            errors: 0,
        }
    }

    /// A command was accepted that subscribes or unsubscribes these channels.
    pub(super) fn on_command(&mut self, names: &[ChannelName], is_subscribe: bool) {
        for name in names {
            *self.owed.entry((name.clone(), is_subscribe)).or_default() += 1;
        }
    }

    pub(super) fn confirmed(&self) -> Vec<ChannelName> {
        self.confirmed.iter().cloned().collect()
    }

    /// The node that sent this message.
    pub(super) fn origin(&self, name: &ChannelName, message: &str) -> Option<usize> {
        let mut latest = self.latest.get(name)?.iter();
        latest
            .find(|(text, _)| text == message)
            .map(|(_, node)| *node)
    }

    /// Whether a command has a confirmation that has not come.
    pub(super) fn first_owed(&self) -> Option<&(ChannelName, bool)> {
        let mut owed = self.owed.iter();
        owed.find(|(_, count)| **count > 0).map(|(name, _)| name)
    }

    /// Checks what a call of `next` has returned.
    pub(super) fn check(&mut self, caller: &Caller<'_>, reply: &Reply) {
        let view = reply.view();
        match view.kind() {
            Kind::Nil => return,
            Kind::Error => return self.check_error(caller, reply),
            Kind::Push => {}
            _ => {
                return caller.fail(format!(
                    "next returned {}",
                    describe(reply, reply.root.value)
                ));
            }
        }
        let text = |at: usize| view.at(at).and_then(View::str).unwrap_or_default();
        caller.thread.simulation.lock().log(|| {
            let shown: Vec<&str> = (0..view.len()).map(text).collect();
            format!("thread {} takes {shown:?}", caller.thread.id)
        });
        let kind_of = |word: &str| {
            ChannelKind::ALL
                .into_iter()
                .find(|kind| kind.message() == word)
        };
        let node = reply
            .origin_of(reply.root)
            .map(|node| node.name().to_string());
        if let Some(kind) = kind_of(text(0)) {
            let name = (kind, text(1).to_string());
            let message = match kind {
                ChannelKind::Pattern => format!("{} {}", text(2), text(3)),
                _ => format!("{} {}", text(1), text(2)),
            };
            let node = node.map_or(usize::MAX, |node| node_number(&node));
            return self.on_message(caller, name, message, node);
        }
        if text(0) == "gap" {
            return match kind_of(text(1)) {
                Some(kind) => {
                    self.on_gap(caller, (kind, text(2).to_string()), node_number(text(4)))
                }
                None => caller.fail(format!("a gap of no kind: {}", text(1))),
            };
        }
        let confirmations = ChannelKind::ALL.into_iter().flat_map(|kind| {
            let words = [(kind.subscribe(), true), (kind.unsubscribe(), false)];
            words.map(|(word, is_subscribe)| (word.to_ascii_lowercase(), kind, is_subscribe))
        });
        match { confirmations }.find(|(word, ..)| word == text(0)) {
            Some((_, kind, is_subscribe)) => {
                self.on_confirmation(caller, (kind, text(1).to_string()), is_subscribe);
            }
            None => caller.fail(format!("an unknown push: {}", text(0))),
        }
    }

    fn check_error(&mut self, caller: &Caller<'_>, reply: &Reply) {
        self.errors += 1;
        let shown = describe(reply, reply.root.value);
        caller
            .thread
            .simulation
            .lock()
            .log(|| format!("thread {} takes {shown}", caller.thread.id));
        let code = Code::from_number(i32::from(reply.root.value.code)).unwrap_or(Code::Internal);
        let is_bug = matches!(code, Code::Internal | Code::Protocol | Code::Invalid);
        if is_bug || caller.context.scenario.is_healthy || shown.contains("not tried again") {
            caller.fail(format!("next returned an error: {shown}"));
        }
    }

    fn on_confirmation(&mut self, caller: &Caller<'_>, name: ChannelName, is_subscribe: bool) {
        let owed = self.owed.entry((name.clone(), is_subscribe)).or_default();
        if *owed == 0 {
            return caller.fail(format!(
                "a confirmation of {name:?} that no command asked for"
            ));
        }
        *owed -= 1;
        if is_subscribe {
            if self.confirmed.insert(name.clone()) {
                self.told_at.insert(name, caller.now());
            }
            return;
        }
        self.confirmed.remove(&name);
        for run in self.runs.remove(&name).unwrap_or_default().into_values() {
            self.end_run(caller, &name, &run);
        }
    }

    fn on_gap(&mut self, caller: &Caller<'_>, name: ChannelName, node: usize) {
        self.gaps += 1;
        if caller.context.scenario.is_healthy {
            caller.fail(format!("a gap of {name:?} without a fault"));
        }
        if !self.confirmed.contains(&name) {
            caller.fail(format!("a gap of {name:?}, which is not subscribed"));
        }
        self.told_at.insert(name.clone(), caller.now());
        let key = is_node_local(&name).then_some(node);
        let runs = self.runs.entry(name.clone()).or_default();
        if let Some(run) = runs.remove(&key) {
            self.end_run(caller, &name, &run);
        }
    }

    fn on_message(&mut self, caller: &Caller<'_>, name: ChannelName, message: String, node: usize) {
        self.messages += 1;
        if !self.confirmed.contains(&name) {
            return caller.fail(format!("{message}: {name:?} is not subscribed"));
        }
        let told_at = self.told_at.get(&name).copied().unwrap_or_default();
        let scenario = caller.context.scenario;
        let may_begin_later = is_node_local(&name)
            || scenario.option("read_from").is_some()
            || scenario.option("protocol") == Some("2");
        let state = caller.thread.simulation.lock();
        let records = &state.cluster.pubsub.records;
        let key = is_node_local(&name).then_some(node);
        let runs = self.runs.entry(name.clone()).or_default();
        let run = runs.entry(key).or_insert_with(|| {
            let used = self.used.get(&(name.clone(), node));
            let (first, end) = used.copied().unwrap_or_default();
            let is_of = |record: &SentMessages| {
                (record.thread, record.node) == (self.thread, node)
                    && (record.kind, record.name.as_str()) == (name.0, name.1.as_str())
            };
            let mut candidates = Vec::new();
            for number in (first..records.len()).filter(|n| is_of(&records[*n])) {
                let sent = records[number].sent.iter();
                let may_be_missed = sent.take_while(|(_, at)| may_begin_later && *at <= told_at);
                let starts = 0..=may_be_missed.count();
                let is_new = |start: &usize| number > first || *start >= end;
                candidates.extend(starts.filter(is_new).map(|start| (number, start)));
            }
            Run {
                node,
                candidates,
                len: 0,
                told_at,
            }
        });
        let expected = |(record, start): (usize, usize)| {
            let sent = records[record].sent.get(start + run.len);
            sent.map(|(sent, _)| sent.as_str())
        };
        let next: Vec<Option<&str>> = run.candidates.iter().map(|c| expected(*c)).collect();
        let problem = format!(
            "{name:?}: {message:?} of node {node} is message {} of its run, which should be {next:?} of node {}",
            run.len, run.node
        );
        let is_next = |candidate: &(usize, usize)| expected(*candidate) == Some(message.as_str());
        let candidates: Vec<(usize, usize)> =
            run.candidates.iter().copied().filter(is_next).collect();
        drop(state);
        let is_wrong = candidates.is_empty() || run.node != node;
        run.candidates = candidates;
        run.len += 1;
        self.latest.entry(name).or_default().push((message, node));
        if is_wrong {
            caller.fail(problem);
        }
    }

    /// A run has ended. What its node was not sent by the others must not lie inside.
    fn end_run(&mut self, caller: &Caller<'_>, name: &ChannelName, run: &Run) {
        let Some(&(record, start)) = run.candidates.first() else {
            return;
        };
        let end = start + run.len;
        self.used.insert((name.clone(), run.node), (record, end));
        let state = caller.thread.simulation.lock();
        let record = &state.cluster.pubsub.records[record];
        let until = record.sent[start + run.len - 1].1;
        let lost = record
            .withheld
            .iter()
            .find(|(_, at)| *at > run.told_at && *at < until)
            .cloned();
        drop(state);
        if let Some((message, _)) = lost {
            caller.fail(format!(
                "{name:?}: {message:?} is lost without a gap: node {} was not sent it",
                run.node
            ));
        }
    }

    /// When nothing is on its way: everything was delivered.
    pub(super) fn check_complete(&mut self, caller: &Caller<'_>) {
        for (name, runs) in std::mem::take(&mut self.runs) {
            for run in runs.values() {
                self.end_run(caller, &name, run);
                let state = caller.thread.simulation.lock();
                let records = &state.cluster.pubsub.records;
                let is_whole = |(record, start): &(usize, usize)| {
                    let record = &records[*record];
                    record.is_open && record.sent.len() == start + run.len
                };
                let has_all = run.candidates.iter().any(is_whole);
                // A node that is a primary no longer is left without a word.
                let is_left = is_node_local(&name) && !state.cluster.is_primary(run.node);
                drop(state);
                if !has_all && !is_left {
                    let len = run.len;
                    caller.fail(format!(
                        "{name:?}: the last run has {len} messages, which are not all"
                    ));
                }
            }
        }
    }
}
