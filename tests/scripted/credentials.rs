//! Credentials that change: which connections send AUTH, when, and what follows a refusal.

use crate::common::serial::{in_child_process, in_forked_child, scripted_nodes, url_of};
use crate::common::set_on_drop::SetOnDrop;
use crate::common::{
    atomic, client, code, is_command, is_sent, pause, run, run_all, send, show, stat, wait_for,
};
use rediscluster::cluster::Client;
use rediscluster::error::Code;
use rediscluster::log;
use rediscluster::resp::parse_command;
use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{Action, FakeCluster};

/// A server that looks, before it answers AUTH, whether anything has been sent behind it.
struct AuthNode {
    port: u16,
    /// The commands of each connection.
    received: Arc<Mutex<Vec<Vec<String>>>>,
    /// AUTH behind which something was sent.
    accompanied: Arc<AtomicUsize>,
    /// The number of commands that wait for [`AuthNode::release`].
    blocked: Arc<AtomicUsize>,
    is_released: Arc<AtomicBool>,
}

/// The next command of a connection.
fn read_command(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<String> {
    loop {
        let mut args = Vec::new();
        if let Ok(end) = parse_command(buffer, 0, &mut args) {
            let words: Vec<_> = args.iter().map(|a| String::from_utf8_lossy(a)).collect();
            let command = words.join(" ");
            buffer.drain(..end);
            return Some(command);
        }
        let mut bytes = [0; 4096];
        let n = stream.read(&mut bytes).ok().filter(|n| *n > 0)?;
        buffer.extend_from_slice(&bytes[..n]);
    }
}

impl AuthNode {
    fn start() -> AuthNode {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let node = AuthNode {
            port: listener.local_addr().unwrap().port(),
            received: Arc::default(),
            accompanied: Arc::default(),
            blocked: Arc::default(),
            is_released: Arc::default(),
        };
        let (received, accompanied) = (node.received.clone(), node.accompanied.clone());
        let (blocked, is_released) = (node.blocked.clone(), node.is_released.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut all = received.lock().unwrap();
                let number = all.len();
                all.push(Vec::new());
                drop(all);
                let (received, accompanied) = (received.clone(), accompanied.clone());
                let (blocked, is_released) = (blocked.clone(), is_released.clone());
                std::thread::spawn(move || {
                    let (mut stream, mut buffer) = (stream.unwrap(), Vec::new());
                    while let Some(command) = read_command(&mut stream, &mut buffer) {
                        received.lock().unwrap()[number].push(command.clone());
                        let name = command.split(' ').next().unwrap().to_owned();
                        if name == "AUTH" && !(buffer.is_empty() && is_silent(&stream)) {
                            accompanied.fetch_add(1, Ordering::SeqCst);
                        }
                        if command.contains("blocks") {
                            blocked.fetch_add(1, Ordering::SeqCst);
                            let free = || is_released.load(Ordering::SeqCst);
                            support::wait_until(free, crate::common::WAIT_LIMIT);
                        }
                        let reply: &[u8] = match name.as_str() {
                            "GET" | "BLPOP" => b"$1\r\nv\r\n",
                            "ACL" | "MULTI" | "SET" | "AUTH" | "WATCH" | "PING" | "CLIENT" => {
                                b"+OK\r\n"
                            }
                            "EXEC" => b"*0\r\n",
                            _ => b"-ERR unknown command\r\n",
                        };
                        if stream.write_all(reply).is_err() {
                            break;
                        }
                    }
                });
            }
        });
        node
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}?cluster=no&protocol=2", self.port)
    }

    fn release(&self) {
        self.is_released.store(true, Ordering::SeqCst);
    }

    /// The commands of each connection that is not only set up.
    fn commands(&self) -> Vec<Vec<String>> {
        let setup = ["CLIENT", "HELLO", "PING"];
        let is_setup = |c: &String| setup.iter().any(|name| c.starts_with(name));
        let received = self.received.lock().unwrap().clone();
        let commands = received
            .into_iter()
            .map(|all| all.into_iter().filter(|c| !is_setup(c)).collect());
        commands.filter(|all: &Vec<_>| !all.is_empty()).collect()
    }
}

/// Whether nothing arrives for a while.
fn is_silent(stream: &TcpStream) -> bool {
    let limit = Some(Duration::from_millis(20));
    stream.set_read_timeout(limit).unwrap();
    // A connection that is closed meanwhile has nothing behind AUTH either.
    let silent = !matches!(stream.peek(&mut [0]), Ok(1));
    stream.set_read_timeout(None).unwrap();
    silent
}

#[test]
fn auth_goes_alone_before_next_command_of_each_kind() {
    let node = AuthNode::start();
    let client = Arc::new(client(&node.url()));
    let pinned = client.pin(b"k");
    let readonly = client.with("timeout_ms", "4000");
    let each: [&dyn Fn(); 7] = [
        &|| assert_eq!(run(&client, "SET k v"), "OK"),
        &|| assert_eq!(run(&readonly, "GET k"), "v"),
        &|| assert_eq!(run_all(&client, &["SET k v", "GET k"]), ["OK", "v"]),
        &|| assert_eq!(atomic(&client, &["SET k v"]).view().len(), 0),
        &|| assert_eq!(run(&client, "BLPOP k 1"), "v"),
        &|| assert_eq!(run(&client, "ACL SETUSER u >x"), "OK"),
        &|| assert_eq!(run(&pinned, "GET k"), "v"),
    ];
    for call in each {
        call();
    }
    for (n, call) in each.into_iter().enumerate() {
        let before: usize = node.commands().iter().map(Vec::len).sum();
        client.set_credentials("app", &format!("new{n}")).unwrap();
        call();
        call();
        let commands = node.commands();
        let auth = format!("AUTH app new{n}");
        let with_auth: Vec<&Vec<String>> =
            commands.iter().filter(|all| all.contains(&auth)).collect();
        let [connection] = with_auth[..] else {
            panic!("{n}: {commands:?}");
        };
        let after: usize = commands.iter().map(Vec::len).sum();
        let at = connection.iter().position(|c| *c == auth).unwrap();
        assert_eq!(connection.len() - at, after - before, "{n}: {connection:?}");
    }
    assert_eq!(node.accompanied.load(Ordering::SeqCst), 0);
    assert_eq!(stat(&client, "reauthentications"), 7);
}

#[test]
fn auth_goes_alone_before_batches_of_threads() {
    let node = AuthNode::start();
    let client = Arc::new(client(&(node.url() + "&connections_per_node=2")));
    let finished = AtomicBool::new(false);
    let calls = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let _finish = SetOnDrop(&finished);
        for thread in 0..12 {
            let (client, finished, calls) = (&client, &finished, &calls);
            scope.spawn(move || {
                while !finished.load(Ordering::SeqCst) {
                    let got = match thread % 3 {
                        0 => run_all(client, &["SET k v", "GET k"]).concat(),
                        _ => run(client, "GET k"),
                    };
                    assert!(["v", "OKv"].contains(&got.as_str()), "{got}");
                    calls.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        for n in 0..20 {
            let before = calls.load(Ordering::SeqCst);
            client.set_credentials("app", &format!("new{n}")).unwrap();
            wait_for("the threads go on", || {
                calls.load(Ordering::SeqCst) > before + 24
            });
        }
        finished.store(true, Ordering::SeqCst);
    });
    assert_eq!(node.accompanied.load(Ordering::SeqCst), 0);
    let mut sent = 0;
    for commands in node.commands() {
        let auths: Vec<&String> = commands.iter().filter(|c| c.starts_with("AUTH")).collect();
        let different: HashSet<&&String> = auths.iter().collect();
        assert_eq!(auths.len(), different.len(), "{auths:?}");
        sent += auths.len();
    }
    assert!(sent >= 20, "{sent}");
}

#[test]
fn command_in_flight_is_not_touched_by_changed_credentials() {
    let node = AuthNode::start();
    let client = Arc::new(client(&node.url()));
    std::thread::scope(|scope| {
        let blocked = scope.spawn(|| run(&client, "SET blocks v"));
        wait_for("it is in flight", || {
            node.blocked.load(Ordering::SeqCst) == 1
        });
        client.set_credentials("app", "new").unwrap();
        node.release();
        assert_eq!(blocked.join().unwrap(), "OK");
    });
    assert_eq!(run(&client, "GET k"), "v");
    let expected = ["SET blocks v", "AUTH app new", "GET k"];
    assert_eq!(node.commands(), [expected]);
}

#[test]
fn pinned_connection_keeps_user_during_transaction_and_after_own_auth() {
    let node = AuthNode::start();
    let client = client(&node.url());
    let (pinned, own) = (client.pin(b"k"), client.pin(b"k"));
    assert_eq!(run(&own, "AUTH me mine"), "OK");
    assert_eq!(run(&pinned, "WATCH k"), "OK");
    client.set_credentials("app", "new").unwrap();
    for words in ["GET k", "MULTI", "SET k v", "EXEC", "GET k"] {
        run(&pinned, words);
    }
    assert_eq!(run(&own, "GET k"), "v");
    let expected: [&[&str]; 2] = [
        &["AUTH me mine", "GET k"],
        &[
            "WATCH k",
            "GET k",
            "MULTI",
            "SET k v",
            "EXEC",
            "AUTH app new",
            "GET k",
        ],
    ];
    assert_eq!(node.commands(), expected);
}

/// The password that a command authenticates with.
fn password_of(command: &[Vec<u8>]) -> Option<String> {
    let at = match command[0].to_ascii_uppercase().as_slice() {
        b"AUTH" => command.len() - 1,
        b"HELLO" if command.len() > 4 => 4,
        _ => return None,
    };
    Some(String::from_utf8_lossy(&command[at]).into_owned())
}

/// The node accepts these passwords, and answer others so.
fn accept(fake: &FakeCluster, passwords: &[&str], refusal: Refusal) {
    let passwords: Vec<String> = passwords.iter().map(|p| p.to_string()).collect();
    fake.on(0, move |_, command| {
        let password = password_of(command)?;
        let is_wrong = !passwords.contains(&password);
        is_wrong.then(|| match refusal {
            Refusal::WrongPass => Action::send("-WRONGPASS invalid username-password pair\r\n"),
            Refusal::Busy => Action::send("-BUSY Redis is busy running a script.\r\n"),
            Refusal::Silence => Action::Nothing,
        })
    });
}

#[derive(Clone, Copy)]
enum Refusal {
    WrongPass,
    Busy,
    Silence,
}
use Refusal::{Busy, Silence, WrongPass};

/// The passwords that the node has got, in alphabetical order.
fn logins(fake: &FakeCluster) -> Vec<String> {
    let received = fake.node(0).received();
    let mut all: Vec<String> = received
        .concat()
        .iter()
        .filter_map(|c| password_of(c))
        .collect();
    all.sort();
    all
}

fn with_password(fake: &FakeCluster) -> String {
    fake.url().replace("redis://", "redis://:old@")
}

#[test]
fn refused_credentials_are_sent_once_and_connection_keeps_its_user() {
    let fake = scripted_nodes(1);
    if let Some(fake) = &fake {
        accept(fake, &["old", "newer"], WrongPass);
    }
    let url = fake.as_ref().map(with_password).unwrap_or_default();
    in_child_process(&url, |url| {
        let told: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = told.clone();
        let listen = move |_: i32, words: &str| heard.lock().unwrap().push(words.to_string());
        let client = Arc::new(client(url));
        let pinned = client.pin(b"k");
        assert_eq!(run(&pinned, "SET k v"), "OK");
        assert_eq!(run(&client, "SET k v"), "OK");
        log::set(Some(Arc::new(listen)), log::WARN);
        client.set_credentials("", "n3w").unwrap();
        for _ in 0..5 {
            assert_eq!(run(&client, "SET k v"), "OK");
            assert_eq!(run_all(&client, &["GET k", "SET k v"]), ["v", "OK"]);
            assert_eq!(run(&pinned, "GET k"), "v");
        }
        let told = told.lock().unwrap().clone();
        log::set(None, 0);
        let [warning] = &told[..] else {
            panic!("{told:?}")
        };
        let expected =
            "refuses the changed credentials, and open connections keep their user: WRONGPASS";
        assert!(
            warning.contains(expected) && !warning.contains("n3w"),
            "{warning}"
        );
        assert_eq!(stat(&client, "credentials_refused"), 1);
        assert_eq!(stat(&client, "reauthentications"), 0);
        // The next ones are tried, also for new connections.
        client.set_credentials("", "newer").unwrap();
        assert_eq!(run(&client, "SET k v"), "OK");
        assert_eq!(run(&pinned, "GET k"), "v");
        assert_eq!(stat(&client, "reauthentications"), 2);
    });
    let Some(fake) = fake else { return };
    let received = fake.node(0).received_text().concat();
    let mut auths: Vec<&String> = received.iter().filter(|c| c.starts_with("AUTH")).collect();
    auths.sort();
    assert_eq!(auths, ["AUTH n3w", "AUTH newer", "AUTH newer"]);
}

#[test]
fn connection_closed_on_auth_is_replaced_before_the_command() {
    let fake = FakeCluster::new(1);
    let client = Arc::new(client(&fake.url()));
    assert_eq!(run(&client, "INCR n"), "1");
    for (n, call) in ["INCR n", "pipeline", "INCR n"].into_iter().enumerate() {
        let closed = AtomicBool::new(false);
        fake.on(0, move |_, command| {
            let closes = is_command(command, "AUTH") && !closed.swap(true, Ordering::SeqCst);
            closes.then_some(Action::Close)
        });
        client.set_credentials("", &format!("p{n}")).unwrap();
        let expected = (n + 2).to_string();
        match call {
            "pipeline" => assert_eq!(run_all(&client, &["INCR n"]), [expected]),
            words => assert_eq!(run(&client, words), expected),
        }
    }
    assert_eq!(fake.calls("INCR"), 4, "no command was sent twice");
}

#[test]
fn auth_without_reply_is_a_timeout_of_an_unsent_command() {
    let fake = FakeCluster::new(1);
    accept(&fake, &[], Silence);
    let client = Arc::new(client(
        &(fake.url() + "?attempt_timeout_ms=100&timeout_ms=150"),
    ));
    let pinned = client.pin(b"k");
    for handle in [&*client, &pinned] {
        assert_eq!(run(handle, "SET k v"), "OK");
        client.set_credentials("", "new").unwrap();
        let reply = send(handle, "SET k w");
        assert_eq!(code(reply.view()), Code::Timeout, "{}", show(reply.view()));
        assert!(!is_sent(reply.view()), "{}", show(reply.view()));
        client.set_credentials("", "").unwrap();
    }
    assert_eq!(fake.calls("SET k w"), 0);
}

#[test]
fn auth_of_a_busy_server_is_tried_again() {
    let fake = FakeCluster::new(1);
    let client = client(&fake.url());
    assert_eq!(run(&client, "GET k"), "nil");
    accept(&fake, &[], Busy);
    client.set_credentials("", "new").unwrap();
    assert_eq!(run(&client, "GET k"), "nil");
    fake.off(0);
    assert_eq!(run(&client, "GET k"), "nil");
    assert_eq!(run(&client, "GET k"), "nil");
    assert_eq!(logins(&fake), ["new", "new"]);
}

#[test]
fn replaced_credentials_open_connections_at_once_after_a_refusal() {
    let fake = FakeCluster::new(1);
    let client = client(&with_password(&fake));
    accept(&fake, &["new"], WrongPass);
    fake.node(0).close_connections();
    let reply = send(&client, "SET k v");
    assert_eq!(code(reply.view()), Code::Auth, "{}", show(reply.view()));
    client.set_credentials("", "new").unwrap();
    assert_eq!(run(&client, "SET k v"), "OK");
}

#[test]
fn credentials_without_password_are_not_sent() {
    let fake = FakeCluster::new(1);
    let client = client(&with_password(&fake));
    assert_eq!(run(&client, "SET k v"), "OK");
    client.set_credentials("", "").unwrap();
    assert_eq!(run(&client, "SET k v"), "OK");
    assert_eq!(fake.calls("AUTH"), 0, "the open connection keeps its user");
    let logins = logins(&fake).len();
    fake.node(0).close_connections();
    assert_eq!(run(&client, "SET k v"), "OK");
    assert_eq!(self::logins(&fake).len(), logins);
}

#[test]
fn forked_child_uses_credentials_that_were_set_before() {
    let fake = scripted_nodes(1);
    in_child_process(&url_of(&fake), |url| {
        let client = Arc::new(client(url));
        assert_eq!(run(&client, "SET k v"), "OK");
        client.set_credentials("app", "before").unwrap();
        assert!(in_forked_child(|| run(&client, "SET child v") == "OK"));
        // A child that is forked while a thread of its parent sets credentials neither waits for it nor gets a mixture.
        let finished = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let _finish = SetOnDrop(&finished);
            scope.spawn(|| {
                let mut n = 0;
                while !finished.load(Ordering::SeqCst) {
                    n += 1;
                    client.set_credentials("u", &format!("u{n}")).unwrap();
                }
            });
            for _ in 0..50 {
                assert!(in_forked_child(|| run(&client, "SET child v") == "OK"
                    && client.set_credentials("u", "u-child").is_ok()
                    && run(&client, "SET child v") == "OK"));
            }
            finished.store(true, Ordering::SeqCst);
        });
    });
    let Some(fake) = fake else { return };
    let received = fake.node(0).received_text();
    let is_of_child = |all: &&Vec<String>| all.iter().any(|c| c == "SET child v");
    let children: Vec<_> = received.iter().filter(is_of_child).collect();
    assert!(
        children[0][0].contains("AUTH app before"),
        "{:?}",
        children[0]
    );
    assert_eq!(children.len(), 51);
    for commands in &children[1..] {
        let greeting = &commands[0];
        let is_of_one_call = greeting.contains("AUTH u u") || greeting.contains("AUTH app before");
        assert!(is_of_one_call, "{commands:?}");
        assert!(
            commands.iter().any(|c| c == "AUTH u u-child"),
            "{commands:?}"
        );
    }
}

// ---- Files ---------------------------------------------------------------------------------------

/// A file of one test.
struct TestFile(PathBuf);

impl TestFile {
    fn new(name: &str, text: &str) -> TestFile {
        let name = format!("credentials-{}-{name}", std::process::id());
        let file = TestFile(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name));
        file.replace(text);
        file
    }

    /// Replaces the file as a whole.
    fn replace(&self, text: impl AsRef<[u8]>) {
        let next = self.0.with_extension("next");
        std::fs::write(&next, text).unwrap();
        std::fs::rename(&next, &self.0).unwrap();
    }

    fn option(&self, name: &str) -> String {
        format!("{name}={}", self.0.display())
    }
}

impl Drop for TestFile {
    fn drop(&mut self) {
        // `make clean` removes leftovers.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Waits until the client may look at its files again.
fn wait_for_next_look() {
    pause(Duration::from_millis(1010));
}

#[test]
fn unusable_credential_file_is_named_and_nothing_is_sent() {
    let fake = FakeCluster::new(1);
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let bad = [
        (&b""[..], "is empty"),
        (b"\n", "is empty"),
        (b"\r\n", "is empty"),
        (b"a\nb\n", "contains a control character (at byte 1)"),
        (b"a\n\n", "contains a control character (at byte 1)"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (&[b'p'; 64 * 1024 + 1], "is larger than 64 KiB"),
    ];
    for option in ["password_file", "user_file"] {
        let rest = match option {
            "user_file" => "?password=p",
            _ => "?user=u",
        };
        let refusal = |path: &Path| {
            let client =
                Client::create(&(fake.url() + rest + &format!("&{option}={}", path.display())));
            let error = client.error().expect("the file is unusable").clone();
            assert_eq!(error.code, Code::Invalid, "{error}");
            let place = format!("option {option}: \"{}\" ", path.display());
            let text = error.message.strip_prefix("INVALID ").unwrap();
            text.strip_prefix(&place).expect(text).to_owned()
        };
        for (content, expected) in bad {
            let file = TestFile::new(option, "");
            file.replace(content);
            assert_eq!(refusal(&file.0), expected);
        }
        let missing = refusal(&directory.join("missing"));
        assert!(
            missing.starts_with("cannot be read: No such file"),
            "{missing}"
        );
        assert_eq!(refusal(directory), "is not a regular file");
    }
    assert_eq!(fake.node(0).connections(), 0);
}

#[test]
fn credential_files_are_read_without_their_newline() {
    let fake = FakeCluster::new(1);
    for (content, expected) in [("pass word\n", "pass word"), ("p\r\n", "p"), ("p", "p")] {
        let (user, password) = (TestFile::new("u", "bob\n"), TestFile::new("p", content));
        let options = user.option("user_file") + "&" + &password.option("password_file");
        let client = client(&(fake.url() + "?cluster=no&protocol=2&" + &options));
        assert_eq!(run(&client, "SET k v"), "OK");
        let auth = vec![b"AUTH".to_vec(), b"bob".to_vec(), expected.into()];
        assert_eq!(fake.node(0).received().last().unwrap()[0], auth);
    }
}

#[test]
fn changed_password_file_is_used_by_new_and_idle_connections() {
    let fake = FakeCluster::new(1);
    let file = TestFile::new("changed", "old\n");
    let client = Arc::new(client(&(fake.url() + "?" + &file.option("password_file"))));
    assert_eq!(run(&client, "SET k v"), "OK");
    accept(&fake, &["old", "new"], WrongPass);
    file.replace("new\n");
    assert_eq!(run(&client, "SET k v"), "OK");
    assert_eq!(fake.calls("AUTH"), 0, "no connection was opened");
    wait_for_next_look();
    // A pinned connection is opened.
    assert_eq!(run(&client.pin(b"k"), "GET k"), "v");
    assert_eq!(run(&client, "SET k v"), "OK");
    assert_eq!(fake.calls("AUTH new"), 1);
    let old_logins = logins(&fake).iter().filter(|p| *p == "old").count();
    // A file that has become unusable changes nothing.
    for bad in ["", "a\nb", "new\n"] {
        file.replace(bad);
        wait_for_next_look();
        fake.node(0).close_connections();
        assert_eq!(run(&client, "SET k v"), "OK", "{bad:?}");
    }
    let again = logins(&fake).iter().filter(|p| *p == "old").count();
    assert_eq!(again, old_logins);
    assert_eq!(stat(&client, "reauthentications"), 1);
}

#[test]
fn refused_file_is_read_at_once_and_its_last_working_content_is_kept() {
    let fake = FakeCluster::new(1);
    let file = TestFile::new("refused", "old");
    let client = Arc::new(client(&(fake.url() + "?" + &file.option("password_file"))));
    assert_eq!(run(&client, "SET k v"), "OK");
    // Without a look: the node refuses what the client knows.
    accept(&fake, &["new"], WrongPass);
    file.replace("new");
    fake.node(0).close_connections();
    assert_eq!(run(&client, "SET k v"), "OK");
    // Wrong content: the last one that worked is used, and the wrong one is not tried for each connection.
    file.replace("wrong");
    wait_for_next_look();
    let wrong = |fake: &FakeCluster| logins(fake).iter().filter(|p| *p == "wrong").count();
    for _ in 0..5 {
        fake.node(0).close_connections();
        assert_eq!(run(&client, "SET k v"), "OK");
    }
    assert_eq!(wrong(&fake), 1);
    assert_eq!(stat(&client, "credentials_refused"), 1);
    // When that is refused, too, the content of the file is tried again.
    accept(&fake, &["wrong"], WrongPass);
    fake.node(0).close_connections();
    assert_eq!(run(&client, "SET k v"), "OK");
    assert_eq!(wrong(&fake), 2);
}

#[test]
fn set_credentials_end_the_reading_of_files() {
    let fake = FakeCluster::new(1);
    let file = TestFile::new("ended", "old");
    let client = client(&(fake.url() + "?" + &file.option("password_file")));
    client.set_credentials("", "mine").unwrap();
    accept(&fake, &["file"], WrongPass);
    file.replace("file");
    wait_for_next_look();
    fake.node(0).close_connections();
    let reply = send(&client, "SET k v");
    assert_eq!(code(reply.view()), Code::Auth, "{}", show(reply.view()));
}

#[test]
fn symbolic_link_to_another_file_is_noticed() {
    let fake = FakeCluster::new(1);
    let (one, two) = (TestFile::new("one", "first"), TestFile::new("two", "other"));
    let link = TestFile(one.0.with_extension("link"));
    let point_at = |file: &TestFile| {
        let next = link.0.with_extension("next");
        std::os::unix::fs::symlink(&file.0, &next).unwrap();
        std::fs::rename(&next, &link.0).unwrap();
    };
    point_at(&one);
    let client = client(&(fake.url() + "?" + &link.option("password_file")));
    point_at(&two);
    wait_for_next_look();
    fake.node(0).close_connections();
    assert_eq!(run(&client, "SET k v"), "OK");
    assert!(logins(&fake).contains(&"other".to_owned()));
}
