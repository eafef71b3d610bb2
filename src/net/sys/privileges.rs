//! The rights of the process.

/// Whether the process has more rights than its caller: setuid, setgid or capabilities.
pub fn is_privileged() -> bool {
    #[cfg(target_os = "linux")]
    // SAFETY: reads a value that the kernel has passed to the process.
    let answer = unsafe { libc::getauxval(libc::AT_SECURE) != 0 };
    #[cfg(not(target_os = "linux"))]
    // SAFETY: has no arguments.
    let answer = unsafe { libc::issetugid() != 0 };
    answer
}
