//! Pipeline replies that arrive in parts.

use rediscluster::cluster::{Client, Pipeline};
use support::Script;

/// The replies to a pipeline of GETs, sent in these parts with a pause between them.
fn answers(pieces: &[String], gets: usize) -> Vec<String> {
    let mut script = "HANDSHAKE\n".to_string();
    for _ in 0..gets {
        script += "EXPECT GET *\n";
    }
    for piece in pieces {
        script += &format!("SEND {}\nWAIT 30\n", piece.replace("\r\n", "\\r\\n"));
    }
    // The first connection only identifies the server.
    let node = Script::play_each(&["LOOP\nHANDSHAKE\nEND", &script]);
    let url = format!("redis://127.0.0.1:{}?cluster=no", node.port());
    let client = std::sync::Arc::new(Client::create(&url));
    let mut pipeline = Pipeline::new(client);
    for i in 0..gets {
        pipeline.command(&[b"GET", format!("key {i}").as_bytes()]);
    }
    let reply = pipeline.execute();
    let texts = reply.view().elements();
    texts
        .map(|v| v.str().unwrap_or("not a text").to_string())
        .collect()
}

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

#[test]
fn pipeline_split_between_replies_is_decoded() {
    let pieces = ["one", "two", "three"].map(bulk);
    assert_eq!(answers(&pieces, 3), ["one", "two", "three"]);
}

#[test]
fn pipeline_split_inside_long_reply_is_decoded() {
    let long = "x".repeat(1 << 20);
    let whole = bulk(&long) + &bulk("last");
    let (begin, end) = whole.split_at(100);
    let pieces = [bulk("one") + &bulk("two") + begin, end.to_string()];
    assert!(answers(&pieces, 4) == ["one", "two", &long, "last"]);
}
