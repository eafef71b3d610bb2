//! How often a database that a node refuses is selected.

use super::connect_backoff::{ConnectBackoff, FailedConnect};
use crate::deadline::Time;
use crate::error::Result;
use crate::sync::{Mutex, lock};
use once_cell::race::OnceBox;
use std::collections::BTreeMap;

/// The backoffs of one node, for each database that it has refused. The node serves other databases meanwhile.
#[derive(Debug, Default)]
pub(super) struct DatabaseBackoffs {
    /// Allocated for the first refusal: most nodes never refuse a database.
    refused: OnceBox<Mutex<BTreeMap<u16, ConnectBackoff>>>,
}

impl DatabaseBackoffs {
    /// See [`ConnectBackoff::try_start`].
    pub(super) fn try_start(&self, database: u16, time: Time, credentials: u32) -> Result<()> {
        let Some(refused) = self.refused.get() else {
            return Ok(());
        };
        let refused = lock(refused);
        let backoff = refused.get(&database);
        backoff.map_or(Ok(()), |backoff| backoff.try_start(time, credentials))
    }

    /// See [`ConnectBackoff::is_backing_off`].
    pub(super) fn is_backing_off(&self, database: u16, time: Time) -> bool {
        let is_backing_off = |backoff: &ConnectBackoff| backoff.is_backing_off(time);
        let refused = self.refused.get();
        refused.is_some_and(|refused| lock(refused).get(&database).is_some_and(is_backing_off))
    }

    /// The node has selected the database.
    pub(super) fn on_success(&self, database: u16) {
        if let Some(refused) = self.refused.get() {
            lock(refused).remove(&database);
        }
    }

    /// The node has refused the database.
    pub(super) fn on_refusal(&self, database: u16, time: Time, failed: FailedConnect<'_>) {
        let refused = self.refused.get_or_init(Box::default);
        let mut refused = lock(refused);
        refused
            .entry(database)
            .or_default()
            .on_failure(time, failed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deadline::now;
    use crate::error::{Code, Error};
    use std::time::Duration;

    #[test]
    fn refused_database_delays_no_other_one() {
        let (backoffs, time) = (DatabaseBackoffs::default(), now());
        let error = Error::new(Code::Invalid, "out of range");
        backoffs.on_refusal(3, time, FailedConnect::new(time, 0, &error));
        assert!(backoffs.try_start(3, time, 0).is_err() && backoffs.is_backing_off(3, time));
        assert!(backoffs.try_start(0, time, 0).is_ok() && !backoffs.is_backing_off(4, time));
        let later = time.plus(Duration::from_millis(121));
        assert!(
            backoffs.try_start(3, later, 0).is_ok(),
            "one caller tries again"
        );
        backoffs.on_success(3);
        assert!(backoffs.try_start(3, later, 0).is_ok());
    }
}
