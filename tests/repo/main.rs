//! Checks of sources and documents: layers, generated pages, the header, and the names of tests.

mod abi;
mod configuration;
mod dependencies;
mod import_circles;
mod layering;
mod man;
mod reliability;
mod statistics;
