use super::built::{PACKAGES, VERSION, command, in_cluster, make, package};
use super::programs::{BUILT, ROOT, run, scratch, succeed};
use std::fs;
use std::path::{Path, PathBuf};

/// Unpacks the archive into an empty folder with this name.
pub fn unpack(name: &str) -> PathBuf {
    let folder = scratch(name);
    let archive = package("librediscluster-0", ".tar.xz");
    succeed(
        command("tar")
            .arg("-C")
            .arg(&folder)
            .arg("-xf")
            .arg(archive),
    );
    let mut entries = fs::read_dir(&folder).expect("the unpacked archive");
    let root = entries.next().expect("a folder").expect("a folder").path();
    assert!(
        entries.next().is_none(),
        "more than one folder in the archive"
    );
    root
}

/// Links the example as examples-c/README.md says, and runs it.
fn link_and_run(root: &Path, name: &str, library: &str) {
    let program = root.join(name);
    succeed(
        command("sh")
            .args(["-euc", &format!("cc -std=c99 examples-c/readonly.c -o $OUT $(pkg-config --cflags --libs {library})")])
            .current_dir(ROOT)
            .env("OUT", &program)
            .env("PKG_CONFIG_PATH", root.join("lib/pkgconfig")),
    );
    let path = format!("LD_LIBRARY_PATH={}", root.join("lib").display());
    run(&program, &["env", &path]);
}

#[test]
fn archive_works_with_pkg_config_where_it_is_unpacked() {
    let root = unpack("moved-here.2");
    link_and_run(&root, "shared", "rediscluster");
    // Without the shared library, a program that needs it would not start.
    for file in ["librediscluster.so", "librediscluster.so.0"] {
        fs::remove_file(root.join("lib").join(file)).expect(file);
    }
    link_and_run(&root, "static", "rediscluster-static");
}

#[test]
fn archive_works_with_cmake_in_folder_with_spaces() {
    let root = unpack("a folder with spaces");
    let project = scratch("cmake project");
    let text = format!(
        "cmake_minimum_required(VERSION 3.13)\nproject(example C)\n\
         find_package(rediscluster {VERSION} CONFIG REQUIRED)\n\
         foreach(kind rediscluster static)\n\
         add_executable(use_${{kind}} {ROOT}/examples-c/readonly.c)\n\
         target_link_libraries(use_${{kind}} rediscluster::${{kind}})\n\
         endforeach()\n"
    );
    fs::write(project.join("CMakeLists.txt"), text).expect("the project");
    let prefix = format!("-DCMAKE_PREFIX_PATH={}", root.display());
    for arguments in [vec!["-S.", "-Bbuild", &prefix], vec!["--build", "build"]] {
        succeed(command("cmake").args(arguments).current_dir(&project));
    }
    for kind in ["use_rediscluster", "use_static"] {
        run(&project.join("build").join(kind), &[]);
    }
}

#[test]
fn archive_works_with_meson() {
    let root = unpack("archive-for-meson");
    let project = scratch("meson-project");
    let text = format!(
        "project('example', 'c', default_options: ['c_std=c99'])\n\
         foreach kind, name : {{'shared': 'rediscluster', 'static': 'rediscluster-static'}}\n\
         executable('use_' + kind, '{ROOT}/examples-c/readonly.c',\n\
         dependencies: dependency(name, version: '>=0.1'))\n\
         endforeach\n"
    );
    fs::write(project.join("meson.build"), text).expect("the project");
    let venv = BUILT.join("../../venv/bin");
    let path = std::env::var("PATH").expect("PATH");
    let path = format!("{}:{path}", venv.display());
    for arguments in ["setup build", "compile -C build"] {
        succeed(
            command(venv.join("meson"))
                .args(arguments.split(' '))
                .current_dir(&project)
                .env("PATH", &path)
                .env("PKG_CONFIG_PATH", root.join("lib/pkgconfig")),
        );
    }
    for kind in ["use_shared", "use_static"] {
        run(&project.join("build").join(kind), &[]);
    }
}

/// zig translates the header. `make tarball` has installed it, unless this machine cannot.
#[test]
fn archive_works_with_zig() {
    let python = BUILT.join("../../cross/zig/bin/python");
    if !python.exists() {
        eprintln!("skipped: zig is missing: PyPI could not be reached");
        return;
    }
    let root = unpack("archive-for-zig");
    let lib = root.join("lib").display().to_string();
    let program = root.join("program");
    succeed(
        command(python)
            .args([
                "-m",
                "ziglang",
                "build-exe",
                "bindings/examples/session.zig",
            ])
            .arg(format!("-I{}", root.join("include").display()))
            .args([&format!("-L{lib}"), "-lrediscluster", "-lc", "-rpath", &lib])
            .arg(format!("-femit-bin={}", program.display()))
            .current_dir(ROOT),
    );
    run(&program, &[]);
}

#[test]
fn archive_contains_tool_and_manual() {
    let root = unpack("archive-with-tool");
    let version = succeed(command(root.join("bin/rdc")).arg("version"));
    assert_eq!(version, format!("rdc {VERSION}\n"));
    let topology = succeed(in_cluster(root.join("bin/rdc")).arg("topology"));
    assert!(topology.contains("16383"), "{topology}");
    for page in ["man1/rdc.1", "man7/rediscluster.7", "man3/rdc_get.3"] {
        let text = fs::read_to_string(root.join("share/man").join(page)).expect(page);
        assert!(text.contains(".SH NAME"), "{page}");
    }
}

/// The same libraries give the same archive: it contains no time, owner or order of this machine.
#[test]
fn archive_is_the_same_each_time() {
    let first = package("librediscluster-0", ".tar.xz");
    let again = scratch("archive-again");
    make(&["tarball"], &again);
    for end in ["", ".spdx.json"] {
        let name = format!(
            "{}{end}",
            first.file_name().and_then(|n| n.to_str()).expect("a name")
        );
        let (first, second) = (fs::read(PACKAGES.join(&name)), fs::read(again.join(&name)));
        assert!(
            first.expect(&name) == second.expect(&name),
            "{name} differs"
        );
    }
}
