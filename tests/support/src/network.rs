//! A separate network whose packets can be lost, refused and delayed.
//!
//! A test program runs itself again in a network namespace. Where user namespaces are allowed this needs no root;
//! inside it is root and has its own loopback. Each test outside then looks up its result inside ([`Network::run`]).

use crate::error::{Result, fail};
use crate::test_of;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

/// Set in the process inside the namespace.
const INSIDE: &str = "RDC_TEST_NETWORK";
/// With the value `skip`, these tests pass on a machine without namespaces.
const WHERE_NOT: &str = "RDC_NO_NETWORK";
/// Time limit in seconds for all tests of a program.
const PATIENCE: &str = "240";
/// Debian keeps administration tools here.
const SBIN: &str = "/usr/sbin:/sbin";

/// The network namespace of this process, once it is inside one.
#[derive(Debug)]
pub struct Network(());

impl Network {
    /// Runs `body` inside; outside it fails if the test failed there. All requested tests of a program run inside one
    /// process, one after the other, so that they can share a cluster.
    pub fn run<F: FnOnce(&Network)>(body: F) {
        let name = test_of::<F>();
        if std::env::var_os(INSIDE).is_some() {
            return body(&Network(()));
        }
        static RUN: OnceLock<std::result::Result<String, String>> = OnceLock::new();
        let said = match RUN.get_or_init(|| inside().map_err(|e| e.to_string())) {
            Ok(said) => said,
            Err(e) if std::env::var(WHERE_NOT).is_ok_and(|v| v == "skip") => {
                return println!("{name} was skipped: {e}");
            }
            Err(e) => panic!("{e}; {WHERE_NOT}=skip leaves these tests out"),
        };
        let passed = said.lines().any(|l| l == format!("test {name} ... ok"));
        if passed {
            // The measurements that the test printed.
            let head = format!("---- {name} stdout ----");
            let own = said.lines().skip_while(|l| *l != head).skip(1);
            for line in own.take_while(|l| !l.starts_with("---- ")) {
                println!("{line}");
            }
        } else {
            panic!("{name} failed in its network:\n{said}");
        }
    }

    /// Loses or refuses packets by these nft rules, which replace earlier ones: `ip saddr 127.0.0.1 tcp dport 7000
    /// drop`.
    pub fn rules(&self, rules: &[String]) {
        let mut script = "table inet f\ndelete table inet f\ntable inet f {\n  chain out {\n    \
             type filter hook output priority 0;\n"
            .to_string();
        for rule in rules {
            script += &format!("    {rule}\n");
        }
        script += "  }\n}\n";
        let file = std::env::temp_dir().join(format!("rdc-rules-{}", std::process::id()));
        std::fs::write(&file, &script).expect("a file for the rules");
        let done = tool("nft", &["-f", &file.to_string_lossy()]);
        let _ = std::fs::remove_file(&file);
        done.unwrap_or_else(|e| panic!("{e}: {script}"));
    }

    /// Ends [`Network::rules`].
    pub fn heal(&self) {
        self.rules(&[]);
    }

    /// Breaks the connections from 127.0.0.1 to this address, as the kernel does after a timeout.
    pub fn break_connections(&self, host: &str, port: u16) {
        let port = format!(":{port}");
        let words = [
            "-K",
            "-t",
            "src",
            "127.0.0.1",
            "dst",
            host,
            "dport",
            "=",
            &port,
        ];
        tool("ss", &words).unwrap_or_else(|e| panic!("{e}"));
    }

    /// Limits the bandwidth, for example to `32mbit`; `None` removes the limit.
    pub fn bandwidth(&self, rate: Option<&str>) {
        let done = match rate {
            Some(rate) => {
                let shape = ["rate", rate, "burst", "128kb", "latency", "3s"];
                let add = ["qdisc", "replace", "dev", "lo", "root", "tbf"];
                tool("tc", &[&add[..], &shape[..]].concat())
            }
            None => tool("tc", &["qdisc", "del", "dev", "lo", "root"]),
        };
        done.unwrap_or_else(|e| panic!("{e}"));
    }
}

fn path() -> String {
    format!("{}:{SBIN}", std::env::var("PATH").unwrap_or_default())
}

fn tool(name: &str, words: &[&str]) -> Result<()> {
    let run = Command::new(name)
        .args(words)
        .env("PATH", path())
        .stdin(Stdio::null())
        .output();
    match run {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => fail!("{name}: {}", String::from_utf8_lossy(&output.stderr)),
        Err(e) => fail!("{name} cannot be run (tools/setup.sh installs it): {e}"),
    }
}

/// Runs the requested tests of this program in a namespace and returns their output.
fn inside() -> Result<String> {
    // Without root first: no privilege is used without need.
    let ways: [&[&str]; 2] = [&["-Urn"], &["-n"]];
    let mut why = String::new();
    for way in ways {
        let tried = Command::new("unshare").args(way).arg("true").output();
        match tried {
            Ok(Output { status, .. }) if status.success() => return inside_by(way),
            Ok(output) => why = String::from_utf8_lossy(&output.stderr).trim().to_string(),
            Err(e) => why = e.to_string(),
        }
    }
    fail!("no network of one's own can be had here: unshare: {why}")
}

fn inside_by(way: &[&str]) -> Result<String> {
    let program = std::env::current_exe().map(|p| p.to_string_lossy().into_owned());
    let Ok(program) = program else {
        fail!("this program does not know where it is");
    };
    let shell = "ip link set lo up && exec \"$0\" \"$@\"";
    let asked = std::env::args().skip(1);
    let kept = asked.filter(|a| a != "--nocapture" && a != "--no-capture" && a != "--show-output");
    // A test that hangs must not block the others.
    let output = Command::new("timeout")
        .args(["-s", "KILL", PATIENCE, "unshare"])
        .args(way)
        .args(["sh", "-c", shell, &program])
        .args(kept)
        .args(["--show-output", "--color=never"])
        .env(INSIDE, "1")
        .env("RUST_TEST_THREADS", "1")
        .env("PATH", path())
        .stdin(Stdio::null())
        .output();
    match output {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stdout);
            Ok(format!(
                "{said}\n{}",
                String::from_utf8_lossy(&output.stderr)
            ))
        }
        Err(e) => fail!("unshare: {e}"),
    }
}
