//! Commands of queues, against nodes that are slow, redirect, refuse or close at a given moment.

use crate::common::{client, is_command, key_of, show, wait_for};
use rediscluster::cluster::{Client, Queue};
use rediscluster::deadline::{Deadline, now};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::{Action, FakeCluster, slot_of};

/// A queue whose tags are the numbers of the submissions.
struct Loop {
    queue: Queue,
    submitted: u64,
}

impl Loop {
    fn new(url: &str) -> Loop {
        Loop::of(Arc::new(client(url)))
    }

    fn of(client: Arc<Client>) -> Loop {
        Loop {
            queue: Queue::new(client),
            submitted: 0,
        }
    }

    fn submit(&mut self, words: &str) {
        let words = support::words::split(words).unwrap();
        let args: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        self.queue.command(self.submitted, &args);
        self.submitted += 1;
    }

    /// Runs the queue until this number of replies have come, for 5 s at most. Returns them in the order of completion.
    fn take(&mut self, count: usize) -> Vec<(u64, String)> {
        let until = Deadline::after(now(), 5000);
        let mut taken = Vec::new();
        while taken.len() < count && !until.passed(now()) {
            self.queue.run(Some(until));
            while taken.len() < count
                && let Some(next) = self.queue.next_reply()
            {
                taken.push((next.tag, show(next.whole().view())));
            }
        }
        taken
    }

    /// The replies to all commands, in the order of submission.
    fn take_all(&mut self) -> Vec<String> {
        let count = self.queue.len();
        let replies: BTreeMap<u64, String> = self.take(count).into_iter().collect();
        assert_eq!(replies.len(), count, "each command completes once");
        assert!(self.queue.is_empty() && self.queue.next_reply().is_none());
        replies.into_values().collect()
    }
}

/// Makes a node answer the first command that begins with `words` in this way.
fn answer_once(
    fake: &FakeCluster,
    node: usize,
    words: &str,
    action: impl Fn() -> Action + Send + 'static,
) {
    let (words, mut is_done) = (words.to_owned(), false);
    fake.on(node, move |_, command| {
        (!is_done && is_command(command, &words)).then(|| {
            is_done = true;
            action()
        })
    });
}

#[test]
fn slow_command_holds_back_no_reply_before_it() {
    let fake = FakeCluster::new(1);
    let keys: Vec<String> = (0..3).map(|n| key_of(0, 1, n)).collect();
    keys.iter().for_each(|key| fake.put(key, key));
    let slow = format!("GET {}", keys[1]);
    let answer = format!("${}\r\n{}\r\n", keys[1].len(), keys[1]);
    answer_once(&fake, 0, &slow, move || {
        Action::Delay(Duration::from_millis(500), Box::new(Action::send(&answer)))
    });
    let mut queue = Loop::new(&fake.url());
    keys.iter()
        .for_each(|key| queue.submit(&format!("GET {key}")));
    let began = Instant::now();
    assert_eq!(queue.take(1), [(0, keys[0].clone())]);
    assert!(began.elapsed() < Duration::from_millis(400));
    assert_eq!(queue.queue.len(), 2);
    assert_eq!(queue.take(2), [(1, keys[1].clone()), (2, keys[2].clone())]);
    assert_eq!(fake.calls("GET"), 3);
}

#[test]
fn other_slots_leave_while_a_slow_batch_holds_its_connection() {
    let fake = FakeCluster::new(1);
    let (slow, other) = (key_of(0, 1, 1), key_of(0, 1, 2));
    assert_ne!(slot_of(slow.as_bytes()), slot_of(other.as_bytes()));
    let words = format!("SET {slow} 1");
    answer_once(&fake, 0, &words, || {
        Action::Delay(
            Duration::from_millis(500),
            Box::new(Action::send("+OK\r\n")),
        )
    });
    fake.put(&slow, "stored before");
    let mut queue = Loop::new(&fake.url());
    queue.submit(&words);
    queue.queue.run(None);
    // The next one of its slot waits for it, the one of another slot does not.
    queue.submit(&format!("GET {slow}"));
    queue.submit(&format!("SET {other} 2"));
    let began = Instant::now();
    assert_eq!(queue.take(1), [(2, "OK".to_owned())]);
    let took = began.elapsed();
    assert!(took < Duration::from_millis(400), "{took:?}");
    let rest = queue.take(2);
    assert_eq!(rest[0], (0, "OK".to_owned()));
    assert_eq!(rest[1].0, 1);
    let received = fake.node(0).received_text();
    let connection_of = |words: &str| {
        let is_there = |commands: &Vec<String>| commands.iter().any(|c| c == words);
        received.iter().position(is_there)
    };
    assert_ne!(
        connection_of(&words),
        connection_of(&format!("SET {other} 2"))
    );
}

#[test]
fn redirected_and_refused_commands_of_a_batch_run_once_and_in_order() {
    let fake = FakeCluster::new(2);
    let mut queue = Loop::new(&fake.url());
    let keys: Vec<String> = (0..5).map(|n| key_of(0, 2, n)).collect();
    let slot = |n: usize| slot_of(keys[n].as_bytes());
    // What the node replies to the first command of each key; the last key is served at once.
    fake.assign(slot(0)..=slot(0), 1);
    let ask = format!("-ASK {} 127.0.0.1:{}\r\n", slot(1), fake.port(1));
    let asked = format!("INCR {}", keys[1]);
    let mut down = [
        Some("-CLUSTERDOWN The cluster is down\r\n"),
        Some("-TRYAGAIN Multiple keys\r\n"),
    ];
    let refused = [format!("INCR {}", keys[2]), format!("INCR {}", keys[3])];
    fake.on(0, move |_, command| {
        if is_command(command, &asked) {
            return Some(Action::send(&ask));
        }
        let at = refused
            .iter()
            .position(|words| is_command(command, words))?;
        down[at].take().map(Action::send)
    });
    let mut is_asking = false;
    let target = format!("INCR {}", keys[1]);
    let mut count = 0;
    fake.on(1, move |_, command| {
        if is_command(command, &target) && is_asking {
            is_asking = false;
            count += 1;
            return Some(Action::send(format!(":{count}\r\n")));
        }
        is_asking = is_command(command, "ASKING");
        None
    });
    // A refused command is sent again only if no later one of its slot has run: these have one each.
    let numbers = [0, 1, 2, 3, 4, 0, 1, 4, 0, 1, 4];
    numbers
        .iter()
        .for_each(|n| queue.submit(&format!("INCR {}", keys[*n])));
    let replies = queue.take_all();
    assert_eq!(
        replies,
        ["1"; 5]
            .iter()
            .chain(&["2"; 3])
            .chain(&["3"; 3])
            .copied()
            .collect::<Vec<_>>()
    );
    for (n, value) in [(0, "3"), (2, "1"), (3, "1"), (4, "3")] {
        assert_eq!(
            fake.value(&keys[n]).as_deref(),
            Some(value.as_bytes()),
            "{n}"
        );
    }
}

#[test]
fn node_that_closes_inside_a_batch_runs_no_write_twice() {
    let fake = FakeCluster::new(1);
    let keys: Vec<String> = (0..4).map(|n| key_of(0, 1, n)).collect();
    keys.iter().for_each(|key| fake.put(key, "7"));
    let words = format!("INCR {}", keys[1]);
    answer_once(&fake, 0, &words, || Action::Close);
    let mut queue = Loop::new(&fake.url());
    for words in ["GET", "INCR", "GET", "INCR"].iter().zip(&keys) {
        queue.submit(&format!("{} {}", words.0, words.1));
    }
    let replies = queue.take_all();
    assert_eq!(
        (&*replies[0], &*replies[2]),
        ("7", "7"),
        "reads are retried"
    );
    for write in [1, 3] {
        assert!(replies[write].ends_with(", sent)"), "{}", replies[write]);
    }
    assert_eq!(fake.calls(&words), 1);
    assert_eq!(fake.value(&keys[1]).as_deref(), Some(b"7".as_slice()));
    assert_eq!(fake.calls(&format!("INCR {}", keys[3])), 0);
}

#[test]
fn command_cancelled_before_the_client_has_connected_is_not_sent() {
    let fake = FakeCluster::new(1);
    let delayed = fake.default_answer(0);
    let delayed = std::sync::Mutex::new(delayed);
    fake.on(0, move |connection, command| {
        is_command(command, "CLUSTER SLOTS").then(|| {
            let answer = delayed.lock().unwrap()(connection, command);
            Action::Delay(Duration::from_millis(100), Box::new(Action::Send(answer)))
        })
    });
    let mut queue = Loop::of(Arc::new(Client::create(&format!(
        "{}?lazy=yes",
        fake.url()
    ))));
    queue.submit("SET a 1");
    queue.queue.cancel(0);
    let cancelled = "INTERRUPTED the command was cancelled before it was sent (INTERRUPTED)";
    assert_eq!(queue.take_all(), [cancelled]);
    assert_eq!(fake.calls("SET"), 0);
    // The same while the client connects.
    queue.submit("SET b 2");
    queue.submit("SET c 3");
    queue.queue.run(None);
    wait_for("the request", || {
        queue.queue.run(None);
        fake.calls("CLUSTER SLOTS") > 0
    });
    queue.queue.cancel(1);
    assert_eq!(queue.take(1), [(1, cancelled.to_owned())]);
    assert_eq!(queue.take_all(), ["OK"]);
    assert_eq!((fake.calls("SET"), fake.calls("SET c")), (1, 1));
}

#[test]
fn full_queue_refuses_commands_and_loses_none() {
    let fake = FakeCluster::new(1);
    let text = "x".repeat(1000);
    // (option, how many commands of 1000 bytes fit)
    for (option, fit) in [
        ("queue_limit=3", 3),
        ("max_memory_bytes=2500", 3),
        ("queue_limit=0", 10),
    ] {
        let mut queue = Loop::new(&format!("{}?{option}", fake.url()));
        let before = fake.calls("SET");
        for n in 0..10 {
            queue.submit(&format!("SET key{n} {text}"));
        }
        assert_eq!(queue.queue.len(), 10, "{option}: a refusal is a reply too");
        let replies = queue.take_all();
        let refused =
            |reply: &String| reply.starts_with("QUEUE_FULL ") && reply.ends_with("(QUEUE_FULL)");
        assert!(
            replies[..fit].iter().all(|reply| reply == "OK"),
            "{option}: {replies:?}"
        );
        assert!(replies[fit..].iter().all(refused), "{option}: {replies:?}");
        assert_eq!(fake.calls("SET") - before, fit, "{option}");
        queue.submit("GET key0");
        assert_eq!(
            queue.take_all(),
            std::slice::from_ref(&text),
            "{option}: there is room again"
        );
    }
}
