//! Modules of real servers.

use crate::common::serial::serial;
use crate::common::{client, code, key_of, newest, run_all, send, show};
use rediscluster::error::Code;
use std::sync::Arc;
use support::Cluster;

#[test]
fn commands_of_real_module_are_routed() {
    let _serial = serial();
    let server = newest("redis");
    let module = server.path.with_file_name("falkordb.so");
    if !module.exists() {
        // RDC_SERVERS named a newer server that is not from the wheel.
        return;
    }
    let builder = Cluster::builder().replicas(0).server(server);
    let cluster = builder
        .option("loadmodule", module.display().to_string())
        .start()
        .unwrap();
    let client = Arc::new(client(&cluster.url()));
    for n in 0..6 {
        let key = key_of(n % 3, 3, n);
        let created = send(
            &client,
            &format!("GRAPH.QUERY {key} \"CREATE (:a {{n: {n}}})\""),
        );
        assert_eq!(code(created.view()), Code::Ok, "{}", show(created.view()));
        let got = run_all(
            &client,
            &[format!("GRAPH.RO_QUERY {key} \"MATCH (x:a) RETURN x.n\"")],
        );
        assert!(got[0].contains(&format!("[[{n}]]")), "{got:?}");
    }
    for node in cluster.nodes() {
        let graphs = cluster.command(node.port, &["GRAPH.LIST"]).unwrap();
        assert_eq!(
            graphs.elements().len(),
            2,
            "each graph is on the owner of its slot"
        );
        assert!(cluster.commandstats(node.port, "command|info").unwrap() <= 2);
    }
}
