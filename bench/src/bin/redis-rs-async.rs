//! The asynchronous cluster client of the crate `redis`, with tokio on one thread.

use std::time::Duration;

use bench::clock::{cpu_ns, now_ns};
use bench::data::{Keys, VALUE, key};
use bench::worker::{Failure, result_line, serve};
use futures_util::stream::{FuturesUnordered, StreamExt};
use redis::Value;
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;

async fn get(mut connection: ClusterConnection, key: String) -> Result<(), Failure> {
    match redis::cmd("GET")
        .arg(key)
        .query_async(&mut connection)
        .await?
    {
        Value::BulkString(text) if text.len() == VALUE.len() => Ok(()),
        other => Err(format!("unexpected reply {other:.100?}").into()),
    }
}

/// Turns of `n` GETs each. With `is_kept`, `n` GETs are always in flight.
async fn turns(
    connection: &ClusterConnection,
    budget: Duration,
    n: usize,
    is_kept: bool,
) -> Result<String, Failure> {
    let budget = i64::try_from(budget.as_nanos())?;
    let mut keys = Keys(0);
    let mut in_flight = FuturesUnordered::new();
    let mut next_get = || get(connection.clone(), key(keys.next_key()));
    if is_kept {
        in_flight.extend((0..n).map(|_| next_get()));
    }
    let (mut turns, mut operations) = (Vec::new(), 0);
    let (mut cpu, mut began, mut at) = (cpu_ns(), now_ns(), now_ns());
    for turn in 0.. {
        if !is_kept {
            in_flight.extend((0..n).map(|_| next_get()));
        }
        for _ in 0..n {
            in_flight.next().await.ok_or("no GET is in flight")??;
            if is_kept {
                in_flight.push(next_get());
            }
        }
        let end = now_ns();
        if turn < 3 {
            // Warm-up.
            (cpu, began) = (cpu_ns(), end);
        } else {
            operations += n;
            turns.push(end - at);
        }
        at = end;
        if at - began >= budget {
            break;
        }
    }
    let used = cpu_ns() - cpu;
    while let Some(last) = in_flight.next().await {
        last?;
    }
    result_line(operations, at - began, used, turns)
}

fn main() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let seeds = std::env::args().nth(1).ok_or("usage: SEEDS")?;
    let seeds = seeds.split(',').map(|seed| format!("redis://{seed}"));
    let client = ClusterClient::builder(seeds).build()?;
    let connection = runtime.block_on(client.get_async_connection())?;
    serve(|name, budget, arg| match name {
        "in_flight" => runtime.block_on(turns(&connection, budget, arg, true)),
        "batch" => runtime.block_on(turns(&connection, budget, arg, false)),
        _ => Ok("unsupported".into()),
    });
    Ok(())
}
