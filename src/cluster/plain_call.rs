//! A call of a thread with one command as most are: with one key, for any node of its shard. Its first attempt, which
//! mostly succeeds, is made here; an execution does the rest.

use super::client::Client;
use crate::cluster::execute::{Execution, FirstNode, RoutedCommand, Target, count_read};
use crate::cluster::state::{Core, ProcessState};
use crate::config::ReadFrom;
use crate::deadline::{Time, now};
use crate::error::Result;
use crate::net::{Call, ConnectionKind, Peer};
use crate::random::mixed;
use crate::resp::{CommandBody, CommandReply, flag};
use crate::route::{Access, Row, allows_early_send, choose_first};
use crate::topology::Shard;

/// The command of a plain call.
#[derive(Clone, Copy)]
struct PlainCommand<'a> {
    row: &'static Row,
    access: Access,
    slot: u16,
    body: &'a CommandBody<'a>,
}

impl<'a> PlainCommand<'a> {
    #[inline]
    fn new(row: &'static Row, access: Access, slot: u16, body: &'a CommandBody<'a>) -> Self {
        PlainCommand {
            row,
            access,
            slot,
            body,
        }
    }

    #[inline]
    fn is_read(self) -> bool {
        self.access == Access::Read
    }

    fn routed(self) -> RoutedCommand<'a> {
        let (target, name) = (Target::Slot(self.slot), self.row.name);
        RoutedCommand::new(*self.body, name, target, self.is_read())
    }
}

impl Client {
    /// Executes a command with this row and key.
    #[inline(never)]
    pub(super) fn run_plain(
        &self,
        core: &Core,
        (row, access): (&'static Row, Access),
        key: &[u8],
        body: &CommandBody<'_>,
    ) -> Result<CommandReply> {
        let process = core.process();
        let topology = process.topology.load();
        let slot = topology.key_space().slot(key);
        let command = PlainCommand::new(row, access, slot, body);
        let read = command.is_read();
        let call = self.call_since(now(), process, 0);
        let call = call.early(allows_early_send(row));
        let call = call.of_command(row.name).repeatable(read);
        let reads_replicas = read && self.policy.read_from != ReadFrom::Primary;
        let first = topology.shard(slot).and_then(|shard| match reads_replicas {
            true => self.first_reader(core, process, shard, (slot, call.began)),
            false => self.first_at_primary(shard),
        });
        let Some(first) = first else {
            drop(topology);
            return self.run_from_start(core, process, call, command);
        };
        let outcome = {
            let _in_flight = reads_replicas.then(|| first.node.peer.load.track_in_flight(1));
            let attempt = call.attempt_at(call.began);
            Peer::call_if_healthy(&first.node.peer, first.kind, body, attempt)
        };
        let Some(outcome) = outcome else {
            drop(topology);
            return self.run_from_start(core, process, call, command);
        };
        match outcome {
            Ok(mut reply)
                if !reply.is_error() && (!reads_replicas || !process.has_migrations()) =>
            {
                if let CommandReply::Whole(reply) = &mut reply {
                    reply.root.value.flags |= flag::NODE_VALUE | flag::SENT;
                }
                if !read && core.session.is_on() {
                    self.record_session(core, slot, access);
                }
                if process.is_refresh_wanted(call.began)
                    || (reads_replicas && process.is_replica_refresh_due(call.began))
                {
                    core.refresh_if_due(process, &call);
                }
                Ok(reply)
            }
            outcome => {
                let execution = self.context_of(core, process, call).execution();
                Ok(resume(execution, command, first, outcome))
            }
        }
    }

    /// Executes the command of which no attempt was made, after connecting if the client is not connected yet.
    #[cold]
    fn run_from_start(
        &self,
        core: &Core,
        process: &ProcessState,
        call: Call<'_>,
        command: PlainCommand<'_>,
    ) -> Result<CommandReply> {
        let mut context = self.context_of(core, process, call);
        context.connect()?;
        Ok(context.run_one(command.routed()).into())
    }

    #[inline]
    fn first_at_primary<'t>(&self, shard: &'t Shard) -> Option<FirstNode<'t>> {
        Some(FirstNode {
            node: shard.primary.as_ref()?,
            kind: ConnectionKind::primary(self.policy.kind.database()),
            any_replica_ok: false,
            is_primary: true,
        })
    }

    /// The node of a shard that serves a read, where nothing has to be proven and the first choice is good.
    fn first_reader<'t>(
        &self,
        core: &Core,
        process: &ProcessState,
        shard: &'t Shard,
        (slot, time): (u16, Time),
    ) -> Option<FirstNode<'t>> {
        let consistency = self.consistency.as_ref()?;
        if consistency.rechecks_missing_keys() || process.has_migrations() {
            return None;
        }
        let random = mixed(time.nanos(), slot.into());
        let (node, is_primary) = choose_first(shard, self.policy.read_from, random)?;
        count_read(core, node, is_primary);
        Some(FirstNode {
            node,
            kind: self.policy.kind,
            any_replica_ok: true,
            is_primary,
        })
    }
}

/// Goes on after a first attempt that was no success.
#[cold]
fn resume(
    execution: Execution<'_>,
    command: PlainCommand<'_>,
    first: FirstNode<'_>,
    outcome: Result<CommandReply>,
) -> CommandReply {
    let outcome = outcome.map(CommandReply::whole);
    let reply = execution.resume_after_first(command.routed(), outcome, &first);
    reply.into()
}
