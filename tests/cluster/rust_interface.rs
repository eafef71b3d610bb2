//! The interface for programs in Rust.

use crate::common::shared::{SharedCluster, shared};
use rediscluster::{Client, Code, FromValue, Kind, Options, Result};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use support::Cluster;

fn client() -> (SharedCluster, Client) {
    let cluster = shared(module_path!(), Cluster::builder);
    let client = Client::open(&cluster.url()).unwrap();
    (cluster, client)
}

#[test]
fn commands_convert_their_replies() {
    let (_cluster, rc) = client();
    rc.set("rust:text", "bar").unwrap();
    assert_eq!(rc.get("rust:text").unwrap(), Some("bar".to_string()));
    assert_eq!(rc.get("rust:text").unwrap(), Some(b"bar".to_vec()));
    assert_eq!(rc.get::<String>("rust:none").unwrap(), None);
    assert!(rc.exists("rust:text").unwrap() && rc.del("rust:text").unwrap());
    assert!(!rc.del("rust:text").unwrap());
    rc.del("rust:count").unwrap();
    assert_eq!(rc.incr_by("rust:count", 40).unwrap(), 40);
    assert_eq!(rc.get("rust:count").unwrap(), Some(40u64));
    rc.set("rust:big", u64::MAX.to_string()).unwrap();
    assert_eq!(rc.get("rust:big").unwrap(), Some(u64::MAX));
    assert!(rc.expire("rust:count", Duration::from_secs(60)).unwrap());
    rc.set_for("rust:short", [0xff, 0], Duration::from_secs(60))
        .unwrap();
    assert_eq!(rc.get("rust:short").unwrap(), Some(vec![0xffu8, 0]));
    let ttl: i64 = rc.command(["PTTL", "rust:short"]).unwrap().to().unwrap();
    assert!((50_000..=60_000).contains(&ttl), "{ttl}");

    rc.command(["DEL", "rust:hash", "rust:set", "rust:scores"])
        .unwrap();
    rc.command(["HSET", "rust:hash", "a", "1", "b", "2"])
        .unwrap();
    let hash = rc.command(["HGETALL", "rust:hash"]).unwrap();
    let ordered: BTreeMap<String, i32> = hash.to().unwrap();
    assert_eq!(
        ordered,
        BTreeMap::from([("a".to_string(), 1), ("b".to_string(), 2)])
    );
    assert_eq!(hash.to::<HashMap<String, f64>>().unwrap()["b"], 2.0);
    assert_eq!(hash.value().find("b").and_then(|v| v.int()), Some(2));
    assert_eq!(format!("{hash:?}"), r#"{"a": "1", "b": "2"}"#);
    rc.command(["ZADD", "rust:scores", "1.5", "m"]).unwrap();
    let score = rc.command(["ZSCORE", "rust:scores", "m"]).unwrap();
    assert_eq!(
        (score.value().kind(), score.to::<f64>().unwrap()),
        (Kind::Double, 1.5)
    );
    let values = rc.command(["MGET", "rust:count", "rust:none"]).unwrap();
    assert_eq!(values.to::<Vec<Option<i64>>>().unwrap(), [Some(40), None]);
    assert_eq!(values.to::<(usize, Option<String>)>().unwrap(), (40, None));
    let sizes = rc.command_to("primaries", ["DBSIZE"]).unwrap();
    assert_eq!(sizes.to::<HashMap<String, u64>>().unwrap().len(), 3);
}

#[test]
fn conversions_that_do_not_fit_say_so() {
    let (_cluster, rc) = client();
    rc.set("rust:text", "bar").unwrap();
    fn error<T: FromValue>(rc: &Client, args: &[&str]) -> String {
        let converted: Result<T> = rc.command(args).and_then(|reply| reply.to());
        let error = converted.err().expect("an error");
        assert_eq!((error.code, error.sent), (Code::Invalid, false));
        error.message.clone()
    }
    let get: &[&str] = &["GET", "rust:text"];
    assert_eq!(
        error::<i64>(&rc, get),
        r#"INVALID the reply "bar" (String) is not an integer"#
    );
    assert_eq!(
        error::<bool>(&rc, get),
        r#"INVALID the reply "bar" (String) is not a boolean"#
    );
    assert_eq!(
        error::<f64>(&rc, get),
        r#"INVALID the reply "bar" (String) is not a number"#
    );
    assert_eq!(
        error::<Vec<String>>(&rc, get),
        r#"INVALID the reply "bar" (String) is not a list"#
    );
    assert_eq!(
        error::<String>(&rc, &["GET", "rust:none"]),
        "INVALID the reply nil (Nil) is not a text"
    );
    let list: &[&str] = &["MGET", "rust:text"];
    let told = r#"INVALID the reply ["bar"] (Array) is not "#;
    assert_eq!(
        error::<(String, String)>(&rc, list),
        format!("{told}a list of 2 elements")
    );
    assert_eq!(
        error::<HashMap<String, String>>(&rc, list),
        format!("{told}a map")
    );
    rc.set("rust:text", "-1").unwrap();
    assert!(error::<u64>(&rc, get).ends_with("is not within the range of u64"));
    rc.set("rust:text", [0xff]).unwrap();
    assert!(error::<String>(&rc, get).ends_with("is not UTF-8"));
}

#[test]
fn errors_have_code_node_and_sent() {
    let (_cluster, rc) = client();
    rc.set("rust:text", "bar").unwrap();
    let error = rc.command(["LPUSH", "rust:text", "x"]).unwrap_err();
    assert_eq!((error.code, error.sent), (Code::Server, true));
    assert!(error.message.starts_with("WRONGTYPE "), "{error}");
    assert!(
        error
            .node
            .as_ref()
            .is_some_and(|node| node.starts_with("127.0.0.1:"))
    );
    let error = rc.readonly().unwrap().set("foo", "bar").unwrap_err();
    assert_eq!(
        (error.code, error.sent, &error.node),
        (Code::ReadOnly, false, &None)
    );
    let error = rc.command(["MSETNX", "a", "1", "b", "2"]).unwrap_err();
    assert_eq!((error.code, error.sent), (Code::CrossSlot, false));
    let nothing: [&str; 0] = [];
    assert_eq!(rc.command(nothing).unwrap_err().code, Code::Invalid);

    assert_eq!(Client::open("nonsense").unwrap_err().code, Code::Invalid);
    let refused = Options::new().set("timeout_ms", "soon").unwrap_err();
    assert!(refused.message.contains("timeout_ms"), "{refused}");
    let nobody = Options::new().set("url", "redis://127.0.0.1:1").unwrap();
    let nobody = nobody.set("timeout_ms", "50").unwrap();
    assert_eq!(nobody.open().unwrap_err().code, Code::Connect);
    assert_eq!(rc.with("timeout_ms", "0").unwrap_err().code, Code::Invalid);
    let clone = rc.clone();
    rc.close();
    assert_eq!(
        clone.get::<String>("rust:text").unwrap_err().code,
        Code::Closed
    );
    assert_eq!(
        clone.set_credentials("", "").unwrap_err().code,
        Code::Closed
    );
}

#[test]
fn pipeline_returns_each_reply_or_error_at_its_place() {
    let (_cluster, rc) = client();
    let mut pipeline = rc.pipeline();
    pipeline
        .command(["SET", "rust:a", "1"])
        .command(["LPUSH", "rust:a", "x"]);
    pipeline
        .command(["GET", "rust:a"])
        .command(["GET", "rust:none"]);
    assert_eq!(pipeline.len(), 4);
    let replies = pipeline.execute().unwrap();
    assert!(pipeline.is_empty());
    let all: Vec<Result<Option<String>>> = replies.value().iter().map(|value| value.to()).collect();
    assert_eq!(all[0], Ok(Some("OK".to_string())));
    assert_eq!((&all[2], &all[3]), (&Ok(Some("1".to_string())), &Ok(None)));
    let error = all[1].as_ref().unwrap_err();
    assert!(
        error
            .message
            .starts_with("Command # 2 (LPUSH rust:a) of pipeline: WRONGTYPE"),
        "{error}"
    );
    assert!(error.sent && error.node.is_some());
    assert_eq!(replies.to::<Vec<()>>().unwrap_err(), *error);
    assert!(replies.value().iter().all(|value| value.node().is_some()));

    pipeline
        .command(["INCR", "{rust}b"])
        .command(["INCR", "{rust}c"]);
    let (b, c): (i64, i64) = pipeline.execute_atomic().unwrap().to().unwrap();
    assert!(b > 0 && c > 0);
    pipeline
        .command(["INCR", "rust:a"])
        .command(["INCR", "rust:b"]);
    assert_eq!(pipeline.execute_atomic().unwrap_err().code, Code::CrossSlot);
    pipeline.command(["PING"]).clear();
    assert!(pipeline.execute().unwrap().value().is_empty());
}

#[test]
fn pinned_handle_watches_a_key() {
    let (_cluster, rc) = client();
    rc.set("rust:watched", "1").unwrap();
    let pinned = rc.pin("rust:watched").unwrap();
    pinned.command(["WATCH", "rust:watched"]).unwrap();
    rc.set("rust:watched", "2").unwrap();
    pinned.command(["MULTI"]).unwrap();
    pinned.command(["INCR", "rust:watched"]).unwrap();
    let ran: Option<Vec<i64>> = pinned.command(["EXEC"]).unwrap().to().unwrap();
    assert_eq!(ran, None);
}

#[test]
fn subscriber_receives_messages_and_is_woken() {
    let (_cluster, rc) = client();
    let mut subscriber = rc.subscriber();
    subscriber.command(["SSUBSCRIBE", "rust:channel"]).unwrap();
    let limit = Some(Duration::from_secs(10));
    let confirmation: (String, String, i64) =
        subscriber.next(limit).unwrap().unwrap().to().unwrap();
    assert_eq!(
        confirmation,
        ("ssubscribe".to_string(), "rust:channel".to_string(), 1)
    );
    rc.command(["SPUBLISH", "rust:channel", "hello"]).unwrap();
    let message: Vec<String> = subscriber.next(limit).unwrap().unwrap().to().unwrap();
    assert_eq!(message, ["smessage", "rust:channel", "hello"]);
    assert!(
        subscriber
            .next(Some(Duration::from_millis(1)))
            .unwrap()
            .is_none()
    );
    assert!(subscriber.next(Some(Duration::ZERO)).unwrap().is_none());
    assert_eq!(
        subscriber.command(["GET", "a"]).unwrap_err().code,
        Code::Invalid
    );
    let waker = subscriber.waker();
    std::thread::scope(|scope| {
        scope.spawn(move || waker.wake());
        assert!(subscriber.next(None).unwrap().is_none());
    });
}
