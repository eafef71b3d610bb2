//! Decisions about commands: what they are, where their keys are, whether they write. No I/O.

mod access;
mod choose_node;
mod command;
mod keys;
mod merge;
mod missing_key;
mod option_arg;
mod plan;
mod recovery;
mod scan;
pub mod table;

pub use access::{Access, BlockingTimeout, access, allows_early_send, blocking_timeout};
pub use choose_node::{Choice, SelectionCriteria, SkipReason, choose_node};
pub use command::{Block, Flag, Flags, Request, Response, Row, find};
pub use keys::{KeyAccess, KeySpec, check, each_key, first_key};
pub use merge::{Merge, merge};
pub use missing_key::may_be_missing_key;
pub use plan::{KeyGroups, Nodes, Route, check_shareable, crossslot, plan, printable};
pub use recovery::{
    ErrorContext, RetryAction, RetryPlan, action_for_failure, action_for_reply, backoff_us,
    redirect_backoff_us, was_cut_short,
};
pub use scan::{At, Next, Scan};
