//! Commands that real servers of every version refuse: whether they have run, and what the reply says about that.

use crate::common::serial::serial;
use crate::common::{atomic, client, code, is_sent, pipeline, run, send, servers, show};
use rediscluster::error::Code;
use std::sync::Arc;
use support::{Server, ServerBuilder};

fn each_server(configure: impl Fn(ServerBuilder) -> ServerBuilder) -> Vec<Server> {
    let builders = servers()
        .into_iter()
        .map(|found| Server::builder().server(found));
    builders.map(|b| configure(b).start().unwrap()).collect()
}

/// Makes the user `app` with all rights and then these.
fn set_rights(server: &Server, rights: &[&str]) {
    let user = [
        "ACL", "SETUSER", "app", "reset", "on", ">secret", "~*", "&*", "+@all",
    ];
    let command = [&user[..], rights].concat();
    assert_eq!(server.command(&command).unwrap().text(), "OK");
}

fn url_of_app(server: &Server) -> String {
    format!("redis://app:secret@{}", server.address())
}

#[test]
fn transaction_of_user_without_multi_runs_nothing() {
    let _serial = serial();
    for server in each_server(|server| server) {
        set_rights(&server, &["-multi"]);
        let app = Arc::new(client(&url_of_app(&server)));
        let refused = atomic(&app, &["INCR n", "INCR n"]);
        let text = show(refused.view());
        assert_eq!(code(refused.view()), Code::Auth, "{text}");
        assert!(!is_sent(refused.view()), "{text}");
        assert!(
            text.contains("refused MULTI") && text.contains("@transaction"),
            "{text}"
        );
        assert_eq!(run(&app, "GET n"), "nil");
        set_rights(&server, &[]);
        assert_eq!(show(atomic(&app, &["INCR n", "INCR n"]).view()), "[1, 2]");
        // The right is withdrawn after the node has been proven to accept MULTI.
        set_rights(&server, &["-multi"]);
        let uncertain = atomic(&app, &["INCR n", "INCR n"]);
        let text = show(uncertain.view());
        assert!(
            is_sent(uncertain.view()) && text.contains("may have run"),
            "{text}"
        );
        assert_eq!(run(&app, "GET n"), "4", "they have run, once");
        assert!(!is_sent(atomic(&app, &["INCR n"]).view()));
        assert_eq!(run(&app, "GET n"), "4");
    }
}

#[test]
fn transaction_runs_nothing_where_multi_is_renamed() {
    let _serial = serial();
    for server in each_server(|server| server.option("rename-command", "MULTI \"\"")) {
        let client = Arc::new(client(&format!("redis://{}", server.address())));
        let refused = atomic(&client, &["INCR n"]);
        let text = show(refused.view());
        assert_eq!(code(refused.view()), Code::Server, "{text}");
        assert!(
            text.starts_with("ERR unknown command") && !is_sent(refused.view()),
            "{text}"
        );
        assert_eq!(run(&client, "GET n"), "nil");
    }
}

#[test]
fn refused_exec_or_discard_leaves_no_open_transaction() {
    let _serial = serial();
    for server in each_server(|server| server) {
        set_rights(&server, &["-exec"]);
        let app = Arc::new(client(&url_of_app(&server)));
        for _ in 0..2 {
            let refused = atomic(&app, &["INCR n"]);
            assert!(!is_sent(refused.view()), "{}", show(refused.view()));
            assert_eq!(run(&app, "GET n"), "nil");
        }
        set_rights(&server, &["-discard"]);
        let app = Arc::new(client(&url_of_app(&server)));
        assert_eq!(show(atomic(&app, &["INCR n"]).view()), "[1]");
        assert_eq!(run(&app, "GET n"), "1");
    }
}

/// Asserts what each way to send a command reports about it.
#[track_caller]
fn assert_reported(url: &str, words: &str, error: &str, sent: bool) {
    let client = Arc::new(client(url));
    let pinned = client.pin(b"n");
    for (what, reply) in [
        ("alone", send(&client, words)),
        ("pinned", send(&pinned, words)),
    ] {
        let text = show(reply.view());
        assert!(text.starts_with(error), "{what}: {words}: {text}");
        assert_eq!(is_sent(reply.view()), sent, "{what}: {text}");
    }
    let piped = pipeline(&client, &["GET other", words]);
    let second = piped.view().at(1).unwrap();
    assert!(show(second).contains(error), "{words}: {}", show(second));
    assert_eq!(is_sent(second), sent, "in a pipeline: {}", show(second));
    let transaction = atomic(&client, &[words]);
    let text = show(transaction.view());
    // An error of a command that ran is an element.
    let refused = transaction.view().at(0).unwrap_or(transaction.view());
    assert!(text.contains(error), "{words}: {text}");
    assert_eq!(is_sent(refused), sent, "in a transaction: {text}");
}

#[test]
fn refusals_of_real_servers_are_reported_as_not_run() {
    let _serial = serial();
    for server in each_server(|server| server) {
        set_rights(&server, &["-incr", "resetkeys", "~n", "~other", "~list"]);
        let (app, url) = (url_of_app(&server), format!("redis://{}", server.address()));
        assert_eq!(server.command(&["RPUSH", "list", "a"]).unwrap().text(), "1");
        assert_reported(&app, "INCR n", "NOPERM", false);
        assert_reported(&app, "SET secret v", "NOPERM", false);
        assert_reported(&app, "NOSUCH n", "ERR unknown command", false);
        assert_reported(&url, "INCR list", "WRONGTYPE", true);
        assert_reported(&url, "SET n v nosuch", "ERR syntax error", true);
        for (error, name, value) in [
            ("OOM", "maxmemory", "1"),
            ("NOREPLICAS", "min-replicas-to-write", "1"),
        ] {
            let set = |value| {
                server
                    .command(&["CONFIG", "SET", name, value])
                    .unwrap()
                    .text()
            };
            assert_eq!(set(value), "OK");
            assert_reported(&url, "SET n v", error, false);
            assert_eq!(set("0"), "OK");
        }
        assert_eq!(run(&client(&url), "GET n"), "nil");
    }
}

#[test]
fn script_that_words_a_refusal_runs_once() {
    let _serial = serial();
    const SCRIPT: &str = "redis.call('INCR', KEYS[1]); return redis.error_reply(ARGV[1])";
    const LIBRARY: &str = "#!lua name=mine\nredis.register_function('f', function(keys, args) \
                           redis.call('INCR', keys[1]) return redis.error_reply(args[1]) end)";
    for server in each_server(|server| server) {
        let client = client(&format!("redis://{}?timeout_ms=500", server.address()));
        client.command(&[b"FUNCTION", b"LOAD", LIBRARY.as_bytes()]);
        let mut runs = 0;
        for word in [
            "TRYAGAIN",
            "LOADING",
            "READONLY",
            "CLUSTERDOWN",
            "MASTERDOWN",
            "MOVED",
            "ASK",
            "NOSCRIPT",
            "OOM",
            "NOPERM",
        ] {
            let error = format!("{word} 1 {}", server.address());
            for (name, body) in [("EVAL", SCRIPT), ("FCALL", "f")] {
                let args = [name, body, "1", "n", &error].map(str::as_bytes);
                let reply = client.command(&args).whole();
                let text = show(reply.view());
                assert!(
                    text.starts_with(word) && is_sent(reply.view()),
                    "{name}: {text}"
                );
                runs += 1;
                assert_eq!(run(&client, "GET n"), runs.to_string(), "{name}: {text}");
            }
        }
    }
}
