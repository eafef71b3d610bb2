//! The tasks of a queue that have not ended, and how they are cancelled.

use super::entry::EntryRef;
use crate::cluster::client::Client;
use crate::error::Result;
use crate::net::{TaskNumber, TaskSet};
use crate::panics::{catch_panic, panic_error};
use std::sync::Arc;

/// A task that has not ended.
pub(super) struct Running {
    /// The handle of this task alone, so that it can be cancelled alone.
    pub(super) client: Arc<Client>,
    /// The handle that its commands were submitted with, and how often that had been cancelled when they were.
    owner: Arc<Client>,
    cancels: u32,
    /// The command that it executes, if it is only one.
    pub(super) entry: Option<EntryRef>,
}

/// The tasks by their numbers.
#[derive(Default)]
pub(super) struct RunningTasks(Vec<Option<Running>>);

/// How often a cancelled task may still wait before it ends. Each of its waits ends at once.
const MAX_WAITS_AFTER_CANCEL: usize = 1000;

impl Running {
    pub(super) fn new(
        client: Arc<Client>,
        owner: Arc<Client>,
        cancels: u32,
        entry: Option<EntryRef>,
    ) -> Running {
        Running {
            client,
            cancels,
            owner,
            entry,
        }
    }
}

impl RunningTasks {
    pub(super) fn insert(&mut self, number: TaskNumber, running: Running) {
        if self.0.len() <= number {
            self.0.resize_with(number + 1, || None);
        }
        self.0[number] = Some(running);
    }

    pub(super) fn remove(&mut self, number: TaskNumber) {
        self.0[number] = None;
    }

    /// Ends the tasks whose handle has been closed or interrupted.
    pub(super) fn cancel_ended_handles(&self, tasks: &mut TaskSet) {
        for (number, running) in self.iter() {
            if running.owner.cancels() == running.cancels {
                continue;
            }
            match running.owner.ready() {
                Ok(_) => running.client.interrupt_task(),
                Err(_) => running.client.close_task(),
            }
            tasks.wake(number);
        }
    }

    /// The numbers of the tasks that execute one open command with this tag.
    pub(super) fn with_tag(&self, tag: u64) -> Vec<TaskNumber> {
        let has_tag = |running: &Running| {
            let entry = running.entry.as_ref();
            entry.is_some_and(|entry| entry.tag == tag && entry.is_open())
        };
        let tasks = self.iter().filter(|(_, running)| has_tag(running));
        tasks.map(|(number, _)| number).collect()
    }

    pub(super) fn numbers(&self) -> Vec<TaskNumber> {
        self.iter().map(|(number, _)| number).collect()
    }

    fn iter(&self) -> impl Iterator<Item = (TaskNumber, &Running)> {
        let all = self.0.iter().enumerate();
        all.filter_map(|(number, running)| Some((number, running.as_ref()?)))
    }

    /// Cancels a task and runs it to its end.
    pub(super) fn cancel(&self, number: TaskNumber, tasks: &mut TaskSet) {
        let Some(running) = &self.0[number] else {
            return;
        };
        running.client.interrupt_task();
        for _ in 0..MAX_WAITS_AFTER_CANCEL {
            if !tasks.run_one(number) {
                return;
            }
        }
    }
}

/// Runs the function of a fiber. A panic must not unwind its stack any further: it becomes an error.
pub(super) fn run_caught(f: impl FnOnce()) -> Result<()> {
    let on_panic = |message: &str| Err(panic_error(message).sent(true));
    catch_panic(on_panic, || {
        f();
        Ok(())
    })
}
