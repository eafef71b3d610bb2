//! Which error replies prove that nothing has run. Two tables, no I/O.
//!
//! Servers check a command before they run it: the user's rights, the number of arguments, the slot, the state of the
//! node. Such an error begins with a word of its own. But a script can return any text as its error, and can pass on the
//! error of a command that it has called. So where code of the caller or of a module words the errors, only whole
//! sentences count that servers use before that code begins and not for the commands that it calls.
//!
//! Not told apart: code that returns one of these sentences word for word although it has run.

use super::command::{Flag, Row};

/// Whose code words the errors of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wording {
    /// The server's alone: the first words tell.
    Server,
    /// That of a script, a function or a module. The command has this name, and keys in this slot.
    Code {
        name: &'static str,
        slot: Option<u16>,
    },
    /// Unknown, as is the slot: the table does not describe the command.
    Unknown,
}

impl Wording {
    /// The wording of a command with this row, and with keys in this slot.
    pub fn of(row: Option<&'static Row>, slot: Option<u16>) -> Wording {
        match row {
            None => Wording::Unknown,
            Some(row) if row.flags.has(Flag::OwnErrors) => Wording::Code {
                name: row.name,
                slot,
            },
            Some(_) => Wording::Server,
        }
    }
}

/// The beginnings of errors with which a server refuses a command of its own. A beginning ends where a word ends.
///
/// Not here: errors of a command that has begun, although most of them have changed nothing (WRONGTYPE, "ERR syntax
/// error", "ERR value is not an integer"). The server has run such a command.
const REFUSALS: &[&str] = &[
    // The user. All versions since 6, which introduced users.
    "NOAUTH",
    "NOPERM",
    "WRONGPASS",
    // Protected mode, sent to a new connection.
    "DENIED",
    "NOPROTO",
    "ERR max number of clients",
    // The command. Redis 5 and 6 begin with "Unknown subcommand"; Envoy and twemproxy have words of their own.
    "ERR unknown command",
    "ERR unknown subcommand",
    "ERR Unknown subcommand",
    "ERR wrong number of arguments",
    "ERR unsupported command",
    "unsupported command",
    // The slot.
    "MOVED",
    "ASK",
    "TRYAGAIN",
    "CROSSSLOT",
    "CLUSTERDOWN",
    // The state of the node.
    "LOADING",
    "MASTERDOWN",
    "READONLY",
    "OOM",
    "MISCONF",
    "NOREPLICAS",
    "BUSY",
    // The script is not there.
    "NOSCRIPT",
    // A command inside a transaction was refused, so none has run.
    "EXECABORT",
    // The end of a transaction without a beginning.
    "ERR EXEC without MULTI",
    "ERR DISCARD without MULTI",
    // The command was blocking when its node was demoted. (UNBLOCKED after the deletion of a stream or after CLIENT
    // UNBLOCK is the outcome of a command that has run.)
    "UNBLOCKED force unblock from blocking operation, instance state changed",
];

/// The beginnings of errors to a command that a transaction cannot contain. The transaction stays open.
const REFUSED_BY_TRANSACTION: &[&str] = &[
    "ERR MULTI calls can not be nested",
    "ERR WATCH inside MULTI",
    // Valkey 8.
    "ERR Command not allowed inside a transaction",
    // Valkey 9.
    "ERR Command 'multi' not allowed inside a transaction",
    "ERR Command 'watch' not allowed inside a transaction",
];

/// Sentences that no command called by a script or a module ends with. There, "ERR" or other words stand in their place:
/// "ERR Script attempted to access a non local key in a cluster node", "ERR ACL failure in script: ...". READONLY, OOM,
/// MISCONF and NOREPLICAS are not here, because a script can pass them on in the same words.
///
/// From Redis 7.0 and 8.2, Valkey 8.1 and 9.1. Valkey has its own name in some, unless `extended-redis-compatibility`.
const SENTENCES: &[&str] = &[
    "LOADING Redis is loading the dataset in memory",
    "LOADING Valkey is loading the dataset in memory",
    "TRYAGAIN Multiple keys request during rehashing of slot",
    "CROSSSLOT Keys in request don't hash to the same slot",
    "CLUSTERDOWN The cluster is down",
    "CLUSTERDOWN The cluster is down and only accepts read commands",
    "CLUSTERDOWN Hash slot not served",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "MASTERDOWN Link with MASTER is down, replica-serve-stale-data is set to 'no' and 'allow-stale' flag is not set on the script.",
    "READONLY Can not run script with write flag on readonly replica",
    "OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'",
    "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. Writable scripts are blocked. Use 'no-writes' flag for read only scripts.",
    "MISCONF Valkey is configured to save RDB snapshots, but it's currently unable to persist to disk. Writable scripts are blocked. Use 'no-writes' flag for read only scripts.",
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.",
    "BUSY Redis is busy running a module command.",
    "BUSY Valkey is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "BUSY Valkey is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.",
    "BUSY Valkey is busy running a module command.",
    "NOSCRIPT No matching script. Please use EVAL.",
    // Valkey.
    "NOSCRIPT No matching script.",
    "ERR Function not found",
    "NOAUTH Authentication required.",
    // Redis 6 and 7.0; later versions.
    "NOPERM this user has no permissions to access one of the keys used as arguments",
    "NOPERM No permissions to access a key",
];

/// Precedes the name of a command that the user may not run. A script cannot call the command that runs it.
const NO_RIGHT_TO_RUN: &[u8] = b" has no permissions to run the '";

/// Whether an error reply proves that nothing of the command has run.
pub fn is_refusal(text: &[u8], wording: Wording) -> bool {
    let (name, slot) = match wording {
        Wording::Server => {
            return REFUSALS.iter().any(|refusal| begins(text, refusal))
                || is_refused_by_transaction(text);
        }
        Wording::Code { name, slot } => (name, slot.map(Some)),
        Wording::Unknown => ("", Some(None)),
    };
    SENTENCES.iter().any(|sentence| sentence.as_bytes() == text)
        // A script that calls an unknown command gets "ERR Unknown Redis command called from script".
        || begins(text, "ERR unknown command")
        || begins(text, "NOPERM") && denies_right_to_run(text, name)
        || slot.is_some_and(|slot| is_exact_redirection(text, slot))
}

/// Whether the user may not run the command with this name.
fn denies_right_to_run(text: &[u8], name: &str) -> bool {
    let Some(at) = memchr::memmem::find(text, NO_RIGHT_TO_RUN) else {
        return false;
    };
    let mut quoted = text[at + NO_RIGHT_TO_RUN.len()..].split(|b| *b == b'\'');
    (quoted.next()).is_some_and(|denied| denied.eq_ignore_ascii_case(name.as_bytes()))
}

/// Whether a command was refused because a transaction is open, which stays open.
pub fn is_refused_by_transaction(text: &[u8]) -> bool {
    (REFUSED_BY_TRANSACTION.iter()).any(|refusal| begins(text, refusal))
}

/// Whether a text begins with these words.
fn begins(text: &[u8], words: &str) -> bool {
    let rest = text.strip_prefix(words.as_bytes());
    rest.is_some_and(|rest| !rest.first().is_some_and(u8::is_ascii_alphanumeric))
}

/// Whether a text is a redirection in exactly the form of a server, `MOVED 1 host:port`: of this slot, or of any. The
/// error of a script is longer, unless the script returns it as its result.
fn is_exact_redirection(text: &[u8], slot: Option<u16>) -> bool {
    let mut words = text.split(|b| *b == b' ');
    let word = words.next();
    let named = words.next().unwrap_or_default();
    (word == Some(b"MOVED") || word == Some(b"ASK"))
        && slot.is_none_or(|slot| slot.to_string().as_bytes() == named)
        && words.next().is_some_and(|address| address.contains(&b':'))
        && words.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::table;

    const SCRIPT: Wording = Wording::Code {
        name: "EVALSHA",
        slot: Some(7),
    };

    #[test]
    fn wording_follows_from_row() {
        let of = |row| Wording::of(row, Some(7));
        assert_eq!(of(Some(table::INCR)), Wording::Server);
        for row in [table::EVAL, table::EVALSHA_RO, table::FCALL, table::VADD] {
            let (name, slot) = (row.name, Some(7));
            assert_eq!(of(Some(row)), Wording::Code { name, slot });
        }
        assert_eq!(of(None), Wording::Unknown);
    }

    #[test]
    fn refusal_of_server_command_is_known_by_first_words() {
        for text in [
            "NOPERM this user has no permissions to run the 'incr' command",
            "NOPERM No permissions to access a key",
            "NOAUTH Authentication required.",
            "OOM command not allowed when used memory > 'maxmemory'.",
            "NOREPLICAS Not enough good replicas to write.",
            "READONLY You can't write against a read only replica.",
            "MISCONF Errors writing to the AOF file: No space left on device",
            "BUSY Redis is busy running a script.",
            "LOADING",
            "ERR unknown command 'foo', with args beginning with: ",
            "ERR unknown command `foo`, with args beginning with: ",
            "ERR unknown subcommand 'x'. Try CONFIG HELP.",
            "ERR Unknown subcommand or wrong number of arguments for 'x'. Try CONFIG HELP.",
            "ERR wrong number of arguments for 'get' command",
            "EXECABORT Transaction discarded because of previous errors.",
            "CROSSSLOT Keys in request don't hash to the same slot",
            "MOVED 1 ?:7000",
        ] {
            assert!(is_refusal(text.as_bytes(), Wording::Server), "{text}");
        }
        for text in [
            "",
            "ERR",
            "ERR syntax error",
            "ERR value is not an integer or out of range",
            "WRONGTYPE Operation against a key holding the wrong kind of value",
            "BUSYGROUP Consumer Group name already exists",
            "BUSYKEY Target key name already exists.",
            "OOMS",
            "UNBLOCKED client unblocked via CLIENT UNBLOCK",
            "ERR Target instance replied with error: OOM command not allowed",
            "IOERR error or timeout reading to target instance",
        ] {
            assert!(!is_refusal(text.as_bytes(), Wording::Server), "{text}");
        }
    }

    #[test]
    fn refusal_of_code_needs_whole_sentence() {
        for text in [
            "LOADING Redis is loading the dataset in memory",
            "LOADING Valkey is loading the dataset in memory",
            "CLUSTERDOWN Hash slot not served",
            "TRYAGAIN Multiple keys request during rehashing of slot",
            "NOSCRIPT No matching script. Please use EVAL.",
            "NOSCRIPT No matching script.",
            "NOPERM this user has no permissions to run the 'evalsha' command",
            "NOPERM User u has no permissions to run the 'evalsha' command",
            "ERR unknown command 'fcall', with args beginning with: 'f' '0' ",
            "MOVED 7 10.0.0.1:7000",
            "ASK 7 :7000",
        ] {
            assert!(is_refusal(text.as_bytes(), SCRIPT), "{text}");
        }
        for text in [
            "LOADING",
            "LOADING mine",
            "LOADING Redis is loading the dataset in memory script: 1f, on @user_script:1.",
            "LOADING Redis is loading the dataset in memory script: on @user_script:1.",
            "TRYAGAIN",
            "CLUSTERDOWN mine",
            "MASTERDOWN mine",
            "NOSCRIPT mine",
            "READONLY You can't write against a read only replica.",
            "OOM command not allowed when used memory > 'maxmemory'.",
            "NOREPLICAS Not enough good replicas to write.",
            "NOPERM mine",
            "NOPERM User u has no permissions to run the 'get' command",
            "ERR wrong number of arguments for 'hset' command",
            "ERR Unknown Redis command called from script",
            "ERR ACL failure in script: No permissions to access a key",
            "MOVED 8 10.0.0.1:7000",
            "MOVED 07 10.0.0.1:7000",
            "moved 7 10.0.0.1:7000",
            "MOVED 7 10.0.0.1:7000 script: 1f, on @user_script:1.",
            "MOVED 7",
            "MOVED",
            "EXECABORT mine",
            "",
        ] {
            assert!(!is_refusal(text.as_bytes(), SCRIPT), "{text}");
        }
        // A script without keys is never redirected; the slot of an unknown command is a guess.
        let moved = b"MOVED 8 10.0.0.1:7000";
        let keyless = Wording::Code {
            name: "EVAL",
            slot: None,
        };
        assert!(!is_refusal(moved, keyless));
        assert!(is_refusal(moved, Wording::Unknown));
        assert!(!is_refusal(b"LOADING mine", Wording::Unknown));
    }
}
