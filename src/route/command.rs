//! The description of a command: a row of the generated table.

use super::connection_state::StateChange;
use super::key_spec::{Begin, Find, KeySpec, Presence};
use super::option_arg::OptionArg;
use super::packed_name::PackedName;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A proven read: a replica serves it after READONLY, and it changes nothing on any node.
    Read,
    /// Everything else.
    Write,
}

/// The flags of COMMAND, and five that servers do not report: `MayReplicate`, `Connection`, `PrimaryOnly`, `Secret`, `OwnErrors`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Flag {
    /// May change data: a replica answers MOVED.
    Write,
    /// Flagged as changing no data. Whether a replica may serve it is [`access`](super::access()).
    Read,
    Blocking,
    /// Publishes, subscribes, or reports on either.
    Pubsub,
    Admin,
    /// Refused inside scripts.
    Noscript,
    /// Refused inside MULTI.
    NoMulti,
    /// Refused when the server is out of memory.
    Denyoom,
    /// Allowed while the server loads its data.
    Loading,
    /// Allowed on a replica that has lost its primary.
    Stale,
    Fast,
    /// Allowed before AUTH.
    NoAuth,
    /// May have no key: EVAL with a numkeys of 0.
    KeysOptional,
    /// Its keys are not at fixed positions.
    KeysMovable,
    /// Not flagged Write, but replicated when it changes data.
    MayReplicate,
    /// Changes the state of its connection: refused on shared connections.
    Connection,
    /// Only the primary's answer counts: the command takes a cursor that is valid only in the process that
    /// returned it, or no node redirects it.
    PrimaryOnly,
    /// May have a password among its arguments: buffers that hold it are overwritten.
    Secret,
    /// Code of the caller or of a module may choose the text of its errors.
    OwnErrors,
    /// Has sub-commands, each with a row of its own.
    Container,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Flags(u32);

impl Flags {
    const fn of(flags: &[Flag]) -> Flags {
        let (mut bits, mut i) = (0, 0);
        while i < flags.len() {
            bits |= 1 << flags[i] as u32;
            i += 1;
        }
        Flags(bits)
    }

    #[inline]
    pub const fn has(self, flag: Flag) -> bool {
        self.0 & (1 << flag as u32) != 0
    }
}

/// The destination of a command that is not for one slot (`request_policy` of the servers' command tips, and four that
/// servers do not report: `SlotNumber`, `Selected`, `Writes`, `Channel`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    Default,
    AllNodes,
    AllShards,
    MultiShard,
    Special,
    /// The owner of the slot whose number is argument 2.
    SlotNumber,
    /// Only a node that the caller selects: the command changes the state of one node.
    Selected,
    /// The connection of the writes before it: the command waits for them.
    Writes,
    /// Any node, but the same one for each command with this argument 1.
    Channel,
}

/// How the replies of several nodes are merged (`response_policy` of the servers' command tips).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Response {
    Default,
    AllSucceeded,
    OneSucceeded,
    AggSum,
    AggMin,
    AggMax,
    AggLogicalAnd,
    AggLogicalOr,
    Special,
}

/// The argument with the time that the command may block. A negative index counts from the end.
#[derive(Clone, Copy, Debug)]
pub enum Block {
    Never,
    Seconds(i8),
    Millis(i8),
    MillisAfter(&'static OptionArg),
}

/// One command or sub-command.
pub struct Row {
    pub(super) packed: PackedName,
    /// Its index in [`ROWS`](super::table::ROWS).
    pub id: u16,
    /// The number of arguments including the name; if negative, the minimum.
    pub arity: i16,
    pub flags: Flags,
    /// Use [`access`](super::access()), which also handles unknown sub-commands.
    pub(super) access: Access,
    /// The index of the key if the command always has exactly one key, and any node of the shard may serve
    /// it; otherwise 0. Less than `arity`.
    pub only_key: u8,
    is_plain: bool,
    pub request: Request,
    pub response: Response,
    pub state_change: StateChange,
    /// In upper case, with the container of a sub-command: "GET", "OBJECT ENCODING".
    pub name: &'static str,
    pub keys: &'static [KeySpec],
    pub(super) block: Block,
}

impl Row {
    /// Whether the command has one key, can share its connection with any others, and has no sub-commands.
    #[inline]
    pub fn is_plain(&self) -> bool {
        self.is_plain
    }

    /// Whether it has sub-commands.
    pub fn is_container(&self) -> bool {
        self.flags.has(Flag::Container)
    }

    pub(super) const fn new(
        id: u16,
        parent: Option<u16>,
        name: &'static str,
        arity: i16,
        flags: &[Flag],
        keys: &'static [KeySpec],
    ) -> Row {
        let flags = Flags::of(flags);
        let only_key = match keys {
            // Only the primary may serve it.
            _ if flags.has(Flag::PrimaryOnly) => 0,
            [
                KeySpec {
                    begin: Begin::Index(at),
                    find: Find::Range { last: 0, .. },
                    presence: Presence::Required,
                    ..
                },
            ] => *at,
            _ => 0,
        };
        // After a check of the arity the key is present.
        assert!((only_key as u16) < arity.unsigned_abs());
        Row {
            packed: PackedName::of_row(name, parent),
            id,
            arity,
            flags,
            access: Access::Write,
            only_key,
            is_plain: only_key != 0
                && !flags.has(Flag::Secret)
                && !flags.has(Flag::Connection)
                && !flags.has(Flag::Container),
            request: Request::Default,
            response: Response::Default,
            state_change: StateChange::Nothing,
            name,
            keys,
            block: Block::Never,
        }
    }

    /// The index of the first key, if it is always the same.
    pub fn fixed_first_key(&self) -> Option<usize> {
        match self.keys {
            [
                KeySpec {
                    begin: Begin::Index(at),
                    find: Find::Range { .. },
                    ..
                },
                ..,
            ] => Some(usize::from(*at)),
            _ => None,
        }
    }

    pub(super) const fn policy(mut self, request: Request, response: Response) -> Row {
        (self.request, self.response) = (request, response);
        self
    }

    pub(super) const fn read(mut self) -> Row {
        self.access = Access::Read;
        self
    }

    pub(super) const fn state(mut self, change: StateChange) -> Row {
        self.state_change = change;
        self
    }

    pub(super) const fn block(mut self, block: Block) -> Row {
        self.block = block;
        self.is_plain = false;
        self
    }
}

impl PartialEq for Row {
    fn eq(&self, other: &Row) -> bool {
        self.id == other.id
    }
}

impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::table;

    #[test]
    fn plain_commands_have_one_key_and_share_connections() {
        for row in &table::ROWS {
            let keeps_connection = [Flag::Secret, Flag::Connection, Flag::Container];
            let shares = !keeps_connection.iter().any(|flag| row.flags.has(*flag));
            let is_plain = row.only_key != 0 && matches!(row.block, Block::Never) && shares;
            assert_eq!(row.is_plain(), is_plain, "{row:?}");
        }
        assert!(table::SET.is_plain() && table::OBJECT_ENCODING.is_plain());
        let others = [table::MGET, table::BLPOP, table::OBJECT, table::WATCH];
        assert!(!others.iter().any(|row| row.is_plain()));
    }

    #[test]
    fn command_table_has_expected_rows() {
        assert_eq!(
            (table::GET.name, table::GET.arity, table::GET.only_key),
            ("GET", 2, 1)
        );
        assert_eq!(
            (
                table::OBJECT_ENCODING.only_key,
                table::MGET.only_key,
                table::EVAL.only_key
            ),
            (2, 0, 0)
        );
        assert_eq!(
            (table::DEL.request, table::DEL.response),
            (Request::MultiShard, Response::AggSum)
        );
        assert_eq!(
            (table::MSETNX.request, table::MSETNX.response),
            (Request::Default, Response::Default)
        );
        assert_eq!(
            (table::DBSIZE.request, table::DBSIZE.response),
            (Request::AllShards, Response::AggSum)
        );
        assert_eq!(
            (table::CONFIG_SET.request, table::CONFIG_SET.response),
            (Request::AllNodes, Response::AllSucceeded)
        );
        assert_eq!(table::SCRIPT_EXISTS.response, Response::AggLogicalAnd);
        assert_eq!(
            (table::SCAN.request, table::PING.response),
            (Request::Special, Response::AllSucceeded)
        );
        for row in [
            table::MULTI,
            table::WATCH,
            table::CLIENT_REPLY,
            table::SUBSCRIBE,
            table::SELECT,
            table::HELLO,
        ] {
            assert!(row.flags.has(Flag::Connection), "{row:?}");
        }
        for row in [table::BLPOP, table::XREAD, table::WAIT] {
            assert!(row.flags.has(Flag::Blocking), "{row:?}");
        }
        assert_eq!(
            [
                table::SHUTDOWN.request,
                table::CLUSTER_COUNTKEYSINSLOT.request,
                table::WAIT.request,
                table::PUBLISH.request
            ],
            [
                Request::Selected,
                Request::SlotNumber,
                Request::Writes,
                Request::Channel
            ]
        );
        for row in [table::PFCOUNT, table::PUBLISH, table::EVAL] {
            assert!(row.flags.has(Flag::MayReplicate), "{row:?}");
        }
    }
}
