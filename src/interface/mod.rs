//! The interface for programs in Rust. The crate's root exports it and describes it.

mod client;
mod from_value;
mod options;
mod pipeline;
mod reply;
mod subscriber;
mod value;

pub use client::Client;
pub use from_value::FromValue;
pub use options::Options;
pub use pipeline::Pipeline;
pub use reply::Reply;
pub use subscriber::{Subscriber, Waker};
pub use value::Value;

/// Calls `run` with the arguments of a command as slices.
fn with_args<T, A: AsRef<[u8]>>(
    args: impl IntoIterator<Item = A>,
    run: impl FnOnce(&[&[u8]]) -> T,
) -> T {
    let args: Vec<A> = args.into_iter().collect();
    let slices: Vec<&[u8]> = args.iter().map(AsRef::as_ref).collect();
    run(&slices)
}
