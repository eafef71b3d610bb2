//! From an error to what is done about it: one table, no I/O.
//!
//! The question behind each row is whether the command can have run. A server that answers MOVED,
//! ASK, TRYAGAIN, CLUSTERDOWN, LOADING, MASTERDOWN or READONLY has not executed it, and neither
//! has one to which no byte of it was written: such a command may be sent again. Any other
//! command whose reply is missing may have run, and is sent again only if that does no harm.

use crate::address::Address;
use crate::error::{Code, Error};
use crate::topology::redirection;
use crate::world::layer;
use std::time::Duration;

/// What is known of a command when its error comes.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Sending it twice does no harm: a read, or the caller said so.
    pub repeatable: bool,
    /// It was asked of a node of the caller's choice, and goes to no other.
    pub fixed: bool,
    /// The node was asked as one of several that could serve the read.
    pub replica: bool,
    /// And it is not the primary, whom others need for more.
    pub copy: bool,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Give the error to the caller.
    Deliver(Code),
    /// The slot has moved: ask there, and remember.
    Moved { slot: u16, to: Address },
    /// The key may have moved: ask there this once, ASKING first.
    Ask { to: Address },
    /// Ask again, elsewhere if there is a choice.
    Again(Again),
    /// The same with the script in place of its digest, if it is known.
    InFull,
}

/// How to ask again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Again {
    /// The node should be left alone for a while.
    pub avoid: bool,
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
pub fn of_reply(text: &[u8], from: &Address, facts: Facts) -> Verdict {
    layer!(Route);
    let word = text.split(|b| *b == b' ').next().unwrap_or_default();
    let refused = Again {
        refused: true,
        wait: true,
        ..Again::default()
    };
    match word {
        b"MOVED" | b"ASK" if facts.fixed => Verdict::Deliver(Code::Server),
        b"MOVED" | b"ASK" => match redirection(text, from) {
            Some(r) if r.ask => Verdict::Ask { to: r.to },
            Some(r) => Verdict::Moved {
                slot: r.slot,
                to: r.to,
            },
            // A node that does not know whereto ("?" for a host without a name, a port that is
            // none): another one may.
            None => Verdict::Again(Again {
                refresh: true,
                ..refused
            }),
        },
        // The keys of the command are on both sides of a migration; it ends.
        b"TRYAGAIN" => Verdict::Again(refused),
        // "Hash slot not served", "The cluster is down": while a failover is going on.
        b"CLUSTERDOWN" => Verdict::Again(Again {
            refresh: true,
            ..refused
        }),
        // The node has just started and reads its data; its replica or primary has them.
        b"LOADING" => Verdict::Again(Again {
            avoid: true,
            refresh: !facts.replica,
            wait: !facts.replica,
            ..refused
        }),
        // A script that does not end. Another node of those that could serve the read is not held up by it.
        b"BUSY" if facts.replica => Verdict::Again(Again {
            avoid: true,
            refused: true,
            ..Again::default()
        }),
        // A replica without its primary, told not to serve old data.
        b"MASTERDOWN" => Verdict::Again(Again {
            avoid: true,
            refresh: true,
            wait: !facts.replica,
            ..refused
        }),
        // A primary was demoted and has not said MOVED yet. From inside a script it says so
        // behind "script:", and then what ran before it did run.
        b"READONLY" if memchr::memmem::find(text, b"script").is_none() && !facts.fixed => {
            Verdict::Again(Again {
                refresh: true,
                ..refused
            })
        }
        // EVALSHA of a script that the node was never told, or has forgotten: nothing ran.
        b"NOSCRIPT" => Verdict::InFull,
        // A command that was blocking when its node was demoted; it took nothing. (The same word for
        // a stream that was deleted, or for CLIENT UNBLOCK, is for the caller.)
        b"UNBLOCKED" if memchr::memmem::find(text, b"instance state changed").is_some() => {
            Verdict::Again(Again {
                refresh: true,
                ..refused
            })
        }
        b"NOAUTH" | b"WRONGPASS" | b"NOPERM" => Verdict::Deliver(Code::Auth),
        b"CROSSSLOT" => Verdict::Deliver(Code::CrossSlot),
        _ => Verdict::Deliver(Code::Server),
    }
}

/// What to do when there is no reply.
pub fn of_failure(error: &Error, facts: Facts) -> Verdict {
    if error.sent && !facts.repeatable {
        return Verdict::Deliver(error.code);
    }
    match error.code {
        // Nobody but the caller can mend these.
        Code::Interrupted | Code::Closed | Code::Auth | Code::Invalid | Code::Internal => {
            Verdict::Deliver(error.code)
        }
        // A node that talks nonsense, or has the wrong certificate, will go on doing so; one of several can be done
        // without.
        Code::Protocol | Code::Tls if !facts.replica => Verdict::Deliver(error.code),
        // There is no memory left for the reply: no other node's would be smaller.
        Code::Protocol if error.node.is_none() => Verdict::Deliver(error.code),
        Code::Protocol | Code::Tls => Verdict::Again(Again {
            avoid: true,
            ..Again::default()
        }),
        // The connection broke, which a server does to an idle or an unwelcome client; whether
        // the node is gone is seen when a new one is opened. A replica can be done without until
        // then. One that is hung up on before anything is said on it may never be served again.
        Code::Io => Verdict::Again(Again {
            avoid: facts.copy,
            wait: !facts.replica,
            refresh: !error.sent,
            ..Again::default()
        }),
        // It refuses connections or is silent: somebody else may be serving its slots.
        _ => Verdict::Again(Again {
            avoid: true,
            refresh: true,
            wait: !facts.replica,
            ..Again::default()
        }),
    }
}

/// An attempt with less time than this blames nobody.
const HASTY: Duration = Duration::from_millis(20);

/// Whether an error of an attempt that took so long says only that there was hardly any time.
pub fn is_hasty(error: &Error, took: Duration) -> bool {
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
pub fn to_and_fro_us(n: u32, jitter: f64) -> u64 {
    let full = (2000u64 << n.min(10)).min(800_000);
    (full as f64 * (0.75 + jitter / 4.0)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRIMARY: Facts = Facts {
        repeatable: false,
        fixed: false,
        replica: false,
        copy: false,
    };
    const READ: Facts = Facts {
        repeatable: true,
        ..PRIMARY
    };
    const REPLICA: Facts = Facts {
        replica: true,
        copy: true,
        ..READ
    };

    fn from() -> Address {
        Address::parse("10.0.0.1:7000").unwrap()
    }

    fn again(verdict: Verdict) -> Again {
        match verdict {
            Verdict::Again(again) => again,
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
            let verdict = of_reply(text.as_bytes(), &from(), PRIMARY);
            let again = again(verdict);
            assert!(again.refused && again.wait, "{text}");
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
                of_reply(text.as_bytes(), &from(), PRIMARY),
                Verdict::Deliver(code),
                "{text}"
            );
        }
    }

    #[test]
    fn a_script_that_a_node_does_not_have_is_sent_in_full() {
        let text = b"NOSCRIPT No matching script. Please use EVAL.";
        for facts in [PRIMARY, REPLICA] {
            assert_eq!(of_reply(text, &from(), facts), Verdict::InFull);
        }
        // Out of a script, which has run.
        let text = b"ERR NOSCRIPT No matching script, on @user_script:1.";
        let verdict = of_reply(text, &from(), PRIMARY);
        assert_eq!(verdict, Verdict::Deliver(Code::Server));
    }

    #[test]
    fn redirections_are_followed_but_not_from_a_node_of_the_callers_choice() {
        let moved = of_reply(b"MOVED 3999 10.0.0.2:7001", &from(), PRIMARY);
        let to = Address::parse("10.0.0.2:7001").unwrap();
        assert_eq!(moved, Verdict::Moved { slot: 3999, to });
        let ask = of_reply(b"ASK 3999 :7001", &from(), PRIMARY);
        let to = Address::parse("10.0.0.1:7001").unwrap();
        assert_eq!(ask, Verdict::Ask { to });
        let fixed = Facts {
            fixed: true,
            ..PRIMARY
        };
        assert_eq!(
            of_reply(b"MOVED 3999 10.0.0.2:7001", &from(), fixed),
            Verdict::Deliver(Code::Server)
        );
    }

    #[test]
    fn a_command_that_may_have_run_is_repeated_only_if_that_does_no_harm() {
        for code in [Code::Timeout, Code::Io, Code::Connect] {
            let lost = Error::new(code, "lost").sent(true);
            assert_eq!(of_failure(&lost, PRIMARY), Verdict::Deliver(code));
            assert!(matches!(of_failure(&lost, READ), Verdict::Again(_)));
            let kept = Error::new(code, "never left");
            assert!(matches!(of_failure(&kept, PRIMARY), Verdict::Again(_)));
        }
        for code in [Code::Interrupted, Code::Closed, Code::Auth, Code::Protocol] {
            let error = Error::new(code, "over, and no node's fault");
            assert_eq!(of_failure(&error, REPLICA), Verdict::Deliver(code));
        }
    }

    #[test]
    fn a_sick_replica_is_avoided_without_waiting() {
        for verdict in [
            of_reply(b"LOADING", &from(), REPLICA),
            of_reply(b"MASTERDOWN", &from(), REPLICA),
            of_reply(b"BUSY Redis is busy", &from(), REPLICA),
            of_failure(&Error::new(Code::Timeout, "").sent(true), REPLICA),
            of_failure(&Error::new(Code::Connect, ""), REPLICA),
            of_failure(&Error::new(Code::Io, "").sent(true), REPLICA),
            of_failure(
                &Error::new(Code::Protocol, "").at("n:1").sent(true),
                REPLICA,
            ),
            of_failure(&Error::new(Code::Tls, ""), REPLICA),
        ] {
            let again = again(verdict);
            assert!(again.avoid && !again.wait);
        }
    }

    #[test]
    fn waiting_grows_and_stays_bounded() {
        assert_eq!(backoff_us(0, 1.0), 2000);
        assert_eq!(backoff_us(3, 0.0), 8000);
        assert_eq!(backoff_us(60, 1.0), 50_000);
        assert_eq!(to_and_fro_us(0, 1.0), 2000);
        let all: u64 = (0..14).map(|n| to_and_fro_us(n, 0.5)).sum();
        assert!((4_000_000..5_000_000).contains(&all), "{all}");
    }
}
