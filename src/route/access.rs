//! Whether a command writes, and how long it may block.

use std::time::Duration;

use super::command::{Access, Block, Flag, Row};

/// A read is a command that all servers flag as readonly, except for the corrections in the table, which have their reasons
/// beside them. Servers do not distinguish reading and writing forms of one command: GETEX, SORT, GEORADIUS and BITFIELD are
/// flagged write, and replicas answer MOVED whatever the arguments are. The reads are GET, SORT_RO, GEORADIUS_RO and
/// BITFIELD_RO.
#[inline]
pub fn access(row: &Row, args: &[&[u8]]) -> Access {
    // An unknown sub-command has the row of its container.
    if row.flags.has(Flag::Container) && args.len() > 1 {
        Access::Write
    } else {
        row.access
    }
}

/// Whether a command may be sent with the handshake of a new connection. It must be a read, because the connection may break
/// with an unknown outcome. And servers must flag it fast: the reply to the handshake arrives with the command's reply, and a
/// late reply counts as a failed connect.
#[inline]
pub fn allows_early_send(row: &Row) -> bool {
    row.access == Access::Read && row.flags.has(Flag::Fast)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockingTimeout {
    Forever,
    After(Duration),
}

impl BlockingTimeout {
    pub fn as_millis(self) -> u64 {
        match self {
            BlockingTimeout::Forever => u64::MAX,
            BlockingTimeout::After(time) => time.as_millis() as u64,
        }
    }
}

/// How long the command asks the server to block; `None` if it does not, or if the timeout is malformed, which servers
/// refuse at once.
pub fn blocking_timeout(row: &Row, args: &[&[u8]]) -> Option<BlockingTimeout> {
    let at = |index: i8| {
        let index = if index < 0 {
            args.len().checked_sub(index.unsigned_abs().into())?
        } else {
            index.unsigned_abs().into()
        };
        std::str::from_utf8(args.get(index)?).ok()
    };
    let wait = match row.block {
        Block::Never => return None,
        Block::Seconds(index) => Duration::try_from_secs_f64(at(index)?.parse().ok()?).ok()?,
        Block::Millis(index) => Duration::from_millis(at(index)?.parse().ok()?),
        Block::MillisAfter(search) => {
            let text = std::str::from_utf8(args[search.find(args)?]).ok()?;
            Duration::from_millis(text.parse().ok()?)
        }
    };
    Some(if wait.is_zero() {
        BlockingTimeout::Forever
    } else {
        BlockingTimeout::After(wait)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::find;

    fn arguments(line: &str) -> Vec<&[u8]> {
        line.split(' ').map(str::as_bytes).collect()
    }

    #[test]
    fn commands_with_writing_options_count_as_writes() {
        for line in [
            "GETEX k",
            "GETDEL k",
            "GETSET k v",
            "SET k v GET",
            "SORT k",
            "SORT k STORE d",
            "GEORADIUS k 1 2 3 m",
            "GEORADIUSBYMEMBER k m 3 m",
            "BITFIELD k GET u8 0",
            "EVAL s 0",
            "EVALSHA s 0",
            "FCALL f 0",
            "XREADGROUP GROUP g c STREAMS k >",
            "XAUTOCLAIM k g c 1 0",
            "SPOP k",
            "FT.ALIASADD a i",
            "FT.DICTADD d t",
            "FT.CONFIG SET a b",
            "FT.CONFIG NOSUCH a",
            "CF.COMPACT k",
            "JSON.SET k $ 1",
            "TS.ADD k * 1",
            "LMPOP 1 k LEFT",
            "PUBLISH c m",
            "SPUBLISH c m",
            "SCRIPT LOAD s",
            "SCRIPT FLUSH",
            "SCRIPT KILL",
            "FUNCTION LOAD f",
            "FUNCTION KILL",
            "WAIT 1 0",
            "WAITAOF 0 1 0",
            "HGETEX k FIELDS 1 f",
            "MULTI",
            "EXEC",
            "DISCARD",
            "WATCH k",
            "UNWATCH",
            "SUBSCRIBE c",
            "PSUBSCRIBE c",
            "SSUBSCRIBE c",
            "UNSUBSCRIBE",
            "MONITOR",
            "CONFIG GET x",
            "CONFIG SET a b",
            "ACL WHOAMI",
            "ACL SETUSER u",
            "DEBUG SLEEP 1",
            "SHUTDOWN",
            "REPLICAOF a b",
            "FAILOVER",
            "FLUSHALL",
            "FLUSHDB",
            "SWAPDB 0 1",
            "SELECT 1",
            "AUTH p",
            "HELLO 3",
            "RESET",
            "QUIT",
            "ASKING",
            "READONLY",
            "READWRITE",
            "CLIENT LIST",
            "CLIENT REPLY OFF",
            "CLIENT TRACKING ON",
            "CLIENT NO-TOUCH ON",
            "CLUSTER FAILOVER",
            "CLUSTER RESET",
            "MEMORY PURGE",
            "LATENCY RESET",
            "SLOWLOG RESET",
            "MODULE LOAD m",
            "MIGRATE h 1 k 0 1",
            "COPY a b",
            "DEL k",
            "RENAME a b",
        ] {
            let args = arguments(line);
            assert_eq!(access(find(&args).unwrap(), &args), Access::Write, "{line}");
        }
    }

    #[test]
    fn read_commands_are_recognised_in_any_case() {
        for line in [
            "GET k",
            "get k",
            "MGET a b",
            "EXISTS k",
            "TOUCH k",
            "TTL k",
            "EXPIRETIME k",
            "SORT_RO k",
            "GEORADIUS_RO k 1 2 3 m",
            "BITFIELD_RO k",
            "EVAL_RO s 0",
            "EVALSHA_RO s 0",
            "FCALL_RO f 0",
            "XREAD STREAMS k 0",
            "object encoding k",
            "OBJECT IDLETIME k",
            "MEMORY USAGE k",
            "XINFO STREAM k",
            "DUMP k",
            "LCS a b",
            "DBSIZE",
            "KEYS *",
            "SCAN 0",
            "RANDOMKEY",
            "PING",
            "ECHO x",
            "TIME",
            "INFO",
            "COMMAND",
            "COMMAND DOCS",
            "CLUSTER SLOTS",
            "cluster shards",
            "PUBSUB CHANNELS",
            "SCRIPT EXISTS s",
            "FUNCTION LIST",
            "VSIM k",
            "DIGEST k",
            "PFCOUNT k",
            "JSON.GET k",
            "JSON.MGET a b $",
            "FT.SEARCH i q",
            "FT.AGGREGATE i q",
            "FT.CURSOR READ i 1",
            "BF.EXISTS k e",
            "CF.COUNT k e",
            "CMS.QUERY k e",
            "TOPK.LIST k",
            "TDIGEST.QUANTILE k 0.5",
            "TS.MRANGE - + FILTER a=b",
        ] {
            let args = arguments(line);
            assert_eq!(access(find(&args).unwrap(), &args), Access::Read, "{line}");
        }
    }

    #[test]
    fn unknown_subcommand_counts_as_write() {
        for line in [
            "COMMAND FORGET",
            "OBJECT RENAME k v",
            "CLUSTER \u{17f}LOTS",
            "MEMORY",
        ] {
            let args = arguments(line);
            assert_eq!(access(find(&args).unwrap(), &args), Access::Write, "{line}");
        }
    }

    #[test]
    fn blocking_time_is_read_from_arguments() {
        let after = |millis| Some(BlockingTimeout::After(Duration::from_millis(millis)));
        for (line, expected) in [
            ("BLPOP a b 1.5", after(1500)),
            ("BRPOP a 0", Some(BlockingTimeout::Forever)),
            ("BLMOVE a b LEFT RIGHT 2", after(2000)),
            ("BRPOPLPUSH a b 0.01", after(10)),
            ("BZPOPMIN a 1e1", after(10_000)),
            ("BLMPOP 3 1 a LEFT", after(3000)),
            ("BZMPOP 0 1 a MIN", Some(BlockingTimeout::Forever)),
            ("XREAD BLOCK 250 STREAMS a 0", after(250)),
            (
                "xread count 1 block 0 streams a 0",
                Some(BlockingTimeout::Forever),
            ),
            ("XREAD COUNT 1 STREAMS BLOCK 0", None),
            ("XREAD COUNT BLOCK BLOCK 7 STREAMS a 0", after(7)),
            ("XREADGROUP GROUP BLOCK 5 BLOCK 9 STREAMS a >", after(9)),
            ("XREADGROUP GROUP g c NOACK STREAMS a >", None),
            ("WAIT 1 100", after(100)),
            ("WAITAOF 0 1 100", after(100)),
            ("BLPOP a -1", None),
            ("BLPOP a soon", None),
            ("BLPOP a inf", None),
            ("BLPOP", None),
            ("XREAD BLOCK", None),
            ("GET 5", None),
        ] {
            let args = arguments(line);
            assert_eq!(
                blocking_timeout(find(&args).unwrap(), &args),
                expected,
                "{line}"
            );
        }
    }
}
