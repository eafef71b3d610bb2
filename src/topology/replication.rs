//! INFO replication: the replication state of a node.

use super::parse::error_reply;
use super::view::resolve_address;
use crate::address::Address;
use crate::error::{Code, Error, Result};
use crate::resp::{Kind, View};

/// Maximum number of replicas of a server. The limit bounds memory.
const MAX_REPLICAS: usize = 256;

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
    /// For a replica: the address of its primary, as it was given to the replica.
    pub primary_address: Option<Address>,
    /// For a primary: its replicas that have received its data, by the addresses that they announce
    /// (`replica-announce-ip`, `replica-announce-port`).
    pub replicas: Vec<Address>,
}

/// Parses the reply of the node at `from` to INFO replication. Unknown lines are ignored.
pub fn replication(reply: View<'_>, from: &Address) -> Result<ReplicationView> {
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
        primary_address: match (field("master_host"), number("master_port")) {
            (Some(host), Some(port)) if !primary => resolve_address(Some(host), port, from).ok(),
            _ => None,
        },
        replicas: match primary {
            true => online_replicas(text, from),
            false => Vec::new(),
        },
    })
}

/// The addresses in lines such as `slave0:ip=10.0.0.2,port=6379,state=online,offset=98,lag=0`.
fn online_replicas(text: &str, from: &Address) -> Vec<Address> {
    let replicas = text.lines().filter_map(|line| {
        let (name, fields) = line.split_once(':')?;
        let number = name
            .strip_prefix("slave")
            .or(name.strip_prefix("replica"))?;
        number.parse::<u32>().ok()?;
        let field = |name: &str| {
            let mut fields = fields.split(',').filter_map(|field| field.split_once('='));
            fields
                .find(|(n, _)| *n == name)
                .map(|(_, value)| value.trim())
        };
        if field("state") != Some("online") {
            return None;
        }
        let port = field("port")?.parse().ok()?;
        resolve_address(field("ip"), port, from).ok()
    });
    replicas.take(MAX_REPLICAS).collect()
}

#[cfg(test)]
mod tests {
    use super::super::parse::tests::decode;
    use super::*;

    fn parse(lines: &[&str]) -> Result<ReplicationView> {
        let text = lines.join("\r\n");
        let reply = decode(format!("${}\r\n{text}\r\n", text.len()));
        replication(reply.view(), &from())
    }

    fn from() -> Address {
        Address::new("10.0.0.9", 7000).unwrap()
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
            primary_address: None,
            replicas: vec![Address::new("127.0.0.1", 7003).unwrap()],
        };
        assert_eq!(primary.unwrap(), expected);
        let replica = [
            "role:slave",
            "master_host:127.0.0.1",
            "master_port:7001",
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
            primary_address: Some(Address::new("127.0.0.1", 7001).unwrap()),
            replicas: Vec::new(),
            ..expected
        };
        assert_eq!(parse(&replica).unwrap(), behind);
        for (line, instead) in [
            (3, "master_link_status:down"),
            (4, "master_sync_in_progress:1"),
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
    fn replicas_are_listed_by_their_announced_addresses() {
        let primary = parse(&[
            "role:master",
            "connected_slaves:6",
            "slave0:ip=10.0.0.2,port=6379,state=online,offset=98,lag=0",
            "slave1:ip=redis-2.example,port=16379,state=online,offset=98,lag=1,type=replica",
            // It has no data yet.
            "slave2:ip=10.0.0.4,port=6379,state=wait_bgsave,offset=0,lag=0",
            "slave3:ip=fd00::5,port=6379,state=online,offset=98,lag=0",
            // Not announced: it is on the host of the primary.
            "slave4:ip=,port=6380,state=online,offset=98,lag=0",
            "slave5:ip=10.0.0.7,port=0,state=online,offset=98,lag=0",
            "slave_read_only:1,port=1,state=online",
        ]);
        let replicas = primary.unwrap().replicas;
        let shown: Vec<String> = replicas.iter().map(Address::to_string).collect();
        assert_eq!(
            shown,
            [
                "10.0.0.2:6379",
                "redis-2.example:16379",
                "[fd00::5]:6379",
                "10.0.0.9:6380"
            ]
        );
    }

    #[test]
    fn info_without_offset_yields_no_freshness_proof() {
        for lines in [&["role:sentinel"][..], &[], &["master_repl_offset:5"]] {
            assert_eq!(parse(lines).unwrap_err().code, Code::Protocol, "{lines:?}");
        }
        let refused = decode("-NOPERM no rights for INFO\r\n");
        assert_eq!(
            replication(refused.view(), &from()).unwrap_err().message,
            "NOPERM no rights for INFO"
        );
    }
}
