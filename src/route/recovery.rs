//! From an error to what is done about it: one table, no I/O.
//!
//! The question behind each row is whether the command can have run. A server that answers MOVED,
//! ASK, TRYAGAIN, CLUSTERDOWN, LOADING, MASTERDOWN or READONLY has not executed it, and neither
//! has one to which no byte of it was written: such a command may be sent plan. Any other
//! command whose reply is missing may have run, and is sent again only if that does no harm.

use crate::address::Address;
use crate::error::{Code, Error};
use crate::sim_hooks::sim_panic_point;
use crate::topology::redirection;
use std::time::Duration;

/// What is known of a command when its error comes.
#[derive(Clone, Copy, Debug)]
pub struct ErrorContext {
    /// Sending it twice does no harm: a read, or the caller said so.
    pub repeatable: bool,
    /// It was asked of a node of the caller's choice, and goes to no other.
    pub pinned_by_caller: bool,
    /// The node was asked as one of several that could serve the read.
    pub any_replica_ok: bool,
    /// And it is not the primary, whom others need for more.
    pub is_not_primary: bool,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RetryAction {
    /// Give the error to the caller.
    Deliver(Code),
    /// The slot has moved: ask there, and remember.
    Moved { slot: u16, to: Address },
    /// The key may have moved: ask there this once, ASKING first.
    Ask { to: Address },
    /// Ask again, elsewhere if there is a choice.
    Retry(RetryPlan),
    /// The same with the script in place of its digest, if it is known.
    ResendScript,
}

/// How to ask plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetryPlan {
    /// The node should be left alone for a while.
    pub eject: bool,
    /// What we know of the cluster may be out of date.
    pub refresh: bool,
    /// Not at once: the cluster needs time.
    pub wait: bool,
    /// The node said so itself, so the command has certainly not run.
    pub refused: bool,
}

/// What to do about an error that a server sent as its reply.
///
/// Only a reply that *is* an error comes here. One inside an array is data: the command ran.
pub fn action_for_reply(text: &[u8], from: &Address, context: ErrorContext) -> RetryAction {
    sim_panic_point!(Route);
    let word = text.split(|b| *b == b' ').next().unwrap_or_default();
    let refused = RetryPlan {
        refused: true,
        wait: true,
        ..RetryPlan::default()
    };
    match word {
        b"MOVED" | b"ASK" if context.pinned_by_caller => RetryAction::Deliver(Code::Server),
        b"MOVED" | b"ASK" => match redirection(text, from) {
            Some(r) if r.ask => RetryAction::Ask { to: r.to },
            Some(r) => RetryAction::Moved {
                slot: r.slot,
                to: r.to,
            },
            // A node that does not know whereto ("?" for a host without a name, a port that is
            // none): another one may.
            None => RetryAction::Retry(RetryPlan {
                refresh: true,
                ..refused
            }),
        },
        // The keys of the command are on both sides of a migration; it ends.
        b"TRYAGAIN" => RetryAction::Retry(refused),
        // "Hash slot not served", "The cluster is down": while a failover is going on.
        b"CLUSTERDOWN" => RetryAction::Retry(RetryPlan {
            refresh: true,
            ..refused
        }),
        // The node has just started and reads its data; its replica or primary has them.
        b"LOADING" => RetryAction::Retry(RetryPlan {
            eject: true,
            refresh: !context.any_replica_ok,
            wait: !context.any_replica_ok,
            ..refused
        }),
        // A script that does not end. Another node of those that could serve the read is not held up by it.
        b"BUSY" if context.any_replica_ok => RetryAction::Retry(RetryPlan {
            eject: true,
            refused: true,
            ..RetryPlan::default()
        }),
        // A replica without its primary, told not to serve old data.
        b"MASTERDOWN" => RetryAction::Retry(RetryPlan {
            eject: true,
            refresh: true,
            wait: !context.any_replica_ok,
            ..refused
        }),
        // A primary was demoted and has not said MOVED yet. From inside a script it says so
        // behind "script:", and then what ran before it did run.
        b"READONLY"
            if memchr::memmem::find(text, b"script").is_none() && !context.pinned_by_caller =>
        {
            RetryAction::Retry(RetryPlan {
                refresh: true,
                ..refused
            })
        }
        // EVALSHA of a script that the node was never told, or has forgotten: nothing ran.
        b"NOSCRIPT" => RetryAction::ResendScript,
        // A command that was blocking when its node was demoted; it took nothing. (The same word for
        // a stream that was deleted, or for CLIENT UNBLOCK, is for the caller.)
        b"UNBLOCKED" if memchr::memmem::find(text, b"instance state changed").is_some() => {
            RetryAction::Retry(RetryPlan {
                refresh: true,
                ..refused
            })
        }
        b"NOAUTH" | b"WRONGPASS" | b"NOPERM" => RetryAction::Deliver(Code::Auth),
        b"CROSSSLOT" => RetryAction::Deliver(Code::CrossSlot),
        _ => RetryAction::Deliver(Code::Server),
    }
}

/// What to do when there is no reply.
pub fn action_for_failure(error: &Error, context: ErrorContext) -> RetryAction {
    if error.sent && !context.repeatable {
        return RetryAction::Deliver(error.code);
    }
    match error.code {
        // Nobody but the caller can mend these.
        Code::Interrupted | Code::Closed | Code::Auth | Code::Invalid | Code::Internal => {
            RetryAction::Deliver(error.code)
        }
        // A node that talks nonsense, or has the wrong certificate, will go on doing so; one of several can be done
        // without.
        Code::Protocol | Code::Tls if !context.any_replica_ok => RetryAction::Deliver(error.code),
        // There is no memory left for the reply: no other node's would be smaller.
        Code::Protocol if error.node.is_none() => RetryAction::Deliver(error.code),
        Code::Protocol | Code::Tls => RetryAction::Retry(RetryPlan {
            eject: true,
            ..RetryPlan::default()
        }),
        // The connection broke, which a server does to an idle or an unwelcome client; whether
        // the node is gone is seen when a new one is opened. A replica can be done without until
        // then. One that is hung up on before anything is said on it may never be served plan.
        Code::Io => RetryAction::Retry(RetryPlan {
            eject: context.is_not_primary,
            wait: !context.any_replica_ok,
            refresh: !error.sent,
            ..RetryPlan::default()
        }),
        // It refuses connections or is silent: somebody else may be serving its slots.
        _ => RetryAction::Retry(RetryPlan {
            eject: true,
            refresh: true,
            wait: !context.any_replica_ok,
            ..RetryPlan::default()
        }),
    }
}

/// An attempt with less time than this blames nobody.
const HASTY: Duration = Duration::from_millis(20);

/// Whether an error of an attempt that took so long says only that there was hardly any time.
pub fn was_cut_short(error: &Error, took: Duration) -> bool {
    error.code == Code::Timeout && took < HASTY
}

/// How long to wait before asking again for the `n`-th time, in microseconds; `jitter` is in
/// 0..1. Doubling from 2 ms, so that the window of a failover (20-60 ms in which nodes disagree)
/// is not filled with redirections, up to 50 ms, so that the end of an outage is not missed by
/// more than that.
pub fn backoff_us(n: u32, jitter: f64) -> u64 {
    let full = (2000u64 << n.min(10)).min(50_000);
    (full as f64 * (0.5 + jitter / 2.0)) as u64
}

/// How long to wait when nodes have sent a command to and fro for the `n`-th time too often, in
/// microseconds. They disagree until they have heard of each other, for milliseconds or as long as
/// somebody's migration stands still: doubling without so near an end, the redirections that are
/// allowed (16) last for as long as a call does (5 s).
pub fn redirect_backoff_us(n: u32, jitter: f64) -> u64 {
    let full = (2000u64 << n.min(10)).min(800_000);
    (full as f64 * (0.75 + jitter / 4.0)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRIMARY: ErrorContext = ErrorContext {
        repeatable: false,
        pinned_by_caller: false,
        any_replica_ok: false,
        is_not_primary: false,
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
    fn refusals_that_prove_nothing_ran_are_asked_again() {
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
    fn other_errors_are_the_callers() {
        for (text, code) in [
            ("WRONGTYPE Operation against a key", Code::Server),
            ("ERR unknown command", Code::Server),
            ("OOM command not allowed", Code::Server),
            (
                "NOREPLICAS Not enough good replicas to write.",
                Code::Server,
            ),
            ("BUSY Redis is busy running a script", Code::Server),
            (
                "READONLY You can't write against a read only replica. script: 1f, on @user_script:1.",
                Code::Server,
            ),
            ("EXECABORT Transaction discarded", Code::Server),
            ("UNBLOCKED the stream key no longer exists", Code::Server),
            ("NOAUTH Authentication required.", Code::Auth),
            ("NOPERM this user has no permissions", Code::Auth),
            (
                "CROSSSLOT Keys in request don't hash to the same slot",
                Code::CrossSlot,
            ),
            ("", Code::Server),
        ] {
            assert_eq!(
                action_for_reply(text.as_bytes(), &from(), PRIMARY),
                RetryAction::Deliver(code),
                "{text}"
            );
        }
    }

    #[test]
    fn a_script_that_a_node_does_not_have_is_sent_in_full() {
        let text = b"NOSCRIPT No matching script. Please use EVAL.";
        for context in [PRIMARY, REPLICA] {
            assert_eq!(
                action_for_reply(text, &from(), context),
                RetryAction::ResendScript
            );
        }
        // Out of a script, which has run.
        let text = b"ERR NOSCRIPT No matching script, on @user_script:1.";
        let action = action_for_reply(text, &from(), PRIMARY);
        assert_eq!(action, RetryAction::Deliver(Code::Server));
    }

    #[test]
    fn redirections_are_followed_but_not_from_a_node_of_the_callers_choice() {
        let moved = action_for_reply(b"MOVED 3999 10.0.0.2:7001", &from(), PRIMARY);
        let to = Address::parse("10.0.0.2:7001").unwrap();
        assert_eq!(moved, RetryAction::Moved { slot: 3999, to });
        let ask = action_for_reply(b"ASK 3999 :7001", &from(), PRIMARY);
        let to = Address::parse("10.0.0.1:7001").unwrap();
        assert_eq!(ask, RetryAction::Ask { to });
        let pinned = ErrorContext {
            pinned_by_caller: true,
            ..PRIMARY
        };
        assert_eq!(
            action_for_reply(b"MOVED 3999 10.0.0.2:7001", &from(), pinned),
            RetryAction::Deliver(Code::Server)
        );
    }

    #[test]
    fn a_command_that_may_have_run_is_repeated_only_if_that_does_no_harm() {
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
            let error = Error::new(code, "over, and no node's fault");
            assert_eq!(
                action_for_failure(&error, REPLICA),
                RetryAction::Deliver(code)
            );
        }
    }

    #[test]
    fn a_sick_replica_is_avoided_without_waiting() {
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
    fn waiting_grows_and_stays_bounded() {
        assert_eq!(backoff_us(0, 1.0), 2000);
        assert_eq!(backoff_us(3, 0.0), 8000);
        assert_eq!(backoff_us(60, 1.0), 50_000);
        assert_eq!(redirect_backoff_us(0, 1.0), 2000);
        let all: u64 = (0..14).map(|n| redirect_backoff_us(n, 0.5)).sum();
        assert!((4_000_000..5_000_000).contains(&all), "{all}");
    }
}
