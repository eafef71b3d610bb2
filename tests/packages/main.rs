//! The packages of `make dist`: each is installed by its usual tool into an empty folder, and a program that uses it runs
//! against a real cluster. docs/packages.md describes the packages.
//!
//! They are made of the release build. What this machine has no tool for is skipped with a sentence; `make test` installs
//! the tools of all but the Debian packages.

mod archive;
mod built;
mod crates_io;
mod debian;
mod go;
mod lists;
mod node;
mod python;
mod ruby;

#[path = "../programs/mod.rs"]
mod programs;
#[path = "../release_build/mod.rs"]
mod release_build;
