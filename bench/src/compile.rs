//! Compiles the workers in C.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::worker::Failure;

/// A worker program: its sources and what the compiler is told about them.
pub struct Program {
    sources: Vec<PathBuf>,
    args: Vec<String>,
}

const LIBVALKEY: &[&str] = &[
    "adlist",
    "alloc",
    "async",
    "cluster",
    "command",
    "conn",
    "crc16",
    "dict",
    "dns",
    "net",
    "read",
    "sds",
    "sockcompat",
    "timer",
    "valkey",
    "vkutil",
];

impl Program {
    /// `driver` runs the workloads, and `client` calls the client library.
    pub fn new(root: &Path, driver: &str, client: &str) -> Program {
        let workers = root.join("bench/workers");
        Program {
            sources: vec![workers.join(driver), workers.join(client)],
            args: vec![format!("-I{}", root.join("include").display())],
        }
    }

    /// Links librediscluster.
    pub fn with_library(mut self, library: &Path) -> Result<Program, Failure> {
        let home = library.parent().ok_or("LIBRARY has no folder")?.display();
        self.args.extend([
            format!("-L{home}"),
            format!("-Wl,-rpath,{home}"),
            "-lrediscluster".into(),
        ]);
        Ok(self)
    }

    /// Compiles libvalkey into the program.
    pub fn with_libvalkey(mut self, peers: &Path) -> Result<Program, Failure> {
        let source = peers.join("libvalkey");
        if !source.is_dir() {
            return Err("its sources are not there".into());
        }
        let path = |name: &&str| source.join(format!("src/{name}.c"));
        self.sources.extend(LIBVALKEY.iter().map(path));
        let includes = ["include", "include/valkey", "src"];
        let flag = |folder: &str| format!("-I{}", source.join(folder).display());
        self.args.extend(includes.map(flag));
        Ok(self)
    }

    pub fn with_arg(mut self, arg: &str) -> Program {
        self.args.push(arg.into());
        self
    }

    pub fn build(&self, program: &Path) -> Result<(), Failure> {
        let output = Command::new("cc")
            .args(["-std=c99", "-O2", "-pthread", "-D_GNU_SOURCE"])
            .args(&self.sources)
            .args(&self.args)
            .arg("-o")
            .arg(program)
            .output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
        Ok(())
    }
}

pub fn libvalkey_version(peers: &Path) -> String {
    let version = fs::read_to_string(peers.join("libvalkey.version"));
    version.unwrap_or_default().trim().into()
}

pub fn redis_rs_version(root: &Path) -> Result<String, Failure> {
    let lock = fs::read_to_string(root.join("bench/Cargo.lock"))?;
    let version = lock
        .split("name = \"redis\"\nversion = \"")
        .nth(1)
        .and_then(|rest| rest.split('"').next());
    Ok(version.unwrap_or_default().into())
}
