//! Depth-first enumeration of the interleavings of a case.

use super::case::Case;
use super::case_run::{CaseRun, run};
use crate::simulation::simulator::Schedule;

/// Runs every interleaving of a case. Returns how many there are, and how many replies leaders read
/// for followers in them.
fn explore(case: &Case) -> (usize, usize) {
    let most = crate::simulation::env_number("INTERLEAVING_PREEMPTIONS");
    let most = most.map_or(case.preemptions, |number| number as usize);
    let (mut interleavings, mut replies_read_for_others) = (0, 0);
    // Few preemptions first: a violation is found in its simplest form.
    for preemptions in 0..=most {
        let schedule_of = |prefix: &[usize]| Schedule {
            prefix: prefix.to_vec(),
            taken: Vec::new(),
            preemptions,
            ignores_yields: case.ignores_yields,
        };
        let mut prefix = Vec::new();
        interleavings = 0;
        loop {
            let result = run(case, schedule_of(&prefix), false);
            interleavings += 1;
            replies_read_for_others += result.replies_read_for_others;
            let mut taken = result.schedule.taken;
            if let Some(violation) = result.violation {
                prefix = taken.iter().map(|(choice, _)| *choice).collect();
                let CaseRun {
                    violation: again,
                    trace,
                    ..
                } = run(case, schedule_of(&prefix), true);
                panic!(
                    "{}, interleaving {interleavings} with {preemptions} preemptions: {violation}\n{}\n{prefix:?} {again:?}",
                    case.name,
                    trace.join("\n")
                );
            }
            let is_last = |(choice, of): &(usize, usize)| choice + 1 == *of;
            while taken.last().is_some_and(is_last) {
                taken.pop();
            }
            let Some((last, _)) = taken.pop() else {
                break;
            };
            prefix = taken.iter().map(|(choice, _)| *choice).collect();
            prefix.push(last + 1);
        }
    }
    (interleavings, replies_read_for_others)
}

/// Runs every interleaving of several cases.
pub(super) fn explore_all(cases: &[Case]) {
    let mut total = 0;
    for case in cases {
        let began = std::time::Instant::now();
        let (interleavings, replies_read_for_others) = explore(case);
        total += replies_read_for_others;
        let (name, elapsed) = (case.name, began.elapsed());
        println!("{name}: {interleavings} interleavings, {elapsed:?}");
        assert!(interleavings > 1, "{name}: there is only one interleaving");
    }
    assert!(total > 0, "no leader has read a reply for a follower");
}
