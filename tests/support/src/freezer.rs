//! A process that is frozen by its control group, without any signal to it or its parent.

use crate::error::{Error, Result, fail};
use std::fs;
use std::path::{Path, PathBuf};

/// Version 2 first: there a frozen process can still be killed.
const PLACES: [(&str, &str, [&str; 2]); 3] = [
    ("/sys/fs/cgroup/unified", "cgroup.freeze", ["1", "0"]),
    ("/sys/fs/cgroup", "cgroup.freeze", ["1", "0"]),
    (
        "/sys/fs/cgroup/freezer",
        "freezer.state",
        ["FROZEN", "THAWED"],
    ),
];

/// A frozen process; it resumes when this is dropped.
#[derive(Debug)]
pub(crate) struct Freezer {
    group: PathBuf,
    /// The group of the process before.
    home: PathBuf,
    state: PathBuf,
    thawed: &'static str,
    pid: u32,
}

impl Freezer {
    pub fn freeze(pid: u32) -> Result<Freezer> {
        let mut why = "there are no control groups".to_string();
        for (root, state, [frozen, thawed]) in PLACES {
            let root = Path::new(root);
            let group = root.join(format!("rdc-test-{pid}"));
            if !root.join("cgroup.procs").exists() {
                continue;
            }
            if let Err(e) = fs::create_dir(&group) {
                why = format!("{}: {e}", group.display());
                continue;
            }
            let freezer = Freezer {
                home: home(root, pid),
                state: group.join(state),
                group,
                thawed,
                pid,
            };
            match freezer.enter(frozen) {
                Ok(()) => return Ok(freezer),
                Err(e) => why = e.to_string(),
            }
        }
        fail!("no control group can be frozen here: {why}")
    }

    fn enter(&self, frozen: &str) -> Result<()> {
        put(&self.group.join("cgroup.procs"), &self.pid.to_string())?;
        put(&self.state, frozen)
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        // A step that fails was not done before, or the process is gone.
        let _ = put(&self.state, self.thawed);
        let _ = put(&self.home.join("cgroup.procs"), &self.pid.to_string());
        let _ = fs::remove_dir(&self.group);
    }
}

fn put(file: &Path, word: &str) -> Result<()> {
    fs::write(file, word).map_err(|e| Error::new(format!("{}: {e}", file.display())))
}

/// The group of a process below this root; the root itself if that is unknown.
fn home(root: &Path, pid: u32) -> PathBuf {
    let wanted = match root.ends_with("freezer") {
        true => ":freezer:/",
        false => "0::/",
    };
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let path = groups.lines().find_map(|line| line.split_once(wanted));
    let home = root.join(path.map_or("", |(_, path)| path));
    if home.is_dir() {
        home
    } else {
        root.to_path_buf()
    }
}
