//! Clients that connect through proxies which delay, split, cut and change bytes at random.

use super::wait_for;
use rediscluster::cluster::Client;
use std::time::Instant;
use support::{Chaos, Proxy};

/// A random seed: `RDC_SEED`, or a new one. It is printed, so that a run can be repeated.
pub fn seed() -> u64 {
    let seed = match std::env::var("RDC_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => Instant::now().elapsed().as_nanos() as u64 ^ u64::from(std::process::id()) << 20,
    };
    println!("RDC_SEED={seed}");
    seed
}

/// One proxy for each port of 127.0.0.1.
pub struct Proxies(Vec<(u16, Proxy)>);

impl Proxies {
    pub fn to(ports: impl IntoIterator<Item = u16>, chaos: Chaos, seed: u64) -> Proxies {
        let proxy = |(n, port)| (port, Proxy::start(port, chaos, seed + n as u64));
        Proxies(ports.into_iter().enumerate().map(proxy).collect())
    }

    /// The URL option that makes a client connect through these proxies.
    pub fn option(&self) -> String {
        let rule =
            |(port, proxy): &(u16, Proxy)| format!("127.0.0.1:{port}=127.0.0.1:{}", proxy.port());
        let rules: Vec<String> = self.0.iter().map(rule).collect();
        format!("address_map={}", rules.join(","))
    }

    pub fn set(&self, chaos: Chaos) {
        self.0.iter().for_each(|(_, proxy)| proxy.set(chaos));
    }

    /// How many connections they have cut.
    pub fn cuts(&self) -> usize {
        self.0.iter().map(|(_, proxy)| proxy.cuts()).sum()
    }

    /// How many bits they have flipped and replies they have doubled.
    pub fn changes(&self) -> usize {
        self.0.iter().map(|(_, proxy)| proxy.changes()).sum()
    }
}

/// A client that connects, although its connections may be cut meanwhile.
pub fn connect_with_retries(url: &str) -> Client {
    let mut client = Client::create(url);
    wait_for("it connects", || {
        if client.error().is_some() {
            client = Client::create(url);
        }
        client.error().is_none()
    });
    client
}
