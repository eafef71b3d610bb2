//! C programs that check the library while a test breaks their cluster. The test tells them each fault as a line, and
//! they repeat the line when they have read it.

use crate::soak::Running;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// A running program: lines to it, and from it.
pub struct Program {
    running: Running,
    input: ChildStdin,
    output: Receiver<String>,
    said: Vec<String>,
}

impl Program {
    pub fn start(program: &Path, url: &str, env: &[(&str, String)]) -> Program {
        let running = Command::new(program)
            .env("RDC_URL", url)
            .envs(env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut running = running.unwrap();
        let input = running.stdin.take().expect("its input");
        let stdout = running.stdout.take().expect("its output");
        let (sender, output) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                println!("{line}");
                // The test has ended.
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Program {
            running: Running(Some(running)),
            input,
            output,
            said: Vec::new(),
        }
    }

    pub fn wait_line(&mut self, wanted: &str) {
        loop {
            let line = self.output.recv_timeout(Duration::from_secs(60));
            let line = line.unwrap_or_else(|e| panic!("no line with {wanted}: {e}"));
            self.said.push(line);
            if self.said.last().is_some_and(|line| line.contains(wanted)) {
                return;
            }
        }
    }

    /// Writes a line, and waits until the program has read it. Returns what it says then.
    pub fn tell(&mut self, line: &str) -> &str {
        writeln!(self.input, "{line}").unwrap();
        let repeated = format!("# {line}: ");
        self.wait_line(&repeated);
        let said = self.said.last().map_or("", String::as_str);
        said.split_once(&repeated).map_or("", |(_, rest)| rest)
    }

    /// The whole output, after the program has ended successfully.
    pub fn finish(mut self) -> String {
        loop {
            match self.output.recv_timeout(Duration::from_secs(60)) {
                Ok(line) => self.said.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("the program does not end"),
            }
        }
        let mut child = self.running.0.take().expect("the program");
        let status = child.wait().unwrap();
        let said = self.said.join("\n");
        assert!(status.success(), "{status}\n{said}");
        said
    }
}
