//! The workloads, one row each.

pub struct Workload {
    /// Its name for the workers.
    pub name: &'static str,
    pub arg: usize,
    pub title: &'static str,
    /// Operations in a turn. The percentiles are of turns.
    pub turn: usize,
}

const fn row(name: &'static str, arg: usize, title: &'static str) -> Workload {
    let turn = 1;
    Workload {
        name,
        arg,
        title,
        turn,
    }
}

const fn turns(name: &'static str, arg: usize, title: &'static str) -> Workload {
    let turn = arg;
    Workload {
        name,
        arg,
        title,
        turn,
    }
}

const fn pipeline(depth: usize, title: &'static str) -> Workload {
    turns("pipeline", depth, title)
}

pub const WORKLOADS: &[Workload] = &[
    row("get", 0, "GET"),
    row("set", 0, "SET"),
    row("replica", 0, "GET from replicas"),
    pipeline(10, "pipeline of 10 GET"),
    pipeline(100, "pipeline of 100 GET"),
    pipeline(1000, "pipeline of 1,000 GET"),
    pipeline(10000, "pipeline of 10,000 GET"),
    row("threads", 1, "GET, 1 thread"),
    row("threads", 2, "GET, 2 threads"),
    row("threads", 8, "GET, 8 threads"),
    row("threads", 64, "GET, 64 threads"),
    row("mget", 0, "MGET of 100 keys"),
    row("lrange", 0, "LRANGE of 10,000"),
    row("hgetall", 0, "HGETALL of 10,000"),
    row("big", 0, "GET of 10 MiB"),
    row("create", 0, "create to first reply"),
];

/// The workloads of clients for event loops, on one thread, and one of blocking threads beside them.
pub const EVENT_LOOP_WORKLOADS: &[Workload] = &[
    turns("in_flight", 1000, "1,000 GETs in flight"),
    row("threads", 64, "64 blocking threads"),
    turns("batch", 100, "batches of 100 GETs"),
    row("batch", 1, "one GET at a time"),
];

/// The one workload of subscribers: messages of 16 bytes on one channel.
pub const MESSAGE_WORKLOADS: &[Workload] = &[Workload {
    name: "messages",
    arg: 1_000_000,
    title: "a million messages",
    turn: 1000,
}];
