//! The commands that the table does not describe, such as those of modules, as servers describe them.

use crate::route::Access;
use std::collections::HashMap;

/// The most names that are kept; a server describes other commands on each call.
const MAX_COMMANDS: usize = 1024;

/// Command descriptions, by name in upper case.
#[derive(Clone, Debug, Default)]
pub struct ModuleCommands(HashMap<Vec<u8>, CommandInfo>);

/// The description of a command by COMMAND INFO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandInfo {
    pub access: Access,
    pub keys: KeyPositions,
}

/// Where a command has its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyPositions {
    None,
    Range {
        first: usize,
        /// Counted from the end, if negative.
        last: i64,
        step: usize,
    },
    /// Depends on the arguments: COMMAND GETKEYS finds them.
    Movable,
    /// The server refused COMMAND INFO.
    Refused,
}

impl ModuleCommands {
    pub fn get(&self, name: &[u8]) -> Option<CommandInfo> {
        self.0.get(&name.to_ascii_uppercase()).copied()
    }

    pub fn put(&mut self, name: &[u8], info: CommandInfo) {
        if self.0.len() < MAX_COMMANDS {
            self.0.insert(name.to_ascii_uppercase(), info);
        }
    }
}
