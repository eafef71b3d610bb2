//! Tests that would disturb each other: one at a time, or in their own process.

use std::sync::{Mutex, MutexGuard, PoisonError};
use support::{Cluster, FakeCluster};

/// The lock of [`serial`], with the running clusters and their name: see [`super::shared`].
pub type Serial = MutexGuard<'static, Option<(&'static str, Vec<Cluster>)>>;

pub(super) fn lock() -> Serial {
    static RUNNING: Mutex<Option<(&str, Vec<Cluster>)>> = Mutex::new(None);
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a test alone: other tests of this program that call this or share a cluster wait. No shared cluster is running
/// then, so that no server takes processor time.
pub fn serial() -> Serial {
    let mut running = lock();
    *running = None;
    running
}

/// Runs a test of this program again in its own process, where it may change state of the whole process. `body` gets
/// the URL; the servers run in the parent.
pub fn in_child_process<F: FnOnce(&str)>(url: &str, body: F) {
    let name = support::test_of::<F>();
    if let Ok(url) = std::env::var("RDC_TEST_URL") {
        return body(&url);
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env("RDC_TEST_URL", url)
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{name}: {}\n{stdout}\n{stderr}",
        output.status
    );
    assert!(
        stdout.contains("1 passed"),
        "there is no test {name}: {stdout}"
    );
}

pub fn is_child_process() -> bool {
    std::env::var("RDC_TEST_URL").is_ok()
}

/// Scripted nodes in the parent of a test that runs in its own process; `None` in the child.
pub fn scripted_nodes(primaries: usize) -> Option<FakeCluster> {
    (!is_child_process()).then(|| FakeCluster::new(primaries))
}

pub fn url_of(fake: &Option<FakeCluster>) -> String {
    fake.as_ref().map(FakeCluster::url).unwrap_or_default()
}

/// Runs `child` in a forked process; true if it returned true.
pub fn in_forked_child(child: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child uses a client after a fork, which is what the test checks, and leaves by _exit.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let healthy =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(child)).unwrap_or(false);
        // SAFETY: ends this process.
        unsafe { libc::_exit(i32::from(!healthy)) };
    }
    assert!(pid > 0);
    let mut status = 0;
    // SAFETY: the pointer is to a live integer.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
}
