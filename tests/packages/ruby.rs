use super::built::{command, in_cluster, package};
use super::programs::{scratch, succeed};

#[test]
fn gem_runs_after_installation() {
    let home = scratch("gem");
    // ffi, which it depends on, is that of the system: nothing is downloaded.
    let install = [
        "install",
        "--local",
        "--no-document",
        "--ignore-dependencies",
        "--install-dir",
    ];
    succeed(
        command("gem")
            .args(install)
            .arg(&home)
            .arg(package("rediscluster-", ".gem")),
    );
    let system = succeed(command("ruby").args(["-e", "puts Gem.path.join(':')"]));
    let session = "
        require 'rediscluster'
        rc = RedisCluster.new(ENV.fetch('RDC_URL'))
        rc.set('{packages}ruby', 'from a gem')
        raise 'another value' unless rc.get('{packages}ruby') == 'from a gem'
        rc.del('{packages}ruby')
        puts RedisCluster::Native::BUNDLED, File.exist?(RedisCluster::Native::BUNDLED)";
    let mut ruby = in_cluster("ruby");
    ruby.args(["-e", session])
        .env("GEM_PATH", format!("{}:{}", home.display(), system.trim()));
    let library = succeed(&mut ruby);
    let inside = home.to_str().expect("a path");
    assert!(
        library.starts_with(inside) && library.ends_with("true\n"),
        "{library}"
    );
}
