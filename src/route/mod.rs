//! Decisions about commands: what they are, where their keys are, whether they write. No I/O.

mod access;
mod command;
mod doubt;
mod keys;
mod merge;
mod plan;
mod recovery;
mod replica;
mod scan;
mod search;
pub mod table;

pub use access::{Access, BlockingTimeout, access, blocking_timeout, is_early};
pub use command::{Block, Flag, Flags, Request, Response, Row, find};
pub use doubt::is_doubtful;
pub use keys::{KeyAccess, KeySpec, check, each_key, first_key};
pub use merge::{Merge, merge};
pub use plan::{Nodes, Pieces, Plan, crossslot, plan, printable, shareable};
pub use recovery::{
    Again, Facts, Verdict, backoff_us, is_hasty, of_failure, of_reply, to_and_fro_us,
};
pub use replica::{Choice, Passed, Wish, choose};
pub use scan::{At, Next, Scan};
