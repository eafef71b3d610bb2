//! The blocking cluster client of the crate `redis`: one connection object for each thread, as its
//! documentation advises.

use std::time::Duration;

use bench::data::{BIG, ELEMENTS, MANY, VALUE, key};
use bench::worker::{Done, Failure, Peer, run};
use redis::cluster::{ClusterClient, ClusterConnection, cluster_pipe};
use redis::cluster_read_routing::RandomReplicaStrategy;
use redis::{Cmd, Value, cmd};

struct RedisRs(ClusterConnection);

fn check(value: &Value, bytes: usize) -> Done {
    match value {
        Value::BulkString(text) if text.len() == bytes => Ok(()),
        other => Err(format!("unexpected reply {other:.100?}").into()),
    }
}

fn walk(value: &Value, elements: usize) -> Done {
    match value {
        Value::Array(all) if all.len() == elements => all
            .iter()
            .try_for_each(|element| check(element, VALUE.len())),
        Value::Map(all) if all.len() * 2 == elements => all.iter().try_for_each(|(name, value)| {
            check(name, VALUE.len())?;
            check(value, VALUE.len())
        }),
        other => Err(format!("unexpected reply {other:.100?}").into()),
    }
}

impl RedisRs {
    fn query(&mut self, command: &Cmd) -> Result<Value, Failure> {
        Ok(command.query(&mut self.0)?)
    }
}

impl Peer for RedisRs {
    fn open(seeds: &str, from_replicas: bool, timeout: Duration) -> Result<Self, Failure> {
        let seeds = seeds.split(',').map(|seed| format!("redis://{seed}"));
        let mut builder = ClusterClient::builder(seeds)
            .connection_timeout(timeout)
            .response_timeout(timeout);
        if from_replicas {
            builder = builder.read_routing_strategy(RandomReplicaStrategy);
        }
        Ok(RedisRs(builder.build()?.get_connection()?))
    }

    fn get(&mut self, i: usize) -> Done {
        check(&self.query(cmd("GET").arg(key(i)))?, VALUE.len())
    }

    fn set(&mut self, i: usize) -> Done {
        match self.query(cmd("SET").arg(key(i)).arg(VALUE))? {
            Value::Okay => Ok(()),
            other => Err(format!("unexpected reply {other:?}").into()),
        }
    }

    fn pipeline(&mut self, keys: &[usize]) -> Done {
        let mut pipeline = cluster_pipe();
        for &i in keys {
            pipeline.cmd("GET").arg(key(i));
        }
        let values: Vec<Value> = pipeline.query(&mut self.0)?;
        if values.len() != keys.len() {
            return Err("a reply is missing".into());
        }
        values
            .iter()
            .try_for_each(|value| check(value, VALUE.len()))
    }

    fn mget(&mut self, keys: &[usize]) -> Done {
        let mut command = cmd("MGET");
        for &i in keys {
            command.arg(key(i));
        }
        walk(&self.query(&command)?, MANY)
    }

    fn lrange(&mut self) -> Done {
        walk(
            &self.query(cmd("LRANGE").arg("biglist").arg(0).arg(-1))?,
            ELEMENTS,
        )
    }

    fn hgetall(&mut self) -> Done {
        walk(&self.query(cmd("HGETALL").arg("bighash"))?, 2 * ELEMENTS)
    }

    fn big(&mut self) -> Done {
        check(&self.query(cmd("GET").arg("bigstr"))?, BIG)
    }
}

fn main() {
    run::<RedisRs>();
}
