//! The scripted node and the scripted cluster, tested with plain sockets.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use support::{Action, Admin, FakeCluster, Reply, Script, encode, slot_of};

fn connect(node: &Script) -> TcpStream {
    let stream = TcpStream::connect(node.address()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    stream
}

fn admin(port: u16) -> Admin {
    Admin::connect(port, Duration::from_secs(5)).unwrap()
}

#[test]
fn script_runs_line_by_line() {
    let node = Script::play(
        r#"
        # the client's greeting, and its first question
        HANDSHAKE
        EXPECT get "a key" * ...
        SEND $5\r\nhe
        SENDSLOW 1 l\x6co\r\n
        LOOP 2
          EXPECT PING
          WAIT 20
          SEND +PONG {port}\r\n
        END
        ANY
        CLOSE
        "#,
    );
    let mut client = admin(node.port());
    assert!(!client.command(&["HELLO", "2"]).unwrap().is_error());
    assert_eq!(
        client.command(&["READONLY"]).unwrap(),
        Reply::Status("OK".into())
    );
    let reply = client.command(&["GET", "a key", "x", "y", "z"]).unwrap();
    assert_eq!(reply, Reply::Bulk(b"hello".to_vec()));
    let pong = Reply::Status(format!("PONG {}", node.port()));
    let start = Instant::now();
    assert_eq!(client.command(&["PING"]).unwrap(), pong);
    assert_eq!(client.command(&["PING"]).unwrap(), pong);
    assert!(start.elapsed() >= Duration::from_millis(40));
    let closed = client.command(&["BYE"]).unwrap_err().to_string();
    assert!(closed.contains("closed the connection"), "{closed}");
    let received = node.received_text();
    assert_eq!(
        received,
        [[
            "HELLO 2",
            "READONLY",
            "GET \"a key\" x y z",
            "PING",
            "PING",
            "BYE"
        ]]
    );
    assert_eq!(node.calls("ping"), 2);
    let bytes = received[0].len();
    assert!(node.bytes_received() > bytes);
    node.finish().unwrap();
}

#[test]
fn unexpected_command_is_reported_with_its_line() {
    let node = Script::play("EXPECT PING\nSEND +PONG\\r\\n");
    let answer = admin(node.port()).command(&["GET", "foo"]);
    assert!(answer.is_err());
    let failure = node.finish().unwrap_err().to_string();
    assert_eq!(
        failure,
        "connection 0: line 1: EXPECT PING, but came: GET foo"
    );
}

#[test]
fn unchecked_script_mismatch_panics_on_drop() {
    let node = Script::play("EXPECT PING");
    let _ = admin(node.port()).command(&["GET", "foo"]);
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(node)));
    let words = *panic.unwrap_err().downcast::<String>().unwrap();
    assert!(words.contains("EXPECT PING, but came: GET foo"), "{words}");
}

#[test]
fn missing_and_late_commands_are_reported() {
    let node = Script::play("EXPECT PING");
    let waiting = connect(&node);
    assert!(node.wait_for(|n| n.connections() == 1, Duration::from_secs(5)));
    let failure = node.finish().unwrap_err().to_string();
    assert_eq!(failure, "connection 0: line 1: EXPECT PING: it never came");
    drop(waiting);

    let node = Script::play("EXPECT PING\nSEND +PONG\\r\\n");
    let mut client = admin(node.port());
    client.command(&["PING"]).unwrap();
    assert!(client.command(&["GET", "k"]).is_err());
    let failure = node.finish().unwrap_err().to_string();
    assert!(
        failure.contains("the script has ended, and then came: GET k"),
        "{failure}"
    );

    let node = Script::play_each(&["ANY\nCLOSE", "ANY\nCLOSE"]);
    assert!(admin(node.port()).command(&["PING"]).is_err());
    let failure = node.finish().unwrap_err().to_string();
    assert_eq!(failure, "2 connections are scripted, 1 were made");
}

#[test]
fn close_sends_fin_and_reset_sends_rst() {
    for (line, reset) in [("CLOSE", false), ("RESET", true)] {
        let node = Script::play(&format!("ANY\n{line}"));
        let mut client = connect(&node);
        client.write_all(&encode(&["PING"])).unwrap();
        let read = client.read(&mut [0; 9]);
        match reset {
            true => assert_eq!(
                read.unwrap_err().kind(),
                std::io::ErrorKind::ConnectionReset
            ),
            false => assert_eq!(read.unwrap(), 0),
        }
        node.finish().unwrap();
    }
}

#[test]
fn hanging_node_stays_silent_and_stops_when_dropped() {
    let node = Script::play("EXPECT PING\nHANG");
    let mut client = connect(&node);
    client.write_all(&encode(&["PING"])).unwrap();
    client
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    assert_eq!(
        client.read(&mut [0; 9]).unwrap_err().kind(),
        std::io::ErrorKind::WouldBlock
    );
    let start = Instant::now();
    node.finish().unwrap();
    assert!(start.elapsed() < Duration::from_millis(500));
}

#[test]
fn endless_script_loop_ends_when_client_disconnects() {
    let node = Script::play("LOOP\nHANDSHAKE\nEXPECT GET *\nSEND :1\\r\\n\nEND");
    for _ in 0..2 {
        let mut client = admin(node.port());
        client.command(&["HELLO", "3"]).unwrap_err();
        let mut client = admin(node.port());
        for _ in 0..3 {
            assert_eq!(client.command(&["GET", "x"]).unwrap(), Reply::Int(1));
        }
    }
    // The two connections that sent only HELLO left the script waiting for a GET.
    let failure = node.finish().unwrap_err().to_string();
    assert_eq!(failure.lines().count(), 2, "{failure}");
}

#[test]
#[should_panic(expected = "line 2: no such line: EXPECTS PING")]
fn invalid_script_line_is_rejected() {
    Script::play("ANY\nEXPECTS PING");
}

#[test]
fn closure_decides_each_answer() {
    let mut count = 0;
    let node = Script::serve(move |connection, command| {
        count += 1;
        match command[0].as_slice() {
            b"COUNT" => Action::send(format!(":{}\r\n", connection * 100 + count)),
            b"SLOW" => Action::Delay(
                Duration::from_millis(30),
                Box::new(Action::SendSlow(
                    b"+OK\r\n".to_vec(),
                    2,
                    Duration::from_millis(1),
                )),
            ),
            b"LAST" => Action::SendClose(b"+BYE\r\n".to_vec()),
            _ => Action::Close,
        }
    });
    let mut a = admin(node.port());
    assert_eq!(a.command(&["COUNT"]).unwrap(), Reply::Int(1));
    assert_eq!(a.command(&["SLOW"]).unwrap(), Reply::Status("OK".into()));
    let mut b = admin(node.port());
    assert_eq!(b.command(&["COUNT"]).unwrap(), Reply::Int(103));
    assert_eq!(b.command(&["LAST"]).unwrap(), Reply::Status("BYE".into()));
    assert!(b.command(&["COUNT"]).is_err());
    node.finish().unwrap();
}

#[test]
fn stopped_node_refuses_connections() {
    let mut node = Script::play("ANY");
    node.stop();
    assert!(TcpStream::connect(node.address()).is_err());
    node.finish().unwrap();
}

#[test]
fn scripted_nodes_report_one_topology() {
    let mut fake = FakeCluster::with_replicas(3, 1);
    let slot = slot_of(b"foo");
    let owner = fake.owner(slot).unwrap();
    let other = (owner + 1) % 3;
    let mut at_owner = admin(fake.port(owner));
    let mut at_other = admin(fake.port(other));
    let mut at_replica = admin(fake.port(owner + 3));
    assert_eq!(
        at_owner.command(&["SET", "foo", "bar"]).unwrap().text(),
        "OK"
    );
    assert_eq!(at_owner.command(&["GET", "foo"]).unwrap().text(), "bar");
    let moved = format!("MOVED {slot} 127.0.0.1:{}", fake.port(owner));
    assert_eq!(at_other.command(&["GET", "foo"]).unwrap().text(), moved);
    at_other.command(&["ASKING"]).unwrap();
    assert_eq!(at_other.command(&["GET", "foo"]).unwrap().text(), "bar");
    assert_eq!(at_other.command(&["GET", "foo"]).unwrap().text(), moved);
    assert_eq!(at_replica.command(&["GET", "foo"]).unwrap().text(), moved);
    at_replica.command(&["READONLY"]).unwrap();
    assert_eq!(at_replica.command(&["GET", "foo"]).unwrap().text(), "bar");

    let slots = at_other.command(&["CLUSTER", "SLOTS"]).unwrap();
    assert_eq!(slots.elements().len(), 3);
    let range = slots.elements()[owner].elements();
    assert_eq!(range.len(), 4, "first, last, primary, replica");
    assert_eq!(
        range[3].elements()[1],
        Reply::Int(fake.port(owner + 3).into())
    );
    let shards = at_other.command(&["CLUSTER", "SHARDS"]).unwrap();
    assert_eq!(shards.elements().len(), 3);

    fake.assign(slot..=slot, other);
    assert_eq!(at_other.command(&["GET", "foo"]).unwrap().text(), "bar");
    let slots = at_owner.command(&["CLUSTER", "SLOTS"]).unwrap();
    assert_eq!(slots.elements().len(), 5);
    fake.unassign(slot..=slot);
    let down = at_owner.command(&["GET", "foo"]).unwrap().text();
    assert_eq!(down, "CLUSTERDOWN Hash slot not served");

    fake.on(other, |_, command| {
        (command[0] == b"PING").then(|| Action::send("-LOADING soon\r\n"))
    });
    assert_eq!(at_other.command(&["PING"]).unwrap().text(), "LOADING soon");
    assert!(
        at_other
            .command(&["CLUSTER", "MYID"])
            .unwrap()
            .text()
            .ends_with(&format!("{}", other + 1))
    );
    fake.off(other);
    assert_eq!(at_other.command(&["PING"]).unwrap().text(), "PONG");
    assert_eq!(fake.calls("ping"), 2);
    fake.stop(other);
    assert!(TcpStream::connect(("127.0.0.1", fake.port(other))).is_err());
}
