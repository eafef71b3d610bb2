//! Clocks that mean the same in every process.

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use nix::time::{ClockId, clock_gettime};

/// The monotonic clock of the machine.
pub fn now_ns() -> i64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("every Linux has this clock");
    time.num_nanoseconds()
}

/// What this process, all of its threads, has had of the processors, in the kernel and outside.
pub fn cpu_ns() -> i64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("every Linux keeps account");
    (usage.user_time() + usage.system_time()).num_nanoseconds()
}
