//! What commands change in the state of their connection. Such state is lost with the connection.

/// A part of a connection's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum StatePart {
    Transaction,
    Database,
    User,
    Protocol,
    Name,
    LibraryInfo,
    Tracking,
    Replies,
    Eviction,
    Touching,
    Capabilities,
    ImportSource,
    ReplicaReads,
    ScriptDebugging,
    /// How the next command is executed.
    NextCommand,
    /// What an unknown sub-command of CLIENT has changed.
    Other,
    /// Which writes WAIT waits for.
    Writes,
}

use StatePart::*;

/// The parts, and what an error message calls them: the command to send again.
const PARTS: [(StatePart, &str); 17] = [
    (Transaction, "its transaction"),
    (User, "AUTH"),
    (Protocol, "HELLO"),
    (Database, "SELECT"),
    (Name, "CLIENT SETNAME"),
    (LibraryInfo, "CLIENT SETINFO"),
    (Tracking, "CLIENT TRACKING"),
    (Replies, "CLIENT REPLY"),
    (Eviction, "CLIENT NO-EVICT"),
    (Touching, "CLIENT NO-TOUCH"),
    (Capabilities, "CLIENT CAPA"),
    (ImportSource, "CLIENT IMPORT-SOURCE"),
    (ReplicaReads, "READONLY"),
    (ScriptDebugging, "SCRIPT DEBUG"),
    (NextCommand, "ASKING or CLIENT CACHING"),
    (Other, "CLIENT"),
    (Writes, "its writes"),
];

/// A set of [`StatePart`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateParts(u32);

impl StateParts {
    pub const NONE: StateParts = StateParts(0);

    pub const fn of(part: StatePart) -> StateParts {
        StateParts(1 << part as u32)
    }

    pub const fn from_bits(bits: u32) -> StateParts {
        StateParts(bits)
    }

    pub const fn bits(self) -> u32 {
        self.0
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub const fn has(self, part: StatePart) -> bool {
        self.meets(StateParts::of(part))
    }

    /// Whether the sets have a part in common.
    pub const fn meets(self, other: StateParts) -> bool {
        self.0 & other.0 != 0
    }

    pub const fn with(self, other: StateParts) -> StateParts {
        StateParts(self.0 | other.0)
    }

    pub const fn without(self, other: StateParts) -> StateParts {
        StateParts(self.0 & !other.0)
    }

    /// What error messages call the parts.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let named = PARTS.into_iter().filter(move |(part, _)| self.has(*part));
        named.map(|(_, name)| name)
    }
}

/// How a command changes the state of its connection: a column of the command table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateChange {
    Nothing,
    Begins(StatePart),
    Ends(StatePart),
    /// The argument after the sub-command begins it, except this word, which restores the state of a new connection.
    Switches(StatePart, OffWord),
    /// HELLO: the protocol, and options for the user and the name.
    Hello,
    /// RESET: everything.
    Resets,
    /// The connection becomes a stream of messages or a replication link.
    Streams,
    /// Changes nothing, but depends on this part.
    Needs(StatePart),
}

/// The word that switches a part off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffWord {
    Off,
    On,
    No,
}

impl OffWord {
    const fn text(self) -> &'static str {
        match self {
            OffWord::Off => "OFF",
            OffWord::On => "ON",
            OffWord::No => "NO",
        }
    }
}

/// What a command changes if the server accepts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateEffect {
    pub begins: StateParts,
    pub ends: StateParts,
}

/// The options of HELLO: their word, the number of its arguments, and what it begins.
const HELLO_OPTIONS: [(&str, usize, StatePart); 2] = [("AUTH", 2, User), ("SETNAME", 1, Name)];

impl StateEffect {
    /// A write changes what a later WAIT waits for.
    pub const WRITE: StateEffect = StateEffect::begins(StateParts::of(Writes));
    /// No change.
    pub const NONE: StateEffect = StateEffect::begins(StateParts::NONE);

    const fn begins(begins: StateParts) -> StateEffect {
        StateEffect {
            begins,
            ends: StateParts::NONE,
        }
    }

    const fn ends(part: StatePart) -> StateEffect {
        StateEffect {
            begins: StateParts::NONE,
            ends: StateParts::of(part),
        }
    }
}

impl StateEffect {
    /// The same without what ends.
    pub fn only_begins(self) -> StateEffect {
        StateEffect::begins(self.begins)
    }

    /// Of the effect, only the end of this part.
    pub fn only_ends(self, part: StatePart) -> StateEffect {
        match self.ends.has(part) {
            true => StateEffect::ends(part),
            false => StateEffect::NONE,
        }
    }
}

impl StateChange {
    /// What a command with these arguments changes.
    pub(super) fn effect(self, args: &[&[u8]]) -> StateEffect {
        match self {
            StateChange::Begins(part) => StateEffect::begins(StateParts::of(part)),
            StateChange::Ends(part) => StateEffect::ends(part),
            StateChange::Switches(part, off) => {
                let word = args.get(2).copied().unwrap_or_default();
                match word.eq_ignore_ascii_case(off.text().as_bytes()) {
                    true => StateEffect::ends(part),
                    false => StateEffect::begins(StateParts::of(part)),
                }
            }
            StateChange::Hello => StateEffect::begins(hello_parts(args)),
            StateChange::Nothing
            | StateChange::Resets
            | StateChange::Streams
            | StateChange::Needs(_) => StateEffect::NONE,
        }
    }
}

fn hello_parts(args: &[&[u8]]) -> StateParts {
    if args.len() < 2 {
        // It only reports.
        return StateParts::NONE;
    }
    let mut parts = StateParts::of(Protocol);
    let mut at = 2;
    while let Some(word) = args.get(at) {
        let is_word =
            |option: &&(&str, usize, StatePart)| word.eq_ignore_ascii_case(option.0.as_bytes());
        let Some((_, takes, part)) = HELLO_OPTIONS.iter().find(is_word) else {
            break;
        };
        parts = parts.with(StateParts::of(*part));
        at += 1 + takes;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::{Flag, classify, table};

    fn effect(words: &str) -> (Vec<&'static str>, Vec<&'static str>) {
        let args: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
        let effect = classify(&args).state_effect();
        (
            effect.begins.names().collect(),
            effect.ends.names().collect(),
        )
    }

    #[test]
    fn commands_begin_and_end_the_state_of_their_rows() {
        for (words, begins, ends) in [
            ("WATCH k", &["its transaction"][..], &[][..]),
            ("MULTI", &["its transaction"], &[]),
            ("EXEC", &[], &["its transaction"]),
            ("DISCARD", &[], &["its transaction"]),
            ("UNWATCH", &[], &["its transaction"]),
            ("SELECT 0", &["SELECT"], &[]),
            ("AUTH p", &["AUTH"], &[]),
            ("HELLO", &[], &[]),
            ("HELLO 2", &["HELLO"], &[]),
            ("HELLO 3 AUTH setname p", &["AUTH", "HELLO"], &[]),
            ("hello 3 setname auth", &["HELLO", "CLIENT SETNAME"], &[]),
            (
                "HELLO 3 AUTH u p SETNAME n",
                &["AUTH", "HELLO", "CLIENT SETNAME"],
                &[],
            ),
            ("CLIENT TRACKING ON BCAST", &["CLIENT TRACKING"], &[]),
            ("client tracking off", &[], &["CLIENT TRACKING"]),
            ("CLIENT REPLY OFF", &["CLIENT REPLY"], &[]),
            ("CLIENT REPLY ON", &[], &["CLIENT REPLY"]),
            ("CLIENT NO-EVICT on", &["CLIENT NO-EVICT"], &[]),
            ("CLIENT NEW-SETTING x", &["CLIENT"], &[]),
            ("READONLY", &["READONLY"], &[]),
            ("READWRITE", &[], &["READONLY"]),
            ("SCRIPT DEBUG SYNC", &["SCRIPT DEBUG"], &[]),
            ("SCRIPT DEBUG NO", &[], &["SCRIPT DEBUG"]),
            ("ASKING", &["ASKING or CLIENT CACHING"], &[]),
            ("SET k v", &["its writes"], &[]),
            ("GET k", &[], &[]),
            ("WAIT 1 100", &[], &[]),
            ("RESET", &[], &[]),
        ] {
            assert_eq!(effect(words), (begins.to_vec(), ends.to_vec()), "{words}");
        }
    }

    #[test]
    fn every_connection_command_has_a_state_change() {
        for row in table::ROWS.iter().filter(|r| r.flags.has(Flag::Connection)) {
            let is_exempt = *row == *table::QUIT;
            assert!(
                row.state_change != StateChange::Nothing || is_exempt,
                "{row:?}"
            );
        }
    }
}
