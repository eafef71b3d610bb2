//! Host names, with name servers that answer, and such that do not.
//!
//! The system's files are replaced in a mount namespace of the test's own, which takes a root user; without
//! one the test says so, and the unit tests of src/net/names remain.

mod say;

use rediscluster::cluster::Client;
use rediscluster::error::Code;
use say::{client, is, say};
use std::net::UdpSocket;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::{Action, FakeCluster};

const NAME: &str = "names_are_looked_up_by_the_deadline_and_known_ones_outlive_their_servers";
const SERVER: &str = "127.1.2.3";

/// Answers the first two questions for cluster.test, both kinds of address, and no other.
fn name_server(socket: UdpSocket, asked: Arc<AtomicUsize>) {
    let mut buffer = [0; 512];
    while let Ok((size, from)) = socket.recv_from(&mut buffer) {
        let question = &buffer[..size];
        if !question[12..].starts_with(b"\x07cluster\x04test\0") {
            continue;
        }
        if asked.fetch_add(1, Ordering::SeqCst) > 1 {
            continue;
        }
        let mut answer = question.to_vec();
        answer[2] |= 0x80;
        if question[size - 3] == 1 {
            answer[7] = 1;
            answer.extend_from_slice(b"\xc0\x0c\0\x01\0\x01\0\0\0\0\0\x04\x7f\0\0\x01");
        }
        socket.send_to(&answer, from).unwrap();
    }
}

#[test]
fn names_are_looked_up_by_the_deadline_and_known_ones_outlive_their_servers() {
    if let Ok(ports) = std::env::var("RDC_TEST_PORTS") {
        return inside(&ports);
    }
    let may = Command::new("unshare").args(["-m", "true"]).status();
    let socket = UdpSocket::bind((SERVER, 53));
    let (Ok(socket), true) = (socket, may.is_ok_and(|s| s.success())) else {
        println!("not run: it takes a root user to replace /etc/resolv.conf");
        return;
    };
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    std::thread::spawn(move || name_server(socket, count));
    let fake = FakeCluster::new(1);
    let mut closes = Some(Action::Close);
    fake.on(0, move |_, command| {
        is(command, "LOLWUT").then(|| closes.take()).flatten()
    });
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (resolv, hosts) = (folder.join("resolv.conf"), folder.join("hosts"));
    std::fs::write(&resolv, format!("nameserver {SERVER}\noptions timeout:1\n")).unwrap();
    std::fs::write(&hosts, "127.0.0.1 listed.test\n").unwrap();
    let script =
        "mount --bind $1 /etc/resolv.conf && mount --bind $2 /etc/hosts && shift 2 && exec \"$@\"";
    let output = Command::new("unshare")
        .args(["-m", "sh", "-c", script, "sh"])
        .args([&resolv, &hosts])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture"])
        .env("RDC_TEST_PORTS", fake.port(0).to_string())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{complained}");
    assert!(said.contains("1 passed"), "{said}");
    assert!(
        asked.load(Ordering::SeqCst) > 2,
        "the name was not asked for again"
    );
}

fn inside(port: &str) {
    // The name server is silent: there is nothing that would end the call but its deadline.
    for ms in [200, 400] {
        let began = Instant::now();
        let client = Client::create(&format!("redis://silent.test:{port}?timeout_ms={ms}"));
        let took = began.elapsed();
        let error = client.error().expect("nobody knows the name");
        assert_eq!(error.code, Code::Timeout, "{error}");
        assert!(took < Duration::from_millis(ms + 50), "{took:?} of {ms} ms");
    }
    assert_eq!(
        say(&client(&format!("redis://listed.test:{port}")), "PING"),
        "PONG"
    );
    assert_eq!(
        say(&client(&format!("redis://localhost:{port}")), "PING"),
        "PONG"
    );
    let url = format!("redis://cluster.test:{port}?connect_timeout_ms=400&cluster=no");
    let known = client(&url);
    assert_eq!(say(&known, "PING"), "PONG");
    // What it said has no right to be believed any more, but nobody says anything else.
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(1100) {
        assert_eq!(say(&known, "PING"), "PONG");
    }
    // The connection is closed, so that the call has to open another.
    let began = Instant::now();
    assert!(say(&known, "LOLWUT").contains("unknown command"));
    assert!(
        began.elapsed() < Duration::from_millis(500),
        "{:?}",
        began.elapsed()
    );
}
