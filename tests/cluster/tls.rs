//! TLS with real servers and with faulty peers.

use super::pki::{Pair, Pki, names};
use crate::common;
use crate::common::load::{assert_own_writes_are_read, fork_under_load};
use crate::common::serial::{in_child_process, is_child_process, serial};
use crate::common::{
    client, code, is_command, is_sent, key_of, run, run_all, send, show, timed, wait_for,
};
use rediscluster::cluster::Client;
use rediscluster::error::Code;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};
use support::{Action, Chaos, Cluster, Failover, Proxy, Script, Server};

pub static PKI: LazyLock<Pki> = LazyLock::new(Pki::new);

/// A new server with this certificate.
fn server(pair: &Pair) -> Server {
    let builder = Server::builder().tls(&pair.cert, &pair.key, PKI.ca());
    builder.start().unwrap()
}

/// `rediss://127.0.0.1:PORT` with the test authority and these options.
fn tls_url(port: u16, options: &str) -> String {
    url_of("127.0.0.1", port, options)
}

fn url_of(host: &str, port: u16, options: &str) -> String {
    format!(
        "rediss://{host}:{port}?tls_ca_file={}{options}",
        PKI.ca().display()
    )
}

fn port_of(server: &Server) -> u16 {
    server.tls_port().unwrap()
}

/// The error of a client that cannot be created.
#[track_caller]
fn refusal(url: &str) -> rediscluster::error::Error {
    let (client, time) = timed(|| Client::create(url));
    let error = client
        .error()
        .unwrap_or_else(|| panic!("{url} was accepted"));
    assert!(!error.sent, "{error}");
    assert!(time < Duration::from_secs(3), "{url}: {time:?}: {error}");
    error.clone()
}

// ---- A cluster -----------------------------------------------------------------------------------

#[test]
fn tls_cluster_supports_all_operations() {
    let pair = PKI.good("cluster");
    // A long node timeout: busy with large values and TLS, nodes would call each other failed.
    let cluster = Cluster::builder()
        .tls(&pair.cert, &pair.key, PKI.ca())
        .node_timeout_ms(3000)
        .start()
        .unwrap();
    let url = format!(
        "{}?tls_ca_file={}&client_name=us&timeout_ms=30000&attempt_timeout_ms=20000",
        cluster.url(),
        PKI.ca().display()
    );
    let client = Arc::new(client(&url));
    let keys: Vec<String> = (0..30).map(|n| key_of(n % 3, 3, n)).collect();
    for key in &keys {
        assert_eq!(run(&client, &format!("SET {key} v:{key}")), "OK");
    }
    // Commands, reads from replicas, and a transaction on a pinned connection.
    cluster.wait_replicas_in_sync().unwrap();
    let readonly = Arc::new(client.with("read_from", "replica"));
    for key in &keys {
        assert_eq!(run(&client, &format!("GET {key}")), format!("v:{key}"));
        assert_eq!(run(&readonly, &format!("GET {key}")), format!("v:{key}"));
    }
    let refused = send(&client.readonly(), &format!("SET {} x", keys[0]));
    assert_eq!(code(refused.view()), Code::ReadOnly);
    let pinned = client.pin(keys[0].as_bytes());
    assert_eq!(run(&pinned, "MULTI"), "OK");
    assert_eq!(run(&pinned, &format!("GET {}", keys[0])), "QUEUED");
    assert_eq!(run(&pinned, "EXEC"), format!("[v:{}]", keys[0]));

    // Ten thousand commands in a pipeline, to all nodes and to replicas.
    let gets: Vec<String> = (0..10_000)
        .map(|n| format!("GET {}", keys[n % 30]))
        .collect();
    let expected: Vec<String> = (0..10_000).map(|n| format!("v:{}", keys[n % 30])).collect();
    assert!(run_all(&client, &gets) == expected);
    assert!(run_all(&readonly, &gets) == expected);

    // Large values to and from all nodes at once, much larger than all buffers.
    let large: Vec<String> = (0..3)
        .map(|n| {
            (0..10 << 20)
                .map(|i| char::from(b'a' + ((i * 7 + n) % 23) as u8))
                .collect()
        })
        .collect();
    let mut both = Vec::new();
    for (n, text) in large.iter().enumerate() {
        both.push(format!("SET {} {text}", keys[n]));
        both.push(format!("GET {}", keys[n]));
        both.push(format!("GET {}", keys[n + 3]));
    }
    let got = run_all(&client, &both);
    for (n, text) in large.iter().enumerate() {
        assert_eq!(got[3 * n], "OK");
        assert!(got[3 * n + 1] == *text, "large value {n} in a pipeline");
        assert_eq!(got[3 * n + 2], format!("v:{}", keys[n + 3]));
        assert!(
            run(&client, &format!("GET {}", keys[n])) == *text,
            "large value {n}"
        );
    }

    // Every connection uses TLS.
    for node in cluster.nodes() {
        let list = cluster.command(node.port, &["CLIENT", "LIST"]).unwrap();
        let list = list.text();
        let ours: Vec<&str> = list.lines().filter(|l| l.contains(" name=us ")).collect();
        assert!(!ours.is_empty(), "no connection to {}", node.address);
        let here = format!(" laddr=127.0.0.1:{} ", node.tls_port.unwrap());
        for line in ours {
            assert!(line.contains(&here), "{line}");
        }
    }

    // Redirections name the TLS ports: half a migration (ASK), a complete one and a failover (MOVED), and a dead node.
    let slot = support::slot_of(keys[3].as_bytes());
    let ports = cluster.ports();
    let from = cluster.primary_of(slot).unwrap();
    let to = *ports[..3].iter().find(|port| **port != from).unwrap();
    cluster.begin_migration(slot, to).unwrap();
    cluster.move_keys(slot, to, &[&keys[3]]).unwrap();
    assert_eq!(run(&client, &format!("APPEND {} !", keys[3])), {
        (format!("v:{}", keys[3]).len() + 1).to_string()
    });
    cluster.finish_migration(slot, to).unwrap();
    assert_eq!(
        run(&client, &format!("GET {}", keys[3])),
        format!("v:{}!", keys[3])
    );
    let slot = support::slot_of(keys[1].as_bytes());
    let replica = cluster.replicas_of(slot).unwrap()[0];
    cluster.failover(replica, Failover::Plain).unwrap();
    assert_eq!(run(&client, &format!("SET {} after", keys[1])), "OK");
    cluster.wait_healthy().unwrap();
    cluster.wait_replicas_in_sync().unwrap();
    cluster.kill(replica).unwrap();
    // Reads are retried until the replica is promoted.
    assert_eq!(run(&client, &format!("GET {}", keys[1])), "after");
    assert_eq!(run(&client, &format!("SET {} again", keys[1])), "OK");
    assert_eq!(run(&client, &format!("GET {}", keys[1])), "again");
    assert_eq!(show(client.refresh().view()), "OK");
}

/// docs/tls.md warns about this configuration.
#[test]
fn tls_client_never_uses_plaintext_ports() {
    let _serial = serial();
    let pair = PKI.good("trap");
    let cluster = Cluster::builder()
        .primaries(3)
        .replicas(0)
        .tls(&pair.cert, &pair.key, PKI.ca())
        .option("tls-cluster", "no")
        .option("tls-replication", "no")
        .start()
        .unwrap();
    let first = cluster.nodes()[0].tls_port.unwrap();
    let client = Client::create(&tls_url(first, "&timeout_ms=1500"));
    // The client connects to the announced port, which does not speak TLS.
    let reply = send(&client, "SET k v");
    let words = show(reply.view());
    assert_ne!(code(reply.view()), Code::Ok, "{words}");
    assert!(!is_sent(reply.view()), "{words}");
    for port in cluster.ports() {
        let info = cluster.command(port, &["INFO", "commandstats"]).unwrap();
        assert!(!info.text().contains("cmdstat_set:"), "{}", info.text());
    }
    // If the servers cannot be configured, the client can.
    let ports: Vec<String> = cluster
        .nodes()
        .iter()
        .map(|n| format!("{}=127.0.0.1:{}", n.address, n.tls_port.unwrap()))
        .collect();
    let map = format!("&address_map={}", ports.join(","));
    let mapped = Arc::new(common::client(&tls_url(first, &map)));
    let sets: Vec<String> = (0..3)
        .map(|n| format!("SET {} v", key_of(n, 3, n)))
        .collect();
    assert_eq!(run_all(&mapped, &sets), ["OK"; 3]);
}

// ---- Who is believed -----------------------------------------------------------------------------

#[test]
fn commands_go_only_to_verified_tls_nodes() {
    let _serial = serial();
    let other = PKI.other_ca();
    for (what, pair, why) in [
        (
            "a foreign authority",
            PKI.foreign("foreign"),
            "no trusted authority has signed",
        ),
        (
            "self-signed",
            PKI.self_signed("self"),
            "no trusted authority has signed",
        ),
        (
            "another host",
            PKI.pair("host", names(&["other.example", "10.0.0.1"])),
            "is not valid for 127.0.0.1, but for",
        ),
        (
            "a common name alone",
            PKI.common_name_alone("cn"),
            "is not valid for 127.0.0.1, but for no name",
        ),
        ("expired", PKI.expired("expired"), "has expired"),
        (
            "not yet valid",
            PKI.not_yet_valid("future"),
            "is not valid yet",
        ),
    ] {
        let server = server(&pair);
        let port = port_of(&server);
        let login = "bob:hunter2@127.0.0.1";
        for url in [
            tls_url(port, ""),
            tls_url(port, "&cluster=no"),
            url_of(login, port, ""),
        ] {
            let error = refusal(&url);
            assert_eq!(error.code, Code::Tls, "{what}: {error}");
            assert!(error.message.contains(why), "{what}: {error}");
            assert!(error.message.contains(&format!("127.0.0.1:{port}")));
            assert!(!error.message.contains("hunter2"), "{error}");
        }
        // The client does not try a plaintext handshake either.
        assert_eq!(server.commandstats("hello").unwrap(), 0, "{what}");
        let believing = client(&tls_url(port, "&tls_insecure_skip_verify=yes"));
        assert_eq!(run(&believing, "SET k v"), "OK", "{what}");
    }
    // A certificate that one client rejects may be valid for another.
    let url = |port, ca: &Path, more: &str| {
        format!(
            "rediss://127.0.0.1:{port}?tls_ca_file={}{more}",
            ca.display()
        )
    };
    let foreign = server(&PKI.foreign("foreign2"));
    let trusting = client(&url(port_of(&foreign), &other, ""));
    assert_eq!(run(&trusting, "SET k v"), "OK");
    let other_host = server(&PKI.pair("host2", names(&["other.example"])));
    let named = client(&tls_url(
        port_of(&other_host),
        "&tls_server_name=other.example",
    ));
    assert_eq!(run(&named, "SET k v"), "OK");
    let good = server(&PKI.good("good"));
    let error = refusal(&tls_url(port_of(&good), "&tls_server_name=other.example"));
    assert!(
        error.message.contains("is not valid for other.example"),
        "{error}"
    );
    // A self-signed certificate can be trusted directly, unless it claims to be an authority.
    let own = PKI.self_signed("own");
    let own_server = server(&own);
    let believing = client(&url(port_of(&own_server), &own.cert, ""));
    assert_eq!(run(&believing, "SET k v"), "OK");
    let authority = PKI.self_signed_authority("own-ca");
    let authority_server = server(&authority);
    let error = refusal(&url(port_of(&authority_server), &authority.cert, ""));
    assert_eq!(error.code, Code::Tls, "{error}");
    assert!(error.message.contains("cannot be used"), "{error}");
    // The authorities of the system do not include the test authority.
    let error = Client::create(&format!("rediss://127.0.0.1:{}", port_of(&good)));
    let error = error.error().unwrap();
    assert!(
        matches!(error.code, Code::Tls | Code::Invalid),
        "a system without authorities says so: {error}"
    );
}

#[test]
fn certificate_is_verified_against_connected_host() {
    let _serial = serial();
    let pair = PKI.pair("localhost", names(&["localhost"]));
    let alone = server(&pair);
    let port = port_of(&alone);
    let by_name = client(&url_of("localhost", port, "&cluster=no"));
    assert_eq!(run(&by_name, "SET k v"), "OK");
    let error = refusal(&tls_url(port, "&cluster=no"));
    assert!(
        error.message.contains("is not valid for 127.0.0.1"),
        "{error}"
    );
    // A mapped address is verified with the name that it is mapped to.
    let mapped = client(&tls_url(
        port,
        "&address_map=127.0.0.1=localhost&cluster=no",
    ));
    assert_eq!(run(&mapped, "GET k"), "v");
}

#[test]
fn requested_client_certificate_is_sent() {
    let _serial = serial();
    let ours = PKI.pair("client", names(&["us"]));
    let foreign = PKI.foreign("client-foreign");
    let option = |pair: &Pair| {
        format!(
            "&tls_cert_file={}&tls_key_file={}",
            pair.cert.display(),
            pair.key.display()
        )
    };
    for version in ["TLSv1.3", "TLSv1.2"] {
        let node = PKI.good("mutual");
        let server = Server::builder()
            .tls(&node.cert, &node.key, PKI.ca())
            .option("tls-auth-clients", "yes")
            .option("tls-protocols", version)
            .start()
            .unwrap();
        let port = port_of(&server);
        let client = Arc::new(client(&tls_url(port, &option(&ours))));
        assert_eq!(run_all(&client, &["SET k v", "GET k"]), ["OK", "v"]);
        for (more, why) in [
            (String::new(), "client certificate (see tls_cert_file)"),
            (option(&foreign), "does not accept the client certificate"),
        ] {
            // The refusal may arrive during the handshake or after it.
            for _ in 0..20 {
                let error = refusal(&tls_url(port, &more));
                assert_eq!(error.code, Code::Tls, "{version}: {error}");
                assert!(error.message.contains(why), "{version}: {error}");
            }
        }
    }
}

// ---- Files ---------------------------------------------------------------------------------------

#[test]
fn unusable_tls_files_are_named_at_creation() {
    let _serial = serial();
    let good = PKI.good("files");
    let other = PKI.good("files-other");
    let key = std::fs::read_to_string(&good.key).unwrap();
    let secret: String = key.lines().nth(1).unwrap().to_string();
    let file = |name: &str, text: &str| PKI.file(name, text).display().to_string();
    let (cert, other_key) = (
        good.cert.display().to_string(),
        other.key.display().to_string(),
    );
    let good_key = good.key.display().to_string();
    let nothing = PKI.dir().join("nothing.pem").display().to_string();
    let empty = file("empty.pem", "");
    let words = file("words.pem", "not a certificate\n");
    let folder = PKI.dir().display().to_string();
    let no_key = file(
        "no-key.pem",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    );
    let cut = file("cut.pem", &key[..key.len() - 40]);
    let bad_letter = file(
        "letter.pem",
        &key.replacen(&secret, &format!("!{secret}"), 1),
    );
    let bad_line = file("line.pem", &format!("-----BEGIN {secret}\n{key}"));
    let locked = file("locked.pem", &key.replace("PRIVATE", "ENCRYPTED PRIVATE"));
    let binary = PKI.dir().join("binary.pem");
    std::fs::write(&binary, [0x30, 0x82, 0xff, 0xfe]).unwrap();
    let binary = binary.display().to_string();
    let no_certificate = file(
        "no-cert.pem",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    let pair = |cert: &str, key: &str| format!("tls_cert_file={cert}&tls_key_file={key}");
    for (options, option, path, why) in [
        (
            format!("tls_ca_file={nothing}"),
            "tls_ca_file",
            &nothing,
            "cannot be read: No such file",
        ),
        (
            format!("tls_ca_file={folder}"),
            "tls_ca_file",
            &folder,
            "is not a regular file",
        ),
        (
            "tls_ca_file=/dev/zero".to_string(),
            "tls_ca_file",
            &"/dev/zero".to_string(),
            "is not a regular file",
        ),
        (
            format!("tls_ca_file={empty}"),
            "tls_ca_file",
            &empty,
            "contains no PEM certificate",
        ),
        (
            format!("tls_ca_file={words}"),
            "tls_ca_file",
            &words,
            "contains no PEM certificate",
        ),
        (
            format!("tls_ca_file={good_key}"),
            "tls_ca_file",
            &good_key,
            "contains no PEM certificate",
        ),
        (
            format!("tls_ca_file={binary}"),
            "tls_ca_file",
            &binary,
            "is not UTF-8 text",
        ),
        (
            format!("tls_ca_file={no_certificate}"),
            "tls_ca_file",
            &no_certificate,
            "contains an invalid certificate (number 1)",
        ),
        (
            pair(&nothing, &good_key),
            "tls_cert_file",
            &nothing,
            "cannot be read",
        ),
        (
            pair(&empty, &good_key),
            "tls_cert_file",
            &empty,
            "contains no PEM certificate",
        ),
        (
            pair(&no_certificate, &good_key),
            "tls_cert_file",
            &no_certificate,
            "begins with an invalid certificate",
        ),
        (
            pair(&cert, &nothing),
            "tls_key_file",
            &nothing,
            "cannot be read",
        ),
        (
            pair(&cert, &cert),
            "tls_key_file",
            &cert,
            "contains no PEM private key",
        ),
        (
            pair(&cert, &locked),
            "tls_key_file",
            &locked,
            "encrypted keys are not supported",
        ),
        (
            pair(&cert, &other_key),
            "tls_key_file",
            &other_key,
            "is not the key of the certificate",
        ),
        (
            pair(&cert, &no_key),
            "tls_key_file",
            &no_key,
            "contains an unsupported key",
        ),
        (
            pair(&cert, &cut),
            "tls_key_file",
            &cut,
            "is a damaged PEM file",
        ),
        (
            pair(&cert, &bad_letter),
            "tls_key_file",
            &bad_letter,
            "is a damaged PEM file",
        ),
        (
            pair(&cert, &bad_line),
            "tls_key_file",
            &bad_line,
            "is a damaged PEM file",
        ),
    ] {
        // No server listens there: files are read before connecting.
        let error = refusal(&format!("rediss://127.0.0.1:1?{options}"));
        assert_eq!(error.code, Code::Invalid, "{options}: {error}");
        let begin = format!("INVALID option {option}: {path:?} ");
        assert!(error.message.starts_with(&begin), "{options}: {error}");
        assert!(error.message.contains(why), "{options}: {error}");
        assert!(!error.message.contains(&secret[..8]), "{error}");
    }
}

// ---- Peers that are not what they should be ------------------------------------------------------

#[test]
fn tls_and_plaintext_ports_do_not_mix() {
    let _serial = serial();
    let server = server(&PKI.good("ports"));
    let error = refusal(&tls_url(
        server.port(),
        "&connect_timeout_ms=300&timeout_ms=600",
    ));
    let words = &error.message;
    assert!(
        matches!(error.code, Code::Tls | Code::Timeout | Code::Connect),
        "{error}"
    );
    assert!(words.contains("TLS"), "{error}");
    assert!(!words.contains("hunter2"), "{error}");
    let plain = format!(
        "redis://:hunter2@127.0.0.1:{}?timeout_ms=600",
        port_of(&server)
    );
    let error = refusal(&plain);
    assert!(!error.message.contains("hunter2"), "{error}");
    assert!(error.message.contains("is it a TLS port?"), "{error}");
    assert_eq!(server.commandstats("hello").unwrap(), 0);
    // A peer that answers at once, as a server of another protocol would.
    let web = answering(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    let error = refusal(&tls_url(web, "&connect_timeout_ms=300"));
    assert_eq!(error.code, Code::Tls, "{error}");
    assert!(error.message.contains("did not send TLS"), "{error}");
}

/// The port of a server that answers everything with these bytes.
fn answering(bytes: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(bytes);
        }
    });
    port
}

#[test]
fn stalled_tls_handshake_ends_by_deadline() {
    let _serial = serial();
    // The kernel accepts the connection.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_port = silent.local_addr().unwrap().port();
    let dripping = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                std::thread::spawn(move || {
                    let header = [0x16, 0x03, 0x03, 0x40, 0x00, 0x02, 0x00, 0x3f, 0xfc];
                    for byte in header.into_iter().chain(std::iter::repeat(0)) {
                        if stream.write_all(&[byte]).is_err() {
                            break;
                        }
                        std::thread::sleep(Duration::from_millis(20));
                    }
                });
            }
        });
        port
    };
    for (what, port) in [("silent", silent_port), ("dripping", dripping)] {
        let url = tls_url(port, "&connect_timeout_ms=300&timeout_ms=450");
        let (client, time) = timed(|| Client::create(&url));
        let error = client.error().unwrap();
        assert_eq!(error.code, Code::Timeout, "{what}: {error}");
        assert!(error.message.contains("TLS handshake within 3"), "{error}");
        assert!(time >= Duration::from_millis(290), "{what}: {time:?}");
        assert!(time < Duration::from_millis(600), "{what}: {time:?}");
        let url = tls_url(port, "&timeout_ms=200&connect_timeout_ms=10000");
        let (client, time) = timed(|| Client::create(&url));
        assert_eq!(client.error().unwrap().code, Code::Timeout, "{what}");
        assert!(time < Duration::from_millis(500), "{what}: {time:?}");
    }
}

#[test]
fn interrupt_ends_tls_handshake() {
    let _serial = serial();
    let server = server(&PKI.good("interrupt"));
    let client = client(&tls_url(
        port_of(&server),
        "&timeout_ms=60000&attempt_timeout_ms=60000&connect_timeout_ms=60000&cluster=no",
    ));
    let pinned = Arc::new(client.pin(b"k"));
    server.stop().unwrap();
    // The kernel accepts the connection, and no answer comes.
    let began = Instant::now();
    let calling = std::thread::spawn({
        let pinned = pinned.clone();
        move || send(&pinned, "SET k v")
    });
    while !calling.is_finished() {
        pinned.interrupt();
        std::thread::yield_now();
        assert!(began.elapsed() < Duration::from_secs(10), "not interrupted");
    }
    let reply = calling.join().unwrap();
    assert_eq!(code(reply.view()), Code::Interrupted);
    assert!(!is_sent(reply.view()));
    server.cont().unwrap();
    assert_eq!(run(&pinned, "SET k v"), "OK");
}

// ---- The wire ------------------------------------------------------------------------------------

#[test]
fn split_and_cut_tls_records_are_handled() {
    let _serial = serial();
    let server = server(&PKI.good("chaos"));
    let pieces = Chaos {
        split: 3,
        delays: 2,
        delay: Duration::from_millis(3),
        ..Chaos::default()
    };
    let proxy = Proxy::start(port_of(&server), pieces, 11);
    let whole = Arc::new(client(&tls_url(
        proxy.port(),
        "&cluster=no&timeout_ms=60000&attempt_timeout_ms=60000&connect_timeout_ms=10000",
    )));
    let large = "x".repeat(100_000) + "end";
    assert_eq!(run(&whole, &format!("SET large {large}")), "OK");
    let mut commands = vec!["GET large".to_string()];
    let mut expected = vec![large];
    for n in 0..300 {
        commands.push(format!("SET k{n} v{n}"));
        commands.push(format!("GET k{n}"));
        expected.extend(["OK".to_string(), format!("v{n}")]);
    }
    assert!(run_all(&whole, &commands) == expected);

    let cutting = Chaos {
        cuts: 20,
        split: 0,
        ..pieces
    };
    let proxy = Proxy::start(port_of(&server), cutting, 12);
    let (mut healthy, mut unknown) = (0u64, 0u64);
    let mut connected = None;
    wait_for("a client is created", || {
        let client = Client::create(&tls_url(proxy.port(), "&cluster=no"));
        let created = client.error().is_none();
        connected = Some(client);
        created
    });
    let client = connected.unwrap();
    for n in 0..400 {
        let reply = send(&client, &format!("SET cut {n}"));
        assert!(
            matches!(code(reply.view()), Code::Ok | Code::Io | Code::Tls),
            "{}",
            show(reply.view())
        );
        let counted = send(&client, "INCR count");
        match code(counted.view()) {
            Code::Ok => healthy += 1,
            _ if is_sent(counted.view()) => unknown += 1,
            _ => {}
        }
        let reply = send(&client, &format!("ECHO e{n}"));
        if code(reply.view()) == Code::Ok {
            assert_eq!(
                show(reply.view()),
                format!("e{n}"),
                "the reply of another command"
            );
        }
    }
    assert!(proxy.cuts() > 5, "{} cuts", proxy.cuts());
    let count = server.command(&["GET", "count"]).unwrap().text();
    let count: u64 = count.parse().unwrap();
    assert!(
        (healthy..=healthy + unknown).contains(&count),
        "{count} increments, {healthy} acknowledged and {unknown} unknown"
    );
}

/// Terminates TLS in front of a plaintext server: connections to `port` continue to `to`. When the server closes, the
/// client gets a close_notify only if `polite`.
fn terminator(to: u16, polite: bool) -> (u16, Arc<AtomicUsize>) {
    let config = server_config(&format!("terminator-{to}"));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let resumed = Arc::new(AtomicUsize::new(0));
    let count = resumed.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (config, count) = (config.clone(), count.clone());
            std::thread::spawn(move || relay(stream.unwrap(), to, config, polite, &count));
        }
    });
    (port, resumed)
}

fn server_config(name: &str) -> Arc<rustls::ServerConfig> {
    let pair = PKI.good(name);
    let chain = CertificateDer::pem_file_iter(&pair.cert).unwrap();
    let chain: Vec<_> = chain.map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(&pair.key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    Arc::new(config)
}

fn relay(
    client: TcpStream,
    to: u16,
    config: Arc<rustls::ServerConfig>,
    polite: bool,
    resumed: &AtomicUsize,
) {
    let mut back = TcpStream::connect(("127.0.0.1", to)).unwrap();
    let glance = Some(Duration::from_millis(1));
    client.set_read_timeout(glance).unwrap();
    back.set_read_timeout(glance).unwrap();
    let session = rustls::ServerConnection::new(config).unwrap();
    let mut front = rustls::StreamOwned::new(session, client);
    let waits = |e: &std::io::Error| e.kind() == std::io::ErrorKind::WouldBlock;
    let mut buffer = [0; 16384];
    let mut greeted = true;
    loop {
        match front.read(&mut buffer) {
            Ok(0) => return,
            Ok(n) => {
                if greeted && front.conn.handshake_kind() == Some(rustls::HandshakeKind::Resumed) {
                    resumed.fetch_add(1, Ordering::SeqCst);
                }
                greeted = false;
                back.write_all(&buffer[..n]).unwrap();
            }
            Err(e) if waits(&e) => {}
            Err(_) => return,
        }
        match back.read(&mut buffer) {
            Ok(n @ 1..) => front.write_all(&buffer[..n]).unwrap(),
            Err(e) if waits(&e) => {}
            _ => break,
        }
    }
    if polite {
        front.conn.send_close_notify();
        let _ = front.flush();
    }
}

#[test]
fn tls_end_of_stream_never_completes_a_reply() {
    let _serial = serial();
    for polite in [false, true] {
        let script = Script::serve(move |_, command| match () {
            () if is_command(command, "GET half") => Action::SendClose(b"$10\r\nhello".to_vec()),
            () if is_command(command, "GET whole") => {
                Action::SendClose(b"$5\r\nhello\r\n".to_vec())
            }
            () if is_command(command, "INCR") => Action::SendClose(Vec::new()),
            () if is_command(command, "HELLO") => Action::send("-ERR unknown command 'HELLO'\r\n"),
            () => Action::send("+OK\r\n"),
        });
        let (port, resumed) = terminator(script.port(), polite);
        let client = client(&tls_url(port, "&cluster=no&timeout_ms=1000"));
        let lost = send(&client, "INCR k");
        assert_eq!(code(lost.view()), Code::Io, "{}", show(lost.view()));
        assert!(is_sent(lost.view()), "it may have run");
        assert_eq!(script.calls("INCR"), 1, "sent once");
        // A partial bulk string is no reply. (A pinned handle does not retry.)
        let half = send(&client.pin(b"half"), "GET half");
        assert_eq!(code(half.view()), Code::Io, "{}", show(half.view()));
        let words = show(half.view());
        assert_eq!(words.contains("close_notify"), !polite, "{words}");
        // A complete one is a reply, even at the end of the stream.
        assert_eq!(run(&client, "GET whole"), "hello");
        wait_for("the stream has ended", || run(&client, "ECHO k") == "OK");
        assert!(
            resumed.load(Ordering::SeqCst) > 0,
            "the node's certificate is looked at once"
        );
    }
}

/// Answers each command with OK, and SET with OK and a close_notify in one write. The socket stays open.
fn ends_session_after_set(client: TcpStream, config: Arc<rustls::ServerConfig>) {
    let session = rustls::ServerConnection::new(config).unwrap();
    let mut stream = rustls::StreamOwned::new(session, client);
    let mut buffer = [0; 16384];
    while let Ok(n @ 1..) = stream.read(&mut buffer) {
        let text = String::from_utf8_lossy(&buffer[..n]).into_owned();
        let mut replies = "+OK\r\n".repeat(text.matches('*').count());
        if text.contains("HELLO") {
            replies = replies.replacen("+OK", "-ERR unknown command 'HELLO'", 1);
        }
        stream.conn.writer().write_all(replies.as_bytes()).unwrap();
        if text.contains("SET\r\n$1\r\nk") {
            stream.conn.send_close_notify();
        }
        stream.flush().unwrap();
    }
    // The client closes first.
    drop(stream.sock.read(&mut buffer));
}

#[test]
fn close_notify_with_reply_costs_no_later_write() {
    let _serial = serial();
    let config = server_config("close-notify");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let config = config.clone();
            std::thread::spawn(move || ends_session_after_set(stream.unwrap(), config));
        }
    });
    let client = client(&tls_url(port, "&cluster=no&timeout_ms=1000"));
    let pinned = client.pin(b"k");
    for _ in 0..3 {
        assert_eq!(run(&client, "SET k v"), "OK");
        assert_eq!(run(&pinned, "SET k v"), "OK");
    }
}

// ---- Threads and forks ---------------------------------------------------------------------------

#[test]
fn many_tls_threads_read_their_own_writes() {
    let _serial = serial();
    let server = server(&PKI.good("threads"));
    let client = Arc::new(client(&tls_url(
        port_of(&server),
        "&cluster=no&connections_per_node=3&timeout_ms=20000&attempt_timeout_ms=20000",
    )));
    assert_own_writes_are_read(&client, 32, |_| "y".repeat(20_000));
}

#[test]
fn forked_child_does_not_touch_parent_tls_sessions() {
    let _serial = serial();
    let server = (!is_child_process()).then(|| server(&PKI.good("fork")));
    let url = server.as_ref().map(|s| tls_url(port_of(s), "&cluster=no"));
    in_child_process(&url.unwrap_or_default(), |url| {
        let client = Arc::new(client(&format!("{url}&connections_per_node=2")));
        let pinned = client.pin(b"k");
        assert_eq!(run(&pinned, "SET pinned v"), "OK");
        // After one byte of a child, the server could not decode the next record of its parent.
        fork_under_load(&client, 4, 20, |round| {
            let own = (0..5).all(|n| {
                let key = format!("child{round}:{n}");
                run(&client, &format!("SET {key} {n}")) == "OK"
                    && run_all(&client, &[format!("GET {key}")]) == [n.to_string()]
            });
            own && run(&pinned, "GET pinned") == "v"
        });
        assert_eq!(run(&pinned, "GET pinned"), "v");
    });
}
