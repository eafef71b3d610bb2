//! The retry policy: from an error to the action after it. One table, no I/O.
//!
//! Each row depends on whether the command can have run. A node that replies MOVED, ASK, TRYAGAIN,
//! CLUSTERDOWN, LOADING, MASTERDOWN or READONLY has not executed it; `refusal` says which replies prove that. Nor has a
//! node to which no byte of the command was written. Such a command may be sent again. Any other command without a reply
//! may have run, and is sent again only if it is repeatable.

use super::refusal::{Wording, is_refusal};
use crate::address::Address;
use crate::error::{Code, Error};
use crate::sim_hooks::sim_panic_point;
use crate::topology::redirection;
use std::time::Duration;

/// The circumstances of an error.
#[derive(Clone, Copy, Debug)]
pub struct ErrorContext {
    /// The command may run twice: it is a read, or the caller allows it (`retry_writes`).
    pub repeatable: bool,
    /// The caller selected the node, so the command goes to no other.
    pub node_chosen_by_caller: bool,
    /// The command is a read that other nodes of the shard could serve.
    pub any_replica_ok: bool,
    /// The node is not the primary, so it can be ejected without stopping writes.
    pub is_not_primary: bool,
    /// Whose code words the error replies to the command.
    pub wording: Wording,
}

/// What to do after an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RetryAction {
    /// Return the error to the caller: the command has run, or may have.
    Deliver(Code),
    /// The same, and nothing of the command has run.
    Refused(Code),
    /// The slot has moved: send the command there, and patch the slot map.
    Moved { slot: u16, to: Address },
    /// The key may have moved: send ASKING and the command there, once.
    Ask { to: Address },
    /// Send the command again, to another node if there is a choice.
    Retry(RetryPlan),
    /// Send the command again with the body of the script instead of its digest, if the body is known.
    ResendScript,
}

/// How to send a command again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetryPlan {
    /// Eject the node.
    pub eject: bool,
    /// Refresh the topology, which may be outdated.
    pub refresh: bool,
    /// Back off first: the cluster needs time.
    pub wait: bool,
    /// The node refused the command, so it has certainly not run.
    pub refused: bool,
    /// The node was the primary and is a replica now.
    pub demoted: bool,
}

/// The action after an error reply.
///
/// Only a reply that *is* an error: an error inside an array is data, because the command ran.
pub fn action_for_reply(text: &[u8], from: &Address, context: ErrorContext) -> RetryAction {
    sim_panic_point!(Route);
    let error_code = text.split(|b| *b == b' ').next().unwrap_or_default();
    if !is_refusal(text, context.wording) {
        return RetryAction::Deliver(code_of(error_code));
    }
    let refused = RetryPlan {
        refused: true,
        wait: true,
        ..RetryPlan::default()
    };
    match error_code {
        b"MOVED" | b"ASK" if context.node_chosen_by_caller => RetryAction::Refused(Code::Server),
        b"MOVED" | b"ASK" => match redirection(text, from) {
            Some(r) if r.ask => RetryAction::Ask { to: r.to },
            Some(r) => RetryAction::Moved {
                slot: r.slot,
                to: r.to,
            },
            // The redirection has no usable address ("?" as the host, an invalid port): another node
            // may have it.
            None => RetryAction::Retry(RetryPlan {
                refresh: true,
                ..refused
            }),
        },
        // The keys of the command are on both sides of a migration, which will end.
        b"TRYAGAIN" => RetryAction::Retry(refused),
        // "Hash slot not served", "The cluster is down": during a failover.
        b"CLUSTERDOWN" => RetryAction::Retry(RetryPlan {
            refresh: true,
            ..refused
        }),
        // The node has just started and loads its data; another node of the shard has the data.
        b"LOADING" => RetryAction::Retry(RetryPlan {
            eject: true,
            refresh: !context.any_replica_ok,
            wait: !context.any_replica_ok,
            ..refused
        }),
        // A script runs for too long. Another node that can serve the read is not blocked by it.
        b"BUSY" if context.any_replica_ok => RetryAction::Retry(RetryPlan {
            eject: true,
            refused: true,
            ..RetryPlan::default()
        }),
        // A replica without a link to its primary that is configured not to serve stale data.
        b"MASTERDOWN" => RetryAction::Retry(RetryPlan {
            eject: true,
            refresh: true,
            wait: !context.any_replica_ok,
            ..refused
        }),
        // A demoted primary that does not answer MOVED yet, or never will: it has no cluster support.
        b"READONLY" if !context.node_chosen_by_caller => RetryAction::Retry(RetryPlan {
            refresh: true,
            demoted: true,
            ..refused
        }),
        // EVALSHA of a script that the node does not have: nothing ran.
        b"NOSCRIPT" => RetryAction::ResendScript,
        // The command was blocking when its node was demoted; it changed nothing.
        b"UNBLOCKED" => RetryAction::Retry(RetryPlan {
            refresh: true,
            demoted: true,
            ..refused
        }),
        _ => RetryAction::Refused(code_of(error_code)),
    }
}

/// The code of an error reply that is returned to the caller.
fn code_of(error_code: &[u8]) -> Code {
    match error_code {
        b"NOAUTH" | b"WRONGPASS" | b"NOPERM" => Code::Auth,
        b"CROSSSLOT" => Code::CrossSlot,
        _ => Code::Server,
    }
}

/// The action if there is no reply.
pub fn action_for_failure(error: &Error, context: ErrorContext) -> RetryAction {
    if error.sent && !context.repeatable {
        return RetryAction::Deliver(error.code);
    }
    match error.code {
        // Only the caller can resolve these.
        Code::Interrupted | Code::Closed | Code::Auth | Code::Invalid | Code::Internal => {
            RetryAction::Deliver(error.code)
        }
        // A node that violates the protocol or has the wrong certificate will fail again. Another node may serve
        // the read.
        Code::Protocol | Code::Tls if !context.any_replica_ok => RetryAction::Deliver(error.code),
        // The memory limit is reached: another node's reply would not be smaller.
        Code::Protocol if error.node.is_none() => RetryAction::Deliver(error.code),
        Code::Protocol | Code::Tls => RetryAction::Retry(RetryPlan {
            eject: true,
            ..RetryPlan::default()
        }),
        // The connection broke. Servers close idle or unwelcome connections, so the node may be alive: the
        // next connect shows it. A replica is ejected until then. If nothing was sent on the connection,
        // the node may never serve it again, so the topology is refreshed.
        Code::Io => RetryAction::Retry(RetryPlan {
            eject: context.is_not_primary,
            wait: !context.any_replica_ok,
            refresh: !error.sent,
            ..RetryPlan::default()
        }),
        // The node refuses connections or does not answer: another node may own its slots by now.
        _ => RetryAction::Retry(RetryPlan {
            eject: true,
            refresh: true,
            wait: !context.any_replica_ok,
            ..RetryPlan::default()
        }),
    }
}

/// Whether a client that could not connect for this reason may connect later, without a change of its options.
pub fn may_pass(error: &Error) -> bool {
    match error.code {
        // The nodes are not there yet, or do not serve yet. A proxy without a server behind it closes connections. A
        // handshake ends with an error of the server only if the server is busy: it loads its data, for example.
        Code::Connect | Code::Io | Code::Timeout | Code::Down | Code::Server => true,
        _ => false,
    }
}

/// The least time for a write's last attempt.
const MIN_WRITE_ATTEMPT: Duration = Duration::from_millis(5);

/// An attempt that had less time than this shows nothing about the node.
const MIN_ATTEMPT: Duration = Duration::from_millis(20);

/// Whether an attempt timed out only because the call had hardly any time left.
pub fn was_cut_short(error: &Error, took: Duration) -> bool {
    error.code == Code::Timeout && took < MIN_ATTEMPT
}

/// Whether enough of a call's `timeout` is left to send a write again that certainly has not run. Cut short by the
/// deadline, it would end in doubt. `last` is how long its last attempt took.
pub fn leaves_time_for_write(left: Duration, last: Duration, timeout: Duration) -> bool {
    left >= (last * 2).max(MIN_WRITE_ATTEMPT).min(timeout / 10)
}

/// The backoff before the `n`-th retry in microseconds; `jitter` is in 0..1. It doubles from 2 ms, so that
/// few redirections fall into the window of a failover (20-60 ms in which nodes disagree), up to 50 ms, so
/// that the end of an outage is noticed within that time.
pub fn backoff_us(n: u32, jitter: f64) -> u64 {
    let full = (2000u64 << n.min(10)).min(50_000);
    (full as f64 * (0.5 + jitter / 2.0)) as u64
}

/// The backoff after the `n`-th redirection in a loop, in microseconds. The nodes disagree for milliseconds,
/// or as long as a migration is stuck. It doubles up to 800 ms, so that the 16 redirections that are allowed
/// by default last about as long as a call (5 s).
pub fn redirect_backoff_us(n: u32, jitter: f64) -> u64 {
    let full = (2000u64 << n.min(10)).min(800_000);
    (full as f64 * (0.75 + jitter / 4.0)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRIMARY: ErrorContext = ErrorContext {
        repeatable: false,
        node_chosen_by_caller: false,
        any_replica_ok: false,
        is_not_primary: false,
        wording: Wording::Server,
    };
    const SCRIPT: ErrorContext = ErrorContext {
        wording: Wording::Code {
            name: "EVAL",
            slot: Some(7),
        },
        ..PRIMARY
    };
    const READ: ErrorContext = ErrorContext {
        repeatable: true,
        ..PRIMARY
    };
    const REPLICA: ErrorContext = ErrorContext {
        any_replica_ok: true,
        is_not_primary: true,
        ..READ
    };

    fn from() -> Address {
        Address::parse("10.0.0.1:7000").unwrap()
    }

    fn retry_plan(action: RetryAction) -> RetryPlan {
        match action {
            RetryAction::Retry(plan) => plan,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn errors_that_prove_no_execution_are_retried() {
        for text in [
            "TRYAGAIN Multiple keys request during rehashing of slot",
            "CLUSTERDOWN Hash slot not served",
            "CLUSTERDOWN The cluster is down",
            "LOADING Redis is loading the dataset in memory",
            "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
            "READONLY You can't write against a read only replica.",
            "MOVED 1 ?:7000",
            "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
        ] {
            let action = action_for_reply(text.as_bytes(), &from(), PRIMARY);
            let plan = retry_plan(action);
            assert!(plan.refused && plan.wait, "{text}");
        }
    }

    #[test]
    fn other_refusals_are_returned_as_not_run() {
        for (text, code) in [
            ("ERR unknown command", Code::Server),
            ("OOM command not allowed", Code::Server),
            (
                "NOREPLICAS Not enough good replicas to write.",
                Code::Server,
            ),
            ("BUSY Redis is busy running a script", Code::Server),
            ("EXECABORT Transaction discarded", Code::Server),
            ("NOAUTH Authentication required.", Code::Auth),
            ("NOPERM this user has no permissions", Code::Auth),
            (
                "CROSSSLOT Keys in request don't hash to the same slot",
                Code::CrossSlot,
            ),
        ] {
            assert_eq!(
                action_for_reply(text.as_bytes(), &from(), PRIMARY),
                RetryAction::Refused(code),
                "{text}"
            );
        }
    }

    #[test]
    fn errors_of_commands_that_ran_are_returned_to_caller() {
        for text in [
            "WRONGTYPE Operation against a key",
            "ERR syntax error",
            "UNBLOCKED the stream key no longer exists",
            "",
        ] {
            assert_eq!(
                action_for_reply(text.as_bytes(), &from(), PRIMARY),
                RetryAction::Deliver(Code::Server),
                "{text}"
            );
        }
    }

    #[test]
    fn error_worded_by_script_is_returned_to_caller() {
        for (text, code) in [
            ("TRYAGAIN mine", Code::Server),
            ("LOADING mine", Code::Server),
            ("CLUSTERDOWN mine", Code::Server),
            ("MASTERDOWN mine", Code::Server),
            ("READONLY mine", Code::Server),
            ("NOSCRIPT mine", Code::Server),
            ("NOPERM mine", Code::Auth),
            ("MOVED 8 10.0.0.2:7001", Code::Server),
            ("MOVED 7 10.0.0.2:7001 script: 1f", Code::Server),
            (
                "READONLY You can't write against a read only replica. script: 1f, on @user_script:1.",
                Code::Server,
            ),
            // Passed on by a script that has caught it.
            (
                "READONLY You can't write against a read only replica.",
                Code::Server,
            ),
        ] {
            assert_eq!(
                action_for_reply(text.as_bytes(), &from(), SCRIPT),
                RetryAction::Deliver(code),
                "{text}"
            );
        }
        let loading = b"LOADING Redis is loading the dataset in memory";
        let action = action_for_reply(loading, &from(), SCRIPT);
        assert!(retry_plan(action).refused);
        let moved = action_for_reply(b"MOVED 7 10.0.0.2:7001", &from(), SCRIPT);
        assert!(matches!(moved, RetryAction::Moved { slot: 7, .. }));
    }

    #[test]
    fn noscript_error_resends_script_body() {
        let text = b"NOSCRIPT No matching script. Please use EVAL.";
        for context in [SCRIPT, REPLICA] {
            assert_eq!(
                action_for_reply(text, &from(), context),
                RetryAction::ResendScript
            );
        }
        // From inside a script, which has run.
        let text = b"ERR NOSCRIPT No matching script, on @user_script:1.";
        let action = action_for_reply(text, &from(), SCRIPT);
        assert_eq!(action, RetryAction::Deliver(Code::Server));
    }

    #[test]
    fn redirections_are_followed_unless_node_was_chosen() {
        let moved = action_for_reply(b"MOVED 3999 10.0.0.2:7001", &from(), PRIMARY);
        let to = Address::parse("10.0.0.2:7001").unwrap();
        assert_eq!(moved, RetryAction::Moved { slot: 3999, to });
        let ask = action_for_reply(b"ASK 3999 :7001", &from(), PRIMARY);
        let to = Address::parse("10.0.0.1:7001").unwrap();
        assert_eq!(ask, RetryAction::Ask { to });
        let pinned = ErrorContext {
            node_chosen_by_caller: true,
            ..PRIMARY
        };
        assert_eq!(
            action_for_reply(b"MOVED 3999 10.0.0.2:7001", &from(), pinned),
            RetryAction::Refused(Code::Server)
        );
    }

    #[test]
    fn possibly_executed_command_is_retried_only_if_safe() {
        for code in [Code::Timeout, Code::Io, Code::Connect] {
            let lost = Error::new(code, "lost").sent(true);
            assert_eq!(
                action_for_failure(&lost, PRIMARY),
                RetryAction::Deliver(code)
            );
            assert!(matches!(
                action_for_failure(&lost, READ),
                RetryAction::Retry(_)
            ));
            let kept = Error::new(code, "never left");
            assert!(matches!(
                action_for_failure(&kept, PRIMARY),
                RetryAction::Retry(_)
            ));
        }
        for code in [Code::Interrupted, Code::Closed, Code::Auth, Code::Protocol] {
            let error = Error::new(code, "not the fault of a node");
            assert_eq!(
                action_for_failure(&error, REPLICA),
                RetryAction::Deliver(code)
            );
        }
    }

    #[test]
    fn unhealthy_replica_is_skipped_without_delay() {
        for action in [
            action_for_reply(b"LOADING", &from(), REPLICA),
            action_for_reply(b"MASTERDOWN", &from(), REPLICA),
            action_for_reply(b"BUSY Redis is busy", &from(), REPLICA),
            action_for_failure(&Error::new(Code::Timeout, "").sent(true), REPLICA),
            action_for_failure(&Error::new(Code::Connect, ""), REPLICA),
            action_for_failure(&Error::new(Code::Io, "").sent(true), REPLICA),
            action_for_failure(
                &Error::new(Code::Protocol, "").at("n:1").sent(true),
                REPLICA,
            ),
            action_for_failure(&Error::new(Code::Tls, ""), REPLICA),
        ] {
            let plan = retry_plan(action);
            assert!(plan.eject && !plan.wait);
        }
    }

    #[test]
    fn write_is_not_sent_again_at_the_end_of_a_call() {
        let ms = Duration::from_millis;
        for (left, last, timeout, expected) in [
            (5, 0, 5000, true),
            (4, 0, 5000, false),
            (4, 0, 40, true),
            (3, 0, 40, false),
            // A node far away.
            (100, 50, 5000, true),
            (99, 50, 5000, false),
            // A slow node does not use up more than a tenth of the call.
            (500, 1000, 5000, true),
        ] {
            let is_enough = leaves_time_for_write(ms(left), ms(last), ms(timeout));
            assert_eq!(is_enough, expected, "{left} {last} {timeout}");
        }
    }

    #[test]
    fn retry_delay_grows_up_to_limit() {
        assert_eq!(backoff_us(0, 1.0), 2000);
        assert_eq!(backoff_us(3, 0.0), 8000);
        assert_eq!(backoff_us(60, 1.0), 50_000);
        assert_eq!(redirect_backoff_us(0, 1.0), 2000);
        let all: u64 = (0..14).map(|n| redirect_backoff_us(n, 0.5)).sum();
        assert!((4_000_000..5_000_000).contains(&all), "{all}");
    }
}
