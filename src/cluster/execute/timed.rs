//! Sends commands and measures what the choice among nodes depends on: requests in flight and round
//! trips.

use super::command_batch::RoundSink;
use super::destination::Destination;
use super::exec_state::ExecState;
use super::node_batch::{BatchErrors, NodeBatch, send_and_receive};
use super::round_commands::RoundCommands;
use super::routed_command::RoutedCommand;
use crate::config::ReadFrom;
use crate::deadline::now;
use crate::error::Result;
use crate::net::Call;
use crate::resp::{CommandReply, Reply};
use std::sync::atomic::Ordering;

impl ExecState<'_> {
    /// Calls one command.
    pub(super) fn call_timed(
        &self,
        command: &RoutedCommand<'_>,
        destination: &Destination<'_>,
        call: &Call<'_>,
    ) -> Result<Box<Reply>> {
        let load = &destination.peer.load;
        let _in_flight = load.track_in_flight(1);
        // The choice of the node may have taken time, with probes, and the call may have been cancelled meanwhile.
        call.check()?;
        let began = now();
        let connects = &destination.peer.counters.connects;
        let connects_before = connects.load(Ordering::Relaxed);
        let attempt = call.attempt_at(began);
        let result = (destination.peer).call(destination.kind, &command.body(), attempt);
        let result = result.map(CommandReply::whole);
        // Connecting takes several round trips, so such a call is not measured.
        if self.policy.read_from == ReadFrom::Nearest
            && destination.any_replica_ok
            && result.is_ok()
            && connects_before == connects.load(Ordering::Relaxed)
        {
            let time = now();
            load.record_rtt(time, time.since(began));
        }
        result
    }

    /// Does the same for node batches.
    pub(super) fn send_and_receive_timed(
        &self,
        batches: &mut [NodeBatch],
        commands: RoundCommands<'_>,
        reply: &mut Reply,
        call: &Call<'_>,
        sink: RoundSink<'_>,
    ) -> BatchErrors {
        let peers: Vec<_> = batches
            .iter()
            .map(|batch| (batch.peer.clone(), batch.len() as u32))
            .collect();
        let in_flight: Vec<_> = peers
            .iter()
            .map(|(peer, commands)| peer.load.track_in_flight(*commands))
            .collect();
        let batch_errors = send_and_receive(batches, commands, reply, call, sink);
        drop(in_flight);
        if self.policy.read_from == ReadFrom::Nearest {
            for batch in batches.iter().filter(|b| b.kind().is_readonly()) {
                if let Some(rtt) = batch.rtt() {
                    batch.peer.load.record_rtt(now(), rtt);
                }
            }
        }
        batch_errors
    }
}
