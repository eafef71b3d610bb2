use super::built::{command, in_cluster, package};
use super::programs::{scratch, succeed};

#[test]
fn npm_package_runs_after_installation() {
    let project = scratch("npm");
    let install = [
        "install",
        "--offline",
        "--silent",
        "--no-audit",
        "--no-fund",
        "--prefix",
    ];
    succeed(
        command("npm")
            .args(install)
            .arg(&project)
            .arg(package("rediscluster-", ".tgz")),
    );
    let session = "
        const { Cluster } = require('rediscluster');
        (async () => {
          const cluster = new Cluster(process.env.RDC_URL);
          await cluster.set('{packages}node', 'from npm');
          console.log(await cluster.getdel('{packages}node'));
          cluster.disconnect();
        })();";
    let mut node = in_cluster("node");
    let output = succeed(
        node.args(["-e", session])
            .env_remove("RDC_NODE_ADDON")
            .current_dir(&project),
    );
    assert_eq!(output, "from npm\n");
}
