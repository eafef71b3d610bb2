//! A call of a thread with one command as most are: with one key, for any node of its shard. Its first attempt, which
//! mostly succeeds, is made here; an execution does the rest.

use super::client::Client;
use super::context::ExecContext;
use crate::cluster::execute::{FirstNode, RoutedCommand, Target, count_read};
use crate::cluster::state::{Core, ProcessState};
use crate::config::ReadFrom;
use crate::deadline::{Time, now};
use crate::error::Result;
use crate::net::{ConnectionKind, Peer};
use crate::random::mixed;
use crate::resp::{CommandBody, CommandReply, Reply, flag};
use crate::route::{Access, Row, allows_early_send, choose_first};
use crate::topology::Shard;

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
        let (slot, read) = (topology.key_space().slot(key), access == Access::Read);
        let call = self.call_since(now(), process, 0);
        let call = call.early(allows_early_send(row));
        let call = call.of_command(row.name).repeatable(read);
        let routed = || RoutedCommand::new(*body, row.name, Target::Slot(slot), read);
        let reads_replicas = read && self.policy.read_from != ReadFrom::Primary;
        let first = topology.shard(slot).and_then(|shard| match reads_replicas {
            true => self.first_reader(core, process, shard, (slot, call.began)),
            false => self.first_at_primary(shard),
        });
        let attempt = call.attempt_at(call.began);
        let outcome = first.as_ref().and_then(|first| {
            let _in_flight = reads_replicas.then(|| first.node.peer.load.track_in_flight(1));
            Peer::call_if_healthy(&first.node.peer, first.kind, body, attempt)
        });
        let Some((first, outcome)) = first.zip(outcome) else {
            drop(topology);
            let context = self.context_of(core, process, call);
            return Ok(run_connected(context, routed())?.into());
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
                let outcome = outcome.map(CommandReply::whole);
                Ok(execution
                    .resume_after_first(routed(), outcome, &first)
                    .into())
            }
        }
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

/// Executes one command, after connecting if the client is not connected yet.
fn run_connected(mut context: ExecContext<'_>, command: RoutedCommand<'_>) -> Result<Box<Reply>> {
    context.connect()?;
    Ok(context.run_one(command))
}
