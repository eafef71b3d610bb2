//! TLS files that are replaced while a client uses them.

use super::pki::{Pair, Pki};
use crate::common::serial::serial;
use crate::common::set_on_drop::SetOnDrop;
use crate::common::{client, code, pause, run, send, show, wait_for};
use rediscluster::cluster::Client;
use rediscluster::error::Code;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use support::Server;

static PKI: LazyLock<Pki> = LazyLock::new(Pki::new);

/// The TLS files of one client.
struct ClientFiles(PathBuf);

impl ClientFiles {
    fn new(name: &str, ca: &[&Path], pair: &Pair) -> ClientFiles {
        let folder = PKI.dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let files = ClientFiles(folder);
        files.trust(ca);
        files.write("cert", &[&pair.cert]);
        files.write("key", &[&pair.key]);
        files
    }

    /// Replaces a file by the content of others.
    fn write(&self, name: &str, parts: &[&Path]) {
        let texts = parts.iter().map(|part| std::fs::read(part).unwrap());
        let next = self.0.join("next");
        std::fs::write(&next, texts.collect::<Vec<_>>().concat()).unwrap();
        std::fs::rename(&next, self.0.join(name)).unwrap();
    }

    fn trust(&self, ca: &[&Path]) {
        self.write("ca", ca);
    }

    fn url(&self, server: &Server) -> String {
        let (port, path) = (server.tls_port().unwrap(), self.0.display());
        let files = [
            format!("tls_ca_file={path}/ca"),
            format!("tls_cert_file={path}/cert"),
            format!("tls_key_file={path}/key"),
        ];
        format!(
            "rediss://127.0.0.1:{port}?cluster=no&timeout_ms=20000&{}",
            files.join("&")
        )
    }
}

/// Waits until the client looks at its files again.
fn wait_for_next_look() {
    pause(Duration::from_millis(1010));
}

/// Changes the files of a server, which new connections to it then use.
fn configure(server: &Server, pair: &Pair, ca: &Path) {
    let texts = [&pair.cert, &pair.key].map(|path| path.display().to_string());
    let ca = ca.display().to_string();
    let [cert, key] = &texts;
    let all = [
        "CONFIG",
        "SET",
        "tls-cert-file",
        cert,
        "tls-key-file",
        key,
        "tls-ca-cert-file",
        &ca,
    ];
    assert_eq!(server.command(&all).unwrap().text(), "OK");
}

fn connects(client: &Client) -> bool {
    // A pinned handle opens a connection of its own.
    let reply = send(&client.pin(b"k"), "SET k v");
    let code = code(reply.view());
    assert!(
        [Code::Ok, Code::Tls].contains(&code),
        "{}",
        show(reply.view())
    );
    code == Code::Ok
}

#[test]
fn renewed_certificates_under_load_fail_no_command() {
    let _serial = serial();
    let (ours, theirs) = (PKI.ca(), PKI.other_ca());
    let (old, new) = (PKI.good("old"), PKI.foreign("new"));
    let both = PKI.dir().join("both.pem");
    let files = ClientFiles::new("renewed", &[&ours], &old);
    files.write("both", &[&ours, &theirs]);
    std::fs::copy(files.0.join("both"), &both).unwrap();
    let server = Server::builder()
        .tls(&old.cert, &old.key, &ours)
        .start()
        .unwrap();
    let client = client(&files.url(&server));
    let (finished, opened) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let _finish = SetOnDrop(&finished);
        for thread in 0..4 {
            let (client, finished, opened) = (&client, &finished, &opened);
            scope.spawn(move || {
                while !finished.load(Ordering::SeqCst) {
                    assert_eq!(run(client, &format!("SET k{thread} v")), "OK");
                    let pinned = client.pin(b"k");
                    let got = run(&pinned, "GET k0");
                    assert!(got == "v" || got == "nil", "{got}");
                    opened.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let go_on = || {
            wait_for_next_look();
            let before = opened.load(Ordering::SeqCst);
            wait_for("connections are opened", || {
                opened.load(Ordering::SeqCst) > before + 8
            });
        };
        go_on();
        // Both sides trust both authorities before the first certificate of the new one is used.
        files.trust(&[&ours, &theirs]);
        configure(&server, &old, &both);
        go_on();
        configure(&server, &new, &both);
        go_on();
        files.write("key", &[&new.key]);
        // The key is that of another certificate for a while.
        go_on();
        files.write("cert", &[&new.cert]);
        go_on();
        configure(&server, &new, &theirs);
        files.trust(&[&theirs]);
        go_on();
    });
    assert!(connects(&client));
}

#[test]
fn removed_authority_is_not_trusted_by_a_resumed_session() {
    let _serial = serial();
    let (ours, theirs) = (PKI.ca(), PKI.other_ca());
    let pair = PKI.good("resumed");
    let files = ClientFiles::new("distrusted", &[&ours], &pair);
    let server = Server::builder()
        .tls(&pair.cert, &pair.key, &ours)
        .start()
        .unwrap();
    let client = client(&files.url(&server));
    assert!(connects(&client) && connects(&client));
    files.trust(&[&theirs]);
    wait_for_next_look();
    assert!(!connects(&client), "the session was resumed");
    // A damaged file changes nothing, and a good one does.
    files.trust(&[&files.0.join("key")]);
    wait_for_next_look();
    assert!(!connects(&client));
    files.trust(&[&ours]);
    wait_for_next_look();
    assert!(connects(&client));
    // An open connection has not been affected.
    assert_eq!(run(&client, "SET k v"), "OK");
}
