//! A subscriber whose replies are read as text.

use crate::common::{client, show};
use rediscluster::cluster::{Client, Subscriber};
use rediscluster::deadline::{Deadline, now};
use rediscluster::resp::{Kind, Reply};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a listener waits for what must come.
pub const WAIT_MS: u64 = 10_000;

pub struct Listener {
    pub subscriber: Subscriber,
    pub client: Arc<Client>,
}

impl Listener {
    pub fn new(url: &str) -> Listener {
        Listener::of(Arc::new(client(url)))
    }

    pub fn of(client: Arc<Client>) -> Listener {
        Listener {
            subscriber: Subscriber::new(client.clone()),
            client,
        }
    }

    /// Executes a command, and returns its reply as text.
    pub fn command(&mut self, words: &str) -> String {
        let words = support::words::split(words).unwrap();
        let args: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        show(self.subscriber.command(&args).view())
    }

    pub fn next_reply(&mut self, ms: u64) -> Box<Reply> {
        let reply = self.subscriber.next(|| match ms {
            0 => None,
            ms => Some(Deadline::after(now(), ms)),
        });
        reply.whole()
    }

    /// The next thing as text, with `nil` if nothing comes.
    pub fn next_within(&mut self, ms: u64) -> String {
        show(self.next_reply(ms).view())
    }

    #[track_caller]
    pub fn next(&mut self) -> String {
        let reply = self.next_reply(WAIT_MS);
        assert!(!reply.view().is_nil(), "nothing comes within {WAIT_MS} ms");
        show(reply.view())
    }

    /// The next `count` things.
    #[track_caller]
    pub fn take(&mut self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.next()).collect()
    }

    /// Subscribes, and takes the confirmations of all channels.
    #[track_caller]
    pub fn subscribe(&mut self, words: &str) -> Vec<String> {
        assert_eq!(self.command(words), "OK");
        self.take(words.split(' ').count() - 1)
    }

    /// The next message, gap or confirmation, without errors of connections that were lost.
    #[track_caller]
    pub fn next_push(&mut self) -> String {
        let end = Instant::now() + Duration::from_millis(3 * WAIT_MS);
        loop {
            let reply = self.next_reply(WAIT_MS);
            if reply.view().kind() == Kind::Push {
                return show(reply.view());
            }
            println!("-- {}", show(reply.view()));
            assert!(Instant::now() < end, "no push");
        }
    }

    /// The node of the next message of this channel.
    #[track_caller]
    pub fn node_of_next(&mut self) -> String {
        let reply = self.next_reply(WAIT_MS);
        let origin = reply.origin_of(reply.root);
        origin.map_or_else(String::new, |origin| origin.name().to_string())
    }
}
