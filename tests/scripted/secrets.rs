//! Passwords and values: never in the text of an error or in a log.

use crate::common::serial::{in_child_process, scripted_nodes, url_of};
use crate::common::{client, is_command, key_of, pipeline, run, show};
use rediscluster::cluster::{Client, Pipeline};
use rediscluster::log;
use rediscluster::resp::Reply;
use std::sync::{Arc, Mutex};
use support::{Action, FakeCluster};

/// Queues each command and executes them.
fn titles(pipeline: &mut Pipeline, commands: &[&[&str]]) -> Vec<String> {
    for words in commands {
        let args: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        pipeline.command(&args);
    }
    let reply: Reply = *pipeline.execute();
    let title = |text: String| text.split(": ").next().unwrap().to_string();
    reply.view().elements().map(|e| title(show(e))).collect()
}

#[test]
fn pipeline_error_title_shows_the_key_and_no_other_argument() {
    let fake = FakeCluster::new(2);
    for node in 0..2 {
        let mut usual = fake.default_answer(node);
        fake.on(node, move |connection, command| {
            let name = String::from_utf8_lossy(&command[0]).to_ascii_uppercase();
            let is_setup = match name.as_str() {
                "HELLO" => command.len() == 2,
                name => ["CLIENT", "CLUSTER", "INFO"].contains(&name),
            };
            Some(Action::Send(match is_setup {
                true => usual(connection, command),
                false => b"-NOPERM refused\r\n".to_vec(),
            }))
        });
    }
    let shared = Arc::new(client(&fake.url()));
    let pinned = Arc::new(shared.pin(b"k"));
    let here = key_of(0, 2, 1);
    let crossed: &[&str] = &["RENAME", &here, &key_of(1, 2, 2)];
    let commands: &[&[&str]] = &[
        &["AUTH", "s3cret"],
        &["AUTH", "me", "s3cret"],
        &["HELLO", "s3cret", "AUTH", "me", "s3cret"],
        &["CONFIG", "SET", "s3cret", "s3cret"],
        &["ACL", "SETUSER", "s3cret", ">s3cret"],
        &["MIGRATE", "s3cret", "1", "k", "0", "9", "AUTH", "s3cret"],
        &["EVAL", "s3cret", "1", "k"],
        &["PUBLISH", "s3cret", "s3cret"],
        &["ECHO", "s3cret"],
        &["SET", "k", "s3cret"],
        &["OBJECT", "ENCODING", "k"],
        &["OBJECT", "ENCODING", "k", "s3cret"],
        &["MSET", "k", "s3cret"],
        &["XGROUP", "CREATE", "k", "s3cret", "$"],
        &["NOT.KNOWN", "s3cret"],
        crossed,
    ];
    let renamed = format!("RENAME {here}");
    let shown = [
        "AUTH",
        "AUTH",
        "HELLO",
        "CONFIG SET",
        "ACL SETUSER",
        "MIGRATE",
        "EVAL",
        "PUBLISH",
        "ECHO",
        "SET k",
        "OBJECT ENCODING k",
        "OBJECT ENCODING k",
        "MSET k",
        "XGROUP CREATE k",
        "NOT.KNOWN",
        &renamed,
    ];
    let expected: Vec<String> = shown
        .iter()
        .zip(1..)
        .map(|(shown, number)| format!("Command # {number} ({shown}) of pipeline"))
        .collect();
    for handle in [shared, pinned] {
        assert_eq!(titles(&mut Pipeline::new(handle), commands), expected);
    }
}

#[test]
fn password_repeated_by_server_is_in_no_error() {
    let fake = FakeCluster::new(1);
    for (options, refused) in [
        ("", "HELLO"),
        ("?protocol=2", "AUTH"),
        ("", "HELLO or AUTH"),
    ] {
        fake.on(0, move |_, command| {
            let name = String::from_utf8_lossy(&command[0]).into_owned();
            refused.contains(&name).then(|| {
                let args: Vec<String> = command[1..]
                    .iter()
                    .map(|arg| format!("'{}'", String::from_utf8_lossy(arg)))
                    .collect();
                let word = if refused == "HELLO" { "DENIED" } else { "ERR" };
                let text = format!(
                    "-{word} unknown command '{name}', args: {0}, with args beginning with: {0} \r\n",
                    args.join(" ")
                );
                Action::Send(text.into_bytes())
            })
        });
        let url = fake.url().replace("redis://", "redis://me:s3cret@") + options;
        let client = Client::create(&url);
        let error = client.error().unwrap_or_else(|| panic!("{refused}"));
        let name = refused.rsplit(' ').next().unwrap();
        assert!(error.message.contains(name), "{error}");
        assert!(!error.message.contains("s3cret"), "{error}");
        assert!(error.message.contains("'***'"), "{error}");
    }
}

#[test]
fn log_has_no_text_that_a_script_chose() {
    let fake = scripted_nodes(1);
    if let Some(fake) = &fake {
        fake.on(0, |_, command| {
            is_command(command, "GET").then(|| Action::send("-LOADING s3cret\r\n"))
        });
    }
    in_child_process(&url_of(&fake), |url| {
        let told: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = told.clone();
        let listen = move |_: i32, words: &str| heard.lock().unwrap().push(words.to_string());
        log::set(Some(Arc::new(listen)), log::DEBUG);
        let client = client(&(url.to_string() + "?timeout_ms=300"));
        let reply = run(&client, "GET k");
        log::set(None, 0);
        assert!(reply.starts_with("LOADING s3cret"), "{reply}");
        let told = told.lock().unwrap().concat();
        assert!(told.contains("ejected for a while: LOADING"), "{told}");
        assert!(!told.contains("s3cret"), "{told}");
    });
}

#[test]
fn pipeline_keeps_its_replies_in_order_around_a_password() {
    let fake = FakeCluster::new(1);
    let client = Arc::new(client(&fake.url()));
    let large = "x".repeat(300_000);
    let set = format!("SET k {large}");
    let commands = [
        "SET a 1",
        "ACL SETUSER u >s3cret",
        &set,
        "MGET a k none",
        "GET a",
    ];
    let reply = pipeline(&client, &commands);
    let shown: Vec<String> = reply.view().elements().map(show).collect();
    assert_eq!(shown[0], "OK");
    assert_eq!(shown[2], "OK");
    assert_eq!(shown[3], format!("[1, {large}, nil]"));
    assert_eq!(shown[4], "1");
    let received = fake.node(0).received_text().concat();
    assert!(received.contains(&"ACL SETUSER u >s3cret".to_string()));
}
