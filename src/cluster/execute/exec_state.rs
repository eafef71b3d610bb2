//! The state of a call over its rounds.

use super::command_batch::CommandBatch;
use super::exec_policy::ExecPolicy;
use super::routed_command::RoutedCommand;
use crate::cluster::reads::ReadConsistency;
use crate::cluster::state::{Core, ProcessState, count};
use crate::deadline::{Time, now};
use crate::error::{Code, Error};
use crate::net::{Call, release_time};
use crate::route::leaves_time_for_write;
use std::cell::Cell;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// After a timeout, nothing is sent again in the last moment of a call: in the last 50th of its time, or this time.
const LAST_PART: u32 = 50;
const LAST_MOMENT: Duration = Duration::from_millis(100);

/// The state of a call over its rounds. A round sends every open command once.
pub(super) struct ExecState<'c> {
    pub(super) core: &'c Core,
    pub(super) process: &'c ProcessState,
    pub(super) policy: ExecPolicy,
    /// Set for a handle that reads from replicas.
    pub(super) consistency: Option<&'c ReadConsistency>,
    pub(super) call: Call<'c>,
    /// Decides among replicas, in the same way for all commands of a slot.
    pub(super) seed: u64,
    /// How many rounds have ended.
    pub(super) tries: u32,
    pub(super) round_began: Time,
    /// Nodes, by index, that have failed in this call.
    pub(super) excluded: Vec<usize>,
    /// How many of them failed in earlier rounds.
    pub(super) excluded_before: usize,
    /// Slots that the pipeline writes: their reads go to the primary too.
    written: Option<Box<[u64; 256]>>,
    /// The topology should be refreshed when the call ends.
    pub(super) topology_outdated: bool,
    /// Refresh the topology before the next round.
    pub(super) refresh: bool,
    /// Wait before the next round.
    pub(super) wait: bool,
    /// How many redirections a command of this round has beyond the two that a migration explains.
    pub(super) redirect_loops: u32,
    /// A read found a shard without replicas.
    pub(super) missed_replicas: Cell<bool>,
    /// The address of the peer that this call has probed and sends a command to; 0 for none.
    pub(super) probing: Cell<usize>,
    /// Where the commands come from and the answers go, if that is one by one.
    pub(super) batch: Option<&'c dyn CommandBatch>,
}

impl<'c> ExecState<'c> {
    #[inline]
    pub(super) fn new(
        core: &'c Core,
        process: &'c ProcessState,
        policy: ExecPolicy,
        consistency: Option<&'c ReadConsistency>,
        call: Call<'c>,
    ) -> Self {
        ExecState {
            core,
            process,
            policy,
            consistency,
            call,
            seed: 0,
            tries: 0,
            round_began: call.began,
            excluded: Vec::new(),
            excluded_before: 0,
            written: None,
            topology_outdated: false,
            refresh: false,
            wait: false,
            redirect_loops: 0,
            missed_replicas: Cell::new(false),
            probing: Cell::new(0),
            batch: None,
        }
    }

    /// The call, with the attempt timeout running from this round on.
    #[inline]
    pub(super) fn attempt(&self) -> Call<'c> {
        match self.tries {
            0 => self.call,
            _ => self.call.with_start(now()),
        }
    }

    /// How long this round has taken, of the time that one attempt has.
    pub(super) fn attempt_elapsed(&self) -> Duration {
        let most = self.policy.attempt_ms.min(self.policy.timeout_ms);
        now()
            .since(self.round_began)
            .min(Duration::from_millis(most))
    }

    pub(super) fn note_writes(&mut self, commands: &[RoutedCommand<'_>]) {
        let mut written: Option<Box<[u64; 256]>> = None;
        for command in commands.iter().filter(|c| !c.read) {
            if let Some(slot) = command.slot() {
                written.get_or_insert_with(|| Box::new([0; 256]))[usize::from(slot >> 6)] |=
                    1 << (slot & 63);
            }
        }
        self.written = written;
    }

    pub(super) fn is_written(&self, slot: u16) -> bool {
        self.written
            .as_ref()
            .is_some_and(|w| w[usize::from(slot >> 6)] & (1 << (slot & 63)) != 0)
    }

    /// Whether a replica may answer the command, as far as is known before it is sent. In a
    /// transaction of reads the answer of EXEC does not tell whether a key is missing.
    #[inline]
    pub(super) fn replica_eligible(&self, command: &RoutedCommand<'_>) -> bool {
        command.replica_eligible()
            && (command.preludes == 0
                || self.consistency.is_none_or(|p| !p.rechecks_missing_keys())
                    && !command.slot().is_some_and(|slot| self.is_migrating(slot)))
    }

    /// Whether a slot is known to migrate.
    pub(super) fn is_migrating(&self, slot: u16) -> bool {
        let migrating = &self.process.migrating_slots;
        !migrating.is_empty() && migrating.contains(slot, now())
    }

    /// Whether a refresh is due to find replicas where there were none, or to see changed roles.
    pub(super) fn is_replica_refresh_due(&self) -> bool {
        let (process, time) = (self.process, self.call.began);
        process.is_replica_refresh_due(time)
            || (self.missed_replicas.get()
                && time.millis() >= process.find_replicas_at.load(Ordering::Relaxed))
    }

    /// Why the call ends now, if it does: it was cancelled, or has no time left for another round of these commands.
    pub(super) fn end_of_call(&self, commands: &[RoutedCommand<'_>]) -> Option<Error> {
        if let Err(error) = self.call.check_cancelled() {
            return Some(error);
        }
        let open = commands.iter().filter(|c| c.is_pending);
        // A node that has not answered in the time before does not answer in the last moment.
        let timed_out = |c: &RoutedCommand<'_>| c.last().is_some_and(|e| e.code == Code::Timeout);
        let reserve = match open.clone().any(timed_out) {
            true => (Duration::from_millis(self.policy.timeout_ms) / LAST_PART).min(LAST_MOMENT),
            false => Duration::ZERO,
        };
        let reserve = match open.count() {
            0 | 1 => reserve,
            n => {
                let nodes = self.process.load_topology().nodes.len();
                reserve.max(release_time(0, n.min(nodes)))
            }
        };
        let end = self.call.deadline.earlier(reserve);
        end.passed(now()).then(|| self.timed_out())
    }

    /// Why the call ends although a little time is left: a write that certainly has not run would probably be sent and
    /// get no reply in time. `last_round` is how long the last round took.
    pub(super) fn end_before_write(
        &self,
        commands: &[RoutedCommand<'_>],
        last_round: Duration,
    ) -> Option<Error> {
        let left = self.call.deadline.left(now())?;
        let timeout = Duration::from_millis(self.policy.timeout_ms);
        if leaves_time_for_write(left, last_round, timeout) {
            return None;
        }
        let mut writes = commands.iter().filter(|c| c.is_pending && !c.read);
        let has_not_run = |c: &RoutedCommand<'_>| c.last().is_some() && !c.may_have_run();
        writes.any(has_not_run).then(|| self.timed_out())
    }

    fn timed_out(&self) -> Error {
        let ms = self.policy.timeout_ms;
        Error::new(
            Code::Timeout,
            format_args!("the call timed out after {ms} ms"),
        )
    }

    /// Leaves open a command that no node can take, as when the cluster is down.
    #[cold]
    pub(super) fn retry_unroutable(&mut self, command: &mut RoutedCommand<'_>, error: Error) {
        count(&self.core.stats.clusterdown);
        let retry_state = command.retry_state();
        retry_state.last = Some(error);
        retry_state.unverifiable = true;
        self.wait = true;
        self.refresh = true;
    }
}
