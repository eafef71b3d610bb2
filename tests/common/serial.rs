//! Tests that would disturb each other: one at a time, or in a process of their own.

use std::sync::{Mutex, MutexGuard, PoisonError};
use support::{Cluster, FakeCluster};

/// The lock of [`serial`], and the clusters that are running, with their name: see [`super::shared`].
pub type Serial = MutexGuard<'static, Option<(&'static str, Vec<Cluster>)>>;

/// Keeps the other tests of this program waiting, as long as they ask for the same.
pub fn serial() -> Serial {
    static RUNNING: Mutex<Option<(&str, Vec<Cluster>)>> = Mutex::new(None);
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a test of this program in a process of its own, where it may do what concerns the whole process; `body` is
/// given the URL. Its servers live here.
pub fn in_a_process<F: FnOnce(&str)>(url: &str, body: F) {
    let name = test_of::<F>();
    if let Ok(url) = std::env::var("RDC_TEST_URL") {
        return body(&url);
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env("RDC_TEST_URL", url)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{name}: {}\n{said}\n{complained}",
        output.status
    );
    assert!(said.contains("1 passed"), "there is no test {name}: {said}");
}

/// The test that a closure stands in, as `--exact` takes it: its path without the program's name.
fn test_of<F>() -> &'static str {
    let (_program, path) = std::any::type_name::<F>().split_once("::").unwrap();
    path.split_once("::{{closure}}")
        .map_or(path, |(test, _)| test)
}

pub fn is_inside() -> bool {
    std::env::var("RDC_TEST_URL").is_ok()
}

/// A server's answers while a test of its own process runs; nothing inside of that.
pub fn fake(primaries: usize) -> Option<FakeCluster> {
    (!is_inside()).then(|| FakeCluster::new(primaries))
}

pub fn url(fake: &Option<FakeCluster>) -> String {
    fake.as_ref().map(FakeCluster::url).unwrap_or_default()
}

/// Runs `child` in a forked child, and says whether all went well there.
pub fn forked(child: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child runs what is tested, the use of a client after a fork, and leaves by _exit.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let well = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child)).unwrap_or(false);
        // SAFETY: ends this process and touches nothing.
        unsafe { libc::_exit(i32::from(!well)) };
    }
    assert!(pid > 0);
    let mut status = 0;
    // SAFETY: the pointer is that of a live integer.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
}
