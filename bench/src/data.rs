//! The data in the cluster, and the order in which keys are requested.

pub const KEYS: usize = 100_000;
pub const VALUE: &[u8; 16] = b"0123456789abcdef";
pub const MANY: usize = 100;
pub const ELEMENTS: usize = 10_000;
pub const BIG: usize = 10 * 1024 * 1024;

pub fn key(i: usize) -> String {
    format!("key:{i}")
}

/// Iterates over all keys, in an order that alternates between slots.
pub struct Keys(pub usize);

impl Keys {
    pub fn next_key(&mut self) -> usize {
        self.0 = (self.0 + 7919) % KEYS;
        self.0
    }
}
