//! INFO replication: how far a node has got in its history of writes.

use super::info::refusal;
use crate::error::{Code, Error, Result};
use crate::resp::{Kind, View};

/// What a node says of its replication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicationView {
    pub primary: bool,
    /// Of a replica: whether it is connected to its primary, with its data whole.
    pub link_up: bool,
    /// `master_replid`: which history of writes it has. A failover begins another.
    pub history: String,
    /// How many bytes of it it has executed: of a primary `master_repl_offset`, of a replica
    /// `slave_repl_offset` (not `slave_read_repl_offset`, which counts what has merely arrived).
    pub offset: u64,
}

/// Reads the reply to INFO replication. Lines it does not know are of no consequence.
pub fn replication(reply: View<'_>) -> Result<ReplicationView> {
    if reply.kind() == Kind::Error {
        return Err(refusal(reply));
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
                "INFO replication does not say a role",
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
        // A replica that has nothing says -1, or nothing.
        offset: offset.and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::super::parse::tests::decode;
    use super::*;

    fn said(lines: &[&str]) -> Result<ReplicationView> {
        let text = lines.join("\r\n");
        let reply = decode(format!("${}\r\n{text}\r\n", text.len()));
        replication(reply.view())
    }

    #[test]
    fn what_servers_say() {
        // Redis 7.0.15 and Valkey 9.1.2, cut short.
        let primary = said(&[
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
            // What it passes on to replicas of its own.
            "master_repl_offset:994",
        ];
        let behind = ReplicationView {
            primary: false,
            offset: 980,
            ..expected
        };
        assert_eq!(said(&replica).unwrap(), behind);
        for (line, instead) in [
            (2, "master_link_status:down"),
            (3, "master_sync_in_progress:1"),
        ] {
            let mut cut_off = replica;
            cut_off[line] = instead;
            assert!(!said(&cut_off).unwrap().link_up, "{instead}");
        }
        assert_eq!(
            said(&["role:slave", "slave_repl_offset:-1"])
                .unwrap()
                .offset,
            0
        );
    }

    #[test]
    fn what_says_nothing_proves_nothing() {
        for lines in [&["role:sentinel"][..], &[], &["master_repl_offset:5"]] {
            assert_eq!(said(lines).unwrap_err().code, Code::Protocol, "{lines:?}");
        }
        let refused = decode("-NOPERM no rights for INFO\r\n");
        assert_eq!(
            replication(refused.view()).unwrap_err().message,
            "NOPERM no rights for INFO"
        );
    }
}
