//! A rule for where a command has keys: the servers' own key specifications.

use super::option_arg::OptionArg;

#[derive(Debug)]
pub struct KeySpec {
    pub begin: Begin,
    pub find: Find,
    pub access: KeyAccess,
    pub presence: Presence,
}

/// Where the keys begin (`begin_search` of COMMAND).
#[derive(Debug)]
pub enum Begin {
    Index(u8),
    /// At this index, if the word is among the arguments after it.
    IndexIf(u8, &'static str),
    /// At the argument after an option.
    After(&'static OptionArg),
}

/// Which arguments from there are keys (`find_keys` of COMMAND).
#[derive(Debug)]
pub enum Find {
    /// Up to `last`, which counts from the begin or, if negative, from the end. A `share` of 2 means the first
    /// half of the remaining arguments.
    Range { last: i8, step: u8, share: u8 },
    /// The argument there is the number of keys; the first key is `first` arguments later.
    Count { first: u8, step: u8 },
}

/// What the command does with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyAccess {
    Read,
    Update,
    Overwrite,
    Remove,
    /// Routed by its slot, but not a key: a shard channel, a cursor of CLUSTERSCAN, or an index with a cursor.
    Channel,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    Required,
    Optional,
    /// Optional; if present, later specifications do not apply.
    Instead,
}

impl KeySpec {
    pub(super) const fn new(
        begin: Begin,
        find: Find,
        access: KeyAccess,
        presence: Presence,
    ) -> KeySpec {
        KeySpec {
            begin,
            find,
            access,
            presence,
        }
    }
}
