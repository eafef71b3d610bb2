//! Tests with a hosts file, a resolv.conf and a name server of their own.
//!
//! The files are replaced in a mount namespace, which needs root. Without root these tests print that they did not run.

use std::collections::HashMap;
use std::net::{IpAddr, UdpSocket};
use std::process::Command;
use std::sync::{Arc, Mutex};

/// Whether this user may replace system files.
pub fn may_replace_files() -> bool {
    let may = Command::new("unshare").args(["-m", "true"]).status();
    may.is_ok_and(|status| status.success())
}

/// Runs a test of this program again with these system files. The child finds `value` in RDC_TEST_PORTS.
pub fn run_with_files(name: &str, resolv: &str, hosts: &str, value: &str) {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let files = [("resolv.conf", resolv), ("hosts", hosts)].map(|(file, text)| {
        let file = folder.join(format!("{}-{file}", name.replace("::", "-")));
        std::fs::write(&file, text).unwrap();
        file
    });
    let script =
        "mount --bind $1 /etc/resolv.conf && mount --bind $2 /etc/hosts && shift 2 && exec \"$@\"";
    let output = Command::new("unshare")
        .args(["-m", "sh", "-c", script, "sh"])
        .args(files)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env("RDC_TEST_PORTS", value)
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stdout}\n{stderr}");
    assert!(stdout.contains("1 passed"), "{stdout}");
    print!("{stdout}");
}

/// A name server that knows a few names. It denies all others.
pub struct NameServer {
    records: Arc<Mutex<HashMap<String, Vec<IpAddr>>>>,
}

impl NameServer {
    fn start(ip: &str) -> NameServer {
        let socket = UdpSocket::bind((ip, 53)).unwrap();
        let records = Arc::<Mutex<HashMap<String, Vec<IpAddr>>>>::default();
        let known = records.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok((size, from)) = socket.recv_from(&mut buffer) {
                if let Some(answer) = answer(&buffer[..size], &known.lock().unwrap()) {
                    socket.send_to(&answer, from).unwrap();
                }
            }
        });
        NameServer { records }
    }

    /// Gives a name these addresses, with a time to live of 0.
    pub fn set(&self, name: &str, ips: &[&str]) {
        let ips = ips.iter().map(|ip| ip.parse().unwrap()).collect();
        self.records.lock().unwrap().insert(name.to_string(), ips);
    }
}

/// The answer to a query for one name.
fn answer(query: &[u8], records: &HashMap<String, Vec<IpAddr>>) -> Option<Vec<u8>> {
    let (mut name, mut at) = (Vec::new(), 12);
    while let Some(length @ 1..) = query.get(at).map(|n| usize::from(*n)) {
        let label = query.get(at + 1..at + 1 + length)?;
        name.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        at += 1 + length;
    }
    let wants_v4 = query.get(at + 2) == Some(&1);
    let known = records.get(&name.join("."));
    let ips = known
        .into_iter()
        .flatten()
        .filter(|ip| ip.is_ipv4() == wants_v4);
    // The header and the question, without the OPT record.
    let mut answer = query.get(..at + 5)?.to_vec();
    answer[2] |= 0x80;
    answer[3] = if known.is_some() { 0 } else { 3 };
    answer[11] = 0;
    for ip in ips {
        answer[7] += 1;
        let (kind, bytes) = match ip {
            IpAddr::V4(ip) => (1, ip.octets().to_vec()),
            IpAddr::V6(ip) => (28, ip.octets().to_vec()),
        };
        let length = bytes.len() as u8;
        answer.extend_from_slice(&[0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 0, 0, length]);
        answer.extend_from_slice(&bytes);
    }
    Some(answer)
}

/// Runs the body of a test in a process of its own that has an empty hosts file, the search domain `cluster.test`, and
/// this name server.
pub fn with_name_server<F: FnOnce(&NameServer)>(body: F) {
    if let Ok(ip) = std::env::var("RDC_TEST_PORTS") {
        return body(&NameServer::start(&ip));
    }
    if !may_replace_files() {
        return println!("not run: it takes a root user to replace /etc/resolv.conf");
    }
    let name = support::test_of::<F>();
    // An address of its own, because several tests run at the same time.
    let hash = name.bytes().fold(std::process::id(), |hash, byte| {
        hash.wrapping_mul(31).wrapping_add(byte.into())
    });
    let ip = format!("127.4.{}.{}", hash >> 8 & 255, hash & 255);
    let resolv = format!("nameserver {ip}\nsearch cluster.test\noptions timeout:1\n");
    run_with_files(name, &resolv, "", &ip);
}
