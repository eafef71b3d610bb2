//! The cluster that all clients are measured against, and its data.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use support::{Admin, Cluster, encode, slot_of};

use crate::data::{BIG, ELEMENTS, KEYS, VALUE, key};
use crate::worker::Failure;

/// "LAST:PRIMARY:REPLICA,...", ordered by slot: the slot map for the floor.
pub fn shards(cluster: &Cluster) -> Result<String, Failure> {
    let mut shards = Vec::new();
    let mut first = 0;
    while first < support::SLOTS {
        let primary = cluster.primary_of(first)?;
        let replica = *cluster.replicas_of(first)?.first().ok_or("no replica")?;
        // A binary search for the last slot of the range.
        let (mut mine, mut other) = (first, support::SLOTS);
        while mine + 1 < other {
            let middle = mine + (other - mine) / 2;
            if cluster.primary_of(middle)? == primary {
                mine = middle;
            } else {
                other = middle;
            }
        }
        shards.push(format!("{mine}:{primary}:{replica}"));
        first = other;
    }
    Ok(shards.join(","))
}

/// Sends all commands at once, and expects `count` times `+OK`.
fn store(port: u16, commands: Vec<u8>, count: usize) -> Result<(), Failure> {
    let mut socket = TcpStream::connect(("127.0.0.1", port))?;
    let mut writer = socket.try_clone()?;
    thread::scope(|scope| {
        let written = scope.spawn(move || writer.write_all(&commands));
        let mut replies = vec![0; count * b"+OK\r\n".len()];
        socket.read_exact(&mut replies)?;
        if replies.chunks(5).any(|reply| reply != b"+OK\r\n") {
            return Err("a SET failed".into());
        }
        Ok(written.join().map_err(|_| "a thread panicked")??)
    })
}

fn command(cluster: &Cluster, args: &[Vec<u8>]) -> Result<(), Failure> {
    let port = cluster.primary_of(slot_of(&args[1]))?;
    let reply = Admin::connect(port, Duration::from_secs(10))?.command(args)?;
    if reply.is_error() {
        return Err(reply.text().into());
    }
    Ok(())
}

pub fn load(cluster: &Cluster) -> Result<(), Failure> {
    let mut of_port = std::collections::BTreeMap::<u16, (Vec<u8>, usize)>::new();
    let mut owners = std::collections::BTreeMap::<u16, u16>::new();
    for shard in shards(cluster)?.split(',') {
        let mut words = shard.split(':');
        let mut number = || {
            words
                .next()
                .ok_or("a shard")?
                .parse::<u16>()
                .map_err(Failure::from)
        };
        owners.insert(number()?, number()?);
    }
    for name in (0..KEYS).map(key) {
        let slot = slot_of(name.as_bytes());
        let (_, port) = owners
            .range(slot..)
            .next()
            .ok_or("a slot without an owner")?;
        let (bytes, count) = of_port.entry(*port).or_default();
        bytes.extend(encode(&[b"SET".as_slice(), name.as_bytes(), VALUE]));
        *count += 1;
    }
    for (port, (bytes, count)) in of_port {
        store(port, bytes, count)?;
    }
    let element = |i: usize| format!("element:{i:08}").into_bytes();
    let mut list = vec![b"RPUSH".to_vec(), b"biglist".to_vec()];
    list.extend((0..ELEMENTS).map(element));
    command(cluster, &list)?;
    let mut hash = vec![b"HSET".to_vec(), b"bighash".to_vec()];
    hash.extend((0..ELEMENTS).flat_map(|i| [element(i), VALUE.to_vec()]));
    command(cluster, &hash)?;
    command(
        cluster,
        &[b"SET".to_vec(), b"bigstr".to_vec(), vec![b'x'; BIG]],
    )?;
    Ok(cluster.wait_replicas_in_sync()?)
}
