//! Real servers: they form a cluster, break on request, and none is left behind.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use support::{Cluster, Failover, Reply, Role, Server, control, find, slot_of, wait_until};

const TOOL: &str = env!("CARGO_BIN_EXE_cluster");
const PATIENCE: Duration = Duration::from_secs(20);

/// One cluster at a time: with dozens of servers on two processors, nodes call each other failed.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_alive(pid: u32) -> bool {
    // A process that has ended but was not reaped has the state Z.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit(')')
        .next()
        .and_then(|s| s.trim().chars().next());
    state.is_some_and(|state| state != 'Z')
}

fn text(cluster: &Cluster, port: u16, args: &[&str]) -> String {
    cluster.command(port, args).unwrap().text()
}

#[test]
fn cluster_serves_fails_over_and_recovers() {
    let _alone = alone();
    let cluster = Cluster::start().unwrap();
    let nodes = cluster.nodes();
    assert_eq!(nodes.len(), 6);
    assert!(nodes[..3].iter().all(|n| n.role == Role::Primary));
    assert!(nodes[3..].iter().all(|n| n.role == Role::Replica));

    let slot = slot_of(b"foo");
    let primary = cluster.primary_of(slot).unwrap();
    let replicas = cluster.replicas_of(slot).unwrap();
    assert_eq!(replicas.len(), 1);
    let replica = replicas[0];
    assert_eq!(text(&cluster, primary, &["SET", "foo", "bar"]), "OK");
    assert_eq!(text(&cluster, primary, &["GET", "foo"]), "bar");
    assert_eq!(cluster.commandstats(primary, "get").unwrap(), 1);
    cluster.reset_stats().unwrap();
    assert_eq!(cluster.commandstats(primary, "GET").unwrap(), 0);

    // A replica that is cut off serves its old data.
    cluster.wait_replicas_in_sync().unwrap();
    cluster.pause_replication(replica).unwrap();
    text(&cluster, primary, &["SET", "foo", "new"]);
    let read_stale = || {
        let mut admin = support::Admin::connect(replica, PATIENCE).unwrap();
        admin.command(&["READONLY"]).unwrap();
        admin.command(&["GET", "foo"]).unwrap().text()
    };
    assert_eq!(read_stale(), "bar");
    cluster.resume_replication(replica).unwrap();
    assert_eq!(read_stale(), "new");

    // A slot in the middle of a migration.
    let target = nodes[..3].iter().find(|n| n.port != primary).unwrap().port;
    text(&cluster, primary, &["SET", "{foo}2", "x"]);
    cluster.begin_migration(slot, target).unwrap();
    assert!(cluster.move_keys(slot, target, &["nosuch"]).is_err());
    cluster.move_keys(slot, target, &["foo"]).unwrap();
    let ask = format!("ASK {slot} 127.0.0.1:{target}");
    assert_eq!(text(&cluster, primary, &["GET", "foo"]), ask);
    assert_eq!(text(&cluster, primary, &["GET", "{foo}2"]), "x");
    let both = text(&cluster, primary, &["MGET", "foo", "{foo}2"]);
    assert!(both.starts_with("TRYAGAIN"), "{both}");
    cluster.finish_migration(slot, target).unwrap();
    let moved = format!("MOVED {slot} 127.0.0.1:{target}");
    assert_eq!(text(&cluster, primary, &["GET", "foo"]), moved);
    assert_eq!(text(&cluster, target, &["GET", "{foo}2"]), "x");
    cluster.migrate_slot(slot, primary).unwrap();
    assert_eq!(text(&cluster, primary, &["GET", "foo"]), "new");

    // A failover and back.
    cluster.wait_replicas_in_sync().unwrap();
    cluster.failover(replica, Failover::Plain).unwrap();
    assert_eq!(cluster.primary_of(slot).unwrap(), replica);
    cluster.failover(primary, Failover::Takeover).unwrap();
    cluster.wait_healthy().unwrap();

    // A stopped node keeps its port and does not answer.
    let pid = cluster.node(primary).unwrap().pid;
    cluster.stop(primary).unwrap();
    assert_eq!(cluster.node(primary).unwrap().role, Role::Stopped);
    // Its replica is promoted if more than the node timeout has passed, as on a machine that stalls.
    let owner = cluster.primary_of(slot);
    assert!(owner.is_err() || owner == Ok(replica), "{owner:?}");
    cluster.cont(primary).unwrap();
    assert_eq!(cluster.node(primary).unwrap().pid, pid);
    cluster.wait_healthy().unwrap();
    if cluster.primary_of(slot) == Ok(replica) {
        cluster.failover(primary, Failover::Takeover).unwrap();
    }

    // A dead primary is replaced, and returns as a replica.
    cluster.wait_healthy().unwrap();
    cluster.kill(primary).unwrap();
    assert!(cluster.kill(primary).is_err());
    assert_eq!(cluster.node(primary).unwrap().role, Role::Dead);
    assert!(wait_until(
        || cluster.primary_of(slot) == Ok(replica),
        PATIENCE
    ));
    cluster.restart(primary).unwrap();
    cluster.wait_healthy().unwrap();
    assert_eq!(cluster.replicas_of(slot).unwrap(), [primary]);
    assert_eq!(text(&cluster, replica, &["GET", "foo"]), "new");

    // No process is left, not even a stopped one.
    cluster.stop(replica).unwrap();
    let pids: Vec<u32> = cluster.nodes().iter().filter_map(|n| n.pid).collect();
    assert_eq!(pids.len(), 6);
    let dir = cluster.dir().to_path_buf();
    drop(cluster);
    assert!(!pids.iter().any(|&pid| is_alive(pid)));
    assert!(!dir.exists());
}

#[test]
fn passwords_users_and_data_survive_restart() {
    let _alone = alone();
    let cluster = Cluster::builder()
        .replicas(0)
        .appendonly(true)
        .option("requirepass", "p@ss")
        .option("user", "alice on >secret ~* +@all")
        .start()
        .unwrap();
    assert!(cluster.url().starts_with("redis://:p%40ss@127.0.0.1:"));
    let port = cluster.primary_of(slot_of(b"foo")).unwrap();
    text(&cluster, port, &["SET", "foo", "kept"]);
    cluster.restart(port).unwrap();
    cluster.wait_healthy().unwrap();
    assert_eq!(text(&cluster, port, &["GET", "foo"]), "kept");
    let mut admin = support::Admin::connect(port, PATIENCE).unwrap();
    let refused = admin.command(&["GET", "foo"]).unwrap().text();
    assert!(refused.starts_with("NOAUTH"), "{refused}");
    let login = admin.command(&["AUTH", "alice", "secret"]).unwrap();
    assert_eq!(login, Reply::Status("OK".into()));
}

#[test]
fn single_server_runs_without_cluster_mode() {
    let server = Server::start().unwrap();
    let answer = server.command(&["CLUSTER", "SLOTS"]).unwrap().text();
    assert!(answer.contains("cluster support disabled"), "{answer}");
    let first = server.pid().unwrap();
    server.restart().unwrap();
    assert!(!is_alive(first));
    assert_eq!(server.commandstats("get").unwrap(), 0);
}

#[test]
fn taken_port_is_named_in_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let failed = Server::builder().port(port).start().unwrap_err();
    let words = format!("port {port} of 127.0.0.1 is taken already");
    assert_eq!(failed.to_string(), words);
}

#[test]
fn unknown_option_is_named_in_error() {
    let failed = Server::builder().option("nosuch", "1").start().unwrap_err();
    let words = failed.to_string();
    assert!(words.contains("nosuch"), "{words}");
}

#[test]
fn atomic_slot_migration_works_where_supported() {
    let _alone = alone();
    let small = Cluster::builder().replicas(0).start().unwrap();
    let to = small.primary_of(16383).unwrap();
    let done = small.migrate_slots_atomically(0, 100, to);
    if small.has_atomic_migration() {
        done.unwrap();
        assert_eq!(small.primary_of(100).unwrap(), to);
        assert_ne!(small.primary_of(101).unwrap(), to);
    } else {
        let words = done.unwrap_err().to_string();
        assert!(words.contains("Valkey 9"), "{words}");
    }
}

#[test]
fn control_socket_offers_cluster_operations() {
    let _alone = alone();
    let cluster = Arc::new(Cluster::builder().replicas(0).start().unwrap());
    let socket = control::serve(&cluster).unwrap();
    let ask = |words: &[&str]| control::request(&socket, words);
    assert_eq!(ask(&["nodes"]).unwrap().len(), 3);
    let port = &ask(&["primary-of", "key:foo"]).unwrap()[0];
    assert_eq!(*port, cluster.primary_of(12182).unwrap().to_string());
    let value = "two words\r\nok\n\u{1}";
    assert_eq!(
        ask(&["command", port, "SET", "foo", value]).unwrap(),
        ["OK"]
    );
    let quoted = "\"two words\\r\\nok\\n\\x01\"";
    assert_eq!(ask(&["command", port, "GET", "foo"]).unwrap(), [quoted]);
    assert_eq!(ask(&["calls", port, "get"]).unwrap(), ["1"]);
    let error = |words: &[&str]| ask(words).unwrap_err().to_string();
    assert!(error(&["command", port, "GET"]).contains("wrong number of arguments"));
    assert_eq!(error(&["kill"]), "usage: kill PORT");
    assert_eq!(error(&["kill", "1"]), "no node of this cluster has port 1");
    assert!(error(&["nonsense"]).contains("no command nonsense"));
    assert!(ask(&["kill", port]).unwrap().is_empty());
    assert!(
        ask(&["nodes"])
            .unwrap()
            .iter()
            .any(|l| l.contains(" dead "))
    );
}

fn tool(args: &[&str]) -> Output {
    Command::new(TOOL).args(args).output().unwrap()
}

/// Starts the tool with a command that prints the process ids of the servers and then sleeps.
fn running_tool() -> (Child, Vec<u32>, BufReader<ChildStdout>) {
    let script = "\"$RDC_CLUSTER\" ctl nodes; echo end; exec sleep 100";
    let mut child = Command::new(TOOL)
        .args(["run", "--replicas", "0", "--", "sh", "-c", script])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut pids = Vec::new();
    loop {
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        match line.split_whitespace().last() {
            Some("end") => break,
            Some(pid) => pids.push(pid.parse().unwrap()),
            None => panic!("the tool ended too early"),
        }
    }
    assert_eq!(pids.len(), 3);
    assert!(pids.iter().all(|&pid| is_alive(pid)));
    (child, pids, out)
}

fn signal(pid: u32, signal: libc::c_int) {
    // SAFETY: kill takes numbers; the process is a child that was not reaped.
    assert_eq!(unsafe { libc::kill(pid as libc::pid_t, signal) }, 0);
}

#[test]
fn output_to_closed_pipe_is_no_error() {
    for args in [&["help"][..], &["ctl", "--help"], &["servers"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let done = Command::new(TOOL)
            .args(args)
            .stdout(writer)
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&done.stderr);
        assert!(
            done.status.success() && errors.is_empty(),
            "{args:?}: {errors}"
        );
    }
}

#[test]
fn tool_returns_exit_code_of_command_and_cleans_up() {
    let _alone = alone();
    let script = "echo $RDC_URL; echo $RDC_CONTROL; \"$RDC_CLUSTER\" ctl nodes; exit 7";
    let done = tool(&["run", "--replicas", "0", "--", "sh", "-c", script]);
    assert_eq!(done.status.code(), Some(7));
    let out = String::from_utf8(done.stdout).unwrap();
    let lines: Vec<_> = out.lines().collect();
    assert!(lines[0].starts_with("redis://127.0.0.1:"), "{out}");
    assert!(!Path::new(lines[1]).parent().unwrap().exists());
    assert_eq!(lines.len(), 5, "{out}");
    for line in &lines[2..] {
        let pid = line.split(' ').next_back().unwrap().parse().unwrap();
        assert!(!is_alive(pid));
    }
    let done = tool(&["run", "--primaries", "1", "--replicas", "0", "--", "false"]);
    assert_eq!(done.status.code(), Some(1));
}

#[test]
fn signal_is_forwarded_to_command_then_servers_stop() {
    let _alone = alone();
    let (mut child, pids, _out) = running_tool();
    signal(child.id(), libc::SIGTERM);
    assert_eq!(child.wait().unwrap().code(), Some(128 + libc::SIGTERM));
    assert!(!pids.iter().any(|&pid| is_alive(pid)));
}

#[test]
fn servers_end_when_tool_is_killed() {
    let _alone = alone();
    let (mut child, pids, _out) = running_tool();
    signal(pids[0], libc::SIGSTOP);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(wait_until(
        || !pids.iter().any(|&pid| is_alive(pid)),
        PATIENCE
    ));
    // Its files remain until the next start.
    let left = |pid: u32| {
        let prefix = format!("rdc-test-{pid}-");
        let entries = std::fs::read_dir(std::env::temp_dir()).unwrap().flatten();
        let mut names = entries.map(|e| e.file_name().to_string_lossy().into_owned());
        names.any(|name| name.starts_with(&prefix))
    };
    let _next = Server::start().unwrap();
    assert!(wait_until(|| !left(child.id()), PATIENCE));
}

#[test]
fn server_outlives_the_thread_that_started_it() {
    let server = std::thread::spawn(|| Server::start().unwrap())
        .join()
        .unwrap();
    assert_eq!(server.command(&["PING"]).unwrap().text(), "PONG");
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(server.command(&["PING"]).unwrap().text(), "PONG");
}

#[test]
fn panic_stops_the_server() {
    let (sender, pid) = std::sync::mpsc::channel();
    let panicked = std::thread::spawn(move || {
        let server = Server::start().unwrap();
        sender.send(server.pid().unwrap()).unwrap();
        panic!("on purpose");
    });
    assert!(panicked.join().is_err());
    assert!(!is_alive(pid.recv().unwrap()));
}

#[test]
fn usage_error_prints_one_line_and_exits_with_2() {
    for args in [
        &["frobnicate"][..],
        &["run"],
        &["run", "--primaries", "x", "--", "true"],
        &["run", "--nosuch", "--", "true"],
        &["run", "--ports", "7000", "--", "true"],
        &["run", "--primaries", "0", "--", "true"],
    ] {
        let start = Instant::now();
        let done = tool(args);
        let words = String::from_utf8(done.stderr).unwrap();
        assert_eq!(done.status.code(), Some(2), "{args:?}: {words}");
        assert_eq!(words.lines().count(), 1, "{words}");
        assert!(start.elapsed() < Duration::from_secs(2));
    }
    let help = tool(&["run", "--help"]);
    assert!(
        String::from_utf8(help.stdout)
            .unwrap()
            .contains("RDC_CONTROL")
    );
    let servers = String::from_utf8(tool(&["servers"]).stdout).unwrap();
    assert!(servers.contains(&find::server().unwrap().to_string()));
}
