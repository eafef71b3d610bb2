use super::archive::unpack;
use super::built::{command, in_cluster, package, python};
use super::programs::{scratch, succeed};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const SESSION: &str = "
import os, rediscluster
from rediscluster import RedisCluster, _load_extension, _native
rc = RedisCluster.from_url(os.environ['RDC_URL'])
rc.set('{packages}python', 'from a wheel')
assert rc.get('{packages}python') == b'from a wheel'
rc.delete('{packages}python')
print(rediscluster.__file__, _load_extension.extension.__file__)
";

/// A new environment. What the package depends on is that of the tests: nothing is downloaded.
fn environment(name: &str) -> PathBuf {
    let folder = scratch(name);
    let of_tests = python();
    succeed(
        command(&of_tests)
            .args(["-m", "venv", "--without-pip"])
            .arg(&folder),
    );
    let packages = "import sysconfig; print(sysconfig.get_path('purelib'))";
    let dependencies = succeed(command(&of_tests).args(["-c", packages]));
    let own = succeed(command(folder.join("bin/python")).args(["-c", packages]));
    fs::write(Path::new(own.trim()).join("dependencies.pth"), dependencies).expect("a .pth file");
    folder
}

fn pip(arguments: &[&str]) -> Command {
    let mut pip = command(python());
    pip.args(["-m", "pip", "--disable-pip-version-check"])
        .args(arguments);
    pip
}

fn install(wheel: &Path, environment: &Path) {
    let interpreter = environment.join("bin/python");
    let interpreter = interpreter.to_str().expect("a path");
    succeed(
        pip(&[
            "--python",
            interpreter,
            "install",
            "-q",
            "--no-index",
            "--no-deps",
        ])
        .arg(wheel),
    );
}

#[test]
fn wheel_runs_in_new_environment() {
    let wheel = package("librediscluster-", ".whl");
    let environment = environment("wheel");
    install(&wheel, &environment);
    let session = succeed(in_cluster(environment.join("bin/python")).args(["-c", SESSION]));
    let modules: Vec<&str> = session.split_whitespace().collect();
    let inside = environment.to_str().expect("a path");
    assert!(
        modules.iter().all(|module| module.starts_with(inside)),
        "{session}"
    );
    assert!(modules[1].ends_with("_extension.abi3.so"), "{session}");
}

/// pip installs a wheel by its tag. A wheel for a newer glibc than the tag says would fail at its first import.
#[test]
fn wheel_needs_no_newer_glibc_than_its_tag_says() {
    let wheel = package("librediscluster-", ".whl");
    let name = wheel
        .file_name()
        .and_then(|name| name.to_str())
        .expect("a name");
    let (_, tag) = name
        .split_once("-manylinux_2_")
        .expect("a tag with a version of glibc");
    let limit: u32 = tag
        .split('_')
        .next()
        .and_then(|minor| minor.parse().ok())
        .expect("the version");
    let folder = scratch("wheel-files");
    succeed(
        command(python())
            .args(["-m", "zipfile", "-e"])
            .arg(&wheel)
            .arg(&folder),
    );
    for file in ["librediscluster.so.0", "_extension.abi3.so"] {
        let versions = succeed(
            command("readelf")
                .arg("-VW")
                .arg(folder.join("rediscluster").join(file)),
        );
        let minors = versions.split("GLIBC_2.").skip(1);
        let minors = minors.filter_map(|rest| {
            rest.split(|c: char| !c.is_ascii_digit())
                .next()?
                .parse()
                .ok()
        });
        let newest: u32 = minors.max().expect("a version of glibc");
        assert!(
            newest <= limit,
            "{file} needs glibc 2.{newest}, and the tag is {tag}"
        );
    }
}

#[test]
fn source_package_uses_the_library_of_the_system() {
    let folder = scratch("sdist");
    let source = package("librediscluster-", ".tar.gz");
    let build = |library: &Path| {
        let mut pip = pip(&[
            "wheel",
            "-q",
            "--no-index",
            "--no-deps",
            "--no-build-isolation",
            "-w",
        ]);
        pip.arg(&folder)
            .arg(&source)
            .env("LD_LIBRARY_PATH", library);
        pip.env("RDC_PYTHON_EXTENSION", "yes");
        pip
    };
    let refused = build(Path::new("/nowhere")).output().expect("pip");
    let message = String::from_utf8_lossy(&refused.stderr);
    let sentence = "install librediscluster (https://github.com/librediscluster/librediscluster)";
    assert!(
        !refused.status.success() && message.contains(sentence),
        "{message}"
    );

    let library = unpack("library-of-the-system").join("lib");
    succeed(&mut build(&library));
    let built = fs::read_dir(&folder)
        .expect("the wheel")
        .next()
        .expect("a wheel")
        .expect("a wheel")
        .path();
    let environment = environment("from-sdist");
    install(&built, &environment);
    let mut session = in_cluster(environment.join("bin/python"));
    succeed(
        session
            .args(["-c", SESSION])
            .env("LD_LIBRARY_PATH", &library),
    );
}
