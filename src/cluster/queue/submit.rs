//! Submits commands to a queue.

use super::Queue;
use super::cancel::after_fork;
use super::decide::{slots_of_pipeline, work_of};
use super::entry::{BatchedCommand, EntryWork, Inbox, OtherWork, Work};

use crate::cluster::pipeline::Pipeline;
use crate::cluster::state::Core;
use crate::deadline::Time;
use crate::error::{Code, Error, Result};
use crate::net::process_number;
use crate::resp::{CommandArgs, CommandBody, parse_command};
use crate::route::classify;
use std::cell::RefCell;
use std::sync::Arc;

impl Queue {
    /// Submits one command.
    #[inline(always)]
    pub fn command(&mut self, tag: u64, args: &[&[u8]]) {
        if !self.submit_plain(tag, args) {
            self.submit(tag, args, CommandBody::Args(args));
        }
    }

    /// Submits a command as most are. False for another one, or if it cannot be submitted.
    #[inline(always)]
    pub(super) fn submit_plain(&mut self, tag: u64, args: &[&[u8]]) -> bool {
        // The other path tells what is wrong.
        if !self.takes_plain
            || self.client.cancels() != self.cancels
            || self.len >= self.max_commands
            || self.held_bytes >= self.max_bytes
        {
            return false;
        }
        let process = self.client.core.as_ref().map(|core| core.process());
        let Some(process) = process.filter(|process| process.number() == self.process) else {
            return false;
        };
        let Some(key_space) = process.key_space() else {
            return false;
        };
        let Some(command) = self.known_commands.find(args) else {
            return false;
        };
        let slot = key_space.slot(args[usize::from(command.row.only_key)]);
        let inbox = match self.inbox.entries.is_empty() {
            true => self.shard_inboxes.of_slot(slot),
            false => None,
        };
        let inbox = inbox.unwrap_or(&mut self.inbox);
        let begin = inbox.bytes.len();
        command.push(&mut inbox.bytes, args);
        self.held_bytes += inbox.bytes.len() - begin;
        let work = EntryWork::InBatch(BatchedCommand {
            slot,
            is_for_primary: false,
            row: command.row,
            access: command.access,
        });
        inbox.push_entry(tag, begin, work);
        self.len += 1;
        self.signal(true);
        true
    }

    /// Submits one command that is encoded already.
    pub fn command_resp(&mut self, tag: u64, encoded: &[u8]) {
        let mut args = CommandArgs::default();
        match parse_command(encoded, 0, &mut args) {
            Ok(end) if end == encoded.len() => {
                let args = args.as_slice();
                if !self.submit_plain(tag, args) {
                    self.submit(tag, args, CommandBody::Encoded(encoded));
                }
            }
            Ok(_) => self.fail(
                tag,
                &Error::invalid("the RESP buffer holds more than one command: use a pipeline"),
            ),
            Err(error) => self.fail(tag, &error),
        }
    }

    #[inline(never)]
    pub(super) fn submit(&mut self, tag: u64, args: &[&[u8]], body: CommandBody<'_>) {
        let command = classify(args);
        let work = self
            .admit()
            .and_then(|core| match core.process().key_space() {
                Some(key_space) => work_of(&self.client, core, &command, key_space),
                None => Ok(OtherWork::Undecided.into()),
            });
        match work {
            Ok(work) => {
                let begin = self.inbox.bytes.len();
                self.inbox.bytes.push(&command.marked(body));
                self.add(tag, begin, work);
            }
            Err(error) => self.fail(tag, &error),
        }
    }

    #[inline]
    pub(super) fn add(&mut self, tag: u64, begin: usize, work: Work) {
        self.cancel_if_interrupted();
        if let Work::Other(OtherWork::Undecided | OtherWork::Pipeline { .. }) = &work {
            self.inbox.is_undecided = true;
        }
        self.inbox.push(tag, begin, work);
        self.held_bytes += self.inbox.bytes.len() - begin;
        self.len += 1;
        self.signal(true);
    }

    /// Submits a command to nodes that the caller selects: see `Client::command_to`.
    pub fn command_to(&mut self, tag: u64, selector: &str, args: &[&[u8]]) -> Result<()> {
        self.admit()?;
        let begin = self.inbox.bytes.len();
        let body = classify(args).marked(CommandBody::Args(args));
        self.inbox.bytes.push(&body);
        self.add(tag, begin, OtherWork::Selected(selector.into()).into());
        Ok(())
    }

    /// Submits the commands of a pipeline.
    pub fn pipeline(&mut self, tag: u64, pipeline: Pipeline, is_atomic: bool) -> Result<()> {
        if !pipeline.client.is_of_same_cluster(&self.client) {
            return Err(Error::invalid(
                "the pipeline belongs to the client of another cluster than the queue",
            ));
        }
        self.admit()?;
        let work = OtherWork::Pipeline {
            slots: slots_of_pipeline(&pipeline),
            pipeline: RefCell::new(Some(Box::new(pipeline))),
            is_atomic,
        };
        let begin = self.inbox.bytes.len();
        self.add(tag, begin, work.into());
        Ok(())
    }

    /// Submits a command that has failed already.
    #[cold]
    pub fn fail(&mut self, tag: u64, error: &Error) {
        self.len += 1;
        self.replies.fail_tag(tag, error);
        self.signal(true);
    }

    /// The cluster, unless no command can be submitted now.
    #[inline]
    pub(super) fn admit(&self) -> Result<&Arc<Core>> {
        if self.process != process_number() {
            return Err(after_fork());
        }
        if let Err(error) = &self.event_loop {
            return Err(error.clone());
        }
        let core = self.client.ready()?;
        let bytes = self.held_bytes;
        if self.len() >= self.max_commands || bytes >= self.max_bytes {
            return Err(self.full(bytes));
        }
        Ok(core)
    }

    #[cold]
    pub(super) fn full(&self, bytes: usize) -> Error {
        let (config, commands) = (&self.client.config, self.len());
        Error::new(
            Code::QueueFull,
            format_args!(
                "{commands} commands of {bytes} bytes have been submitted and their replies not been taken (queue_limit \
                 = {}, max_memory_bytes = {}): take replies first",
                config.queue_limit, config.max_memory_bytes
            ),
        )
    }

    /// Ends the submission of what will be started now.
    pub(super) fn seal(&mut self, time: Time) {
        let begun = |mut inbox: Inbox| {
            inbox.at = Some(time);
            inbox
        };
        self.unrouted.extend(self.shard_inboxes.take().map(begun));
        if self.inbox.entries.is_empty() {
            return;
        }
        let inbox = std::mem::take(&mut self.inbox);
        self.unrouted.push_back(begun(inbox));
    }
}
