//! Subscribers against scripted nodes: answers that real servers give at rare moments, and impossible ones.

use crate::common::show;
use crate::listener::{Listener, WAIT_MS};
use rediscluster::cluster::Client;
use rediscluster::resp::{Reply, flag as reply_flag};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use support::{Action, Command, FakeCluster};

fn is(command: &Command, name: &str) -> bool {
    command[0].eq_ignore_ascii_case(name.as_bytes())
}

fn bulk(text: &[u8]) -> Vec<u8> {
    let mut bulk = format!("${}\r\n", text.len()).into_bytes();
    bulk.extend_from_slice(text);
    bulk.extend_from_slice(b"\r\n");
    bulk
}

/// A push frame of texts.
fn push(texts: &[&[u8]]) -> Vec<u8> {
    let parts: Vec<u8> = texts.iter().flat_map(|text| bulk(text)).collect();
    [format!(">{}\r\n", texts.len()).into_bytes(), parts].concat()
}

fn confirmation(word: &[u8], channel: &[u8]) -> Vec<u8> {
    [
        b">3\r\n".to_vec(),
        bulk(word),
        bulk(channel),
        b":1\r\n".to_vec(),
    ]
    .concat()
}

/// The confirmations of a command, as a server with RESP3 gives them. None for another command.
fn confirm(command: &Command) -> Option<Vec<u8>> {
    let word = command[0].to_ascii_lowercase();
    let name = String::from_utf8_lossy(&word).into_owned();
    name.ends_with("subscribe").then(|| {
        let channels = command[1..].iter();
        channels
            .flat_map(|channel| confirmation(&word, channel))
            .collect()
    })
}

fn hello(role: &str) -> Action {
    let role = format!(
        "%3\r\n$6\r\nserver\r\n$5\r\nredis\r\n$4\r\nmode\r\n$7\r\ncluster\r\n$4\r\nrole\r\n${}\r\n{role}\r\n",
        role.len()
    );
    Action::Send(role.into_bytes())
}

/// A node that behaves as a server with these channels.
fn serve(fake: &FakeCluster, node: usize) {
    fake.on(node, |_, command| confirm(command).map(Action::Send));
}

#[test]
fn demoted_primary_is_left_although_it_confirms() {
    let fake = FakeCluster::with_replicas(1, 1);
    let hellos = AtomicUsize::new(0);
    fake.on(0, move |_, command| {
        // The first greets, the second asks for the role.
        if is(command, "HELLO") && hellos.fetch_add(1, Ordering::SeqCst) > 0 {
            return Some(hello("replica"));
        }
        confirm(command).map(|mut confirmed| {
            if is(command, "SSUBSCRIBE") {
                confirmed.extend(push(&[b"smessage", b"a", b"of the demoted node"]));
            }
            Action::Send(confirmed)
        })
    });
    fake.on(1, |_, command| {
        confirm(command).map(|mut confirmed| {
            if is(command, "SSUBSCRIBE") {
                confirmed.extend(push(&[b"smessage", b"a", b"of the primary"]));
            }
            Action::Send(confirmed)
        })
    });
    let mut listener = Listener::new(&fake.url());
    listener.command("SSUBSCRIBE a");
    assert_eq!(listener.next_within(100), "nil");
    fake.promote(1);
    assert_eq!(
        listener.take(2),
        ["[ssubscribe, a, 1]", "[smessage, a, of the primary]"]
    );
}

/// The id of the replica of a fake shard, after [`shard_with_replica`].
const REPLICA_ID: usize = 0xb;

/// A primary and its replica, which is the second node. The primary lists it in `CLUSTER REPLICAS` while it knows it, and
/// all nodes do in `CLUSTER SLOTS` while it is named.
fn shard_with_replica(is_known: Arc<AtomicBool>, is_named: Arc<AtomicBool>) -> FakeCluster {
    let fake = FakeCluster::with_replicas(1, 1);
    fake.set_id(1, REPLICA_ID);
    let port = fake.port(0);
    for node in 0..2 {
        let (is_known, is_named) = (is_known.clone(), is_named.clone());
        fake.on(node, move |_, command| {
            let asks = |word: &str| is(command, "CLUSTER") && command[1] == word.as_bytes();
            if asks("REPLICAS") {
                let line = format!("{REPLICA_ID:040x} 127.0.0.1:1@2 slave x 0 0 1 connected");
                return Some(Action::Send(match is_known.load(Ordering::SeqCst) {
                    true => [b"*1\r\n".to_vec(), bulk(line.as_bytes())].concat(),
                    false => b"*0\r\n".to_vec(),
                }));
            }
            if asks("SLOTS") && !is_named.load(Ordering::SeqCst) {
                let primary = format!("*4\r\n$9\r\n127.0.0.1\r\n:{port}\r\n");
                let id = bulk(format!("{:040x}", 0xa).as_bytes());
                let view = format!("*1\r\n*3\r\n:0\r\n:16383\r\n{primary}").into_bytes();
                return Some(Action::Send([view, id, b"*0\r\n".to_vec()].concat()));
            }
            confirm(command).map(Action::Send)
        });
    }
    fake.set_id(0, 0xa);
    fake
}

fn flag(value: bool) -> Arc<AtomicBool> {
    Arc::new(AtomicBool::new(value))
}

#[test]
fn replica_that_its_primary_does_not_know_is_not_used() {
    for protocol in ["3", "2"] {
        let is_known = flag(false);
        let fake = shard_with_replica(is_known.clone(), flag(true));
        let url = format!("{}?read_from=replica&protocol={protocol}", fake.url());
        let mut listener = Listener::new(&url);
        listener.command("SSUBSCRIBE a");
        assert_eq!(listener.next_within(200), "nil", "RESP{protocol}");
        is_known.store(true, Ordering::SeqCst);
        assert_eq!(listener.next(), "[ssubscribe, a, 1]");
        assert!(fake.node(0).calls("CLUSTER REPLICAS") > 1);
        assert!(fake.node(1).calls("SSUBSCRIBE") > 1);
    }
}

#[test]
fn live_node_that_a_view_omits_keeps_its_channels() {
    let is_named = flag(true);
    let fake = shard_with_replica(flag(true), is_named.clone());
    let mut listener = Listener::new(&format!("{}?read_from=replica", fake.url()));
    listener.subscribe("SUBSCRIBE a");
    assert_eq!(fake.node(1).calls("SUBSCRIBE"), 1);
    let learn = |name: bool, listener: &Listener| {
        is_named.store(name, Ordering::SeqCst);
        listener.client.refresh();
        let topology = show(listener.client.topology().view());
        assert_eq!(
            topology.contains(&fake.port(1).to_string()),
            name,
            "{topology}"
        );
    };
    learn(false, &listener);
    assert_eq!(listener.next_within(50), "nil");
    learn(true, &listener);
    assert_eq!(listener.next_within(1200), "nil");
    assert_eq!(fake.node(1).calls("SUBSCRIBE"), 1);

    // A node that stays away is left.
    learn(false, &listener);
    let gap = format!("[gap, message, a, topology, 127.0.0.1:{}]", fake.port(0));
    assert_eq!(listener.next(), gap);
}

#[test]
fn revoked_and_moved_channel_goes_to_the_new_owner() {
    let fake = FakeCluster::new(2);
    let port = fake.port(1);
    let slot = support::slot_of(b"b");
    fake.assign(slot..=slot, 0);
    let moved = Arc::new(AtomicBool::new(false));
    let is_moved = moved.clone();
    fake.on(0, move |_, command| {
        if is(command, "SSUBSCRIBE") && is_moved.load(Ordering::SeqCst) {
            return Some(Action::Send(
                format!("-MOVED {slot} 127.0.0.1:{port}\r\n").into_bytes(),
            ));
        }
        if is(command, "PING") && !is_moved.swap(true, Ordering::SeqCst) {
            let last = push(&[b"smessage", b"b", b"last"]);
            let revoked = confirmation(b"sunsubscribe", b"b");
            return Some(Action::Send([&b"+PONG\r\n"[..], &last, &revoked].concat()));
        }
        confirm(command).map(Action::Send)
    });
    fake.on(1, |_, command| {
        confirm(command).map(|mut confirmed| {
            if is(command, "SSUBSCRIBE") {
                confirmed.extend(push(&[b"smessage", b"b", b"first"]));
            }
            Action::Send(confirmed)
        })
    });
    let mut listener = Listener::new(&fake.url());
    listener.subscribe("SSUBSCRIBE b");
    assert_eq!(
        listener.take(3),
        [
            "[smessage, b, last]".to_string(),
            format!("[gap, smessage, b, moved, 127.0.0.1:{port}]"),
            "[smessage, b, first]".to_string()
        ]
    );
}

#[test]
fn refused_channel_is_given_up_alone() {
    let fake = FakeCluster::new(1);
    fake.on(0, |_, command| {
        let is_secret = command[1..].iter().any(|channel| channel == b"secret");
        if is(command, "SUBSCRIBE") && is_secret {
            let refused = b"-NOPERM No permissions to access a channel\r\n";
            return Some(Action::Send(refused.to_vec()));
        }
        confirm(command).map(Action::Send)
    });
    let mut listener = Listener::new(&fake.url());
    listener.command("SUBSCRIBE a secret b");
    let replies: Vec<_> = (0..3).map(|_| listener.next_reply(WAIT_MS)).collect();
    let is_marked = |reply: &Reply| reply.root.value.flags & reply_flag::GIVEN_UP != 0;
    assert_eq!(replies.iter().filter(|r| is_marked(r)).count(), 1);
    let mut told: Vec<String> = replies.iter().map(|reply| show(reply.view())).collect();
    told.sort();
    assert!(
        told[0].starts_with("NOPERM 127.0.0.1:") && told[0].contains("refused SUBSCRIBE secret"),
        "{told:?}"
    );
    assert_eq!(told[1..], ["[subscribe, a, 1]", "[subscribe, b, 2]"]);
    assert_eq!(listener.next_within(50), "nil");
}

#[test]
fn confirmations_come_in_the_order_of_the_commands() {
    let fake = FakeCluster::new(1);
    serve(&fake, 0);
    let mut listener = Listener::new(&fake.url());
    // Before the first confirmation, and out of the order of their names.
    for command in ["SUBSCRIBE c a", "PSUBSCRIBE z", "SUBSCRIBE b"] {
        assert_eq!(listener.command(command), "OK");
    }
    let expected = [
        "[subscribe, c, 1]",
        "[subscribe, a, 2]",
        "[psubscribe, z, 3]",
        "[subscribe, b, 4]",
    ];
    assert_eq!(listener.take(4), expected);
    assert_eq!(listener.command("SSUBSCRIBE x{2} y{1} w{2}"), "OK");
    let expected = [
        "[ssubscribe, x{2}, 1]",
        "[ssubscribe, w{2}, 2]",
        "[ssubscribe, y{1}, 3]",
    ];
    assert_eq!(listener.take(3), expected);
}

#[test]
fn server_without_sharded_channels_is_named() {
    let fake = FakeCluster::new(1);
    let mut listener = Listener::new(&fake.url());
    fake.on(0, |_, command| {
        is(command, "SSUBSCRIBE")
            .then(|| Action::Send(b"-ERR unknown command `ssubscribe`\r\n".to_vec()))
    });
    listener.command("SSUBSCRIBE a");
    let error = listener.next();
    assert!(
        error.contains("need Redis 7.0 or later, or Valkey"),
        "{error}"
    );
    assert_eq!(listener.next_within(50), "nil");
}

#[test]
fn unsubscribed_channel_brings_nothing_and_subscribed_again_only_new_messages() {
    let fake = FakeCluster::new(1);
    let commands = Arc::new(Mutex::new(Vec::new()));
    let seen = commands.clone();
    fake.on(0, move |_, command| {
        let name = String::from_utf8_lossy(&command[0]).into_owned();
        seen.lock().unwrap().push(name);
        if is(command, "UNSUBSCRIBE") {
            let late = push(&[b"message", b"a", b"late"]);
            return Some(Action::Send([late, confirm(command).unwrap()].concat()));
        }
        confirm(command).map(|mut confirmed| {
            if is(command, "SUBSCRIBE") {
                confirmed.extend(push(&[b"message", b"a", b"new"]));
            }
            Action::Send(confirmed)
        })
    });
    let mut listener = Listener::new(&fake.url());
    listener.subscribe("SUBSCRIBE a");
    assert_eq!(listener.next(), "[message, a, new]");
    listener.command("UNSUBSCRIBE a");
    listener.command("SUBSCRIBE a");
    assert_eq!(
        listener.take(3),
        [
            "[unsubscribe, a, 0]",
            "[subscribe, a, 1]",
            "[message, a, new]"
        ]
    );
    assert_eq!(listener.next_within(50), "nil");
}

#[test]
fn impossible_frames_cost_the_connection_and_a_gap() {
    let frames: [&[u8]; 7] = [
        b">3\r\n$9\r\nsubscribe\r\n$1\r\nz\r\n:1\r\n",
        b"+PONG\r\n+PONG\r\n",
        b":1\r\n",
        b"-ERR what\r\n-ERR what\r\n-ERR what\r\n",
        b"%1\r\n$4\r\nrole\r\n$6\r\nmaster\r\n",
        b"?\r\n",
        b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$99999999999\r\n",
    ];
    for frame in frames {
        let fake = FakeCluster::new(1);
        let is_sent = AtomicBool::new(false);
        fake.on(0, move |_, command| {
            if is(command, "PING") && !is_sent.swap(true, Ordering::SeqCst) {
                return Some(Action::Send([b"+PONG\r\n", frame].concat()));
            }
            confirm(command).map(Action::Send)
        });
        let mut listener = Listener::new(&fake.url());
        listener.subscribe("SUBSCRIBE a");
        let what = String::from_utf8_lossy(frame).into_owned();
        let error = listener.next();
        assert!(error.contains("PROTOCOL"), "{what}: {error}");
        let gap = listener.next();
        assert!(
            gap.starts_with("[gap, message, a, disconnected, "),
            "{what}: {gap}"
        );
        fake.off(0);
        serve(&fake, 0);
    }
}

#[test]
fn messages_in_parts_are_whole() {
    for size in [1, 2, 3, 5, 7] {
        let fake = FakeCluster::new(1);
        let long = "x".repeat(300);
        let payload = long.clone();
        fake.on(0, move |_, command| {
            confirm(command).map(|mut confirmed| {
                if is(command, "SUBSCRIBE") {
                    for text in ["", "m", &payload] {
                        confirmed.extend(push(&[b"message", b"a", text.as_bytes()]));
                    }
                }
                Action::SendSlow(confirmed, size, std::time::Duration::from_micros(50))
            })
        });
        let mut listener = Listener::new(&fake.url());
        listener.subscribe("SUBSCRIBE a");
        let expected = ["", "m", &long].map(|text| format!("[message, a, {text}]"));
        assert_eq!(listener.take(3), expected);
    }
}

#[test]
fn messages_of_channels_that_are_not_confirmed_are_dropped() {
    for protocol in [3, 2] {
        let fake = FakeCluster::new(1);
        let sign = if protocol == 3 { ">" } else { "*" };
        fake.on(0, move |_, command| {
            if is(command, "ROLE") {
                return Some(Action::send("*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"));
            }
            let mut sent = push(&[b"smessage", b"a", b"too early"]);
            sent.extend(confirm(command)?);
            sent.extend(push(&[b"smessage", b"never subscribed", b"m"]));
            sent.extend(push(&[b"message", b"a", b"of another kind"]));
            sent.extend(push(&[b"smessage", b"a", b"in time"]));
            sent.extend(confirmation(b"sunsubscribe", b"a"));
            sent.extend(push(&[b"smessage", b"a", b"too late"]));
            let text = String::from_utf8(sent).expect("a text");
            Some(Action::send(text.replace('>', sign)))
        });
        let url = format!("{}?protocol={protocol}", fake.url());
        let mut listener = Listener::new(&url);
        listener.command("SSUBSCRIBE a");
        let gap = format!("[gap, smessage, a, moved, 127.0.0.1:{}]", fake.port(0));
        assert_eq!(
            listener.take(4),
            [
                "[ssubscribe, a, 1]",
                "[smessage, a, in time]",
                &gap,
                "[smessage, a, in time]"
            ],
            "RESP{protocol}"
        );
    }
}

#[test]
fn password_that_is_refused_later_is_tried_seldom() {
    let fake = FakeCluster::new(2);
    for node in 0..2 {
        serve(&fake, node);
    }
    let url = fake.url().replace("redis://", "redis://user:password@");
    let mut listener = Listener::new(&format!("{url}?timeout_ms=1000"));
    listener.subscribe("SUBSCRIBE a");
    let refused = Arc::new(AtomicUsize::new(0));
    for node in 0..2 {
        fake.off(node);
        let count = refused.clone();
        fake.on(node, move |_, command| {
            let refusal = b"-WRONGPASS invalid username-password pair\r\n";
            match is(command, "HELLO") {
                true => {
                    count.fetch_add(1, Ordering::SeqCst);
                    Some(Action::Send(refusal.to_vec()))
                }
                false => Some(Action::Close),
            }
        });
        fake.node(node).close_connections();
    }
    let began = std::time::Instant::now();
    let mut told = Vec::new();
    while began.elapsed() < std::time::Duration::from_secs(3) {
        told.push(listener.next_within(100));
    }
    assert!(
        told.iter().any(|text| text.contains("WRONGPASS")),
        "{told:?}"
    );
    // Each node is asked for the subscription and for the topology, at most once a second each.
    let attempts = refused.load(Ordering::SeqCst);
    assert!((1..=16).contains(&attempts), "{attempts} attempts in 3 s");
}

#[test]
fn refused_password_is_told_and_tried_seldom() {
    let fake = FakeCluster::new(1);
    let hellos = Arc::new(AtomicUsize::new(0));
    let count = hellos.clone();
    fake.on(0, move |_, command| {
        is(command, "HELLO").then(|| {
            count.fetch_add(1, Ordering::SeqCst);
            Action::Send(b"-WRONGPASS invalid username-password pair\r\n".to_vec())
        })
    });
    let url = fake.url().replace("redis://", "redis://user:wrong@");
    let client = Client::create(&format!("{url}?timeout_ms=1000"));
    let mut listener = Listener::of(Arc::new(client));
    listener.command("SUBSCRIBE a");
    let first = listener.next();
    assert!(first.contains("refused HELLO"), "{first}");
    assert_eq!(listener.next_within(700), "nil");
    let second = listener.next();
    let begin = "1 channel is not subscribed after 1000 ms (timeout_ms), which goes on: ";
    assert!(
        second.contains(begin) && second.contains("WRONGPASS"),
        "{second}"
    );
    let attempts = hellos.load(Ordering::SeqCst);
    assert!((1..=4).contains(&attempts), "{attempts} attempts");
}
