//! What callers were told of their writes, and its comparison with what the servers executed.

use crate::simulation::cluster_model::Execution;
use std::collections::HashMap;

/// What a caller was told of a write.
#[derive(Clone, Debug)]
pub(super) enum WriteOutcome {
    /// Executed, with the serial number if the reply contains it.
    Executed(Option<u64>),
    NotExecuted,
    Unknown,
}

/// A write, identified by its token.
pub(super) struct WriteRecord {
    pub(super) token: String,
    pub(super) outcome: WriteOutcome,
    pub(super) reply: String,
}

/// All writes of a run.
#[derive(Default)]
pub(super) struct History {
    pub(super) writes: Vec<WriteRecord>,
    /// Tokens that must execute in this order.
    pub(super) ordered: Vec<Vec<String>>,
    /// Tokens of which all must execute, or none.
    pub(super) atomic: Vec<Vec<String>>,
}

impl History {
    /// Compares the history with the executions of each token.
    pub(super) fn verify(
        &self,
        executions: &HashMap<String, Vec<Execution>>,
    ) -> Result<(), String> {
        let executions_of = |token: &str| executions.get(token).map_or(&[][..], Vec::as_slice);
        for (token, executions) in executions {
            if executions.len() > 1 {
                return Err(format!("{token} was executed {} times", executions.len()));
            }
        }
        for write in &self.writes {
            let executions = executions_of(&write.token);
            let is_wrong = match &write.outcome {
                WriteOutcome::Executed(serial) => {
                    executions.len() != 1
                        || serial.is_some_and(|serial| executions[0].serial != serial)
                }
                WriteOutcome::NotExecuted => !executions.is_empty(),
                WriteOutcome::Unknown => false,
            };
            if is_wrong {
                let WriteRecord {
                    token,
                    outcome,
                    reply,
                } = write;
                return Err(format!(
                    "{token}: reported as {outcome:?} ({reply}), executions: {executions:?}"
                ));
            }
        }
        for tokens in &self.ordered {
            let serials: Vec<u64> = tokens
                .iter()
                .filter_map(|token| executions_of(token).first())
                .map(|execution| execution.serial)
                .collect();
            if !serials.is_sorted() {
                return Err(format!("{tokens:?} executed out of order: {serials:?}"));
            }
        }
        for tokens in &self.atomic {
            let executed = |token: &&String| !executions_of(token).is_empty();
            let count = tokens.iter().filter(executed).count();
            if count != 0 && count != tokens.len() {
                let len = tokens.len();
                return Err(format!(
                    "{count} of {len} commands of the transaction {tokens:?} were executed"
                ));
            }
        }
        Ok(())
    }
}
