//! Passwords and users that are rotated while threads call the library.

use crate::common::serial::serial;
use crate::common::set_on_drop::SetOnDrop;
use crate::common::{atomic, client, newest, run, run_all, servers, stat, wait_for};
use rediscluster::cluster::Client;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use support::find::Found;
use support::{Cluster, Server};

/// The servers of one round.
enum Servers {
    One(Box<Server>),
    Cluster(Box<Cluster>),
}

impl Servers {
    fn url(&self) -> String {
        match self {
            Servers::One(server) => server.url(),
            Servers::Cluster(cluster) => cluster.url(),
        }
    }

    /// Sends a command to every server, and returns the replies.
    fn all(&self, words: &str) -> Vec<String> {
        let words = support::words::split(words).unwrap();
        let replies = match self {
            Servers::One(server) => vec![server.command(&words).unwrap()],
            Servers::Cluster(cluster) => {
                let ports = cluster.ports().into_iter();
                ports
                    .map(|port| cluster.command(port, &words).unwrap())
                    .collect()
            }
        };
        replies.iter().map(ToString::to_string).collect()
    }

    /// Fails if a server has refused a password.
    fn assert_no_failed_login(&self) {
        for log in self.all("ACL LOG") {
            assert!(!log.contains("\"auth\""), "{log}");
        }
    }
}

/// Calls of every kind, each with keys of its own thread.
fn calls(client: &Arc<Client>, readonly: &Arc<Client>, thread: usize, n: usize) {
    let key = format!("{{t{thread}}}{}", n % 50);
    let value = format!("v{n}");
    assert_eq!(run(client, &format!("SET {key} {value}")), "OK");
    assert_eq!(run(client, &format!("GET {key}")), value);
    let other = format!("o{thread}-{n}");
    let several = [
        format!("SET {other} {n}"),
        format!("INCR {other}"),
        format!("GET {key}"),
    ];
    let expected = ["OK".to_owned(), (n + 1).to_string(), value.clone()];
    assert_eq!(run_all(client, &several), expected);
    assert_eq!(run(client, &format!("DEL {other} {key}x")), "1");
    let read = run(readonly, &format!("GET {key}"));
    assert!(read.starts_with('v') || read == "nil", "{read}");
    match n % 4 {
        0 => {
            let set = atomic(client, &[format!("SET {key} {value}")]);
            assert_eq!(crate::common::show(set.view()), "[OK]");
        }
        1 => assert_eq!(run(client, &format!("BLPOP {key}-empty 0.02")), "nil"),
        2 => assert_eq!(
            run(client, &format!("MGET {key} {{t{thread}}}-none")),
            format!("[{value}, nil]")
        ),
        _ => {
            // A connection of its own, which is opened now.
            let pinned = client.pin(key.as_bytes());
            assert_eq!(run(&pinned, &format!("WATCH {key}")), "OK");
            assert_eq!(run(&pinned, "MULTI"), "OK");
            assert_eq!(run(&pinned, &format!("GET {key}")), "QUEUED");
            assert_eq!(run(&pinned, "EXEC"), format!("[{value}]"));
        }
    }
}

/// Changes the credentials of a client.
trait Rotate {
    fn set(&self, client: &Client, user: &str, password: &str);
}

struct ByCall;

impl Rotate for ByCall {
    fn set(&self, client: &Client, user: &str, password: &str) {
        client.set_credentials(user, password).unwrap();
    }
}

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// By the files of the options.
struct ByFiles(PathBuf);

impl ByFiles {
    fn write(&self, name: &str, text: &str) {
        let next = self.0.join(format!("{name}.next"));
        std::fs::write(&next, text).unwrap();
        std::fs::rename(&next, self.0.join(name)).unwrap();
    }
}

impl Rotate for ByFiles {
    fn set(&self, client: &Client, user: &str, password: &str) {
        let before = stat(client, "reauthentications");
        self.write("user", user);
        self.write("password", password);
        // The client looks at most once a second, when it opens a connection. Until then, connections that have not been
        // used since the last change may still authenticate, so that their number does not show that the files were read.
        std::thread::sleep(2 * LOOK);
        let renewed = || stat(client, "reauthentications") > before + 1;
        wait_for("the files are read", renewed);
    }
}

/// Runs calls on many threads while `change` runs. No call may fail.
fn under_load(client: &Arc<Client>, change: impl FnOnce(&dyn Fn())) {
    let finished = AtomicBool::new(false);
    let rounds: Vec<AtomicUsize> = (0..8).map(|_| AtomicUsize::new(0)).collect();
    let readonly = Arc::new(client.readonly());
    let held = client.pin(b"held");
    std::thread::scope(|scope| {
        let _finish = SetOnDrop(&finished);
        let threads: Vec<_> = rounds
            .iter()
            .enumerate()
            .map(|(thread, done)| {
                let (client, readonly, finished) = (client, &readonly, &finished);
                scope.spawn(move || {
                    while !finished.load(Ordering::SeqCst) {
                        let n = done.load(Ordering::SeqCst);
                        calls(client, readonly, thread, n);
                        done.fetch_add(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        let each_goes_on = || {
            let now = |all: &[AtomicUsize]| all.iter().map(|n| n.load(Ordering::SeqCst)).collect();
            let before: Vec<usize> = now(&rounds);
            wait_for("all threads go on", || {
                let after: Vec<usize> = now(&rounds);
                let go_on = after.iter().zip(&before).all(|(a, b)| *a > b + 4);
                go_on || threads.iter().any(|thread| thread.is_finished())
            });
            assert_eq!(run(&held, "SET held v"), "OK");
            assert_eq!(run(&held, "GET held"), "v");
        };
        each_goes_on();
        change(&each_goes_on);
        each_goes_on();
    });
}

fn rotate(servers: &Servers, options: &str, means: &dyn Rotate) {
    let rights = "~* &* +@all";
    servers.all(&format!("ACL SETUSER app reset on >p0 {rights}"));
    servers.all("ACL LOG RESET");
    let client = Arc::new(client(&(servers.url() + options)));
    under_load(&client, |go_on| {
        // The password: both are valid for a while.
        for n in 0..3 {
            let next = n + 1;
            servers.all(&format!("ACL SETUSER app >p{next}"));
            means.set(&client, "app", &format!("p{next}"));
            go_on();
            servers.all(&format!("ACL SETUSER app <p{n}"));
            go_on();
        }
        servers.assert_no_failed_login();
        // The user. Connections that have not been used since are closed with it.
        servers.all(&format!("ACL SETUSER app2 reset on >q {rights}"));
        means.set(&client, "app2", "q");
        go_on();
        servers.all("ACL DELUSER app");
        go_on();
        for list in servers.all("CLIENT LIST") {
            assert!(!list.contains("user=app "), "{list}");
            assert!(list.contains("user=app2 "), "{list}");
        }
    });
    assert!(stat(&client, "reauthentications") >= 4);
    assert_eq!(
        stat(&client, "retries"),
        stat(&client, "moved"),
        "a command was sent twice"
    );
}

fn start(found: &Found) -> [Servers; 2] {
    let one = Server::builder().server(found.clone()).start().unwrap();
    let builder = Cluster::builder().server(found.clone()).replicas(1);
    let cluster = builder.start().unwrap();
    [
        Servers::One(Box::new(one)),
        Servers::Cluster(Box::new(cluster)),
    ]
}

fn rotate_at(found: &Found, means: &str) {
    let _serial = serial();
    for (n, servers) in start(found).into_iter().enumerate() {
        match means {
            "call" => rotate(&servers, "?user=app&password=p0&timeout_ms=20000", &ByCall),
            _ => {
                let name = format!("rotation-{}-{n}", std::process::id());
                let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
                std::fs::create_dir_all(&folder).unwrap();
                let files = ByFiles(folder);
                files.write("user", "app");
                files.write("password", "p0");
                let path = files.0.display();
                let options = format!(
                    "?user_file={path}/user&password_file={path}/password&timeout_ms=20000"
                );
                rotate(&servers, &options, &files);
                std::fs::remove_dir_all(&files.0).unwrap();
            }
        }
    }
}

#[test]
fn rotation_by_call_under_load_fails_no_command_on_redis() {
    rotate_at(&servers()[0], "call");
}

#[test]
fn rotation_by_call_under_load_fails_no_command_on_valkey() {
    rotate_at(&newest("valkey"), "call");
}

#[test]
fn rotation_by_files_under_load_fails_no_command() {
    rotate_at(&newest("valkey"), "files");
}

#[test]
fn state_of_connection_survives_reauthentication() {
    let _serial = serial();
    let server = Server::builder().start().unwrap();
    let user = "ACL SETUSER app reset on >one >two ~* &* +@all";
    server
        .command(&support::words::split(user).unwrap())
        .unwrap();
    for protocol in [2, 3] {
        let url = server.url() + &format!("?cluster=no&client_name=us&protocol={protocol}");
        let client = client(&url);
        let pinned = client.pin(b"k");
        for words in ["SELECT 3", "CLIENT TRACKING ON", "SET k three"] {
            assert_eq!(run(&pinned, words), "OK", "{words}");
        }
        let id = run(&pinned, "CLIENT ID");
        client.set_credentials("app", "one").unwrap();
        assert_eq!(run(&pinned, "ACL WHOAMI"), "app");
        let info = run(&pinned, "CLIENT INFO");
        for part in [
            &format!("id={id} "),
            " name=us ",
            " db=3 ",
            " user=app ",
            " flags=t ",
            &format!("resp={protocol}"),
        ] {
            assert!(info.contains(part), "{part}: {info}");
        }
        assert_eq!(run(&pinned, "GET k"), "three");
        // The caller's own user stays until RESET.
        assert_eq!(run(&pinned, "AUTH app two"), "OK");
        client.set_credentials("app", "wrong").unwrap();
        assert_eq!(run(&pinned, "ACL WHOAMI"), "app");
        assert_eq!(stat(&client, "credentials_refused"), 0);
    }
}
