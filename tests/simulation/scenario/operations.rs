//! The calls that a caller makes, but for pipelines and transactions.

use super::caller::Caller;
use super::history::WriteOutcome;
use crate::cluster::Client;
use crate::error::Code;
use crate::resp::{EncodedPrefix, Kind, Reply, Value};
use crate::route::{Access, table};
use crate::simulation::cluster_model::DBSIZE_OF_SHARD;
use crate::simulation::simulator::{MS, SeededRng};

/// The only value of a reply, with its reply.
fn root(reply: &Option<Box<Reply>>) -> Option<(&Reply, Value)> {
    reply.as_deref().map(|reply| (reply, reply.root.value))
}

impl Caller<'_> {
    /// One call of a random kind. Its tokens are unique in the run.
    pub(super) fn random_operation(&self, rng: &mut SeededRng, round: u64) {
        let number = 1_000_000 * (self.id as u64 + 1) + 1000 * round;
        let token = number.to_string();
        let client = &self.context.client;
        let is_contended = self.context.scenario.is_contended;
        let key = self.random_key(rng).to_string();
        match rng.below(if is_contended { 6 } else { 14 }) {
            0 | 1 => {
                self.incrby(&key, &token);
            }
            2 => {
                self.get(client, &key, self.acknowledged_version(&key));
            }
            3 => self.set(&key, &token),
            4 => self.rpush(&key, &token),
            5 if is_contended && rng.chance(500) => self.refresh(rng),
            5 => self.getrange(&key, &token),
            6 => self.mget(rng),
            7 => {
                self.get(&self.context.reader, &key, 0);
                self.rpush_with_reader(&key, &token);
            }
            8 => self.transaction(rng, &key, number),
            9 => self.pinned_transaction(rng, &key, number),
            10 if rng.chance(400) => self.refresh(rng),
            10 => self.dbsize(),
            11 => self.blpop(&key),
            12 => self.reader_pipeline(rng, number),
            _ => self.pipeline(rng, number),
        }
    }

    /// Whether the key was incremented.
    pub(super) fn incrby(&self, key: &str, token: &str) -> bool {
        let client = &self.context.client;
        let args = [key.as_bytes(), token.as_bytes()];
        let (_, reply) = self.call(&format!("INCRBY {key} {token}"), client, || {
            let prefix = const { &EncodedPrefix::new(b"*3\r\n$6\r\nINCRBY\r\n") };
            client.keyed(table::INCRBY, Access::Write, args[0], prefix, &args)
        });
        self.record_write(key, token, root(&reply));
        reply.is_some_and(|reply| reply.root.value.kind != Kind::Error)
    }

    /// Whether the key was read, in this version or a later one.
    pub(super) fn get(&self, client: &Client, key: &str, floor: u64) -> bool {
        let args = [key.as_bytes()];
        let (began, reply) = self.call(&format!("GET {key}"), client, || {
            let prefix = const { &EncodedPrefix::new(b"*2\r\n$3\r\nGET\r\n") };
            client.keyed(table::GET, Access::Read, args[0], prefix, &args)
        });
        root(&reply).is_some_and(|(reply, value)| {
            let version = self.check_read((key, ""), (began, floor), reply, value);
            version.is_some()
        })
    }

    pub(super) fn set(&self, key: &str, token: &str) {
        let client = &self.context.client;
        let args = [key.as_bytes(), token.as_bytes()];
        let (_, reply) = self.call(&format!("SET {key} {token}"), client, || {
            let prefix = const { &EncodedPrefix::new(b"*3\r\n$3\r\nSET\r\n") };
            client.keyed(table::SET, Access::Write, args[0], prefix, &args)
        });
        self.record_write(key, token, root(&reply));
    }

    fn rpush(&self, key: &str, token: &str) {
        let client = &self.context.client;
        let args: [&[u8]; 3] = [b"RPUSH", key.as_bytes(), token.as_bytes()];
        let (_, reply) = self.call(&format!("RPUSH {key} {token}"), client, || {
            client.command(&args)
        });
        self.record_write(key, token, root(&reply));
    }

    /// A write by the read-only handle, which has to refuse it.
    fn rpush_with_reader(&self, key: &str, token: &str) {
        let reader = &self.context.reader;
        let args: [&[u8]; 3] = [b"RPUSH", key.as_bytes(), token.as_bytes()];
        let (_, reply) = self.call("read-only RPUSH", reader, || reader.command(&args));
        let refused = [Code::ReadOnly as u8, Code::Closed as u8];
        if reply.is_some_and(|reply| !refused.contains(&reply.root.value.code)) {
            self.fail("a read-only handle did not refuse a write".to_string());
        }
    }

    fn getrange(&self, key: &str, token: &str) {
        let client = &self.context.client;
        let floor = self.acknowledged_version(key);
        let args: [&[u8]; 4] = [b"GETRANGE", key.as_bytes(), b"0", token.as_bytes()];
        let name = format!("GETRANGE {key} 0 {token}");
        let (began, reply) = self.call(&name, client, || client.command(&args));
        if let Some((reply, value)) = root(&reply) {
            self.check_read((key, token), (began, floor), reply, value);
        }
    }

    fn mget(&self, rng: &mut SeededRng) {
        let client = &self.context.client;
        let keys: Vec<String> = (0..rng.between(1, 6))
            .map(|_| self.random_key(rng).to_string())
            .collect();
        let floors: Vec<u64> = keys.iter().map(|k| self.acknowledged_version(k)).collect();
        let mut args: Vec<&[u8]> = vec![b"MGET"];
        args.extend(keys.iter().map(|key| key.as_bytes()));
        let (began, reply) = self.call(&format!("MGET {keys:?}"), client, || client.command(&args));
        let Some(reply) = reply else { return };
        let view = reply.view();
        if view.kind() == Kind::Error {
            self.write_outcome(&reply, reply.root.value);
            return;
        }
        if view.len() != keys.len() {
            let (keys, values) = (keys.len(), view.len());
            self.fail(format!("MGET of {keys} keys returned {values} values"));
        }
        for ((key, floor), value) in keys.iter().zip(floors).zip(view.elements()) {
            self.check_read((key, ""), (began, floor), &reply, value.value());
        }
    }

    /// A command that every primary has to answer.
    fn dbsize(&self) {
        let client = &self.context.client;
        let (_, reply) = self.call("DBSIZE", client, || client.command(&[b"DBSIZE"]));
        if let Some((reply, value)) = root(&reply)
            && let WriteOutcome::Executed(sum) = self.write_outcome(reply, value)
            && sum != Some(DBSIZE_OF_SHARD.iter().sum())
        {
            self.fail(format!("DBSIZE returned {sum:?}"));
        }
    }

    fn blpop(&self, key: &str) {
        let client = &self.context.client;
        let args: [&[u8]; 3] = [b"BLPOP", key.as_bytes(), b"1"];
        let blpop = || client.command(&args);
        let (_, reply) = self.blocking_call("BLPOP", client, 1000 * MS, blpop);
        if let Some((reply, value)) = root(&reply) {
            self.write_outcome(reply, value);
        }
    }

    /// Refreshes the topology; other threads may do so at the same time.
    fn refresh(&self, rng: &mut SeededRng) {
        let is_client = rng.chance(500);
        let handle = match is_client {
            true => &self.context.client,
            false => &self.context.reader,
        };
        let (began, reply) = self.call("refresh", handle, || handle.refresh());
        let Some(reply) = reply else { return };
        let state = self.thread.simulation.lock();
        let last_request = state.cluster.refreshes.last().copied();
        drop(state);
        match self.write_outcome(&reply, reply.root.value) {
            WriteOutcome::Executed(_) if last_request.is_none_or(|time| time < began) => {
                self.fail("a refresh succeeded without a topology request".to_string());
            }
            // An interrupt of the handle that refreshes does not concern the handles that wait for it.
            _ if !is_client && reply.root.value.code == Code::Interrupted as u8 => {
                self.fail("a refresh was ended by an interrupt of another handle".to_string());
            }
            _ => {}
        }
    }
}
