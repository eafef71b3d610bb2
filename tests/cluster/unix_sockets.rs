//! Servers behind unix sockets.

use crate::common::serial::{in_child_process, in_forked_child, is_child_process, serial};
use crate::common::{
    atomic, client, code, is_sent, newest, run, run_all, send, servers, show, timed, wait_for,
};
use rediscluster::cluster::Client;
use rediscluster::error::Code;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use support::{Server, ServerBuilder};

/// A folder for sockets, which is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("rdc-sockets-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn with_socket(server: ServerBuilder, path: &str) -> ServerBuilder {
    server
        .option("unixsocket", format!("\"{path}\""))
        .option("unixsocketperm", "700")
}

fn start(path: &str) -> Server {
    with_socket(Server::builder(), path).start().unwrap()
}

#[test]
fn every_kind_of_command_works_over_unix_socket() {
    let _serial = serial();
    for found in servers() {
        let folder = Folder::new();
        let path = folder.path("a b,c.sock");
        let server = with_socket(Server::builder().server(found), &path);
        let server = server.option("requirepass", "p@ss").start().unwrap();
        let encoded = path.replace(' ', "%20").replace(',', "%2C");
        for mode in ["auto", "no"] {
            let url = format!("unix://:p%40ss@{encoded}?database=3&cluster={mode}");
            let three = Arc::new(client(&url));
            assert_eq!(run(&three, "SET k 3"), "OK");
            assert_eq!(
                run_all(&three, &["GET k", "INCR n", "DEL n"]),
                ["3", "1", "1"]
            );
            assert_eq!(show(atomic(&three, &["GET k"]).view()), "[3]");
            assert_eq!(run(&three.pin(b"k"), "GET k"), "3");
            assert_eq!(run(&three.readonly(), "GET k"), "3");
            assert_eq!(run(&three, "BLPOP nothing 0.01"), "nil");
            assert_eq!(run(&three.with("database", "0"), "EXISTS k"), "0");
            let big = "x".repeat(1 << 20);
            assert_eq!(run(&three, &format!("SET big {big}")), "OK");
            assert_eq!(run(&three, "GET big"), big);
            // It has a name, by which it can be selected.
            let reply = send(&three, "GET k");
            let node = reply.origin_of(reply.root).map(|o| o.name().to_string());
            assert_eq!(node.as_deref(), Some(path.as_str()));
            assert_eq!(show(three.command_to(&path, &[b"GET", b"k"]).view()), "3");
            let unknown = show(three.command_to("/other", &[b"GET", b"k"]).view());
            assert!(
                unknown.contains("selects no node") && unknown.contains(&path),
                "{unknown}"
            );
            let topology = show(three.topology().view());
            assert!(topology.contains(&format!("address, {path}")), "{topology}");
            assert!(show(three.stats().view()).contains(&path));
            // Reconnections.
            let admin = client(&format!("redis://:p%40ss@{}", server.address()));
            run(&admin, "CLIENT KILL TYPE normal SKIPME yes");
            assert_eq!(run(&three, "GET k"), "3");
        }
        let wrong = Client::create(&format!("unix://:wrong@{encoded}"));
        assert_eq!(wrong.error().map(|e| e.code), Some(Code::Auth));
    }
}

#[test]
fn socket_that_cannot_be_used_is_named_with_what_to_do() {
    let _serial = serial();
    let folder = Folder::new();
    let stale = folder.path("stale");
    drop(UnixListener::bind(&stale).unwrap());
    let file = folder.path("file");
    std::fs::write(&file, "").unwrap();
    let datagrams = folder.path("datagrams");
    let _datagrams = UnixDatagram::bind(&datagrams).unwrap();
    for (path, why) in [
        (folder.path("none"), "does not exist; is the server running"),
        (
            stale,
            "refused the connection; no server listens on this socket",
        ),
        (
            file.clone(),
            "is not a socket; write the path that the server's setting",
        ),
        (format!("{file}/below"), "Not a directory"),
        (datagrams, "Protocol wrong type for socket"),
    ] {
        let failed = Client::create(&format!("unix://{path}?timeout_ms=300"));
        let error = failed.error().expect("it is refused");
        assert!(matches!(error.code, Code::Connect), "{error}");
        assert!(
            error.message.contains(why) && error.message.contains(&path),
            "{error}"
        );
        assert_eq!(error.message.lines().count(), 1, "{error}");
    }
    // Root may use every socket.
    // SAFETY: it has no precondition.
    if unsafe { libc::geteuid() } != 0 {
        let locked = folder.path("locked");
        let _listener = UnixListener::bind(&locked).unwrap();
        std::fs::set_permissions(&locked, PermissionsExt::from_mode(0o000)).unwrap();
        let failed = Client::create(&format!("unix://{locked}?timeout_ms=300"));
        let text = failed.error().unwrap().to_string();
        assert!(text.contains("may not be used by this process"), "{text}");
    }
}

#[test]
fn node_of_cluster_behind_unix_socket_is_refused() {
    let _serial = serial();
    for kind in ["redis", "valkey"] {
        let folder = Folder::new();
        let path = folder.path("node.sock");
        let server = with_socket(Server::builder().server(newest(kind)), &path);
        let server = server.option("cluster-enabled", "yes").start().unwrap();
        let failed = Client::create(&format!("unix://{path}"));
        let error = failed.error().expect("it is a cluster");
        assert_eq!(error.code, Code::Invalid, "{error}");
        assert!(
            error.message.contains("write redis://host:port of a node"),
            "{error}"
        );
        assert!(run(&failed, "SET k v").contains("is the socket of one node of a cluster"));
        assert_eq!(server.commandstats("set").unwrap(), 0);
    }
}

#[test]
fn server_that_restarts_is_reached_again_by_its_path() {
    let _serial = serial();
    let folder = Folder::new();
    let path = folder.path("server.sock");
    let server = start(&path);
    let client = client(&format!("unix://{path}?timeout_ms=500"));
    assert_eq!(run(&client, "SET k 1"), "OK");
    server.kill();
    let down = send(&client, "SET k 2");
    assert!(
        code(down.view()) != Code::Ok && show(down.view()).contains(&path),
        "{}",
        show(down.view())
    );
    server.restart().unwrap();
    wait_for("the server is used again", || {
        run(&client, "SET k 3") == "OK"
    });
}

/// A socket whose queue of connections is full, and the connections in it.
fn full_socket(path: &str) -> (UnixListener, Vec<UnixStream>) {
    let listener = UnixListener::bind(path).unwrap();
    // SAFETY: the descriptor is that of a live listener.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    (listener, vec![UnixStream::connect(path).unwrap()])
}

#[test]
fn full_backlog_is_waited_for_within_the_deadline() {
    let folder = Folder::new();
    let path = folder.path("full");
    let (listener, queued) = full_socket(&path);
    let url = format!("unix://{path}?cluster=no&connect_timeout_ms=200&timeout_ms=400");
    let (failed, took) = timed(|| Client::create(&url));
    let error = failed.error().expect("nothing accepts").clone();
    assert_eq!(error.code, Code::Timeout, "{error}");
    let said = format!("{path} did not accept a connection within ");
    assert!(error.message.contains(&said) && !error.sent, "{error}");
    assert!(took.as_millis() < 2000, "{took:?}");
    drop((listener, queued));
}

#[test]
fn connection_is_made_once_the_backlog_has_room() {
    use std::io::{Read, Write};
    let folder = Folder::new();
    let path = folder.path("full");
    let (listener, queued) = full_socket(&path);
    let url = format!("unix://{path}?cluster=no&protocol=2&connect_timeout_ms=5000");
    std::thread::scope(|scope| {
        let creating = scope.spawn(|| Client::create(&url));
        // The client is the second in the queue: it gets in once the first has been accepted.
        drop(listener.accept().unwrap());
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = [0; 4096];
        let n = stream.read(&mut buffer).unwrap();
        let commands = String::from_utf8_lossy(&buffer[..n]).matches('*').count();
        stream
            .write_all("+OK\r\n".repeat(commands).as_bytes())
            .unwrap();
        let created = creating.join().unwrap();
        assert!(created.error().is_none(), "{:?}", created.error());
    });
    drop(queued);
}

#[test]
fn silent_server_behind_unix_socket_costs_its_timeout() {
    let folder = Folder::new();
    let path = folder.path("silent");
    let server = start(&path);
    let client = client(&format!(
        "unix://{path}?attempt_timeout_ms=200&timeout_ms=300"
    ));
    assert_eq!(run(&client, "SET k v"), "OK");
    server.stop().unwrap();
    let (reply, took) = timed(|| send(&client, "SET k w"));
    assert_eq!(
        (code(reply.view()), is_sent(reply.view())),
        (Code::Timeout, true)
    );
    assert!(took.as_millis() < 1500, "{took:?}");
    let patient = client.with("timeout_ms", "20000");
    let patient = patient.with("attempt_timeout_ms", "20000");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| send(&patient, "GET k"));
        wait_for("the call waits", || {
            patient.interrupt();
            waiting.is_finished()
        });
        assert_eq!(code(waiting.join().unwrap().view()), Code::Interrupted);
    });
    server.cont().unwrap();
}

#[test]
fn forked_child_opens_its_own_unix_connection() {
    let folder = Folder::new();
    let path = folder.path("server.sock");
    let server = (!is_child_process()).then(|| start(&path));
    in_child_process(&format!("unix://{path}?database=3"), |url| {
        let client = client(url);
        assert_eq!(run(&client, "SET k parent"), "OK");
        let id = run(&client, "CLIENT ID");
        assert!(in_forked_child(|| {
            run(&client, "GET k") == "parent"
                && run(&client, "SET k child") == "OK"
                && run(&client, "CLIENT ID") != id
        }));
        assert_eq!(run(&client, "GET k"), "child");
        assert_eq!(run(&client, "CLIENT ID"), id, "the child has not closed it");
    });
    drop(server);
}
