//! CLUSTER INFO: the epoch of the cluster, which CLUSTER SLOTS and SHARDS do not contain.

use crate::resp::View;

/// `cluster_current_epoch`: the newest configuration epoch that the node knows; 0 if none was ever negotiated, or if the
/// reply does not contain it.
pub fn current_epoch(reply: View<'_>) -> u64 {
    const FIELD: &[u8] = b"cluster_current_epoch:";
    // It is among the first lines. Most of the others are statistics.
    let mut lines = reply.text().unwrap_or_default().split(|b| *b == b'\n');
    let value = lines.find_map(|line| line.strip_prefix(FIELD));
    let value = value.and_then(|value| std::str::from_utf8(value).ok());
    value.map_or(0, |value| value.trim().parse().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::super::parse::tests::decode;
    use super::*;

    #[test]
    fn current_epoch_of_real_servers_is_found() {
        // Redis 7.0.15 in RESP2 and Valkey 9.1 in RESP3, statistics cut short.
        let redis = "cluster_state:ok\r\ncluster_slots_assigned:16384\r\ncluster_slots_ok:16384\r\n\
            cluster_slots_pfail:0\r\ncluster_slots_fail:0\r\ncluster_known_nodes:6\r\n\
            cluster_size:3\r\ncluster_current_epoch:9\r\ncluster_my_epoch:7\r\n\
            cluster_stats_messages_sent:12\r\ntotal_cluster_links_buffer_limit_exceeded:0\r\n\r\n";
        let reply = decode(format!("${}\r\n{redis}\r\n", redis.len()));
        assert_eq!(current_epoch(reply.view()), 9);
        let reply = decode(format!("={}\r\ntxt:{redis}\r\n", redis.len() + 4));
        assert_eq!(current_epoch(reply.view()), 9);
    }

    #[test]
    fn other_replies_have_no_epoch() {
        let not_utf8 = b"$26\r\ncluster_current_epoch:7\xff\xfe\n\r\n";
        assert_eq!(current_epoch(decode(not_utf8).view()), 0);
        for bytes in [
            "$18\r\ncluster_state:fail\r\n",
            "$0\r\n\r\n",
            "$-1\r\n",
            ":1\r\n",
            "*1\r\n:1\r\n",
            "$24\r\ncluster_current_epoch:-1\r\n",
            "$23\r\ncluster_current_epoch:x\r\n",
            "$43\r\ncluster_current_epoch:99999999999999999999 \r\n",
            "-ERR This instance has cluster support disabled\r\n",
        ] {
            assert_eq!(current_epoch(decode(bytes).view()), 0, "{bytes:?}");
        }
    }
}
