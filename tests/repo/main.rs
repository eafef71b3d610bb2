//! What can be read off the sources and the documents: layers, generated pages, the header, and the names of tests.

mod abi;
mod configuration;
mod import_circles;
mod layering;
mod reliability;
mod statistics;
