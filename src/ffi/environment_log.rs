//! The environment variable `RDC_LOG`: messages on standard error or in a file, for programs that set no logger.

use crate::log::{self, Logger};
use crate::net::{PthreadCancelDisabled, is_privileged};
use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

/// The names of the levels, from 1 on.
const LEVELS: [&str; 4] = ["error", "warn", "info", "debug"];

/// Where messages go.
enum Target {
    StandardError,
    File(File),
}

/// Sets the logger that `RDC_LOG` describes, in the first call and only if the program has set none.
pub fn install() {
    log::set_default(|| {
        let value = std::env::var_os("RDC_LOG").filter(|value| !value.is_empty())?;
        // The caller of a program with more rights must not choose a file that it writes to.
        if is_privileged() {
            return None;
        }
        match parse(&value) {
            Ok((level, target)) => Some((logger(target), level)),
            Err(problem) => {
                write_line(&Target::StandardError, log::ERROR, &problem);
                None
            }
        }
    });
}

/// LEVEL or LEVEL:FILE.
fn parse(value: &OsStr) -> Result<(i32, Target), String> {
    let bytes = value.as_bytes();
    let end = bytes.iter().position(|b| *b == b':');
    let (name, file) = bytes.split_at(end.unwrap_or(bytes.len()));
    let Some(level) = LEVELS.iter().position(|level| level.as_bytes() == name) else {
        let name = String::from_utf8_lossy(name).escape_debug().to_string();
        return Err(format!(
            "RDC_LOG: the level \"{name}\" is unknown; use error, warn, info or debug, or debug:FILE"
        ));
    };
    let level = level as i32 + 1;
    let Some(file) = file.get(1..).filter(|file| !file.is_empty()) else {
        return Ok((level, Target::StandardError));
    };
    let path = OsString::from(OsStr::from_bytes(file));
    let mut options = OpenOptions::new();
    match options.append(true).create(true).mode(0o600).open(&path) {
        Ok(file) => Ok((level, Target::File(file))),
        Err(error) => Err(format!(
            "RDC_LOG: cannot open the file {path:?} for writing: {error}"
        )),
    }
}

fn logger(target: Target) -> Logger {
    Arc::new(move |level, message| {
        // Writing is a cancellation point.
        let _uncancelled = PthreadCancelDisabled::begin();
        write_line(&target, level, message);
    })
}

/// One system call, so that lines of several threads and processes do not mix. A line that cannot be written is lost.
fn write_line(target: &Target, level: i32, message: &str) {
    let name = LEVELS[(level.clamp(1, 4) - 1) as usize];
    let line = format!(
        "{} rediscluster[{}] {name}: {message}\n",
        time(),
        std::process::id()
    );
    match target {
        // Not through std, whose lock another thread may hold during a fork.
        Target::StandardError => {
            // SAFETY: the pointer and the length are those of a string.
            unsafe { libc::write(libc::STDERR_FILENO, line.as_ptr().cast(), line.len()) };
        }
        Target::File(file) => {
            let mut file = file;
            let _lost = file.write_all(line.as_bytes());
        }
    }
}

/// The time of day in UTC: 2026-01-31T12:00:00.000Z.
fn time() -> String {
    // SAFETY: both structures consist of numbers, and the functions fill them in.
    let (now, day) = unsafe {
        let mut now: libc::timespec = std::mem::zeroed();
        let mut day: libc::tm = std::mem::zeroed();
        libc::clock_gettime(libc::CLOCK_REALTIME, &mut now);
        libc::gmtime_r(&now.tv_sec, &mut day);
        (now, day)
    };
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        day.tm_year + 1900,
        day.tm_mon + 1,
        day.tm_mday,
        day.tm_hour,
        day.tm_min,
        day.tm_sec,
        now.tv_nsec / 1_000_000
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_have_numbers_and_unknown_ones_are_rejected() {
        for (value, expected) in [
            ("error", Ok(1)),
            ("warn", Ok(2)),
            ("info", Ok(3)),
            ("debug", Ok(4)),
            ("debug:", Ok(4)),
            ("verbose", Err("the level \"verbose\" is unknown")),
            ("4", Err("the level \"4\" is unknown")),
            ("info:/nonexistent/file", Err("cannot open the file")),
        ] {
            match (parse(OsStr::new(value)), expected) {
                (Ok((level, _)), Ok(expected)) => assert_eq!(level, expected, "{value}"),
                (Err(problem), Err(part)) => assert!(problem.contains(part), "{problem}"),
                (found, _) => panic!("{value}: {}", found.is_ok()),
            }
        }
    }
}
