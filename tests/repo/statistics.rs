//! STATISTICS.md is generated from the table of counters.

use std::fmt::Write;
use std::path::Path;

use rediscluster::cluster::statistics;

fn rendered() -> String {
    let mut page = String::from(
        "<!-- Made by `RDC_BLESS=1 cargo test --test repo statistics` from src/cluster/stats.rs. -->\n\
         \n\
         # Statistics\n\
         \n\
         `rdc_stats(client)` returns a map from a name to an integer. The counters begin at 0 when the \
         client is created, are shared by all its twins, and never hold a key, a value or a password. \
         A forked child goes on counting from where its parent was. New ones may be added.\n\
         \n\
         | Counter | What it counts |\n\
         |---|---|\n",
    );
    for (name, help) in statistics() {
        writeln!(page, "| `{name}` | {help} |").unwrap();
    }
    page.push_str(
        "\n\
         Beside them there are\n\
         \n\
         - `topology_version`: how often the map of the cluster has changed, patches included;\n\
         - `nodes`: a map from each known node's `host:port` to a map of `connections` (open now), \
         `connects` (ever opened), `failures` (how often it was left alone for a while), `reads` (that went \
         to it because it was chosen among several) and `health` \
         (`healthy` or `unhealthy`).\n",
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
