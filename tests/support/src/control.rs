//! The control socket: programs in any language break a cluster through it.
//!
//! A Unix stream socket with a line protocol. A request is one line of words, quoted as in [`crate::words`]. The
//! answer is any number of lines and a last line, which is `ok`, or `error` and a reason. A connection can carry
//! several requests.

use crate::cluster::{Cluster, Failover};
use crate::error::{Error, Result, fail};
use crate::slot::slot_of;
use crate::words;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

/// The commands of [`execute`], for `cluster ctl --help`.
pub const COMMANDS: &str = "\
nodes                          port role id primary-port pid; one line per node
primary-of SLOT|key:KEY        port of the primary
replicas-of SLOT|key:KEY       ports of its replicas, one per line
kill PORT                      kill -9
stop PORT                      SIGSTOP
cont PORT                      SIGCONT
restart PORT                   start again with the same ports and data
failover PORT [force|takeover] make this replica the primary
migrate SLOT|key:KEY PORT      migrate a slot key by key
migrate-begin SLOT|key:KEY PORT
migrate-keys SLOT|key:KEY PORT KEY...
migrate-finish SLOT|key:KEY PORT
migrate-atomic FIRST LAST PORT migrate a range of slots atomically (Valkey 9)
pause-replication PORT         stop the replication to this replica
resume-replication PORT
wait-sync                      wait until the replicas have all writes
wait-healthy                   wait-sync, and until all running nodes agree
command PORT ARGS...           send any command; prints the reply as redis-cli does
calls PORT COMMAND             how often the node executed the command
reset-stats                    reset these counts to 0
";

/// Serves the control socket of a cluster in separate threads until the cluster is dropped.
pub fn serve(cluster: &Arc<Cluster>) -> Result<PathBuf> {
    let path = cluster.dir().join("control.sock");
    let listener = UnixListener::bind(&path)
        .map_err(|e| Error::new(format!("control socket {}: {e}", path.display())))?;
    let cluster = Arc::downgrade(cluster);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let cluster = cluster.clone();
            std::thread::spawn(move || {
                // If the client has disconnected, there is no one to report to.
                let _ = converse(&cluster, &stream);
            });
        }
    });
    Ok(path)
}

fn converse(cluster: &Weak<Cluster>, stream: &UnixStream) -> std::io::Result<()> {
    let mut out = stream;
    for line in BufReader::new(stream).lines() {
        let Some(cluster) = cluster.upgrade() else {
            break;
        };
        let answer = words::split(&line?).and_then(|words| execute(&cluster, &words));
        let text = match answer {
            Ok(lines) => lines.iter().map(|l| format!("{l}\n")).collect::<String>() + "ok\n",
            Err(e) => format!("error {}\n", e.to_string().replace(['\r', '\n'], " ")),
        };
        out.write_all(text.as_bytes())?;
    }
    Ok(())
}

/// Sends one request to a control socket and returns the lines of the answer without the last.
pub fn request<W: AsRef<[u8]>>(socket: &Path, request: &[W]) -> Result<Vec<String>> {
    let line: Vec<_> = request.iter().map(|w| words::word(w.as_ref())).collect();
    let exchange = || -> std::io::Result<Vec<String>> {
        let mut stream = UnixStream::connect(socket)?;
        stream.write_all((line.join(" ") + "\n").as_bytes())?;
        stream.shutdown(std::net::Shutdown::Write)?;
        BufReader::new(stream).lines().collect()
    };
    let mut lines =
        exchange().map_err(|e| Error::new(format!("control socket {}: {e}", socket.display())))?;
    match lines.pop().as_deref() {
        Some("ok") => Ok(lines),
        Some(last) => fail!("{}", last.strip_prefix("error ").unwrap_or(last)),
        None => fail!("the cluster has ended"),
    }
}

/// Executes one request line; see [`COMMANDS`].
pub fn execute<W: AsRef<[u8]>>(cluster: &Cluster, request: &[W]) -> Result<Vec<String>> {
    let text: Vec<String> = request
        .iter()
        .map(|w| String::from_utf8_lossy(w.as_ref()).into_owned())
        .collect();
    let text: Vec<&str> = text.iter().map(String::as_str).collect();
    match text[..] {
        ["nodes"] => {
            let line = |n: crate::Node| {
                let or_dash = |v: Option<String>| v.unwrap_or_else(|| "-".into());
                let primary = or_dash(n.primary.map(|p| p.to_string()));
                let pid = or_dash(n.pid.map(|p| p.to_string()));
                format!("{} {} {} {primary} {pid}", n.port, n.role, n.id)
            };
            return Ok(cluster.nodes().into_iter().map(line).collect());
        }
        ["primary-of", at] => return Ok(vec![cluster.primary_of(slot(at)?)?.to_string()]),
        ["replicas-of", at] => {
            let ports = cluster.replicas_of(slot(at)?)?;
            return Ok(ports.iter().map(u16::to_string).collect());
        }
        ["kill", at] => cluster.kill(port(at)?)?,
        ["stop", at] => cluster.stop(port(at)?)?,
        ["cont", at] => cluster.cont(port(at)?)?,
        ["restart", at] => cluster.restart(port(at)?)?,
        ["failover", at] => cluster.failover(port(at)?, Failover::Plain)?,
        ["failover", at, "force"] => cluster.failover(port(at)?, Failover::Force)?,
        ["failover", at, "takeover"] => cluster.failover(port(at)?, Failover::Takeover)?,
        ["migrate", at, to] => cluster.migrate_slot(slot(at)?, port(to)?)?,
        ["migrate-begin", at, to] => cluster.begin_migration(slot(at)?, port(to)?)?,
        ["migrate-keys", at, to, _, ..] => {
            cluster.move_keys(slot(at)?, port(to)?, &request[3..])?;
        }
        ["migrate-finish", at, to] => cluster.finish_migration(slot(at)?, port(to)?)?,
        ["migrate-atomic", first, last, to] => {
            cluster.migrate_slots_atomically(slot(first)?, slot(last)?, port(to)?)?;
        }
        ["pause-replication", at] => cluster.pause_replication(port(at)?)?,
        ["resume-replication", at] => cluster.resume_replication(port(at)?)?,
        ["wait-sync"] => cluster.wait_replicas_in_sync()?,
        ["wait-healthy"] => cluster.wait_healthy()?,
        ["command", at, _, ..] => {
            let reply = cluster.command(port(at)?, &request[2..])?;
            if reply.is_error() {
                fail!("{}", reply.text());
            }
            return Ok(reply.to_string().lines().map(str::to_string).collect());
        }
        ["calls", at, command] => {
            return Ok(vec![cluster.commandstats(port(at)?, command)?.to_string()]);
        }
        ["reset-stats"] => cluster.reset_stats()?,
        _ => {
            let known = |name: &&str| {
                let mut names = COMMANDS.lines().filter_map(|l| l.split(' ').next());
                names.any(|n| n == *name)
            };
            let usage = |name: &str| {
                let line = COMMANDS.lines().find(|l| l.split(' ').next() == Some(name));
                line.and_then(|l| l.split("  ").next())
                    .unwrap_or("")
                    .to_string()
            };
            match text.first() {
                Some(name) if known(name) => fail!("usage: {}", usage(name)),
                Some(name) => fail!("no command {name}; see cluster ctl --help"),
                None => fail!("an empty line; see cluster ctl --help"),
            }
        }
    }
    Ok(Vec::new())
}

fn port(word: &str) -> Result<u16> {
    word.parse()
        .map_err(|_| Error::new(format!("{word} is no port")))
}

fn slot(word: &str) -> Result<u16> {
    match word.strip_prefix("key:") {
        Some(key) => Ok(slot_of(key.as_bytes())),
        None => match word.parse() {
            Ok(slot) if slot < crate::SLOTS => Ok(slot),
            _ => fail!("{word} is no slot: 0 to 16383, or key:KEY"),
        },
    }
}
