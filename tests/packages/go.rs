use super::built::{PACKAGES, VERSION, command, in_cluster, package, python};
use super::programs::{ROOT, scratch, succeed};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const MODULE: &str = "github.com/librediscluster/librediscluster/bindings/go";

/// Offers the module as docs/packages.md says.
fn proxy() -> PathBuf {
    let proxy = scratch("go-proxy");
    let folder = proxy.join(MODULE).join("@v");
    fs::create_dir_all(&folder).expect("a folder");
    let archive = package("librediscluster-go-", ".zip");
    let file = |end: &str| folder.join(format!("v{VERSION}{end}"));
    fs::copy(archive, file(".zip")).expect("the module");
    fs::copy(format!("{ROOT}/bindings/go/go.mod"), file(".mod")).expect("go.mod");
    fs::write(file(".info"), format!("{{\"Version\":\"v{VERSION}\"}}")).expect("its version");
    proxy
}

/// The go command, without a network. `pkg-config` fails: the module has to bring the library.
fn go(project: &Path, proxy: &Path, arguments: &[&str]) -> Command {
    let mut go = command("go");
    go.args(arguments).current_dir(project);
    go.env("GOPROXY", format!("file://{}", proxy.display()));
    go.env("GOMODCACHE", project.join("modules"));
    go.env("GOFLAGS", "-modcacherw")
        .env("GOSUMDB", "off")
        .env("GOWORK", "off");
    go.env("PKG_CONFIG", "false");
    // Go keeps a list of the files of a module's version, which is not the list of the next build's module.
    go.env("GODEBUG", "goindex=0");
    go
}

#[test]
fn go_program_is_built_without_installed_library() {
    let (project, proxy) = (scratch("go-project"), proxy());
    let program = format!(
        "package main\n\nimport (\n\"context\"\n\"fmt\"\n\"os\"\n\nrediscluster \"{MODULE}\"\n)\n\n\
         func main() {{\n\
         rc, err := rediscluster.New(os.Getenv(\"RDC_URL\"))\n\
         if err != nil {{ panic(err) }}\n\
         defer rc.Close()\n\
         fmt.Println(rc.Do(context.Background(), \"PING\"))\n}}\n"
    );
    fs::write(project.join("main.go"), program).expect("a program");
    let version = format!("{MODULE}@v{VERSION}");
    for arguments in [
        vec!["mod", "init", "example"],
        vec!["get", &version],
        vec!["build", "-o", "program", "."],
    ] {
        succeed(&mut go(&project, &proxy, &arguments));
    }
    let output = succeed(&mut in_cluster(project.join("program")));
    assert!(output.contains("PONG"), "{output}");

    let system = go(&project, &proxy, &["build", "-tags", "system", "."])
        .output()
        .expect("go");
    let message = String::from_utf8_lossy(&system.stderr).into_owned();
    assert!(
        !system.status.success() && message.contains(": false: exit status"),
        "{message}"
    );

    let without = go(&project, &proxy, &["build", "."])
        .env("CGO_ENABLED", "0")
        .output()
        .expect("go");
    let message = String::from_utf8_lossy(&without.stderr).into_owned();
    let sentence = "rediscluster_needs_cgo_so_install_a_C_compiler_and_set_CGO_ENABLED_to_1";
    assert!(
        message.contains(sentence) && message.lines().count() == 2,
        "{message}"
    );
}

/// Anyone can check that the module contains what the repository has.
#[test]
fn go_module_contains_the_sources_unchanged() {
    let folder = scratch("go-module");
    succeed(
        command(python())
            .args(["-m", "zipfile", "-e"])
            .arg(package("librediscluster-go-", ".zip"))
            .arg(&folder),
    );
    let module = folder.join(format!("{MODULE}@v{VERSION}"));
    let mut count = 0;
    for entry in fs::read_dir(format!("{ROOT}/bindings/go")).expect("the sources") {
        let path = entry.expect("a source").path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .expect("a name");
        if name.ends_with(".go") && !name.ends_with("_test.go") && name != "link.go" {
            assert!(
                fs::read(&path).ok() == fs::read(module.join(name)).ok(),
                "{name}"
            );
            count += 1;
        }
    }
    assert!(count > 10, "only {count} files");
}

/// Its poller has two sides, and only one of them is for this system.
#[test]
fn go_package_compiles_for_kqueue() {
    let _ = &*PACKAGES; // `make tarball` has installed zig, unless this machine cannot
    let python = python().with_file_name("../../cross/zig/bin/python");
    if !python.exists() {
        eprintln!("skipped: zig is missing: PyPI could not be reached");
        return;
    }
    let compiler = format!("{} -m ziglang cc -target x86_64-freebsd", python.display());
    succeed(
        command("go")
            .args(["vet", "."])
            .current_dir(format!("{ROOT}/bindings/go"))
            .env("CC", compiler)
            .env("CGO_ENABLED", "1")
            .env("GOOS", "freebsd")
            .env("GOARCH", "amd64")
            // In place of the installed library.
            .env("PKG_CONFIG", "true")
            .env("CGO_CFLAGS", format!("-I{ROOT}/include")),
    );
}
