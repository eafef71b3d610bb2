//! STATISTICS.md is generated from the table of counters.

use std::fmt::Write;
use std::path::Path;

use rediscluster::cluster::statistics;

fn rendered() -> String {
    let mut page = String::from(
        "<!-- Made by `RDC_BLESS=1 cargo test --test repo statistics` from src/cluster/state/stats.rs. -->\n\
         \n\
         # Statistics\n\
         \n\
         `rdc_stats(client)` returns a map from a counter's name to an integer. All counters start at 0 when\n\
         the client is created. A client and the handles derived from it share one set of counters. A forked\n\
         child continues from its parent's values. No counter contains a key, a value or a password. Later\n\
         versions may add counters.\n\
         \n\
         The counters from `reads_fallback` to `reads_skipped_stale` say why a read counted in `primary_reads`\n\
         or `replica_reads` went where it did.\n\
         \n\
         | Counter | What it counts |\n\
         |---|---|\n",
    );
    for (name, help) in statistics() {
        writeln!(page, "| `{name}` | {help} |").unwrap();
    }
    page.push_str(
        "\n\
         The map has three more entries:\n\
         \n\
         - `connected`: 1 if the client has connected and can reach a node, as far as its last calls have shown; 0\n\
           before it has connected, and while no node can be reached;\n\
         - `topology_version`: the number of topology changes so far, single-slot patches included;\n\
         - `nodes`: a map from the `host:port` of each known node to a map with these fields:\n\
         \n\
         | Field | Meaning |\n\
         |---|---|\n\
         | `connections` | Connections that are open now. |\n\
         | `connects` | Connections opened since the node became known. |\n\
         | `failures` | Times the node was ejected. |\n\
         | `reads` | Reads sent to this node because it was selected among several. |\n\
         | `health` | `healthy` or `unhealthy`. |\n",
    );
    page
}

#[test]
fn statistics_page_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("STATISTICS.md");
    let fresh = rendered();
    if std::env::var_os("RDC_BLESS").is_some() {
        std::fs::write(&path, &fresh).unwrap();
    }
    assert!(
        std::fs::read_to_string(&path).unwrap_or_default() == fresh,
        "STATISTICS.md is stale: `RDC_BLESS=1 cargo test --test repo statistics` renews it"
    );
}
