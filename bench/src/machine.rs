//! A description of the machine that the benchmarks ran on.

use std::fs;
use std::process::Command;

/// The value of the line "label: value" in a file.
fn read_field(path: &str, label: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(label))?;
    Some(line.split_once(':')?.1.trim().into())
}

/// The first line of a program's output, or "not found".
pub fn first_line(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    let text = output
        .ok()
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let first = text.as_deref().and_then(|text| text.lines().next());
    first.unwrap_or("not found").trim().into()
}

/// The description, as lines.
pub fn describe() -> Vec<String> {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let model = read_field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".into());
    let memory = read_field("/proc/meminfo", "MemTotal").unwrap_or_else(|| "unknown".into());
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    vec![
        format!("{cores} cores of {model}, memory {memory}"),
        format!("kernel {}", first_line("uname", &["-sr"])),
        format!(
            "{}, {}",
            first_line("rustc", &["--version"]),
            first_line("cc", &["--version"])
        ),
        format!("load average when it ended: {}", load.trim()),
    ]
}

/// The date, in UTC.
pub fn date() -> String {
    first_line("date", &["-u", "+%Y-%m-%d"])
}
