//! The table of running scans of one process.
//!
//! The cursor that a caller gets is the number of its scan and of the scan's step. The progress of the
//! scan (the slots that have been seen) does not fit into a cursor, so it is kept here. The progress
//! before the last step is kept too, so that a caller may ask for a page a second time.
//!
//! The servers' cursors of one database mean nothing in another.

use crate::error::{Error, Result};
use crate::route::Scan;
use rand::Rng;
use std::collections::HashMap;

/// The most scans that are kept; then the least recently used one is dropped. Each takes about 6 KiB.
const MAX_SCANS: usize = 1024;

/// The running scans of one process, by number.
#[derive(Clone, Debug, Default)]
pub struct Scans {
    running: HashMap<u32, RunningScan>,
    /// Incremented by each step of any scan.
    clock: u64,
}

#[derive(Clone, Debug)]
struct RunningScan {
    database: u16,
    step: u32,
    current: Scan,
    /// The progress before the last step.
    previous: Scan,
    last_used: u64,
}

impl Scans {
    /// The progress of the scan that a cursor names, which must be of this database.
    pub fn get(&self, cursor: u64, database: u16) -> Result<Scan> {
        if cursor == 0 {
            return Ok(Scan::default());
        }
        let (number, step) = decode_cursor(cursor);
        match self.running.get(&number) {
            Some(scan) if scan.database != database => Err(Error::invalid(format_args!(
                "the SCAN cursor {cursor} is of database {}, and this handle uses database {database}: continue with the \
                 handle that began the scan",
                scan.database
            ))),
            Some(scan) if scan.step == step => Ok(scan.current.clone()),
            Some(scan) if scan.step.wrapping_sub(1) == step => Ok(scan.previous.clone()),
            _ => Err(Error::invalid(format_args!(
                "the SCAN cursor {cursor} is unknown: its scan has ended or moved on, or {MAX_SCANS} newer scans have \
                 replaced it; begin again with 0"
            ))),
        }
    }

    /// Stores the progress in this database after the step that began with `cursor`; returns the next cursor.
    pub fn put(&mut self, cursor: u64, database: u16, progress: Scan) -> u64 {
        self.clock += 1;
        let (mut number, step) = decode_cursor(cursor);
        if cursor == 0 {
            self.make_room();
            // Random, so that a cursor of another client is not taken for one of this process.
            while number == 0 || self.running.contains_key(&number) {
                number = crate::sim_hooks::rng().random_range(1..1 << 31);
            }
        }
        let last_used = self.clock;
        let scan = self.running.entry(number).or_insert_with(|| RunningScan {
            database,
            step,
            current: Scan::default(),
            previous: Scan::default(),
            last_used,
        });
        scan.last_used = last_used;
        if scan.step == step {
            scan.previous = std::mem::replace(&mut scan.current, progress);
            scan.step = step.wrapping_add(1);
        } else {
            scan.current = progress;
        }
        u64::from(number) << 32 | u64::from(scan.step)
    }

    /// Removes the scan that a cursor names.
    pub fn remove(&mut self, cursor: u64) {
        self.running.remove(&decode_cursor(cursor).0);
    }

    fn make_room(&mut self) {
        if self.running.len() >= MAX_SCANS
            && let Some(oldest) = self.running.iter().min_by_key(|(_, scan)| scan.last_used)
        {
            let oldest = *oldest.0;
            self.running.remove(&oldest);
        }
    }
}

/// The number of a scan, 31 bits, and of its step, 32 bits.
fn decode_cursor(cursor: u64) -> (u32, u32) {
    ((cursor >> 32) as u32, cursor as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursor_is_repeatable_until_scan_advances() {
        let mut scans = Scans::default();
        let first = scans.put(0, 0, Scan::default());
        let second = scans.put(first, 0, Scan::default());
        assert!(scans.get(first, 0).is_ok() && scans.get(second, 0).is_ok());
        assert_eq!(scans.put(first, 0, Scan::default()), second);
        let third = scans.put(second, 0, Scan::default());
        assert!(scans.get(first, 0).is_err() && scans.get(second, 0).is_ok());
        assert!(
            [first, second, third]
                .iter()
                .all(|c| *c > 0 && *c < 1 << 63)
        );
        let error = scans.get(third, 3).unwrap_err();
        assert!(error.message.contains("is of database 0"), "{error}");
        scans.remove(third);
        assert!(scans.get(third, 0).is_err() && scans.get(second, 0).is_err());
    }

    #[test]
    fn least_recently_used_scan_is_evicted_first() {
        let mut scans = Scans::default();
        let cursors: Vec<u64> = (0..MAX_SCANS)
            .map(|_| scans.put(0, 0, Scan::default()))
            .collect();
        let used = scans.put(cursors[0], 0, Scan::default());
        let new = scans.put(0, 0, Scan::default());
        assert_eq!(scans.running.len(), MAX_SCANS);
        assert!(scans.get(used, 0).is_ok() && scans.get(new, 0).is_ok());
        let error = scans.get(cursors[1], 0).unwrap_err();
        assert!(error.message.contains("begin again with 0"), "{error}");
        assert!(scans.get(cursors[2], 0).is_ok());
    }
}
