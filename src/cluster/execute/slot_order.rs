//! The order of a pipeline's commands of one slot, across retries.
//!
//! Commands of a slot run in the caller's order or not at all. A command that was refused is not sent
//! again if a later one of its slot has run, or a later write may have: it would run late. After ASK
//! this holds for commands of the same key, because keys that have moved and keys that have not are
//! different keys. No write follows one that may still be running: it might run first.

use super::pending_reply::{PendingCommand, PendingReply};
use super::routed_command::RoutedCommand;
use crate::error::{Code, Error};
use crate::resp::{Kind, flag};
use crate::route::{each_key, find};
use std::collections::HashMap;

/// The outcomes of the closed commands of a pipeline, slot by slot. Commands are numbered by their position.
#[derive(Default)]
struct SlotHistory {
    /// The last command of each slot that has run.
    last_run: HashMap<u16, usize>,
    /// The first and the last write of each slot that may have run.
    uncertain_writes: HashMap<u16, (usize, usize)>,
    /// For slots with an open command after ASK: for each key, the last command that has run or may have run, if it
    /// follows the first such open command.
    last_of_key: HashMap<Vec<u8>, usize>,
}

/// Closes the `open` commands that must not be sent again.
pub(super) fn enforce_slot_order(
    commands: &mut [RoutedCommand<'_>],
    reply: &mut PendingReply,
    open: &[usize],
) {
    if open.is_empty() || commands.len() == 1 {
        return;
    }
    let history = SlotHistory::new(commands, reply, open);
    for number in open {
        if let Some(error) = history.conflict(&commands[*number], *number) {
            PendingCommand::new(&mut commands[*number], *number, reply).fail(&error);
        }
    }
}

impl SlotHistory {
    fn new(commands: &[RoutedCommand<'_>], reply: &PendingReply, open: &[usize]) -> SlotHistory {
        let mut history = SlotHistory::default();
        let mut first_asking: HashMap<u16, usize> = HashMap::new();
        for number in open.iter().filter(|number| commands[**number].is_asking()) {
            if let Some(slot) = commands[*number].slot() {
                first_asking.entry(slot).or_insert(*number);
            }
        }
        for (number, command) in commands.iter().enumerate().filter(|(_, c)| !c.is_pending) {
            let Some(slot) = command.slot() else { continue };
            let Some(value) = reply.as_ref().map(|r| r.node_values[number].value) else {
                continue;
            };
            let is_error = value.kind == Kind::Error;
            if is_error && value.flags & flag::SENT == 0 {
                continue;
            }
            if !is_error || value.code == Code::Server as u8 {
                history.last_run.insert(slot, number);
            } else if !command.read {
                let writes = history.uncertain_writes.entry(slot);
                writes.or_insert((number, number)).1 = number;
            } else {
                continue;
            }
            if first_asking.get(&slot).is_some_and(|first| *first < number) {
                let keys = keys(command).into_iter();
                history.last_of_key.extend(keys.map(|key| (key, number)));
            }
        }
        history
    }

    /// Why the open command `number` must not be sent again.
    fn conflict(&self, command: &RoutedCommand<'_>, number: usize) -> Option<Error> {
        let slot = command.slot()?;
        let uncertain = self.uncertain_writes.get(&slot);
        let later_ran = self.last_run.get(&slot).is_some_and(|last| *last > number);
        let is_overtaken = match command.is_asking() {
            true => (keys(command).iter())
                .any(|key| self.last_of_key.get(key).is_some_and(|last| *last > number)),
            false => later_ran || uncertain.is_some_and(|(_, last)| *last > number),
        };
        let is_behind_uncertain =
            !command.read && uncertain.is_some_and(|(first, _)| *first < number);
        match command.last() {
            Some(last) if is_overtaken => {
                let mut error = last.clone().sent(false);
                error.message += match later_ran {
                    true => " (not sent again: a later command of its slot has run)",
                    false => " (not sent again: a later write of its slot may have run)",
                };
                Some(error)
            }
            _ if is_overtaken || is_behind_uncertain => {
                let name = command.name;
                Some(Error::new(
                    Code::Io,
                    format_args!(
                        "{name} was not sent: an earlier write to slot {slot} may still be running"
                    ),
                ))
            }
            _ => None,
        }
    }
}

/// The keys of a command; of an unknown command its first argument, which is most likely one.
fn keys(command: &RoutedCommand<'_>) -> Vec<Vec<u8>> {
    command.body.with_args(|args| {
        let mut keys = Vec::new();
        match find(args) {
            // A command whose keys cannot be read was refused before it was sent.
            Some(row) => {
                let _ = each_key(row, args, &mut |at, _| keys.push(args[at].to_vec()));
            }
            None => keys.extend(args.get(1).map(|key| key.to_vec())),
        }
        keys
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::execute::routed_command::Target;
    use crate::resp::{CommandBody, NodeValue, Reply};

    /// The outcome of a command.
    #[derive(Clone, Copy)]
    enum Outcome {
        Answered,
        /// A write that may have run.
        Lost,
        NotSent,
        Refused,
        Asking,
    }
    use Outcome::{Answered, Asking, Lost, NotSent, Refused};

    /// Runs `enforce_slot_order` on commands of slot 7; returns which refused ones stay open.
    fn open_after(commands: &[(&str, &str, Outcome)]) -> Vec<usize> {
        let args: Vec<[&[u8]; 2]> = commands
            .iter()
            .map(|(name, key, _)| [name.as_bytes(), key.as_bytes()])
            .collect();
        let mut reply = Box::<Reply>::default();
        let mut open = Vec::new();
        let mut routed: Vec<RoutedCommand<'_>> = Vec::new();
        for (number, (name, _, outcome)) in commands.iter().enumerate() {
            let body = CommandBody::Args(&args[number]);
            let mut command = RoutedCommand::new(body, "INCR", Target::Slot(7), *name == "GET");
            command.is_pending = matches!(outcome, Refused | Asking);
            if command.is_pending {
                open.push(number);
                command.retry_state().asking = matches!(outcome, Asking);
                command.retry_state().last = Some(Error::new(Code::Server, "refused"));
            }
            let answer = match outcome {
                Lost | NotSent => {
                    let mut answer = reply.store_error(&Error::new(Code::Io, "lost"));
                    answer.value.flags |= if matches!(outcome, Lost) {
                        flag::SENT
                    } else {
                        0
                    };
                    answer
                }
                _ => NodeValue::NIL,
            };
            reply.node_values.push(answer);
            routed.push(command);
        }
        enforce_slot_order(&mut routed, &mut Some(reply), &open);
        (0..routed.len())
            .filter(|n| routed[*n].is_pending)
            .collect()
    }

    #[test]
    fn refused_command_is_retried_unless_later_one_of_its_slot_ran() {
        let incr = |outcome| ("INCR", "k", outcome);
        assert_eq!(open_after(&[incr(Answered), incr(Refused)]), [1]);
        assert_eq!(open_after(&[incr(Refused), incr(Refused)]), [0, 1]);
        assert_eq!(open_after(&[incr(Refused), incr(NotSent)]), [0]);
        assert!(open_after(&[incr(Refused), incr(Answered)]).is_empty());
        assert!(open_after(&[incr(Refused), incr(Lost)]).is_empty());
    }

    #[test]
    fn write_is_not_retried_behind_write_that_may_still_run() {
        let incr = |outcome| ("INCR", "k", outcome);
        assert!(open_after(&[incr(Lost), incr(Refused)]).is_empty());
        assert_eq!(open_after(&[incr(Lost), ("GET", "k", Refused)]), [1]);
        assert_eq!(open_after(&[incr(NotSent), incr(Refused)]), [1]);
    }

    #[test]
    fn ask_redirected_command_is_ordered_by_key_not_by_slot() {
        let asking = ("INCR", "a", Asking);
        assert_eq!(open_after(&[asking, ("INCR", "b", Answered)]), [0]);
        assert!(open_after(&[asking, ("INCR", "a", Answered)]).is_empty());
        assert!(open_after(&[asking, ("INCR", "a", Lost)]).is_empty());
    }
}
