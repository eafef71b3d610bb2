//! Where it was measured.

use std::fs;
use std::process::Command;

fn behind(path: &str, label: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(label))?;
    Some(line.split_once(':')?.1.trim().into())
}

/// What a program says first, or that it is not there.
pub fn says(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    let text = output
        .ok()
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let first = text.as_deref().and_then(|text| text.lines().next());
    first.unwrap_or("not found").trim().into()
}

/// A line each.
pub fn describe() -> Vec<String> {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let model = behind("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".into());
    let memory = behind("/proc/meminfo", "MemTotal").unwrap_or_else(|| "unknown".into());
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    vec![
        format!("{cores} cores of {model}, memory {memory}"),
        format!("kernel {}", says("uname", &["-sr"])),
        format!(
            "{}, {}",
            says("rustc", &["--version"]),
            says("cc", &["--version"])
        ),
        format!("load average when it ended: {}", load.trim()),
    ]
}
