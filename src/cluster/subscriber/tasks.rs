//! What a subscriber does in fibers: connect, open connections, refresh the topology.

use super::channel::ChannelKey;
use super::replica_question::{ReplicaQuestion, knows_replica};
use super::subscriptions::LinkNumber;
use crate::cluster::client::Client;
use crate::deadline::now;
use crate::error::Result;
use crate::net::{Connection, ConnectionKind, Peer, TaskNumber, TaskSet};
use crate::panics::{catch_panic, panic_error};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

/// What has ended.
pub(super) enum Ended {
    Connected(Result<()>),
    Refreshed,
    /// A connection for the link with this number and serial number.
    Opened {
        link: LinkNumber,
        serial: u64,
        result: Result<Box<Connection>>,
    },
    /// A primary was asked whether it knows the replica of a link.
    Asked {
        question: ReplicaQuestion,
        is_known: Result<bool>,
    },
}

/// A task that may be cancelled. It has a handle of its own for that.
pub(super) struct Task {
    number: TaskNumber,
    client: Arc<Client>,
}

/// A question that a primary has not answered, and the channels whose confirmation came before it was asked.
pub(super) struct Asking {
    pub(super) task: Task,
    pub(super) number: u64,
    pub(super) channels: Vec<ChannelKey>,
}

/// The results of tasks that have ended.
#[derive(Clone, Default)]
pub(super) struct Results(Rc<RefCell<Vec<Ended>>>);

/// How often a cancelled task may still wait before it ends. Each of its waits ends at once.
const MAX_WAITS_AFTER_CANCEL: usize = 1000;

impl Results {
    pub(super) fn take(&self) -> Vec<Ended> {
        std::mem::take(&mut *self.0.borrow_mut())
    }

    fn put(&self, ended: Ended) {
        self.0.borrow_mut().push(ended);
    }

    /// Runs a function in a fiber. `ended` makes a result of what it returns.
    fn spawn<T: 'static>(
        &self,
        tasks: &mut TaskSet,
        owner: &Client,
        run: impl FnOnce(&Client) -> Result<T> + 'static,
        ended: impl FnOnce(Result<T>) -> Ended + 'static,
    ) -> Result<Task> {
        let client = Arc::new(owner.for_task(now()));
        let (results, in_fiber) = (self.clone(), client.clone());
        let number = tasks.spawn(move |_| {
            let on_panic = |message: &str| Err(panic_error(message));
            let result = catch_panic(on_panic, || run(&in_fiber));
            results.put(ended(result));
        })?;
        Ok(Task { number, client })
    }

    pub(super) fn connect(&self, tasks: &mut TaskSet, owner: &Client) -> Result<Task> {
        self.spawn(tasks, owner, Client::connect, Ended::Connected)
    }

    pub(super) fn refresh(&self, tasks: &mut TaskSet, owner: &Client) -> Result<Task> {
        // A failure is counted and logged.
        self.spawn(tasks, owner, Client::refresh_if_due, |_| Ended::Refreshed)
    }

    pub(super) fn open(
        &self,
        tasks: &mut TaskSet,
        owner: &Client,
        (link, serial): (LinkNumber, u64),
        (peer, kind): (Arc<Peer>, ConnectionKind),
    ) -> Result<Task> {
        let open = move |client: &Client| client.open_for_messages(&peer, kind);
        self.spawn(tasks, owner, open, move |result| Ended::Opened {
            link,
            serial,
            result,
        })
    }
}

impl Results {
    /// Asks a primary for its replicas.
    pub(super) fn ask(
        &self,
        tasks: &mut TaskSet,
        owner: &Client,
        question: ReplicaQuestion,
    ) -> Result<Task> {
        let (primary, replica) = (question.primary.clone(), question.replica.clone());
        let ask = move |client: &Client| knows_replica(client, &primary, replica.as_deref());
        self.spawn(tasks, owner, ask, move |is_known| Ended::Asked {
            question,
            is_known,
        })
    }
}

impl Task {
    /// Cancels the task and runs it to its end. It leaves a result.
    pub(super) fn cancel(&self, tasks: &mut TaskSet) {
        self.client.interrupt_task();
        for _ in 0..MAX_WAITS_AFTER_CANCEL {
            if !tasks.run_one(self.number) {
                return;
            }
        }
    }
}
