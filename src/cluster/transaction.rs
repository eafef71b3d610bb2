//! A pipeline inside MULTI and EXEC.

use super::pipeline::{Pipeline, QueuedCommand, QueuedRoute};
use crate::cluster::execute::{RoutedCommand, Target};
use crate::cluster::state::count;
use crate::error::{Code, Error, Result};
use crate::resp::{CommandBody, CommandBuffer, Kind, NodeValue, Reply, View, flag};
use crate::route::{Access, Row, Wording, crossslot, is_refusal, table};

/// Commands for several nodes whose answer from one node is complete. Others are refused in a transaction, which would
/// count, list or change the keys of one shard. A script that one node knows is sent to the others when they need it.
const COMPLETE_AT_ONE_NODE: &[&Row] = &[table::PING, table::SCRIPT_LOAD];

fn is_complete_at_one_node(command: &QueuedCommand) -> bool {
    (command.row).is_some_and(|row| COMPLETE_AT_ONE_NODE.contains(&row))
}

impl Pipeline {
    /// Executes the pipeline inside MULTI and EXEC: all keys must be in one slot, which selects the node. Without a key
    /// it runs at any primary.
    pub fn execute_atomic(&mut self) -> Box<Reply> {
        let reply = self.try_execute_atomic();
        self.clear();
        reply.unwrap_or_else(|error| Box::new(Reply::error(&error)))
    }

    fn try_execute_atomic(&mut self) -> Result<Box<Reply>> {
        let client = self.client.clone();
        let core = client.ready()?;
        count(&core.stats.pipelines);
        if client.is_pinned() {
            return Err(Error::invalid(
                "a pinned handle cannot run an atomic pipeline: send MULTI and EXEC, and execute the pipeline between them",
            ));
        }
        if let Some(refused) = self.refuse_writes(core) {
            return Ok(refused);
        }
        if self.is_empty() {
            let mut reply = Box::<Reply>::default();
            self.finish(&mut reply, core);
            return Ok(reply);
        }
        let spent = self.connect(core)?;
        let mut context = client.context(core);
        context.call = context.call.shortened(spent);
        if let Some(refused) = self.route_unknown_commands(&context) {
            return Ok(refused);
        }
        // Without a key, any primary is as good as another.
        let slot = self.slot_of_all_keys()?;
        let target = slot.map_or(Target::Anywhere, Target::Slot);
        let bytes = self.encode_transaction();
        let read = self.queued.iter().all(|c| c.access == Access::Read);
        let mut exec = RoutedCommand::new(bytes.body(), "EXEC", target, read);
        exec.preludes = self.queued.len() as u32 + 1;
        let mut reply = context.run_many(&mut [exec]);
        reply.root = reply.node_values[0];
        reply.node_values.clear();
        if reply.root.value.kind == Kind::Error {
            count(&core.stats.errors);
            return Ok(reply);
        }
        let node = reply.root.node;
        reply.node_values = self.answers_of_exec(&reply, slot)?;
        self.finish(&mut reply, core);
        reply.root.node = node;
        Ok(reply)
    }

    fn encode_transaction(&self) -> CommandBuffer {
        const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
        const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";
        let mut bytes = CommandBuffer::with_capacity(MULTI.len() + self.bytes.len() + EXEC.len());
        bytes.push(&CommandBody::Encoded(MULTI));
        for command in &self.queued {
            bytes.push(&command.body(&self.bytes[command.begin..command.end]));
        }
        bytes.push(&CommandBody::Encoded(EXEC));
        bytes
    }

    /// The elements of the reply to EXEC, one for each command.
    fn answers_of_exec(&self, reply: &Reply, slot: Option<u16>) -> Result<Vec<NodeValue>> {
        let results = View::new(reply, reply.root.value);
        if results.len() != self.len() {
            let error = Error::new(
                Code::Protocol,
                "the number of elements in the reply to EXEC differs from the number of commands",
            );
            return Err(error.sent(true));
        }
        let node = reply.root.node;
        let answer = |(element, command): (View<'_>, &QueuedCommand)| {
            let mut value = element.value();
            let text = element.text().unwrap_or_default();
            // A right that was withdrawn after the command had been queued, for example.
            if value.kind != Kind::Error || !is_refusal(text, Wording::of(command.row, slot)) {
                value.flags |= flag::SENT;
            }
            NodeValue { value, node }
        };
        Ok(results.elements().zip(&self.queued).map(answer).collect())
    }

    /// The slot of all keys, `None` if there is no key; an error if there are several slots or a command cannot be in a
    /// transaction.
    fn slot_of_all_keys(&self) -> Result<Option<u16>> {
        let mut found: Option<(u16, usize)> = None;
        for (number, command) in self.queued.iter().enumerate() {
            match command.route {
                QueuedRoute::Slot(slot) | QueuedRoute::Primary(slot) => match found {
                    None => found = Some((slot, number)),
                    Some((first, _)) if first == slot => {}
                    Some((_, other)) => {
                        return Err(crossslot(
                            "one transaction",
                            &self.first_key(other),
                            &self.first_key(number),
                        ));
                    }
                },
                QueuedRoute::AnyNode | QueuedRoute::AnyNodeOf(_) | QueuedRoute::Deferred => {}
                QueuedRoute::Invalid(at) => {
                    let mut error = self.errors[at as usize].clone();
                    error.message = format!("{}{}", self.title(number), error.message);
                    return Err(error);
                }
                QueuedRoute::FanOut(..) if is_complete_at_one_node(command) => {}
                QueuedRoute::FanOut(..) => {
                    return Err(Error::invalid(format_args!(
                        "{}this command goes to several nodes, but a transaction runs on one",
                        self.title(number)
                    )));
                }
                QueuedRoute::Wait(_) => {
                    return Err(Error::invalid(format_args!(
                        "{}inside a transaction this command does not wait: append it to a pipeline that is not atomic",
                        self.title(number)
                    )));
                }
                QueuedRoute::Split(at) => return Err(self.split_in_transaction(number, at)),
            }
        }
        Ok(found.map(|(slot, _)| slot))
    }

    /// The error for a command whose keys are in several slots.
    fn split_in_transaction(&self, number: usize, split: u32) -> Error {
        let command = &self.queued[number];
        let mut args = Vec::new();
        if let Err(error) = command.parse(&self.bytes, &mut args) {
            return error;
        }
        let groups = &self.split_commands[split as usize].groups;
        let mut keys = groups.iter().map(|(_, keys)| args[keys[0] as usize]);
        let (a, b) = (keys.next(), keys.next());
        crossslot(command.name(), a.unwrap_or_default(), b.unwrap_or_default())
    }

    fn first_key(&self, number: usize) -> Vec<u8> {
        let key = self.queued[number].with_classified(&self.bytes, |command| {
            let at = command.first_key().unwrap_or(1);
            command.args.get(at).map(|key| key.to_vec())
        });
        key.flatten().unwrap_or_default()
    }
}
