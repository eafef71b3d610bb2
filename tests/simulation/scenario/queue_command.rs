//! The commands of a queue: how they are submitted, and the checks of their replies.

use super::caller::Caller;
use super::history::{WriteOutcome, WriteRecord};
use super::pipelines::{PipelineCommand, append_getrange, append_incrby};
use super::run::lock;
use crate::cluster::{Client, Pipeline, Queue};
use crate::error::Code;
use crate::resp::{Kind, Reply, Value};
use crate::simulation::cluster_model::DBSIZE_OF_SHARD;
use crate::simulation::simulator::{MS, SeededRng};
use crate::topology::key_slot;
use std::collections::HashMap;
use std::sync::Arc;

/// What one tag stands for.
pub(super) enum QueueCommand {
    /// INCRBY, SET or RPUSH.
    Write {
        name: &'static str,
        key: String,
        token: String,
    },
    /// GETRANGE with a nonce, or GET without one.
    Read {
        key: String,
        nonce: String,
    },
    Mget(Vec<String>),
    Dbsize,
    Blpop(String),
    Pipeline(Vec<PipelineCommand>),
    /// Writes in MULTI and EXEC: keys and tokens.
    Transaction(Vec<(String, String)>),
}

/// One command of a slot, in the order of submission.
pub(super) struct OrderedCommand {
    pub(super) key: String,
    /// None for a read.
    pub(super) token: Option<String>,
    /// The write was acknowledged.
    pub(super) is_acknowledged: bool,
    /// What the read returned.
    pub(super) version: Option<u64>,
}

impl QueueCommand {
    /// A command of a random kind. `number` begins a range of unique tokens.
    pub(super) fn random(
        caller: &Caller<'_>,
        rng: &mut SeededRng,
        number: u64,
        is_reader: bool,
    ) -> QueueCommand {
        let key = caller.random_key(rng).to_string();
        let token = number.to_string();
        let kinds = if caller.context.scenario.is_contended {
            6
        } else {
            12
        };
        match rng.below(kinds) {
            kind @ 0..=3 if !is_reader => QueueCommand::Write {
                name: ["INCRBY", "INCRBY", "SET", "RPUSH"][kind as usize],
                key,
                token,
            },
            0..=4 => QueueCommand::Read { key, nonce: token },
            5 => QueueCommand::Read {
                key,
                nonce: String::new(),
            },
            6 | 7 => {
                let keys = (0..rng.between(1, 6)).map(|_| caller.random_key(rng).to_string());
                QueueCommand::Mget(keys.collect())
            }
            8 => QueueCommand::Dbsize,
            9 if !is_reader => QueueCommand::Blpop(key),
            10 if !is_reader => QueueCommand::random_transaction(caller, rng, &key, number),
            _ => QueueCommand::random_pipeline(caller, rng, number, is_reader),
        }
    }

    fn random_transaction(
        caller: &Caller<'_>,
        rng: &mut SeededRng,
        key: &str,
        number: u64,
    ) -> QueueCommand {
        let slot = key_slot(key.as_bytes());
        let keys = caller.context.keys.iter();
        let keys: Vec<&String> = keys.filter(|k| key_slot(k.as_bytes()) == slot).collect();
        let write = |at: u64, key: u64| {
            let key = keys[(key % keys.len() as u64) as usize];
            (key.clone(), (number + at).to_string())
        };
        let writes = (0..rng.between(1, 4)).map(|at| write(at, rng.next()));
        QueueCommand::Transaction(writes.collect())
    }

    fn random_pipeline(
        caller: &Caller<'_>,
        rng: &mut SeededRng,
        number: u64,
        is_reader: bool,
    ) -> QueueCommand {
        let commands = (0..rng.between(1, 12)).map(|at| {
            let nonce = (number + at).to_string();
            match caller.random_command(rng, number + at) {
                PipelineCommand::Write { key, .. } if is_reader => {
                    PipelineCommand::Read { key, nonce }
                }
                command => command,
            }
        });
        QueueCommand::Pipeline(commands.collect())
    }

    /// How long the server may block.
    pub(super) fn blocking_time(&self) -> u64 {
        match self {
            QueueCommand::Blpop(_) => 1000 * MS,
            _ => 0,
        }
    }

    pub(super) fn describe(&self) -> String {
        match self {
            QueueCommand::Write { name, key, token } => format!("{name} {key} {token}"),
            QueueCommand::Read { key, nonce } => format!("GETRANGE {key} {nonce}"),
            QueueCommand::Mget(keys) => format!("MGET {keys:?}"),
            QueueCommand::Dbsize => "DBSIZE".to_string(),
            QueueCommand::Blpop(key) => format!("BLPOP {key}"),
            QueueCommand::Pipeline(commands) => format!("pipeline of {}", commands.len()),
            QueueCommand::Transaction(writes) => format!("transaction {writes:?}"),
        }
    }

    /// Submits the command.
    pub(super) fn submit(&self, queue: &mut Queue, handle: &Arc<Client>, tag: u64) {
        match self {
            QueueCommand::Write { name, key, token } => {
                queue.command(tag, &[name.as_bytes(), key.as_bytes(), token.as_bytes()]);
            }
            QueueCommand::Read { key, nonce } if nonce.is_empty() => {
                queue.command(tag, &[b"GET", key.as_bytes()]);
            }
            QueueCommand::Read { key, nonce } => {
                queue.command(tag, &[b"GETRANGE", key.as_bytes(), b"0", nonce.as_bytes()]);
            }
            QueueCommand::Mget(keys) => {
                let mut args: Vec<&[u8]> = vec![b"MGET"];
                args.extend(keys.iter().map(|key| key.as_bytes()));
                queue.command(tag, &args);
            }
            QueueCommand::Dbsize => queue.command(tag, &[b"DBSIZE"]),
            QueueCommand::Blpop(key) => queue.command(tag, &[b"BLPOP", key.as_bytes(), b"1"]),
            QueueCommand::Pipeline(commands) => {
                let mut pipeline = Pipeline::new(handle.clone());
                for command in commands {
                    command.append(&mut pipeline);
                }
                submit_pipeline(queue, tag, pipeline, false);
            }
            QueueCommand::Transaction(writes) => {
                let mut pipeline = Pipeline::new(handle.clone());
                for (key, token) in writes {
                    append_incrby(&mut pipeline, key, token);
                }
                submit_pipeline(queue, tag, pipeline, true);
            }
        }
    }

    /// The commands that have a place in the order of a slot, without those of pipelines.
    pub(super) fn ordered(&self) -> Vec<OrderedCommand> {
        let command = |key: &String, token: Option<&String>| OrderedCommand {
            key: key.clone(),
            token: token.cloned(),
            is_acknowledged: false,
            version: None,
        };
        match self {
            QueueCommand::Write { key, token, .. } => vec![command(key, Some(token))],
            QueueCommand::Read { key, .. } => vec![command(key, None)],
            QueueCommand::Mget(keys) => keys.iter().map(|key| command(key, None)).collect(),
            QueueCommand::Transaction(writes) => {
                let writes = writes.iter();
                writes
                    .map(|(key, token)| command(key, Some(token)))
                    .collect()
            }
            _ => Vec::new(),
        }
    }

    /// The tokens of its writes.
    pub(super) fn tokens(&self) -> Vec<String> {
        match self {
            QueueCommand::Write { token, .. } => vec![token.clone()],
            QueueCommand::Transaction(writes) => writes.iter().map(|w| w.1.clone()).collect(),
            QueueCommand::Pipeline(commands) => {
                let tokens = commands.iter().map(|command| match command {
                    PipelineCommand::Write { token, .. } => Some(token.clone()),
                    PipelineCommand::Read { .. } => None,
                });
                tokens.flatten().collect()
            }
            _ => Vec::new(),
        }
    }
}

/// As the C interface does: an error becomes the reply.
fn submit_pipeline(queue: &mut Queue, tag: u64, pipeline: Pipeline, is_atomic: bool) {
    if let Err(error) = queue.pipeline(tag, pipeline, is_atomic) {
        queue.fail(tag, &error);
    }
}

impl PipelineCommand {
    fn append(&self, pipeline: &mut Pipeline) {
        match self {
            PipelineCommand::Write { key, token } => append_incrby(pipeline, key, token),
            PipelineCommand::Read { key, nonce } => append_getrange(pipeline, key, nonce),
        }
    }
}

impl Caller<'_> {
    /// Checks the reply to a command of a queue. It was submitted at `began`, when `floors` were the acknowledged
    /// versions of the keys. Returns what became of its places in the order of the slots.
    pub(super) fn check_queue_reply(
        &self,
        command: &QueueCommand,
        (began, floors): (u64, &HashMap<String, u64>),
        reply: &Reply,
    ) -> Vec<(bool, Option<u64>)> {
        let root = reply.root.value;
        let floor = |key: &String| floors.get(key).copied().unwrap_or(0);
        match command {
            QueueCommand::Write { key, token, .. } => {
                self.record_write(key, token, Some((reply, root)));
                vec![(root.kind != Kind::Error, None)]
            }
            QueueCommand::Read { key, nonce } => {
                let version = self.check_read((key, nonce), (began, floor(key)), reply, root);
                vec![(false, version)]
            }
            QueueCommand::Mget(keys) => {
                if root.kind == Kind::Error {
                    self.write_outcome(reply, root);
                    return Vec::new();
                }
                let values: Vec<Value> = reply.view().elements().map(|v| v.value()).collect();
                if values.len() != keys.len() {
                    self.fail(format!("MGET {keys:?} returned {} values", values.len()));
                }
                let versions = keys.iter().zip(values).map(|(key, value)| {
                    self.check_read((key, ""), (began, floor(key)), reply, value)
                });
                versions.map(|version| (false, version)).collect()
            }
            QueueCommand::Dbsize => {
                if let WriteOutcome::Executed(sum) = self.write_outcome(reply, root)
                    && sum != Some(DBSIZE_OF_SHARD.iter().sum())
                {
                    self.fail(format!("DBSIZE returned {sum:?}"));
                }
                Vec::new()
            }
            QueueCommand::Blpop(_) => {
                self.write_outcome(reply, root);
                Vec::new()
            }
            QueueCommand::Pipeline(commands) => {
                self.check_pipeline_reply(commands, (began, floors), Some(reply));
                Vec::new()
            }
            QueueCommand::Transaction(writes) => self
                .record_transaction(writes, Some(reply))
                .into_iter()
                .map(|is_acknowledged| (is_acknowledged, None))
                .collect(),
        }
    }

    /// Records the writes of a command whose reply nobody will take. Nothing of it was sent unless it `may_have_run`.
    pub(super) fn record_abandoned(&self, command: &QueueCommand, may_have_run: bool) {
        let writes = command.tokens().into_iter().map(|token| WriteRecord {
            token,
            outcome: match may_have_run {
                true => WriteOutcome::Unknown,
                false => WriteOutcome::NotExecuted,
            },
            reply: "none: the queue was freed".to_string(),
        });
        lock(&self.context.history).writes.extend(writes);
        if let QueueCommand::Transaction(_) = command {
            self.record_atomic(command.tokens());
        }
    }
}

/// Whether a command was refused because the queue was full.
pub(super) fn is_queue_full(reply: &Reply) -> bool {
    reply.root.value.kind == Kind::Error && reply.root.value.code == Code::QueueFull as u8
}
