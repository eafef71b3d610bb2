//! Pipelines and transactions of a caller.

use super::caller::Caller;
use super::history::{WriteOutcome, WriteRecord};
use super::run::lock;
use crate::cluster::Pipeline;
use crate::error::{Code, Error};
use crate::resp::{Kind, Reply, Value};
use crate::simulation::simulator::SeededRng;
use crate::topology::key_slot;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A command of a pipeline.
pub(super) enum PipelineCommand {
    Write { key: String, token: String },
    Read { key: String, nonce: String },
}

/// The reply to the command with this number, if the call returned one.
type ReplyOf<'r> = Option<(&'r Reply, Value)>;

/// Appends a command as the C interface does: a panic becomes an error at the command's position.
fn append(pipeline: &mut Pipeline, args: &[&[u8]]) {
    if catch_unwind(AssertUnwindSafe(|| pipeline.command(args))).is_err() {
        pipeline.fail(Error::new(Code::Internal, "a panic"));
    }
}

pub(super) fn append_incrby(pipeline: &mut Pipeline, key: &str, token: &str) {
    append(pipeline, &[b"INCRBY", key.as_bytes(), token.as_bytes()]);
}

pub(super) fn append_getrange(pipeline: &mut Pipeline, key: &str, nonce: &str) {
    let args: [&[u8]; 4] = [b"GETRANGE", key.as_bytes(), b"0", nonce.as_bytes()];
    append(pipeline, &args);
}

impl Caller<'_> {
    /// Reads and writes of any keys. Commands of one slot must execute in order.
    pub(super) fn pipeline(&self, rng: &mut SeededRng, first_token: u64) {
        let count = if rng.chance(100) {
            60
        } else {
            rng.between(1, 12)
        };
        let commands: Vec<PipelineCommand> = (0..count)
            .map(|number| self.random_command(rng, first_token + number))
            .collect();
        let mut pipeline = Pipeline::new(self.context.client.clone());
        for command in &commands {
            match command {
                PipelineCommand::Write { key, token } => append_incrby(&mut pipeline, key, token),
                PipelineCommand::Read { key, nonce } => append_getrange(&mut pipeline, key, nonce),
            }
        }
        let floors: HashMap<String, u64> = lock(&self.context.acknowledged).clone();
        let name = format!("pipeline of {count}");
        let (began, reply) = self.call(&name, &self.context.client, || pipeline.execute());
        self.check_pipeline_reply(&commands, (began, &floors), reply.as_deref());
    }

    /// Checks the reply to a pipeline; None if the call panicked. It began at `began`, when `floors` were the
    /// acknowledged versions of the keys.
    pub(super) fn check_pipeline_reply(
        &self,
        commands: &[PipelineCommand],
        (began, floors): (u64, &HashMap<String, u64>),
        reply: Option<&Reply>,
    ) {
        let count = commands.len();
        let values: Vec<Option<Value>> = match reply {
            None => vec![None; count],
            Some(reply) if reply.root.value.kind == Kind::Error => {
                vec![Some(reply.root.value); count]
            }
            Some(reply) => reply.view().elements().map(|v| Some(v.value())).collect(),
        };
        if values.len() != count {
            let replies = values.len();
            self.fail(format!("a pipeline of {count} returned {replies} replies"));
            return;
        }
        let replies: Vec<ReplyOf<'_>> = values.iter().map(|value| reply.zip(*value)).collect();
        self.check_pipeline(commands, &replies, floors, began);
    }

    pub(super) fn random_command(&self, rng: &mut SeededRng, token: u64) -> PipelineCommand {
        let key = self.random_key(rng).to_string();
        let token = token.to_string();
        if rng.chance(600) {
            PipelineCommand::Write { key, token }
        } else {
            PipelineCommand::Read { key, nonce: token }
        }
    }

    /// Records the writes of a pipeline and checks its reads.
    fn check_pipeline(
        &self,
        commands: &[PipelineCommand],
        replies: &[ReplyOf<'_>],
        floors: &HashMap<String, u64>,
        began: u64,
    ) {
        // Keys of a migrating slot may be at two nodes. Then only the order of each key is kept.
        let has_migrations = self.context.scenario.has_migrations();
        let order_group = |key: &str| match has_migrations {
            true => key.to_string(),
            false => key_slot(key.as_bytes()).to_string(),
        };
        let mut ordered: HashMap<String, Vec<String>> = HashMap::new();
        let mut reads: Vec<(usize, &str, u64)> = Vec::new();
        for (number, (command, reply)) in commands.iter().zip(replies).enumerate() {
            match command {
                PipelineCommand::Write { key, token } => {
                    let tokens = ordered.entry(order_group(key)).or_default();
                    tokens.push(token.clone());
                    self.record_write(key, token, *reply);
                }
                PipelineCommand::Read { key, nonce } => {
                    let floor = floors.get(key).copied().unwrap_or(0);
                    if let Some((reply, value)) = reply
                        && let Some(version) =
                            self.check_read((key, nonce), (began, floor), reply, *value)
                    {
                        reads.push((number, key, version));
                    }
                }
            }
        }
        for read in reads {
            self.check_read_position(commands, replies, read);
        }
        lock(&self.context.history)
            .ordered
            .extend(ordered.into_values());
    }

    /// Checks that a read of a pipeline observed the writes before it and none after it.
    fn check_read_position(
        &self,
        commands: &[PipelineCommand],
        replies: &[ReplyOf<'_>],
        (read, key, version): (usize, &str, u64),
    ) {
        for (write, (command, reply)) in commands.iter().zip(replies).enumerate() {
            let PipelineCommand::Write {
                key: written,
                token,
            } = command
            else {
                continue;
            };
            let succeeded = reply.is_some_and(|(_, value)| value.kind != Kind::Error);
            if written != key || !succeeded {
                continue;
            }
            let state = self.thread.simulation.lock();
            let executions = state.cluster.executions.get(token).cloned();
            drop(state);
            if let Some([execution]) = executions.as_deref()
                && (write < read) != (execution.version <= version)
            {
                let written = execution.version;
                self.fail(format!(
                    "command {read} of a pipeline read version {version} of {key}, command {write} wrote version {written}"
                ));
            }
        }
    }

    /// A pipeline of reads by the read-only handle.
    pub(super) fn reader_pipeline(&self, rng: &mut SeededRng, first_nonce: u64) {
        let reader = &self.context.reader;
        let mut pipeline = Pipeline::new(reader.clone());
        let mut reads = Vec::new();
        for number in 0..rng.between(1, 20) {
            let key = self.random_key(rng).to_string();
            let nonce = (first_nonce + number).to_string();
            append_getrange(&mut pipeline, &key, &nonce);
            reads.push((key, nonce));
        }
        let (began, reply) = self.call("read-only pipeline", reader, || pipeline.execute());
        let Some(reply) = reply else { return };
        if reply.root.value.kind == Kind::Error {
            self.write_outcome(&reply, reply.root.value);
            return;
        }
        for ((key, nonce), value) in reads.iter().zip(reply.view().elements()) {
            self.check_read((key, nonce), (began, 0), &reply, value.value());
        }
    }

    /// A transaction that is sent as a whole.
    pub(super) fn transaction(&self, rng: &mut SeededRng, key: &str, first_token: u64) {
        let slot = key_slot(key.as_bytes());
        let keys: Vec<&String> = self
            .context
            .keys
            .iter()
            .filter(|key| key_slot(key.as_bytes()) == slot)
            .collect();
        let mut pipeline = Pipeline::new(self.context.client.clone());
        let mut writes = Vec::new();
        for number in 0..rng.between(1, 5) {
            let key = keys[rng.below(keys.len() as u64) as usize].as_str();
            let token = (first_token + number).to_string();
            append_incrby(&mut pipeline, key, &token);
            writes.push((key.to_string(), token));
        }
        let (_, reply) = self.call("transaction", &self.context.client, || {
            pipeline.execute_atomic()
        });
        self.record_transaction(&writes, reply.as_deref());
    }

    /// Records the writes of a transaction, keys and tokens. Returns which of them have been acknowledged.
    pub(super) fn record_transaction(
        &self,
        writes: &[(String, String)],
        reply: Option<&Reply>,
    ) -> Vec<bool> {
        let is_error = |reply: &Reply| reply.root.value.kind == Kind::Error;
        let mut acknowledged = Vec::new();
        for (number, (key, token)) in writes.iter().enumerate() {
            let reply = reply.map(|reply| {
                let value = match reply.view().at(number) {
                    Some(view) if !is_error(reply) => view.value(),
                    _ => reply.root.value,
                };
                (reply, value)
            });
            self.record_write(key, token, reply);
            acknowledged.push(reply.is_some_and(|(_, value)| value.kind != Kind::Error));
        }
        self.record_atomic(writes.iter().map(|(_, token)| token.clone()).collect());
        acknowledged
    }

    /// The writes of these tokens must execute in this order, and all or none.
    pub(super) fn record_atomic(&self, tokens: Vec<String>) {
        let mut history = lock(&self.context.history);
        history.ordered.push(tokens.clone());
        history.atomic.push(tokens);
    }

    /// A transaction on a pinned connection, sent command by command.
    pub(super) fn pinned_transaction(&self, rng: &mut SeededRng, key: &str, first_token: u64) {
        let pinned = self.context.client.pin(key.as_bytes());
        let tokens: Vec<String> = (0..rng.between(1, 3))
            .map(|number| (first_token + number).to_string())
            .collect();
        let send = |words: &[&str]| {
            let args: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
            let name = format!("pinned {words:?}");
            self.call(&name, &pinned, || pinned.command(&args)).1
        };
        let succeeds =
            |words: &[&str]| send(words).is_some_and(|reply| reply.root.value.kind != Kind::Error);
        if rng.chance(300) {
            send(&["WATCH", key]);
        }
        // Without MULTI, the next commands would not be a transaction.
        if !succeeds(&["MULTI"]) {
            return;
        }
        if !tokens.iter().all(|token| succeeds(&["INCRBY", key, token])) {
            send(&["DISCARD"]);
            let writes = tokens.into_iter().map(|token| WriteRecord {
                token,
                outcome: WriteOutcome::NotExecuted,
                reply: "a discarded transaction".to_string(),
            });
            lock(&self.context.history).writes.extend(writes);
            return;
        }
        let reply = send(&["EXEC"]);
        for (number, token) in tokens.iter().enumerate() {
            let reply = reply.as_deref().map(|reply| {
                let value = match reply.view().at(number) {
                    Some(view) => view.value(),
                    None => reply.root.value,
                };
                (reply, value)
            });
            self.record_write(key, token, reply);
        }
        self.record_atomic(tokens);
    }
}
