//! Clocks that can be compared between processes.

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use nix::time::{ClockId, clock_gettime};

/// The monotonic clock of the machine.
pub fn now_ns() -> i64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("every Linux has this clock");
    time.num_nanoseconds()
}

/// CPU time of this process, with all its threads, in user and kernel mode.
pub fn cpu_ns() -> i64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("every Linux has getrusage");
    (usage.user_time() + usage.system_time()).num_nanoseconds()
}
