//! Clients that reach their servers by wires which do to bytes whatever dice say.

use super::until;
use rediscluster::cluster::Client;
use std::time::Instant;
use support::{Chaos, Proxy};

/// A seed for dice: `RDC_SEED`, or another each time; it is said, so that the day can be lived again.
pub fn seed() -> u64 {
    let seed = match std::env::var("RDC_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => Instant::now().elapsed().as_nanos() as u64 ^ u64::from(std::process::id()) << 20,
    };
    println!("RDC_SEED={seed}");
    seed
}

/// A wire to each port of 127.0.0.1.
pub struct Wires(Vec<(u16, Proxy)>);

impl Wires {
    pub fn to(ports: impl IntoIterator<Item = u16>, chaos: Chaos, seed: u64) -> Wires {
        let wire = |(n, port)| (port, Proxy::start(port, chaos, seed + n as u64));
        Wires(ports.into_iter().enumerate().map(wire).collect())
    }

    /// What a URL says for its client to go by these wires.
    pub fn option(&self) -> String {
        let way =
            |(port, wire): &(u16, Proxy)| format!("127.0.0.1:{port}=127.0.0.1:{}", wire.port());
        let ways: Vec<String> = self.0.iter().map(way).collect();
        format!("address_map={}", ways.join(","))
    }

    pub fn set(&self, chaos: Chaos) {
        self.0.iter().for_each(|(_, wire)| wire.set(chaos));
    }

    /// How often they have cut.
    pub fn cuts(&self) -> usize {
        self.0.iter().map(|(_, wire)| wire.cuts()).sum()
    }

    /// How often they have turned a bit, or said something twice.
    pub fn changes(&self) -> usize {
        self.0.iter().map(|(_, wire)| wire.changes()).sum()
    }
}

/// A client that is connected, however often its wire is cut while it connects.
pub fn patient(url: &str) -> Client {
    let mut client = Client::create(url);
    until("it connects", || {
        if client.error().is_some() {
            client = Client::create(url);
        }
        client.error().is_none()
    });
    client
}
