//! INFO replication: the replication state of a node.

use super::info::error_reply;
use crate::error::{Code, Error, Result};
use crate::resp::{Kind, View};

/// The replication state of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicationView {
    pub primary: bool,
    /// For a replica: whether it is connected to its primary and not in a full synchronization.
    pub link_up: bool,
    /// `master_replid`: the id of its replication history. A failover begins a new one.
    pub history: String,
    /// How many bytes of the history it has executed. For a primary `master_repl_offset`, for a
    /// replica `slave_repl_offset` (not `slave_read_repl_offset`, which counts bytes received).
    pub offset: u64,
}

/// Parses the reply to INFO replication. Unknown lines are ignored.
pub fn replication(reply: View<'_>) -> Result<ReplicationView> {
    if reply.kind() == Kind::Error {
        return Err(error_reply(reply));
    }
    let text = reply.str().unwrap_or_default();
    let field = |name: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once(':'));
        let found = lines.find(|(n, _)| *n == name);
        found.map(|(_, value)| value.trim())
    };
    let number = |name: &str| field(name).and_then(|n| n.parse::<i64>().ok());
    let primary = match field("role") {
        Some("master" | "primary") => true,
        Some("slave" | "replica") => false,
        _ => {
            return Err(Error::new(
                Code::Protocol,
                "INFO replication has no role, or an unknown one",
            ));
        }
    };
    let offset = match primary {
        true => number("master_repl_offset"),
        false => number("slave_repl_offset"),
    };
    let syncing = number("master_sync_in_progress").is_some_and(|n| n != 0);
    Ok(ReplicationView {
        primary,
        link_up: primary || (field("master_link_status") == Some("up") && !syncing),
        history: field("master_replid").unwrap_or_default().to_string(),
        // A replica without data reports -1, or no offset.
        offset: offset.and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::super::parse::tests::decode;
    use super::*;

    fn parse(lines: &[&str]) -> Result<ReplicationView> {
        let text = lines.join("\r\n");
        let reply = decode(format!("${}\r\n{text}\r\n", text.len()));
        replication(reply.view())
    }

    #[test]
    fn real_server_replies_are_parsed() {
        // Redis 7.0.15 and Valkey 9.1.2, cut short.
        let primary = parse(&[
            "# Replication",
            "role:master",
            "connected_slaves:1",
            "slave0:ip=127.0.0.1,port=7003,state=online,offset=980,lag=0",
            "master_replid:aeaf5ba07a21b92c7b41c4b2263be7059be8b21a",
            "master_replid2:0000000000000000000000000000000000000000",
            "master_repl_offset:994",
        ]);
        let expected = ReplicationView {
            primary: true,
            link_up: true,
            history: "aeaf5ba07a21b92c7b41c4b2263be7059be8b21a".to_string(),
            offset: 994,
        };
        assert_eq!(primary.unwrap(), expected);
        let replica = [
            "role:slave",
            "master_host:127.0.0.1",
            "master_link_status:up",
            "master_sync_in_progress:0",
            "slave_read_repl_offset:994",
            "slave_repl_offset:980",
            "master_replid:aeaf5ba07a21b92c7b41c4b2263be7059be8b21a",
            // The offset that it reports to its own replicas.
            "master_repl_offset:994",
        ];
        let behind = ReplicationView {
            primary: false,
            offset: 980,
            ..expected
        };
        assert_eq!(parse(&replica).unwrap(), behind);
        for (line, instead) in [
            (2, "master_link_status:down"),
            (3, "master_sync_in_progress:1"),
        ] {
            let mut cut_off = replica;
            cut_off[line] = instead;
            assert!(!parse(&cut_off).unwrap().link_up, "{instead}");
        }
        assert_eq!(
            parse(&["role:slave", "slave_repl_offset:-1"])
                .unwrap()
                .offset,
            0
        );
    }

    #[test]
    fn info_without_offset_yields_no_freshness_proof() {
        for lines in [&["role:sentinel"][..], &[], &["master_repl_offset:5"]] {
            assert_eq!(parse(lines).unwrap_err().code, Code::Protocol, "{lines:?}");
        }
        let refused = decode("-NOPERM no rights for INFO\r\n");
        assert_eq!(
            replication(refused.view()).unwrap_err().message,
            "NOPERM no rights for INFO"
        );
    }
}
