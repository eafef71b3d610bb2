//! What the kernel reports of this process.

/// Resident memory, in bytes.
pub fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// The number of open file descriptors.
pub fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Whether a thread of this process sleeps.
pub fn sleeps(thread: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat"));
    stat.is_ok_and(|stat| is_asleep(&stat))
}

/// The same from the text of its `stat` file.
pub fn is_asleep(stat: &str) -> bool {
    let rest = stat.rsplit(')').next();
    rest.is_some_and(|rest| rest.starts_with(" S"))
}
