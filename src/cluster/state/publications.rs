//! When clients that publish refresh the topology.
//!
//! A node that was demoted accepts PUBLISH and SPUBLISH, and passes the messages on. So no reply tells a client that only
//! publishes that another node is the primary now.

use super::core::{Core, ProcessState};
use crate::config::Config;
use std::time::Duration;

/// The time between two refreshes while no subscriber is at the node: they have left one that was demoted.
const UNHEARD: Duration = Duration::from_millis(1000);

impl Core {
    /// A message is published by a handle with these options: the topology is refreshed when the last refresh is
    /// `subscriber_ping_ms` old.
    pub fn note_publication(&self, process: &ProcessState, options: &Config) {
        self.refresh_after(process, Duration::from_millis(options.subscriber_ping_ms));
    }

    /// The node has counted no subscriber.
    pub fn note_unheard_publication(&self, process: &ProcessState) {
        self.refresh_after(process, UNHEARD);
    }

    /// The first call at this time after the last refresh refreshes the topology, unless another refresh begins before.
    fn refresh_after(&self, process: &ProcessState, time: Duration) {
        if let Some(last) = self.last_refresh(process) {
            process.want_refresh_by(last.plus(time));
        }
    }
}
