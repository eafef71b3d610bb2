//! Benchmarks of librediscluster against other clients. Every contender runs in a process of its own,
//! and reads the workloads to run from its standard input. `workers/worker.c` describes the protocol.

pub mod bars;
pub mod clock;
pub mod cluster;
pub mod compile;
pub mod contender;
pub mod data;
pub mod event_loop_page;
pub mod machine;
pub mod message_page;
pub mod ratio_chart;
pub mod recovery;
pub mod report;
pub mod results;
pub mod svg;
pub mod worker;
pub mod workload;
