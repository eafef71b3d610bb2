//! The one retry loop. A round sends the open commands, handles their replies and errors, and leaves
//! open what has to be sent again. The loop ends when no command is open or the call has timed out. A
//! single command is an execution of one.
//!
//! From the bottom up: `routed_command`, `plain_commands`, `command_batch`, `round_commands`, `node_batch` and `freshness_probe`; `exec_state`, which the
//! files above extend; the choice of a node (`node_probe`, `primary_selection`, `replica_selection`,
//! `node_selection`, `plain_readers`, `batch_assignment`, `plain_attempt`); the outcome of a round (`check_freshness`, `retry`,
//! `redirect`, `prelude_replies`, `error_reply`, `multi_probe`, `slot_order`, `waits`, `outcomes`, `deliver`); and the loop.

mod batch_assignment;
mod check_freshness;
mod command_batch;
mod deliver;
mod destination;
mod error_reply;
mod exec_policy;
mod exec_state;
mod freshness_probe;
mod multi_probe;
mod node_batch;
mod node_probe;
mod node_selection;
mod outcomes;
mod pending_reply;
mod plain_attempt;
mod plain_commands;
mod plain_readers;
mod prelude_replies;
mod primary_selection;
mod redirect;
mod replica_selection;
mod retry;
mod round_commands;
mod routed_command;
mod slot_order;
mod timed;
mod waits;

pub use command_batch::CommandBatch;
pub use exec_policy::ExecPolicy;
pub use pending_reply::PendingReply;
pub use plain_commands::PlainCommands;
pub use replica_selection::count_read;
pub use routed_command::{RoutedCommand, Target};

use crate::call_scope::CallScope;
use crate::cluster::reads::ReadConsistency;
use crate::cluster::state::{Core, ProcessState, backoff, count, redirect_backoff};
use crate::config::ReadFrom;
use crate::deadline::now;
use crate::error::{Code, Error, Result};
use crate::net::{Call, ConnectionKind, PthreadCancelDisabled};
use crate::resp::{CommandReply, Kind, NodeValue, Reply, flag};
use crate::sim_hooks::{rng, sim_panic_point};
use crate::topology::{Node, Topology};
use batch_assignment::BatchTable;
use check_freshness::FreshnessCheck;
use destination::Destination;
use exec_state::ExecState;
use multi_probe::plan_multi_probe;
use node_batch::{BatchErrors, NodeBatch, send_and_receive};
use node_selection::RouteRequest;
use pending_reply::PendingCommand;
use rand::Rng;
use round_commands::RoundCommands;
use std::sync::Arc;

/// The execution of a call's commands.
pub struct Execution<'c> {
    state: ExecState<'c>,
    _uncancelled: PthreadCancelDisabled,
    /// The execution may log.
    _scope: CallScope,
}

/// Where the first attempt of a command was sent by the caller.
pub struct FirstNode<'t> {
    pub node: &'t Arc<Node>,
    pub kind: ConnectionKind,
    /// Other nodes of the shard could serve the command as well.
    pub any_replica_ok: bool,
    pub is_primary: bool,
}

/// What the first attempt of a batch has left open.
#[derive(Default)]
struct FirstAttempt {
    /// None if none was made.
    sent: Option<(NodeBatch, BatchErrors)>,
    /// The error replies.
    reply: Reply,
}

impl<'c> Execution<'c> {
    #[inline]
    pub fn new(
        core: &'c Core,
        process: &'c ProcessState,
        policy: ExecPolicy,
        consistency: Option<&'c ReadConsistency>,
        call: Call<'c>,
    ) -> Self {
        Execution {
            state: ExecState::new(core, process, policy, consistency, call),
            _uncancelled: PthreadCancelDisabled::begin(),
            _scope: CallScope::enter(call.deadline, call.in_fiber),
        }
    }

    /// Runs all commands. Their answers are stored in `reply`: as its root if it was made without
    /// answers, else as one answer for each command.
    pub fn run(mut self, commands: &mut [RoutedCommand<'_>], reply: &mut PendingReply) {
        self.run_rounds(commands, reply);
        self.finish();
    }

    /// Runs all commands, whose answers are stored in the reply.
    pub fn run_plain(mut self, commands: &impl PlainCommands) -> Box<Reply> {
        let mut reply = Box::<Reply>::default();
        reply.node_values = vec![NodeValue::NIL; commands.len()];
        let mut reply = Some(reply);
        let is_in_fiber = self.state.call.in_fiber;
        let topology = self.state.process.load_topology_in(is_in_fiber);
        let table = self.state.assign_plain(commands, &topology);
        let first = self.run_first(commands, table, &mut reply);
        drop(topology);
        if let Some((mut routed, goes_on)) = first {
            self.run_rest(&mut routed, goes_on, &mut reply);
        }
        self.finish();
        reply.unwrap_or_default()
    }

    /// The first attempt of plain commands. None if all have their answers; otherwise all commands, and whether there is
    /// another round.
    fn run_first<'p>(
        &mut self,
        commands: &'p dyn PlainCommands,
        table: Option<BatchTable<'_>>,
        reply: &mut PendingReply,
    ) -> Option<(Vec<RoutedCommand<'p>>, bool)> {
        let routed = || (0..commands.len()).map(|number| commands.routed(number));
        let Some(table) = table else {
            return Some((routed().collect(), true));
        };
        let (table, errors) = self.state.attempt_plain(commands, table, reply);
        let errors = errors?;
        let mut routed: Vec<RoutedCommand<'_>> = routed().collect();
        let state = &mut self.state;
        state.check_freshness_all(&mut routed, reply, &table);
        state.apply_outcomes(&mut routed, reply, &table, &errors);
        let goes_on = self.has_next_round(&mut routed, reply);
        Some((routed, goes_on))
    }

    /// What follows a first attempt.
    fn run_rest(
        &mut self,
        commands: &mut [RoutedCommand<'_>],
        goes_on: bool,
        reply: &mut PendingReply,
    ) {
        match goes_on {
            true => self.run_rounds(commands, reply),
            false => self.state.record_session(commands),
        }
    }

    /// Runs several commands of one shard, whose answers go one by one.
    pub fn run_batch(mut self, batch: &'c dyn CommandBatch) {
        self.state.batch = Some(batch);
        if let Some(attempt) = self.run_at_primary(batch) {
            self.run_batch_rounds(batch, attempt);
        }
        self.finish();
    }

    /// The first attempt, which mostly succeeds: sends the commands to their primary without a look at each. None if all
    /// have their answers.
    fn run_at_primary(&mut self, batch: &'c dyn CommandBatch) -> Option<FirstAttempt> {
        let state = &self.state;
        let sink = state.round_sink();
        let mut attempt = FirstAttempt::default();
        if state.policy.read_from != ReadFrom::Primary || !sink.is_immediate {
            return Some(attempt);
        }
        let Some(peer) = state.healthy_primary(batch.shard()) else {
            return Some(attempt);
        };
        let kind = state.policy.kind.at_primary();
        let mut batches = [NodeBatch::of_first(peer, kind, batch.len())];
        let commands = RoundCommands::Unrouted(batch);
        let call = state.attempt().repeatable(batch.is_read_only());
        let reply = &mut attempt.reply;
        let errors = send_and_receive(&mut batches, commands, reply, &call, sink);
        let [node_batch] = batches;
        if node_batch.error.is_none() && errors.errors.is_empty() {
            return None;
        }
        attempt.sent = Some((node_batch, errors));
        Some(attempt)
    }

    /// Runs the commands that have no answer after the first attempt.
    #[cold]
    fn run_batch_rounds(&mut self, batch: &'c dyn CommandBatch, first: FirstAttempt) {
        let count = batch.len();
        let mut commands: Vec<RoutedCommand<'_>> = (0..count).map(|n| batch.routed(n)).collect();
        let FirstAttempt { sent, mut reply } = first;
        reply.node_values.resize(count, NodeValue::NIL);
        let mut reply = Some(Box::new(reply));
        let is_sent = sent.is_some();
        if let Some((node_batch, errors)) = sent {
            let topology = self.state.process.load_topology();
            let mut table = BatchTable::new(&self.state, &topology, count);
            table.batches.push(node_batch);
            (self.state).apply_outcomes(&mut commands, &mut reply, &table, &errors);
        }
        let goes_on = !is_sent || self.has_next_round(&mut commands, &mut reply);
        self.run_rest(&mut commands, goes_on, &mut reply);
        self.state.deliver_rest(count, &mut reply);
    }

    #[inline]
    fn run_rounds(&mut self, commands: &mut [RoutedCommand<'_>], reply: &mut PendingReply) {
        if self.state.policy.read_from != ReadFrom::Primary {
            self.state.seed = rng().random();
            if commands.len() > 1 {
                self.state.note_writes(commands);
            }
        }
        loop {
            self.state.wait = false;
            self.state.redirect_loops = 0;
            self.state.refresh = false;
            {
                let is_in_fiber = self.state.call.in_fiber;
                let topology = self.state.process.load_topology_in(is_in_fiber);
                match commands {
                    [command] if !command.is_asking() && command.preludes == 0 => {
                        if command.is_pending {
                            self.run_single(command, &topology, reply);
                        }
                    }
                    _ => self.run_multi(commands, &topology, reply),
                }
            }
            if !self.has_next_round(commands, reply) {
                break;
            }
        }
        self.state.record_session(commands);
    }

    /// Whether commands are open after a round, and can be sent again now.
    #[inline]
    fn has_next_round(
        &mut self,
        commands: &mut [RoutedCommand<'_>],
        reply: &mut PendingReply,
    ) -> bool {
        commands.iter().any(|c| c.is_pending) && self.refresh_and_backoff(commands, reply)
    }

    /// Refreshes the topology if the commands have shown that it is outdated.
    #[inline]
    fn finish(&self) {
        let state = &self.state;
        if state.topology_outdated
            // A call that was retried has taken long enough: the next one refreshes.
            || (state.tries == 0 && state.process.is_refresh_wanted(state.call.began))
            || (state.consistency.is_some() && state.is_replica_refresh_due())
        {
            state.core.refresh_if_due(state.process, &state.call);
        }
    }

    /// Runs one command whose first attempt was made by the caller.
    #[cold]
    pub fn resume_after_first(
        mut self,
        mut command: RoutedCommand<'_>,
        result: Result<Box<Reply>>,
        first: &FirstNode<'_>,
    ) -> Box<Reply> {
        let mut reply = None;
        let mut destination = Destination::of_node(first.node, first.any_replica_ok, first.kind);
        destination.choice.primary = first.is_primary;
        let topology = self.state.process.load_topology();
        let mut pending = PendingCommand::new(&mut command, 0, &mut reply);
        self.handle_result(&mut pending, result, &destination, &topology);
        drop(topology);
        let mut commands = [command];
        let goes_on = self.has_next_round(&mut commands, &mut reply);
        self.run_rest(&mut commands, goes_on, &mut reply);
        self.finish();
        reply.unwrap_or_default()
    }

    /// One command alone: it shares a connection with the commands of other threads.
    fn run_single(
        &mut self,
        command: &mut RoutedCommand<'_>,
        topology: &Topology,
        reply: &mut PendingReply,
    ) {
        let state = &mut self.state;
        let (target, redirect_target) =
            (command.target.clone(), command.redirect_target().cloned());
        let request = RouteRequest {
            target: &target,
            redirect_target: redirect_target.as_ref(),
            replica_eligible: state.replica_eligible(command),
            name: command.name,
        };
        let destination = match state.destination(&request, topology) {
            Ok(destination) => destination,
            Err(error) => return state.retry_unroutable(command, error),
        };
        let call = state.attempt().of_command(command.name);
        let call = call.repeatable(command.read);
        let result = match state.consistency {
            None => {
                let attempt = call.attempt_at(call.began);
                let peer = destination.peer;
                // The choice of the node may have taken time, and the call may have been cancelled meanwhile.
                let ready = if call.in_fiber { call.check() } else { Ok(()) };
                let reply =
                    ready.and_then(|()| peer.call(destination.kind, &command.body(), attempt));
                reply.map(CommandReply::whole)
            }
            Some(_) => state.call_timed(command, &destination, &call),
        };
        let mut pending = PendingCommand::new(command, 0, reply);
        self.handle_result(&mut pending, result, &destination, topology);
    }

    /// Handles the reply of a command that was sent alone, or the error of its attempt.
    fn handle_result(
        &mut self,
        pending: &mut PendingCommand<'_, '_>,
        result: Result<Box<Reply>>,
        destination: &Destination<'_>,
        topology: &Topology,
    ) {
        let state = &mut self.state;
        let mut reply = match result {
            Ok(reply) => reply,
            Err(error) => return state.handle_io_error(pending, destination, error),
        };
        reply.root.value.flags |= flag::NODE_VALUE | flag::SENT;
        let is_error = reply.root.value.kind == Kind::Error;
        let check = match is_error {
            true => FreshnessCheck::Accepted,
            false => state.check_freshness(pending.command, reply.view(), destination, topology),
        };
        if check == FreshnessCheck::Rejected {
            destination.peer.record_success();
            return;
        }
        pending.store(reply);
        if check == FreshnessCheck::Unverified {
            destination.peer.record_success();
            return pending.keep_unverified();
        }
        if is_error {
            state.handle_error_reply(pending, destination, topology, &[]);
        } else {
            destination.peer.record_success();
            pending.command.is_pending = false;
        }
    }

    /// Several commands, or one that needs a connection of its own.
    fn run_multi(
        &mut self,
        commands: &mut [RoutedCommand<'_>],
        topology: &Topology,
        pending: &mut PendingReply,
    ) {
        let mut reply = pending.take().unwrap_or_default();
        let is_single = reply.node_values.is_empty();
        let sink = self.state.round_sink();
        if is_single {
            reply.node_values.push(NodeValue::NIL);
        }
        let mut table = self.assign_batches(commands, topology);
        plan_multi_probe(commands, &table);
        let state = &mut self.state;
        let call = state.attempt().repeatable(table.reads_only);
        let batches = &mut table.batches;
        let sent = RoundCommands::Routed(commands);
        let batch_errors = match state.consistency {
            None => send_and_receive(batches, sent, &mut reply, &call, sink),
            Some(_) => state.send_and_receive_timed(batches, sent, &mut reply, &call, sink),
        };
        *pending = Some(reply);
        if let [command] = commands
            && command.is_multi_probe()
        {
            if state.finish_multi_probe(command, pending, &table) {
                self.run_multi(commands, topology, pending);
            }
            return;
        }
        state.check_freshness_all(commands, pending, &table);
        state.apply_outcomes(commands, pending, &table, &batch_errors);
        if is_single && let Some(reply) = pending {
            reply.root = reply.node_values[0];
            reply.node_values.clear();
        }
    }

    fn assign_batches<'t>(
        &mut self,
        commands: &mut [RoutedCommand<'_>],
        topology: &'t Topology,
    ) -> BatchTable<'t> {
        let mut table = BatchTable::new(&self.state, topology, commands.len());
        // In the first round all commands are open.
        let batch = self.state.batch.filter(|_| self.state.tries > 0);
        for (number, command) in commands
            .iter_mut()
            .enumerate()
            .filter(|(_, c)| c.is_pending)
        {
            command.unroutable = false;
            if batch.is_some_and(|batch| !batch.is_open(number)) {
                command.is_pending = false;
                continue;
            }
            table.reads_only &= command.read;
            if table.join_primary(number, command)
                || table.join_reader(&self.state, number, command)
            {
                continue;
            }
            command.recheck = false;
            if let Err(error) = table.assign(&self.state, number, command) {
                self.state.retry_unroutable(command, error);
                command.unroutable = true;
            }
        }
        table.count_reads(&self.state);
        table
    }

    /// Between two rounds: refreshes the topology and waits, where the last round asked for that. At
    /// the end of the call closes the open commands and returns false.
    fn refresh_and_backoff(
        &mut self,
        commands: &mut [RoutedCommand<'_>],
        reply: &mut PendingReply,
    ) -> bool {
        sim_panic_point!(Cluster);
        let state = &mut self.state;
        let last_round = state.attempt_elapsed();
        state.accept_unverified(commands, reply);
        if commands.iter().all(|c| !c.is_pending) {
            state.topology_outdated |= state.refresh;
            return false;
        }
        state.tries += 1;
        state.excluded_before = state.excluded.len();
        count(&state.core.stats.retries);
        let mut end = state.end_of_call(commands);
        if end.is_none() && state.refresh {
            state.core.refresh_if_due(state.process, &state.call);
        }
        if end.is_none() && state.wait {
            let until = match state.redirect_loops {
                0 => backoff(state.tries - 1),
                n => redirect_backoff(n - 1),
            };
            let until = until.min(state.call.deadline);
            end = state.call.sleep(until).err();
        }
        let end = end.or_else(|| state.end_of_call(commands));
        match end.or_else(|| state.end_before_write(commands, last_round)) {
            None => {
                state.round_began = now();
                true
            }
            Some(end) => {
                self.complete_pending(commands, reply, &end);
                false
            }
        }
    }

    /// Answers the open commands at the end of the call.
    fn complete_pending(
        &self,
        commands: &mut [RoutedCommand<'_>],
        reply: &mut PendingReply,
        end: &Error,
    ) {
        for (number, command) in commands
            .iter_mut()
            .enumerate()
            .filter(|(_, c)| c.is_pending)
        {
            // The primary could not be asked in time.
            if end.code == Code::Timeout
                && command.last().is_none()
                && let Some(answer) = command.unverified()
            {
                PendingCommand::new(command, number, reply).complete(answer);
                continue;
            }
            let error = match (command.last(), end.code) {
                // The error of the last attempt is more useful than the timeout.
                (Some(last), Code::Timeout) => {
                    let mut error = last.clone();
                    error.message = format!(
                        "{} (gave up after {} ms)",
                        error.message, self.state.policy.timeout_ms
                    );
                    error
                }
                _ => end.clone(),
            };
            PendingCommand::new(command, number, reply).fail(&error);
        }
    }
}
