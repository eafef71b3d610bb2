//! Users and passwords.

use crate::common::serial::serial;
use crate::common::{client, code, run, send, show};
use rediscluster::cluster::Client;
use rediscluster::error::Code;
use std::time::{Duration, Instant};
use support::Server;

#[test]
fn wrong_credentials_are_rejected_without_retry() {
    let _serial = serial();
    let server = Server::builder()
        .option("requirepass", "s3cret@word")
        .start()
        .unwrap();
    let user = ["ACL", "SETUSER", "app", "on", ">p@ss/:?", "~app:*", "+@all"];
    assert_eq!(server.command(&user).unwrap().text(), "OK");
    let address = server.address();
    for (url, words, expected) in [
        (
            format!("redis://:s3cret%40word@{address}"),
            "SET any v",
            "OK",
        ),
        (
            format!("redis://{address}?password=s3cret%40word"),
            "SET any v",
            "OK",
        ),
        (
            format!("redis://app:p%40ss%2F%3A%3F@{address}"),
            "SET app:1 v",
            "OK",
        ),
        (
            format!("redis://{address}?user=app&password=p%40ss%2F%3A%3F&protocol=2"),
            "SET app:1 v",
            "OK",
        ),
        (
            format!("redis://:s3cret%40word@{address}?protocol=2"),
            "ACL WHOAMI",
            "default",
        ),
        (
            format!("redis://app:p%40ss%2F%3A%3F@{address}"),
            "ACL WHOAMI",
            "app",
        ),
    ] {
        let client = client(&url);
        assert_eq!(run(&client, words), expected, "{url}");
    }
    let app = client(&format!("redis://app:p%40ss%2F%3A%3F@{address}"));
    let refused = send(&app, "SET other v");
    assert_eq!(code(refused.view()), Code::Auth, "{}", show(refused.view()));
    for url in [
        format!("redis://{address}"),
        format!("redis://{address}?protocol=2"),
        format!("redis://:WRONG-SECRET@{address}"),
        format!("redis://:WRONG-SECRET@{address}?protocol=2"),
        format!("redis://nobody:WRONG-SECRET@{address}"),
    ] {
        let began = Instant::now();
        let client = Client::create(&url);
        let error = client
            .error()
            .unwrap_or_else(|| panic!("{url} was accepted"));
        assert_eq!(error.code, Code::Auth, "{url}: {error}");
        assert!(!error.message.contains("SECRET"), "{error}");
        assert!(
            began.elapsed() < Duration::from_secs(1),
            "{url}: a wrong password is not tried again"
        );
    }
}
