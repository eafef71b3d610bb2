//! A session in Rust.  Run as: cargo run --example session redis://127.0.0.1:7000  (or the URL in RDC_URL)

use rediscluster::{Client, Result};

fn main() -> Result<()> {
    let url = std::env::args()
        .nth(1)
        .or_else(|| std::env::var("RDC_URL").ok());
    let rc = Client::open(&url.expect("the URL as an argument, or in RDC_URL"))?;
    let set: String = rc.command(["SET", "foo16706", "bar"])?.to()?;
    println!("set: {set}");
    rc.set("foo81", "foo")?;
    rc.del("counter")?;

    // Reads go to primaries and replicas. A replica may lag behind its primary: repeat until it has the key.
    let readonly = rc.readonly()?;
    let value: String = loop {
        if let Some(value) = readonly.get("foo16706")? {
            break value;
        }
    };
    println!("readonly get: {value}");

    let mut pipeline = rc.pipeline();
    pipeline
        .command(["GET", "foo81"])
        .command(["GET", "foo16706"])
        .command(["INCRBY", "counter", "2"]);
    let (first, second, count): (String, String, i64) = pipeline.execute()?.to()?;
    println!("pipeline: {first} {second} {count}");

    let refused = readonly.set("foo", "bar").unwrap_err();
    let sent = if refused.sent { "sent" } else { "not sent" };
    println!("refused: {}, {sent}", refused.code.name());
    let failed = rc.command(["LPUSH", "foo81", "x"]).unwrap_err();
    println!(
        "error: {}",
        failed.message.split(' ').next().unwrap_or_default()
    );
    Ok(())
}
