//! The subscribers of the crate `redis`: the blocking one, or with the argument "async" the asynchronous one, with tokio on
//! one thread. `workers/message_worker.c` describes the workloads.

use bench::clock::{cpu_ns, now_ns};
use bench::worker::{Failure, result_line, serve};
use futures_util::stream::StreamExt;
use redis::{Client, Msg};

const CHANNEL: &str = "burst";
const TURN: usize = 1000;
const PAYLOAD: usize = 16;

/// The times while messages are taken.
struct Turns {
    taken: usize,
    turns: Vec<i64>,
    cpu: i64,
    began: i64,
    at: i64,
}

impl Turns {
    fn begin() -> Turns {
        let began = now_ns();
        Turns {
            taken: 0,
            turns: Vec::new(),
            cpu: cpu_ns(),
            began,
            at: began,
        }
    }

    fn add(&mut self, message: &Msg) -> Result<(), Failure> {
        if message.get_payload_bytes().len() != PAYLOAD {
            return Err("a payload of another length".into());
        }
        self.taken += 1;
        if self.taken.is_multiple_of(TURN) {
            let end = now_ns();
            self.turns.push(end - self.at);
            self.at = end;
        }
        Ok(())
    }

    fn end(self) -> Result<String, Failure> {
        let wall = now_ns() - self.began;
        result_line(self.taken, wall, cpu_ns() - self.cpu, self.turns)
    }
}

fn run_blocking(client: &Client) -> Result<(), Failure> {
    let mut connection = client.get_connection()?;
    let mut pubsub = connection.as_pubsub();
    serve(|name, _, count| match name {
        "subscribe" => {
            pubsub.subscribe(CHANNEL)?;
            Ok("ok 1".into())
        }
        "messages" => {
            let mut turns = Turns::begin();
            for _ in 0..count {
                turns.add(&pubsub.get_message()?)?;
            }
            turns.end()
        }
        _ => Ok("unsupported".into()),
    });
    Ok(())
}

fn run_async(client: &Client) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut pubsub = runtime.block_on(client.get_async_pubsub())?;
    serve(|name, _, count| match name {
        "subscribe" => {
            runtime.block_on(pubsub.subscribe(CHANNEL))?;
            Ok("ok 1".into())
        }
        "messages" => runtime.block_on(async {
            let mut messages = pubsub.on_message();
            let mut turns = Turns::begin();
            for _ in 0..count {
                turns.add(&messages.next().await.ok_or("the stream has ended")?)?;
            }
            turns.end()
        }),
        _ => Ok("unsupported".into()),
    });
    Ok(())
}

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let server = args.last().ok_or("usage: [async] HOST:PORT")?;
    let client = Client::open(format!("redis://{server}"))?;
    match &args[..] {
        [mode, _] if mode == "async" => run_async(&client),
        _ => run_blocking(&client),
    }
}
