//! Host names, with name servers that answer and others that stay silent.
//!
//! The system files are replaced in a mount namespace, which needs root. Without root the tests print that they did
//! not run; the unit tests of the resolver in src/net/resolver remain.

use crate::common::serial::serial;
use crate::common::system_files::{may_replace_files, run_with_files};
use crate::common::{client, is_command, run, run_all, show, timed};
use rediscluster::cluster::Client;
use rediscluster::error::Code;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::{Action, Cluster, FakeCluster};

const NAME: &str = "resolver::known_names_outlive_their_name_server";
const SERVER: &str = "127.1.2.3";

/// Answers the first two queries for cluster.test, one for each address family, and no others.
fn name_server(socket: UdpSocket, asked: Arc<AtomicUsize>) {
    let mut buffer = [0; 512];
    while let Ok((size, from)) = socket.recv_from(&mut buffer) {
        const QNAME: &[u8] = b"\x07cluster\x04test\0";
        if !buffer[12..size].starts_with(QNAME) {
            continue;
        }
        // The header and the question, without the OPT record.
        let question = &buffer[..12 + QNAME.len() + 4];
        if asked.fetch_add(1, Ordering::SeqCst) > 1 {
            continue;
        }
        let mut answer = question.to_vec();
        answer[2] |= 0x80;
        answer[11] = 0;
        if question[question.len() - 3] == 1 {
            answer[7] = 1;
            answer.extend_from_slice(b"\xc0\x0c\0\x01\0\x01\0\0\0\0\0\x04\x7f\0\0\x01");
        }
        socket.send_to(&answer, from).unwrap();
    }
}

#[test]
fn known_names_outlive_their_name_server() {
    let _serial = serial();
    if let Ok(ports) = std::env::var("RDC_TEST_PORTS") {
        return run_in_namespace(&ports);
    }
    let socket = UdpSocket::bind((SERVER, 53));
    let (Ok(socket), true) = (socket, may_replace_files()) else {
        println!("not run: it takes a root user to replace /etc/resolv.conf");
        return;
    };
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    std::thread::spawn(move || name_server(socket, count));
    let fake = FakeCluster::new(1);
    let mut closes = Some(Action::Close);
    fake.on(0, move |_, command| {
        is_command(command, "LOLWUT")
            .then(|| closes.take())
            .flatten()
    });
    let resolv = format!("nameserver {SERVER}\noptions timeout:1\n");
    let ports = fake.port(0).to_string();
    run_with_files(NAME, &resolv, "127.0.0.1 listed.test\n", &ports);
    assert!(
        asked.load(Ordering::SeqCst) > 2,
        "the name was not looked up again"
    );
}

fn run_in_namespace(port: &str) {
    // The name server is silent: only the deadline can end the call.
    for ms in [200, 400] {
        let began = Instant::now();
        let client = Client::create(&format!("redis://silent.test:{port}?timeout_ms={ms}"));
        let took = began.elapsed();
        let error = client
            .error()
            .expect("an error, because the name is unknown");
        assert_eq!(error.code, Code::Timeout, "{error}");
        assert!(took < Duration::from_millis(ms + 50), "{took:?} of {ms} ms");
    }
    assert_eq!(
        run(&client(&format!("redis://listed.test:{port}")), "PING"),
        "PONG"
    );
    assert_eq!(
        run(&client(&format!("redis://localhost:{port}")), "PING"),
        "PONG"
    );
    let url = format!("redis://cluster.test:{port}?connect_timeout_ms=400&cluster=no");
    let known = client(&url);
    assert_eq!(run(&known, "PING"), "PONG");
    // The record has expired, but no server sends a newer one.
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(1100) {
        assert_eq!(run(&known, "PING"), "PONG");
    }
    // The connection closes, so that the call must open another.
    let began = Instant::now();
    assert!(run(&known, "LOLWUT").contains("unknown command"));
    assert!(
        began.elapsed() < Duration::from_millis(500),
        "{:?}",
        began.elapsed()
    );
}

const MOVED_NAME: &str = "resolver::cluster_with_all_new_addresses_is_found_by_name";

#[test]
fn cluster_with_all_new_addresses_is_found_by_name() {
    let _serial = serial();
    if std::env::var("RDC_TEST_PORTS").is_err() {
        match may_replace_files() {
            true => run_with_files(MOVED_NAME, "", "", "none"),
            false => println!("not run: it takes a root user to replace /etc/hosts"),
        }
        return;
    }
    let cluster = Cluster::builder()
        .primaries(1)
        .replicas(0)
        .separate_addresses();
    let cluster = cluster.start().unwrap();
    let port = cluster.ports()[0];
    let order = |words: &[&str]| {
        let reply = cluster.command(port, words).unwrap();
        assert!(!reply.is_error(), "{words:?}: {}", reply.text());
    };
    let is_at = |host: &str| std::fs::write("/etc/hosts", format!("{host} moving.test\n")).unwrap();
    is_at("127.0.1.1");
    // A single node does not know its own address, and clients would keep using the name.
    order(&["CONFIG", "SET", "cluster-announce-ip", "127.0.1.1"]);
    // Retrying a SET is harmless: one may be in flight when its connection closes.
    let url = format!("redis://moving.test:{port}?retry_writes=yes");
    let client = Arc::new(client(&url));
    let readonly = client.readonly();
    assert_eq!(run(&client, "SET k v"), "OK");
    assert_eq!(run(&readonly, "GET k"), "v");
    for host in ["127.0.1.9", "127.0.1.10", "127.0.1.1"] {
        is_at(host);
        order(&["CONFIG", "SET", "cluster-announce-ip", host]);
        order(&["CONFIG", "SET", "bind", host]);
        order(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        let told = std::thread::scope(|scope| {
            let calls: Vec<_> = (0..8)
                .map(|n| {
                    let (client, readonly) = (&client, &readonly);
                    scope.spawn(move || {
                        timed(|| match n % 4 {
                            0 => run(client, "GET k"),
                            1 => run(client, "SET k v"),
                            2 => run_all(client, &["GET k", "SET k v"]).concat(),
                            _ => run(readonly, "GET k"),
                        })
                    })
                })
                .collect();
            calls
                .into_iter()
                .map(|call| call.join().unwrap())
                .collect::<Vec<_>>()
        });
        let slowest = told.iter().map(|(_, time)| *time).max().unwrap();
        println!("found at {host} after {slowest:?}");
        for (n, (got, time)) in told.iter().enumerate() {
            assert_eq!(*got, ["v", "OK", "vOK", "v"][n % 4], "{host}");
            assert!(*time < Duration::from_millis(1500), "{host}: {time:?}");
        }
        let topology = show(client.topology().view());
        assert!(topology.contains(&format!("{host}:{port}")), "{topology}");
    }
}

const LATE_NAME: &str = "resolver::client_made_before_its_name_exists_lives";
const LATE_SERVER: &str = "127.1.2.4";

/// Denies late.test at first, then fails, and then answers.
fn late_name_server(socket: UdpSocket) {
    const QNAME: &[u8] = b"\x04late\x04test\0";
    let (mut buffer, mut asked) = ([0; 512], 0);
    while let Ok((size, from)) = socket.recv_from(&mut buffer) {
        if !buffer[12..size].starts_with(QNAME) {
            continue;
        }
        // The header and the question, without the OPT record.
        let question = &buffer[..12 + QNAME.len() + 4];
        let mut answer = question.to_vec();
        (answer[2], answer[11]) = (answer[2] | 0x80, 0);
        asked += 1;
        let is_ipv4 = question[question.len() - 3] == 1;
        match asked {
            1..=4 => answer[3] = 3,
            5..=8 => answer[3] = 2,
            _ if is_ipv4 => {
                answer[7] = 1;
                answer.extend_from_slice(b"\xc0\x0c\0\x01\0\x01\0\0\0\0\0\x04\x7f\0\0\x01");
            }
            _ => {}
        }
        socket.send_to(&answer, from).unwrap();
    }
}

#[test]
fn client_made_before_its_name_exists_lives() {
    let _serial = serial();
    if let Ok(port) = std::env::var("RDC_TEST_PORTS") {
        let url = format!("redis://late.test:{port}");
        let early = Client::create(&(url.clone() + "?timeout_ms=50"));
        let error = early.error().expect("the name is unknown").clone();
        assert_eq!(error.code, Code::Connect, "{error}");
        assert!(error.message.contains("late.test"), "{error}");
        let created = client(&(url + "?timeout_ms=20000"));
        assert_eq!(run(&created, "SET k v"), "OK");
        assert_eq!(run(&early.with("timeout_ms", "20000"), "GET k"), "v");
        assert_eq!(early.error(), Some(&error));
        return;
    }
    let socket = UdpSocket::bind((LATE_SERVER, 53));
    let (Ok(socket), true) = (socket, may_replace_files()) else {
        println!("not run: it takes a root user to replace /etc/resolv.conf");
        return;
    };
    std::thread::spawn(move || late_name_server(socket));
    let fake = FakeCluster::new(1);
    let resolv = format!("nameserver {LATE_SERVER}\noptions timeout:1\n");
    run_with_files(LATE_NAME, &resolv, "", &fake.port(0).to_string());
}
