//! How threads hand connections, batches and the lead to each other, in every order there is.
//!
//! A day leaves the order to chance; here it is tried out. The shipped code of a lane runs in the
//! simulated world with a few threads, and the scheduler follows a script: it chooses the first
//! thread that can go on, writes down how many others there were, and the next run takes the first
//! alternative that has not been tried, depth first, until there is none. A thread may be
//! interrupted where it is about to take a lock, to look at or change an atomic that is shared, to
//! send, to receive, to sleep or to wake others (the marks called `step!` in src/net/lane*), as
//! often as a bound says: another goes on then, or what is on its way arrives. Wherever it has to
//! wait, or lets others go first, each of them is tried, and so is each sleeper, where one of
//! several is woken. What happens from outside (time passes, a handle is interrupted, a connection
//! breaks) is one more thread, so that it happens between any two steps.
//!
//! What is covered: all interleavings of these steps up to the bound, as if memory were
//! sequentially consistent; each scenario is exhausted, some ten thousand orders in all. What is
//! not: weaker orders of memory (ThreadSanitizer looks at those in the stress tests); a thread that
//! stops inside a critical section, so that a look at several places there counts as one; and what
//! the cluster above a lane does, whose days are left to chance.
//!
//! A sleeper that nobody wakes would be saved by its timer, after 5 ms or more; where nothing goes
//! wrong no call may take so long here, and so a wake that is lost is seen.
//!
//! `HANDOVER_PREEMPTIONS=3 cargo test --lib handover` goes further than the bounds below.

use super::servers::{Odds, Servers};
use super::world::{Body as Run, Deeds, MS, Script, Shared, Thread, US, Weather, address};
use crate::address::Address;
use crate::config::Config;
use crate::deadline::now;
use crate::error::{Error, Result};

use crate::net::{Call, CancelFlag, ConnectionKind, MemoryBudget, Peer, TryAcquire, Wakers};
use crate::resp::{CommandBody, Reply};
use crate::sim_hooks::Layer;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

/// How long after its end, or an interrupt, a call may be found waiting.
const LOOKS: u64 = 12 * MS;

/// A key that the node 0 serves.
const KEY: &str = "{b}1";

/// One thread.
#[derive(Clone, Copy)]
struct Caller {
    commands: usize,
    timeout_ms: u64,
    /// It wants a connection of its own, as a pipeline does.
    takes: bool,
}

const PATIENT: Caller = Caller {
    commands: 1,
    timeout_ms: 2000,
    takes: false,
};

/// What happens from outside.
#[derive(Clone, Copy, Debug)]
enum Act {
    /// So much time passes, whatever the others do.
    Pass(u64),
    /// The node does nothing for so long.
    Silence(u64),
    /// The handle of one caller is interrupted.
    Interrupt(usize),
    /// Every connection breaks.
    Break,
}

struct Scenario {
    name: &'static str,
    connections: usize,
    callers: Vec<Caller>,
    acts: Vec<Act>,
    /// The node says nothing for so long.
    silent: u64,
    panic_at: Option<u64>,
    /// How long a call may take beyond that, if it ends well or another panicked; nothing, where it only has its
    /// deadline.
    within: Option<u64>,
    /// Who may fail.
    fails: &'static [usize],
    preemptions: usize,
    /// There has been a crowd of late.
    contended: bool,
    /// Who lets others run goes on at once: with four threads, or in all orders otherwise, there would be too many.
    alone: bool,
}

impl Scenario {
    fn of(name: &'static str, callers: Vec<Caller>) -> Scenario {
        Scenario {
            name,
            connections: 1,
            callers,
            acts: Vec::new(),
            silent: 0,
            panic_at: None,
            within: Some(2 * MS),
            fails: &[],
            preemptions: 1,
            contended: false,
            alone: false,
        }
    }
}

/// What came of one command.
struct Outcome {
    caller: usize,
    token: String,
    began: u64,
    ended: u64,
    deeds: Deeds,
    /// Nothing, if it panicked.
    outcome: Option<Result<i64>>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn once(peer: &Peer, caller: Caller, token: &str, call: &Call<'_>) -> Result<Box<Reply>> {
    let args = [b"INCRBY".as_slice(), KEY.as_bytes(), token.as_bytes()];
    let (body, until) = (CommandBody::Args(&args), call.attempt_deadline(call.began));
    if !caller.takes {
        return peer.call(ConnectionKind::Primary, &body, call, until);
    }
    let mut connection = peer.acquire(ConnectionKind::Primary, call, until)?;
    connection.push(&body);
    let reply = connection.reply(call, until);
    match &reply {
        Ok(_) => peer.release(ConnectionKind::Primary, connection, call.began),
        Err(_) => {
            drop(connection);
            peer.forget_lost(ConnectionKind::Primary);
        }
    }
    reply
}

/// What came of one run.
struct Ran {
    script: Script,
    wrong: Option<String>,
    trace: Vec<String>,
    /// How many replies were read by a leader for another.
    carried: usize,
}

/// One run by the script.
fn run(it: &Scenario, script: Script, told: bool) -> Ran {
    let weather = Weather {
        window: 65536,
        ..Weather::default()
    };
    let servers = Servers::new(Vec::new(), Odds::default());
    let shared = Shared::new(1, weather, servers);
    let mut config = Config::new();
    let most = it.connections.to_string();
    config.set("connections_per_node", &most).expect("a number");
    let home = Address::parse(&address(0).to_string()).expect("an address");
    let peer = Peer::new(
        home,
        Arc::new(config),
        None,
        Arc::default(),
        MemoryBudget::new(0),
    );
    let wakers = Wakers::default();
    let alerts: Vec<CancelFlag> = it.callers.iter().map(|_| CancelFlag::default()).collect();
    let outcomes: Mutex<Vec<Outcome>> = Mutex::default();
    let interrupts: Mutex<Vec<(usize, u64)>> = Mutex::default();

    let calm = CancelFlag::default();
    shared.run(vec![Box::new(|_: &Thread| {
        let call = Call::new(now(), 2000, 2000, &calm, &wakers);
        let warm = peer.ensure_connected(ConnectionKind::Primary, &call, call.deadline);
        warm.expect("the node is well");
        if it.contended {
            peer.force_contended(ConnectionKind::Primary);
        }
    })]);

    let thaw = {
        let mut state = shared.lock();
        let thaw = state.now + it.silent;
        state.servers.nodes[0].frozen = thaw;
        state.panic_at = it.panic_at.map(|mark| (Layer::Net, mark));
        state.trace = told.then(Vec::new);
        state.script = Some(script);
        thaw
    };
    let mut bodies: Vec<Run<'_>> = Vec::new();
    for (number, caller) in it.callers.iter().copied().enumerate() {
        let (peer, cancel_flag, wakers, outcomes) = (&peer, &alerts[number], &wakers, &outcomes);
        bodies.push(Box::new(move |thread| {
            for round in 0..caller.commands {
                let token = format!("{number}-{round}");
                let began = {
                    let mut state = thread.shared.lock();
                    state.deeds[number] = Deeds::default();
                    state.now
                };
                let timeout = caller.timeout_ms;
                let call = Call::new(now(), timeout, timeout, cancel_flag, wakers);
                let reply = catch_unwind(AssertUnwindSafe(|| once(peer, caller, &token, &call)));
                let outcome = reply.ok().map(|reply| {
                    reply.and_then(|reply| {
                        let number = reply.view().int();
                        number.ok_or_else(|| Error::invalid("no number"))
                    })
                });
                let state = thread.shared.lock();
                lock(outcomes).push(Outcome {
                    caller: number,
                    token,
                    began,
                    ended: state.now,
                    deeds: state.deeds[number],
                    outcome,
                });
            }
        }));
    }
    for act in it.acts.iter().copied() {
        let (alerts, wakers, interrupts) = (&alerts, &wakers, &interrupts);
        bodies.push(Box::new(move |thread| match act {
            Act::Pass(time) => thread.shared.lock().now += time,
            Act::Silence(time) => {
                let mut state = thread.shared.lock();
                state.servers.nodes[0].frozen = state.now + time;
            }
            Act::Interrupt(caller) => {
                alerts[caller].interrupt();
                wakers.fire();
                lock(interrupts).push((caller, thread.shared.lock().now));
            }
            Act::Break => {
                let mut state = thread.shared.lock();
                for wire in state.wires_to(0) {
                    state.sever(wire);
                }
            }
        }));
    }
    shared.run(bodies);
    let script = {
        let mut state = shared.lock();
        state.panic_at = None;
        state.script.take().unwrap_or_default()
    };

    let carried = lock(&outcomes)
        .iter()
        .map(|o| o.deeds.read_for_others)
        .sum();
    let mut wrong = check(it, &shared, &lock(&outcomes), &lock(&interrupts), thaw);
    let mut left = Ok(());
    shared.run(vec![Box::new(|_: &Thread| {
        left = all_is_there(&peer, it.connections);
    })]);
    wrong = wrong.or(left.err());
    let counted = (peer.connections(), shared.lock().open_wires());
    if counted.0 != counted.1 {
        let words = format!("{} connections counted and {} open", counted.0, counted.1);
        wrong.get_or_insert(words);
    }
    shared.run(vec![Box::new(move |_: &Thread| drop(peer))]);
    let mut state = shared.lock();
    if state.open_wires() > 0 {
        wrong.get_or_insert("a connection is left behind".to_string());
    }
    let trace = state.trace.take().unwrap_or_default();
    Ran {
        script,
        wrong: state.failure.take().or(wrong),
        trace,
        carried,
    }
}

/// Whether every caller was told the truth, in time, and did no more than its share.
fn check(
    it: &Scenario,
    shared: &Shared,
    outcomes: &[Outcome],
    interrupts: &[(usize, u64)],
    thaw: u64,
) -> Option<String> {
    let state = shared.lock();
    let passes = |act: &Act| match act {
        Act::Pass(time) | Act::Silence(time) => *time,
        _ => 0,
    };
    let passed: u64 = it.acts.iter().map(passes).sum();
    let others = it.callers.len() - 1;
    for one in outcomes {
        let runs = state
            .servers
            .runs
            .get(&one.token)
            .map_or(&[][..], Vec::as_slice);
        let told = format!("{} was told {:?} and ran {runs:?}", one.token, one.outcome);
        if runs.len() > 1 {
            return Some(format!("{told}: twice"));
        }
        match &one.outcome {
            Some(Ok(serial)) if runs.first().is_none_or(|run| run.serial != *serial as u64) => {
                return Some(format!("{told}: another's reply"));
            }
            Some(Ok(_)) => {}
            Some(Err(error)) if !error.sent && !runs.is_empty() => return Some(told),
            _ if it.fails.contains(&one.caller) => {}
            _ => return Some(told),
        }
        let interrupt = interrupts.iter().find(|(caller, _)| *caller == one.caller);
        if let (Some((_, at)), Some(Err(_))) = (interrupt, &one.outcome)
            && one.ended > at + LOOKS
        {
            let late = (one.ended - at) / US;
            return Some(format!("{told}, {late} us after it was interrupted"));
        }
        let took = one.ended - one.began.max(thaw).min(one.ended);
        let deadline = it.callers[one.caller].timeout_ms * MS + LOOKS;
        let most = match (it.within, &one.outcome) {
            (Some(within), Some(Ok(_))) => within,
            // Whom a panic leaves alone is told of it at once, not at the deadline.
            (Some(within), Some(Err(_))) if it.panic_at.is_some() => within,
            _ => deadline,
        };
        if took > most + passed {
            return Some(format!("{told}, after {} us", took / US));
        }
        let deeds = one.deeds;
        if deeds.leads > 1 || deeds.read_for_others > others {
            return Some(format!("{told}, and has worked for the others: {deeds:?}"));
        }
        // Before it come the batch under way and those in its own, and no others.
        if let (Some(joined), Some(run)) = (deeds.joined_at, runs.first())
            && run.serial - 1 > joined + 2 * others as u64
        {
            return Some(format!("{told}, and had to wait since {joined}"));
        }
    }
    None
}

/// Whether every connection that is counted is there for whoever comes next, and works.
fn all_is_there(peer: &Peer, most: usize) -> std::result::Result<(), String> {
    let (cancel_flag, wakers) = (CancelFlag::default(), Wakers::default());
    let call = Call::new(now(), 500, 500, &cancel_flag, &wakers);
    let mut idle = Vec::new();
    while idle.len() < most {
        match peer.try_acquire(ConnectionKind::Primary, &call) {
            TryAcquire::Idle(connection) => idle.push(connection),
            TryAcquire::MayOpen => {
                peer.forget_lost(ConnectionKind::Primary);
                break;
            }
            TryAcquire::Busy => break,
        }
    }
    if idle.len() != peer.connections() {
        let counted = peer.connections();
        return Err(format!("{} of {counted} connections are idle", idle.len()));
    }
    for connection in idle {
        let used = connection.used;
        peer.release(ConnectionKind::Primary, connection, used);
    }
    Ok(())
}

/// Tries every order; how many there are, and how many replies leaders read for others in them.
fn explore(it: &Scenario) -> (usize, usize) {
    let most = super::number("HANDOVER_PREEMPTIONS").map_or(it.preemptions, |n| n as usize);
    let (mut orders, mut carried) = (0, 0);
    // Few interruptions first: so what is found is found at its simplest.
    for preemptions in 0..=most {
        let mut prefix = Vec::new();
        orders = 0;
        loop {
            let script = Script {
                prefix: prefix.clone(),
                taken: Vec::new(),
                preemptions,
                alone: it.alone,
            };
            let ran = run(it, script, false);
            orders += 1;
            carried += ran.carried;
            let mut taken = ran.script.taken;
            if let Some(words) = ran.wrong {
                prefix = taken.iter().map(|(choice, _)| *choice).collect();
                let script = Script {
                    prefix: prefix.clone(),
                    taken: Vec::new(),
                    preemptions,
                    alone: it.alone,
                };
                let Ran { wrong, trace, .. } = run(it, script, true);
                panic!(
                    "{}, order {orders} with {preemptions} interruptions: {words}\n{}\n{prefix:?} {wrong:?}",
                    it.name,
                    trace.join("\n")
                );
            }
            while taken.last().is_some_and(|(choice, of)| choice + 1 == *of) {
                taken.pop();
            }
            let Some((last, _)) = taken.pop() else {
                break;
            };
            prefix = taken.iter().map(|(choice, _)| *choice).collect();
            prefix.push(last + 1);
        }
    }
    (orders, carried)
}

fn explore_all(scenarios: &[Scenario]) {
    let mut carried = 0;
    for it in scenarios {
        let began = std::time::Instant::now();
        let (orders, more) = explore(it);
        carried += more;
        println!("{}: {orders} orders, {:?}", it.name, began.elapsed());
        assert!(orders > 1, "{}: nothing was tried", it.name);
    }
    assert!(carried > 0, "nobody has led");
}

fn some(commands: usize) -> Caller {
    Caller {
        commands,
        ..PATIENT
    }
}

const HASTY: Caller = Caller {
    timeout_ms: 20,
    ..PATIENT
};

const TAKER: Caller = Caller {
    takes: true,
    ..PATIENT
};

#[test]
fn in_every_order_each_thread_gets_its_own_reply_and_nobody_sleeps_on() {
    explore_all(&[
        Scenario {
            preemptions: 3,
            ..Scenario::of("two threads", vec![PATIENT; 2])
        },
        Scenario {
            preemptions: 2,
            ..Scenario::of("two threads, two commands each", vec![some(2); 2])
        },
        Scenario::of("three threads", vec![PATIENT; 3]),
        Scenario {
            connections: 2,
            ..Scenario::of("three threads, two connections", vec![PATIENT; 3])
        },
        Scenario::of(
            "a pipeline beside two threads",
            vec![PATIENT, TAKER, PATIENT],
        ),
        Scenario {
            preemptions: 0,
            ..Scenario::of("three threads, three commands each", vec![some(3); 3])
        },
    ]);
}

#[test]
fn in_every_order_a_thread_that_gives_up_leaves_the_others_their_replies() {
    explore_all(&[
        Scenario {
            silent: 50 * MS,
            fails: &[0],
            alone: true,
            ..Scenario::of("the first has no time", vec![HASTY, PATIENT, PATIENT])
        },
        Scenario {
            silent: 50 * MS,
            fails: &[1],
            ..Scenario::of("the second has no time", vec![PATIENT, HASTY])
        },
        Scenario {
            acts: vec![Act::Interrupt(0)],
            fails: &[0],
            alone: true,
            ..Scenario::of("the first is interrupted", vec![PATIENT; 3])
        },
        Scenario {
            acts: vec![Act::Interrupt(1)],
            fails: &[1],
            ..Scenario::of("the second is interrupted", vec![PATIENT; 2])
        },
        Scenario {
            acts: vec![Act::Pass(30 * MS)],
            fails: &[0],
            ..Scenario::of("time passes", vec![HASTY, PATIENT])
        },
        Scenario {
            acts: vec![Act::Pass(30 * MS)],
            fails: &[0, 1],
            preemptions: 0,
            ..Scenario::of("time passes over two", vec![HASTY, HASTY, PATIENT])
        },
        Scenario {
            acts: vec![Act::Interrupt(0)],
            fails: &[0],
            preemptions: 0,
            ..Scenario::of(
                "the first is interrupted, and others go on",
                vec![some(2), some(2), PATIENT],
            )
        },
        Scenario {
            acts: vec![Act::Silence(50 * MS)],
            fails: &[1],
            preemptions: 0,
            ..Scenario::of(
                "the node falls silent and one has no time",
                vec![PATIENT, HASTY, PATIENT],
            )
        },
    ]);
}

/// Of a batch only the first members set a timer; here there are more.
#[test]
fn in_every_order_the_first_of_a_batch_wake_those_who_set_no_timer() {
    let four = |name| Scenario {
        preemptions: 0,
        alone: true,
        ..Scenario::of(name, vec![PATIENT; 4])
    };
    explore_all(&[
        four("four threads"),
        Scenario {
            silent: 20 * MS,
            acts: vec![Act::Interrupt(3)],
            fails: &[3],
            ..four("the last of four is interrupted")
        },
    ]);
}

/// Where there is a crowd, whoever has the connection to give sends the next batch before it goes.
#[test]
fn in_every_order_a_batch_that_another_has_sent_is_led_to_its_end() {
    let contended = |name, callers: Vec<Caller>| Scenario {
        contended: true,
        alone: true,
        ..Scenario::of(name, callers)
    };
    let mut scenarios = vec![
        contended("three threads", vec![PATIENT; 3]),
        Scenario {
            connections: 2,
            ..contended("three threads, two connections", vec![PATIENT; 3])
        },
        Scenario {
            preemptions: 0,
            ..contended("three threads, two commands each", vec![some(2); 3])
        },
        Scenario {
            preemptions: 0,
            ..contended(
                "a pipeline beside three threads",
                vec![TAKER, PATIENT, PATIENT, PATIENT],
            )
        },
        Scenario {
            silent: 50 * MS,
            fails: &[1],
            ..contended("one has no time", vec![PATIENT, HASTY, PATIENT])
        },
        Scenario {
            acts: vec![Act::Silence(50 * MS)],
            fails: &[1, 2],
            preemptions: 0,
            ..contended(
                "the node falls silent and two have no time",
                vec![PATIENT, HASTY, HASTY],
            )
        },
        Scenario {
            acts: vec![Act::Break],
            within: None,
            fails: &[0, 1, 2],
            ..contended("the connection breaks", vec![PATIENT; 3])
        },
    ];
    for caller in 0..3 {
        scenarios.push(Scenario {
            acts: vec![Act::Interrupt(caller)],
            fails: [&[0usize] as &[usize], &[1], &[2]][caller],
            ..contended("one is interrupted", vec![PATIENT; 3])
        });
    }
    for mark in 1..=8 {
        scenarios.push(Scenario {
            panic_at: Some(mark),
            fails: &[0, 1, 2],
            preemptions: 0,
            ..contended("one panics", vec![PATIENT; 3])
        });
    }
    explore_all(&scenarios);
}

#[test]
fn in_every_order_a_connection_that_breaks_and_a_leader_that_panics_end_what_was_theirs() {
    let mut scenarios = vec![Scenario {
        acts: vec![Act::Break],
        within: None,
        fails: &[0, 1, 2],
        alone: true,
        ..Scenario::of("the connection breaks", vec![PATIENT; 3])
    }];
    for mark in 1..=8 {
        scenarios.push(Scenario {
            panic_at: Some(mark),
            fails: &[0, 1, 2],
            preemptions: 0,
            ..Scenario::of("one panics", vec![PATIENT; 3])
        });
    }
    explore_all(&scenarios);
}
