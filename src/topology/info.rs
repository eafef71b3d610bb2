//! CLUSTER INFO: what CLUSTER SLOTS and SHARDS do not say about the cluster as a whole.

use crate::error::{Code, Error, Fault, Result};
use crate::resp::{Kind, View};

/// What a node thinks of its cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InfoView {
    /// `cluster_state`: whether the node serves at all. It does not while it is cut off from most
    /// primaries, nor, unless `cluster-require-full-coverage no`, while a slot has no owner.
    pub ok: bool,
    /// `cluster_current_epoch`: the newest configuration that the node has heard of; 0 where none
    /// was ever negotiated, and where the node does not say.
    pub current_epoch: u64,
    /// `cluster_my_epoch`: that of the node's own slots, or of its primary's.
    pub my_epoch: u64,
    /// `cluster_known_nodes`, the node itself among them.
    pub known_nodes: u64,
    /// `cluster_slots_assigned`.
    pub slots_assigned: u64,
}

/// Reads the reply to CLUSTER INFO. Lines it does not know are of no consequence.
pub fn info(reply: View<'_>) -> Result<InfoView> {
    let broken = |why| Err(Error::new(Code::Protocol, format!("CLUSTER INFO {why}")));
    if reply.kind() == Kind::Error {
        return Err(refusal(reply));
    }
    let Some(text) = reply.str() else {
        return broken("was not answered with text");
    };
    let mut view = InfoView::default();
    let mut said = false;
    for (name, value) in text.lines().filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        let number = match name {
            "cluster_state" => {
                (said, view.ok) = (true, value == "ok");
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
            Err(_) => return broken("has a word where a number should be"),
        }
    }
    if said {
        Ok(view)
    } else {
        broken("does not say cluster_state")
    }
}

/// An error that came instead of the reply, such as NOPERM or `ERR This instance has cluster
/// support disabled`.
pub(super) fn refusal(reply: View<'_>) -> Error {
    let text = String::from_utf8_lossy(reply.text().unwrap_or_default());
    Error::from(Fault {
        code: Code::from_number(i32::from(reply.value().code)).unwrap_or(Code::Server),
        // RESP3's bulk errors may have several lines.
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
    fn what_servers_say() {
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
    fn what_is_no_cluster_info() {
        for (bytes, why) in [
            (
                "$5\r\nhello\r\n",
                "PROTOCOL CLUSTER INFO does not say cluster_state",
            ),
            ("$0\r\n\r\n", "does not say cluster_state"),
            ("$-1\r\n", "was not answered with text"),
            (":1\r\n", "was not answered with text"),
            ("*1\r\n:1\r\n", "was not answered with text"),
            (
                "$44\r\ncluster_state:ok\r\ncluster_current_epoch:-1\r\n\r\n",
                "a word where",
            ),
            ("$2\r\n\u{fffd}\r\n", "was not answered with text"),
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
