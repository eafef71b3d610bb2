//! The time that a call needs to free what it holds. It ends that much before its deadline.

use std::time::Duration;

/// How many bytes a thread frees in a microsecond: the kernel takes back page after page.
const FREED_BYTES_PER_US: usize = 10_000;
/// How long it takes to close a connection.
const CLOSE_US: usize = 30;

/// How long it takes to free so many bytes and close so many connections: 100 ms for 1 GB, 30 ms for 1,000 connections.
pub fn release_time(bytes: usize, connections: usize) -> Duration {
    let us = bytes / FREED_BYTES_PER_US + connections.saturating_mul(CLOSE_US);
    Duration::from_micros(us as u64)
}
