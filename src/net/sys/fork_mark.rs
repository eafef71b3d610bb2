//! Detection of a fork.

use super::system;

/// The number of this process, which is not 0 and differs from those of its ancestors. Tells a forked child from its
/// parent without a system call. Async-signal-safe after the first call.
#[inline]
pub fn process_number() -> i32 {
    system::process_number()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `f` in a forked child; returns whether it was true.
    fn in_child(f: impl FnOnce() -> bool) -> bool {
        // SAFETY: the child only runs f, which neither allocates nor locks, and ends.
        unsafe {
            let child = libc::fork();
            if child == 0 {
                libc::_exit(i32::from(!f()));
            }
            let mut status = 0;
            libc::waitpid(child, &raw mut status, 0) == child && status == 0
        }
    }

    #[test]
    fn process_number_differs_in_child_and_grandchild() {
        let number = process_number();
        assert!(number != 0 && process_number() == number);
        assert!(in_child(|| {
            let child = process_number();
            child != number
                && process_number() == child
                && in_child(|| ![number, child].contains(&process_number()))
        }));
        assert_eq!(process_number(), number);
    }
}
