//! Long lists of short values: their order, and their memory.

use crate::common::{client, is_command, run, run_all};
use std::sync::Arc;
use support::{Action, FakeCluster};

/// A list of `count` values of several kinds, and the same as text.
fn mixed_list(count: usize) -> (String, String) {
    let (mut bytes, mut shown) = (format!("*{count}\r\n"), Vec::new());
    for n in 0..count {
        let (sent, text) = match n % 11 {
            0 => (
                format!("${}\r\n{n}\r\n", n.to_string().len()),
                n.to_string(),
            ),
            1 => (format!(":{n}\r\n"), n.to_string()),
            2 => (
                format!("*2\r\n:{}\r\n+s{n}\r\n", n % 10),
                format!("[{}, s{n}]", n % 10),
            ),
            3 => ("*3\r\n_\r\n:1\r\n#t\r\n".into(), "[nil, 1, 1]".into()),
            4 => ("*0\r\n".into(), "[]".into()),
            5 => ("+OK\r\n".into(), "OK".into()),
            _ => ("_\r\n".into(), "nil".into()),
        };
        bytes += &sent;
        shown.push(text);
    }
    (bytes, format!("[{}]", shown.join(", ")))
}

#[test]
fn long_mixed_lists_keep_their_order_alone_and_in_pipelines() {
    let fake = FakeCluster::new(1);
    let lists: Vec<(String, String)> = [5, 60, 1000, 40_000, 150_000]
        .into_iter()
        .map(mixed_list)
        .collect();
    let (bytes, shown): (Vec<String>, Vec<String>) = lists.into_iter().unzip();
    fake.on(0, move |_, command| {
        is_command(command, "GET").then(|| {
            let at: usize = String::from_utf8_lossy(&command[1]).parse().unwrap();
            Action::send(&bytes[at])
        })
    });
    let client = Arc::new(client(
        &(fake.url() + "?timeout_ms=60000&attempt_timeout_ms=60000"),
    ));
    for (at, shown) in shown.iter().enumerate() {
        assert!(run(&client, &format!("GET {at}")) == *shown, "list {at}");
    }
    let order = [0, 3, 1, 4, 2, 3, 0];
    let replies = run_all(&client, &order.map(|at| format!("GET {at}")));
    for (reply, at) in replies.iter().zip(order) {
        assert!(*reply == shown[at], "list {at} in a pipeline");
    }
}

#[test]
fn list_of_nulls_and_integers_needs_four_times_its_bytes() {
    const COUNT: usize = 2_000_000;
    let fake = FakeCluster::new(1);
    for unit in ["_\r\n", ":7\r\n"] {
        let list = format!("*{COUNT}\r\n{}", unit.repeat(COUNT));
        let bytes = list.len();
        fake.on(0, move |_, command| {
            is_command(command, "GET").then(|| Action::send(&list))
        });
        let url = fake.url() + "?timeout_ms=60000&attempt_timeout_ms=60000&max_memory_bytes=";
        // The limit includes the memory that is allocated for the next bytes.
        let enough = client(&format!("{url}{}", 4 * bytes));
        let reply = enough.command(&[b"GET", b"k"]).whole();
        assert_eq!(reply.view().len(), COUNT, "{unit:?}");
        let too_few = client(&format!("{url}{bytes}"));
        let error = run(&too_few, "GET k");
        assert!(error.contains("max_memory_bytes"), "{unit:?}: {error}");
    }
}
