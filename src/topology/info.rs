//! CLUSTER INFO: the state of the cluster, which CLUSTER SLOTS and SHARDS do not contain.

use crate::error::{Code, Error, Fault, Result};
use crate::resp::{Kind, View};

/// The state of the cluster according to one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InfoView {
    /// `cluster_state`: whether the node accepts commands. It does not while it cannot reach most
    /// primaries, nor, unless `cluster-require-full-coverage no`, while a slot has no owner.
    pub ok: bool,
    /// `cluster_current_epoch`: the newest configuration epoch that the node knows; 0 if none was
    /// ever negotiated, or if the field is missing.
    pub current_epoch: u64,
    /// `cluster_my_epoch`: the epoch of the node's own slots, or of its primary's slots.
    pub my_epoch: u64,
    /// `cluster_known_nodes`, which includes the node itself.
    pub known_nodes: u64,
    /// `cluster_slots_assigned`.
    pub slots_assigned: u64,
}

/// Parses the reply to CLUSTER INFO. Unknown lines are ignored.
pub fn info(reply: View<'_>) -> Result<InfoView> {
    let invalid = |why| Err(Error::new(Code::Protocol, format!("CLUSTER INFO {why}")));
    if reply.kind() == Kind::Error {
        return Err(error_reply(reply));
    }
    let Some(text) = reply.str() else {
        return invalid("is not a text");
    };
    let mut view = InfoView::default();
    let mut has_state = false;
    for (name, value) in text.lines().filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        let number = match name {
            "cluster_state" => {
                (has_state, view.ok) = (true, value == "ok");
                continue;
            }
            "cluster_current_epoch" => &mut view.current_epoch,
            "cluster_my_epoch" => &mut view.my_epoch,
            "cluster_known_nodes" => &mut view.known_nodes,
            "cluster_slots_assigned" => &mut view.slots_assigned,
            _ => continue,
        };
        match value.parse() {
            Ok(n) => *number = n,
            Err(_) => return invalid("has a numeric field that is not a number"),
        }
    }
    if has_state {
        Ok(view)
    } else {
        invalid("has no cluster_state")
    }
}

/// The error that a server sent as its reply, such as NOPERM or `ERR This instance has cluster
/// support disabled`.
pub(super) fn error_reply(reply: View<'_>) -> Error {
    let text = String::from_utf8_lossy(reply.text().unwrap_or_default());
    Error::from(Fault {
        code: Code::from_number(i32::from(reply.value().code)).unwrap_or(Code::Server),
        // A RESP3 bulk error may have several lines.
        message: text.replace(char::is_control, "?"),
        sent: false,
        node: None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::parse::tests::decode;
    use super::*;

    #[test]
    fn real_server_replies_are_parsed() {
        // Redis 7.0.15 in RESP2 and Valkey 9.1 in RESP3, statistics cut short.
        let redis = "cluster_state:ok\r\ncluster_slots_assigned:16384\r\ncluster_slots_ok:16384\r\n\
            cluster_slots_pfail:0\r\ncluster_slots_fail:0\r\ncluster_known_nodes:6\r\n\
            cluster_size:3\r\ncluster_current_epoch:9\r\ncluster_my_epoch:7\r\n\
            cluster_stats_messages_sent:12\r\ntotal_cluster_links_buffer_limit_exceeded:0\r\n\r\n";
        let expected = InfoView {
            ok: true,
            current_epoch: 9,
            my_epoch: 7,
            known_nodes: 6,
            slots_assigned: 16384,
        };
        let reply = decode(format!("${}\r\n{redis}\r\n", redis.len()));
        assert_eq!(info(reply.view()).unwrap(), expected);
        let reply = decode(format!("={}\r\ntxt:{redis}\r\n", redis.len() + 4));
        assert_eq!(info(reply.view()).unwrap(), expected);
        let reply = decode("$18\r\ncluster_state:fail\r\n");
        assert_eq!(info(reply.view()).unwrap(), InfoView::default());
    }

    #[test]
    fn invalid_cluster_info_is_rejected() {
        for (bytes, why) in [
            (
                "$5\r\nhello\r\n",
                "PROTOCOL CLUSTER INFO has no cluster_state",
            ),
            ("$0\r\n\r\n", "has no cluster_state"),
            ("$-1\r\n", "is not a text"),
            (":1\r\n", "is not a text"),
            ("*1\r\n:1\r\n", "is not a text"),
            (
                "$44\r\ncluster_state:ok\r\ncluster_current_epoch:-1\r\n\r\n",
                "a numeric field that is not a number",
            ),
            ("$2\r\n\u{fffd}\r\n", "is not a text"),
            (
                "-ERR This instance has cluster support disabled\r\n",
                "ERR This instance has cluster support disabled",
            ),
        ] {
            let mut bytes = bytes.as_bytes().to_vec();
            if let Some(at) = bytes.iter().position(|b| *b == 0xef) {
                // Two bytes that are not UTF-8.
                bytes.splice(at..at + 3, [0xff, 0xfe]);
            }
            let reply = decode(bytes);
            let error = info(reply.view()).unwrap_err();
            assert!(error.message.contains(why), "{error}");
        }
    }
}
