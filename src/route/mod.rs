//! Decisions about commands: their rows, keys, routes and errors, and the choice of a node. No I/O.

mod access;
mod choose_node;
mod classify;
mod command;
mod connection_state;
mod find;
mod key_groups;
mod key_spec;
mod keys;
mod merge;
mod merge_by_name;
mod missing_key;
mod option_arg;
mod packed_name;
mod recovery;
mod refusal;
#[allow(clippy::module_inception)]
mod route;
mod scan;
pub mod table;

pub use access::{BlockingTimeout, access, allows_early_send, blocking_timeout};
pub use choose_node::{Choice, SelectionCriteria, SkipReason, choose_first, choose_node};
pub use classify::{Classified, classify, classify_as, marked};
pub use command::{Access, Block, Flag, Flags, Request, Response, Row};
pub use connection_state::{StateChange, StateEffect, StatePart, StateParts};
pub use find::find;
pub use key_groups::KeyGroups;
pub use key_spec::{KeyAccess, KeySpec};
pub use keys::{check, each_key, first_key, has_valid_count, plain_key};
pub use merge::{Merge, merge};
pub use missing_key::may_be_missing_key;
pub use recovery::{
    ErrorContext, RetryAction, RetryPlan, action_for_failure, action_for_reply, backoff_us,
    leaves_time_for_write, may_pass, redirect_backoff_us, was_cut_short,
};
pub use refusal::{Wording, is_refusal, is_refused_by_transaction};
pub use route::{Nodes, Route, RouteOptions, crossslot, printable, route};
pub use scan::{Scan, ScanStep, WalkTarget};
