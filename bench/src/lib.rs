//! What librediscluster costs beside its peers. Every contender runs in a process of its own and is
//! told what to do by lines on its standard input; `workers/worker.c` says how.

pub mod bars;
pub mod clock;
pub mod cluster;
pub mod contender;
pub mod data;
pub mod machine;
pub mod recovery;
pub mod report;
pub mod results;
pub mod svg;
pub mod worker;
pub mod workload;
