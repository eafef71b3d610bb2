//! Messages of channels and patterns.

use super::reply::Reply;
use super::with_args;
use crate::cluster;
use crate::deadline::{Deadline, now};
use crate::error::Result;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Receives the messages of channels and patterns. It follows the cluster, and announces where messages may have been
/// missed. There is no thread: whoever calls [`next`](Subscriber::next) does the work. It stays in the thread that made
/// it, to which a clone of the [`Client`](crate::Client) can be moved; its [`Waker`] may be anywhere.
///
/// ```no_run
/// # fn main() -> rediscluster::Result<()> {
/// # let client = rediscluster::Client::open("redis://127.0.0.1:7000")?;
/// let mut subscriber = client.subscriber();
/// subscriber.command(["SSUBSCRIBE", "orders:1", "orders:2"])?;
/// while let Some(push) = subscriber.next(None)? {
///     let words: Vec<Option<String>> = push.to()?;
///     match words[0].as_deref() {
///         Some("smessage") => println!("{:?} on {:?}", words[2], words[1]),
///         Some("gap") => println!("messages of {:?} may have been missed", words[2]),
///         _ => {} // a confirmation
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub struct Subscriber(cluster::Subscriber);

impl Subscriber {
    pub(super) fn new(client: Arc<cluster::Client>) -> Subscriber {
        Subscriber(cluster::Subscriber::new(client))
    }

    /// SUBSCRIBE, PSUBSCRIBE, SSUBSCRIBE, and the commands that end them. Does not wait: confirmations and refusals come
    /// from [`next`](Subscriber::next). Channels of several slots are allowed.
    pub fn command<A: AsRef<[u8]>>(&mut self, args: impl IntoIterator<Item = A>) -> Result<()> {
        with_args(args, |args| {
            Reply::checked(self.0.command(args)).map(|_| ())
        })
    }

    /// The next message, confirmation or gap, as an array: docs/pubsub.md lists them. `None` if there is none within
    /// `timeout` (`None` waits without a limit), or if a [`Waker`] was used. After an error, call again to go on.
    pub fn next(&mut self, timeout: Option<Duration>) -> Result<Option<Reply>> {
        let until = || match timeout {
            None => Some(Deadline::NEVER),
            Some(Duration::ZERO) => None,
            Some(time) => {
                let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
                Some(Deadline::after(now(), ms.max(1)))
            }
        };
        let reply = Reply::checked(self.0.next(until).whole())?;
        Ok(Some(reply).filter(|reply| !reply.value().is_nil()))
    }

    /// What ends a call of [`next`](Subscriber::next) from another thread.
    pub fn waker(&self) -> Waker {
        Waker(self.0.wake_handle())
    }
}

impl fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriber").finish_non_exhaustive()
    }
}

/// Ends a call of [`Subscriber::next`], from any thread.
#[derive(Clone)]
pub struct Waker(cluster::SubscriberWake);

impl Waker {
    /// Makes [`Subscriber::next`] return `None`: the call that waits, or the next one that would.
    pub fn wake(&self) {
        self.0.wake();
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waker").finish_non_exhaustive()
    }
}
