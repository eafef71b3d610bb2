//! Bare sockets, as a lower bound for clients with one thread and one blocking connection per node:
//! the slot map is known, requests are encoded beforehand, and replies are counted but not parsed.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::LazyLock;
use std::time::Duration;

use bench::data::{BIG, ELEMENTS, KEYS, VALUE, key};
use bench::worker::{Done, Failure, Peer, run};
use support::{encode, slot_of};

/// What is prepared for a key before the measurement.
struct Prepared {
    get: Vec<u8>,
    set: Vec<u8>,
    shard: usize,
}

/// The nodes of one range of slots.
struct Shard {
    last: u16,
    /// Of the primary and its replica.
    ports: [u16; 2],
}

/// Parsed from "LAST:PRIMARY:REPLICA,...", ordered by slot.
static SHARDS: LazyLock<Vec<Shard>> = LazyLock::new(|| {
    let text = std::env::var("BENCH_SHARDS").expect("BENCH_SHARDS");
    let shard = |words: &str| {
        let mut numbers = words.split(':').map(|word| word.parse().expect("a number"));
        let mut number = || numbers.next().expect("LAST:PRIMARY:REPLICA");
        let last = number();
        let ports = [number(), number()];
        Shard { last, ports }
    };
    text.split(',').map(shard).collect()
});

static PREPARED: LazyLock<Vec<Prepared>> = LazyLock::new(|| {
    let all = (0..KEYS).map(key);
    all.map(|key| Prepared {
        get: encode(&[b"GET".as_slice(), key.as_bytes()]),
        set: encode(&[b"SET".as_slice(), key.as_bytes(), VALUE]),
        shard: shard_of(key.as_bytes()),
    })
    .collect()
});

fn shard_of(key: &[u8]) -> usize {
    let slot = slot_of(key);
    SHARDS.partition_point(|shard| shard.last < slot)
}

/// `$16`, the value, and two line ends.
const GET_REPLY: usize = 5 + VALUE.len() + 2;
const SET_REPLY: usize = b"+OK\r\n".len();

struct Floor {
    sockets: Vec<TcpStream>,
    buffer: Vec<u8>,
}

fn connect(port: u16) -> Result<TcpStream, Failure> {
    let socket = TcpStream::connect(("127.0.0.1", port))?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

impl Floor {
    fn read_bytes(&mut self, shard: usize, mut bytes: usize) -> Done {
        while bytes > 0 {
            let room = bytes.min(self.buffer.len());
            match self.sockets[shard].read(&mut self.buffer[..room])? {
                0 => return Err("the server hung up".into()),
                n => bytes -= n,
            }
        }
        Ok(())
    }

    fn call(&mut self, args: &[&[u8]], reply: usize) -> Done {
        let shard = shard_of(args[1]);
        self.sockets[shard].write_all(&encode(args))?;
        self.read_bytes(shard, reply)
    }
}

impl Peer for Floor {
    fn open(_: &str, from_replicas: bool, _: Duration) -> Result<Self, Failure> {
        LazyLock::force(&PREPARED);
        let ports = SHARDS
            .iter()
            .map(|shard| shard.ports[usize::from(from_replicas)]);
        let mut sockets = ports.map(connect).collect::<Result<Vec<_>, _>>()?;
        let buffer = vec![0; 1 << 18];
        for socket in sockets.iter_mut().filter(|_| from_replicas) {
            socket.write_all(&encode(&[b"READONLY"]))?;
            socket.read_exact(&mut [0; SET_REPLY])?;
        }
        Ok(Floor { sockets, buffer })
    }

    fn get(&mut self, i: usize) -> Done {
        let prepared = &PREPARED[i];
        self.sockets[prepared.shard].write_all(&prepared.get)?;
        self.read_bytes(prepared.shard, GET_REPLY)
    }

    fn set(&mut self, i: usize) -> Done {
        let prepared = &PREPARED[i];
        self.sockets[prepared.shard].write_all(&prepared.set)?;
        self.read_bytes(prepared.shard, SET_REPLY)
    }

    fn pipeline(&mut self, keys: &[usize]) -> Done {
        let mut requests = vec![Vec::new(); self.sockets.len()];
        let mut replies = vec![0; self.sockets.len()];
        for &i in keys {
            let prepared = &PREPARED[i];
            requests[prepared.shard].extend_from_slice(&prepared.get);
            replies[prepared.shard] += GET_REPLY;
        }
        for (socket, request) in self.sockets.iter_mut().zip(&requests) {
            socket.write_all(request)?;
        }
        for (shard, bytes) in replies.into_iter().enumerate() {
            self.read_bytes(shard, bytes)?;
        }
        Ok(())
    }

    /// The keys are in so many slots that fewer commands are not possible.
    fn mget(&mut self, keys: &[usize]) -> Done {
        self.pipeline(keys)
    }

    fn lrange(&mut self) -> Done {
        let reply = b"*10000\r\n".len() + ELEMENTS * GET_REPLY;
        self.call(&[b"LRANGE", b"biglist", b"0", b"-1"], reply)
    }

    fn hgetall(&mut self) -> Done {
        let reply = b"*20000\r\n".len() + 2 * ELEMENTS * GET_REPLY;
        self.call(&[b"HGETALL", b"bighash"], reply)
    }

    fn big(&mut self) -> Done {
        self.call(&[b"GET", b"bigstr"], b"$10485760\r\n".len() + BIG + 2)
    }

    /// Two connections: one for CLUSTER SLOTS, and one to the owner of the key.
    fn create(_: &str, i: usize) -> Done {
        let prepared = &PREPARED[i];
        let mut reply = [0; 4096];
        let mut seed = connect(SHARDS[0].ports[0])?;
        seed.write_all(&encode(&["CLUSTER", "SLOTS"]))?;
        let mut len = 0;
        // Each node ends with its metadata: an empty array.
        let nodes = |reply: &[u8]| reply.windows(4).filter(|w| w == b"*0\r\n").count();
        while nodes(&reply[..len]) < 2 * SHARDS.len() {
            match seed.read(&mut reply[len..])? {
                0 => return Err("the server hung up".into()),
                n => len += n,
            }
        }
        let mut node = connect(SHARDS[prepared.shard].ports[0])?;
        node.write_all(&prepared.get)?;
        node.read_exact(&mut reply[..GET_REPLY])?;
        Ok(())
    }
}

fn main() {
    // The workloads for memory and recovery need a client, and do not apply here.
    run::<Floor>();
}
