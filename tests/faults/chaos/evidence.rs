//! What the servers did, as their append-only files tell.
//!
//! A token is written with `XADD KEY *` or `SET ... PX`. The primary that executes it writes the id of the stream entry,
//! or the time at which the value expires, to its file and to its replicas. So one token with two of these has run twice,
//! on whatever nodes, and copies of one execution (a replica, a full synchronization, a moved key) look the same.

use std::collections::{BTreeSet, HashMap};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How often [`keep_discarded_files`] looks for new files.
const LOOK: Duration = Duration::from_millis(5);

/// After a full synchronization a server rewrites its append-only file, and appends to a temporary one meanwhile. If it
/// has to synchronize again before that ends, or is killed, it removes the temporary file: the only one with the commands
/// that it has executed as a primary in between. So this keeps a second link to each such file.
pub fn keep_discarded_files(dir: &Path, nodes: usize, until: &AtomicBool) {
    let mut kept = 0;
    let mut last = vec![0; nodes];
    while !until.load(Ordering::SeqCst) {
        for (node, last) in last.iter_mut().enumerate() {
            let files = dir.join(format!("node{node}/appendonlydir"));
            let temporary = files.join("temp-appendonly.aof.incr");
            let inode = std::fs::metadata(&temporary).map_or(0, |file| file.ino());
            if inode != 0 && inode != *last {
                kept += 1;
                // It may just have been renamed.
                let link = std::fs::hard_link(&temporary, files.join(format!("kept-{kept}.aof")));
                *last = link.map_or(*last, |()| inode);
            }
        }
        std::thread::sleep(LOOK);
    }
}

/// The executions of one token.
#[derive(Debug, Default)]
pub struct Executed {
    /// Each execution: the stream id, or the expiry time.
    pub ids: Vec<String>,
    /// The nodes that have it in a file, by index.
    pub nodes: Vec<usize>,
    /// Whether a server without cluster support executed it.
    pub outside: bool,
}

#[derive(Debug, Default)]
pub struct Evidence {
    pub tokens: HashMap<String, Executed>,
    /// The tokens of each MULTI ... EXEC, each sequence once.
    pub transactions: BTreeSet<Vec<String>>,
}

impl Evidence {
    /// Reads the files of all nodes in the directory of a cluster.
    pub fn read(dir: &Path, nodes: usize) -> Evidence {
        let mut evidence = Evidence::default();
        for node in 0..nodes {
            let home = dir.join(format!("node{node}"));
            for (folder, outside) in [(home.clone(), false), (home.join("alone"), true)] {
                let entries = std::fs::read_dir(folder.join("appendonlydir"));
                for entry in entries.into_iter().flatten() {
                    let path = entry.unwrap().path();
                    if path.extension().is_some_and(|e| e != "manifest") {
                        evidence.file(&std::fs::read(&path).unwrap(), node, outside);
                    }
                }
            }
        }
        evidence
    }

    fn file(&mut self, bytes: &[u8], node: usize, outside: bool) {
        let mut open: Option<Vec<(String, String)>> = None;
        for command in Commands(bytes) {
            let word = |n: usize| command.get(n).copied().unwrap_or_default();
            let is = |name: &[u8]| word(0).eq_ignore_ascii_case(name);
            let (token, id) = match command.len() {
                1 if is(b"MULTI") => {
                    open = Some(Vec::new());
                    continue;
                }
                1 if is(b"EXEC") => {
                    let all = open.take().unwrap_or_default();
                    let tokens: Vec<String> = all.iter().map(|(token, _)| token.clone()).collect();
                    for (token, id) in all {
                        self.executed(token, id, node, outside);
                    }
                    if tokens.len() > 1 {
                        self.transactions.insert(tokens);
                    }
                    continue;
                }
                5 if is(b"XADD") => (word(4), word(2)),
                // A base file has the value and then PEXPIREAT: no identity of the execution.
                3 if is(b"SET") => (word(2), &b""[..]),
                5 if is(b"SET") => (word(2), word(4)),
                _ => continue,
            };
            if token.len() != 18 || token[0] != b't' {
                continue;
            }
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let (token, id) = (text(token), text(id));
            match &mut open {
                Some(all) => all.push((token, id)),
                None => self.executed(token, id, node, outside),
            }
        }
    }

    fn executed(&mut self, token: String, id: String, node: usize, outside: bool) {
        let executed = self.tokens.entry(token).or_default();
        if !id.is_empty() && !executed.ids.contains(&id) {
            executed.ids.push(id);
        }
        if !executed.nodes.contains(&node) {
            executed.nodes.push(node);
        }
        executed.outside |= outside;
    }
}

/// The commands of a file, to the end or to a part that is no whole command: a killed server leaves one.
struct Commands<'a>(&'a [u8]);

impl<'a> Commands<'a> {
    fn line(&mut self) -> Option<&'a [u8]> {
        let at = self.0.windows(2).position(|two| two == b"\r\n")?;
        let (line, rest) = self.0.split_at(at);
        self.0 = &rest[2..];
        Some(line)
    }

    fn number(&mut self, kind: u8) -> Option<usize> {
        let line = self.line()?;
        let (first, digits) = line.split_first()?;
        (*first == kind).then_some(())?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    }
}

impl<'a> Iterator for Commands<'a> {
    type Item = Vec<&'a [u8]>;

    fn next(&mut self) -> Option<Vec<&'a [u8]>> {
        let count = self.number(b'*')?;
        let mut words = Vec::with_capacity(count);
        for _ in 0..count {
            let len = self.number(b'$')?;
            words.push(self.0.get(..len)?);
            self.0 = self.0.get(len + 2..)?;
        }
        Some(words)
    }
}
