//! The checks of a run: each caller's reply, its time, and its share of the work.

use super::case::{Case, OutsideEvent};
use super::case_run::{Outcome, Records};
use crate::simulation::cluster_model::Execution;
use crate::simulation::simulator::{MS, State, US};

/// How long a call may take after its deadline or an interrupt.
const CANCEL_LATENCY: u64 = 12 * MS;

/// The first violation of a run, if there is one. The node did not run before `thaw_time`.
pub(super) fn check(
    case: &Case,
    state: &State,
    records: &Records,
    thaw_time: u64,
) -> Option<String> {
    for outcome in &records.outcomes {
        let executions = state.cluster.executions.get(&outcome.token);
        let executions = executions.map_or(&[][..], Vec::as_slice);
        let violation = check_reply(case, outcome, executions)
            .or_else(|| check_time(case, outcome, records, thaw_time))
            .or_else(|| check_work(case, outcome, executions));
        if let Some(violation) = violation {
            let Outcome { token, result, .. } = outcome;
            return Some(format!(
                "{token} returned {result:?}, executions {executions:?}: {violation}"
            ));
        }
    }
    None
}

fn check_reply(case: &Case, outcome: &Outcome, executions: &[Execution]) -> Option<String> {
    if executions.len() > 1 {
        return Some("executed more than once".to_string());
    }
    let serial = executions.first().map(|execution| execution.serial);
    match &outcome.result {
        Some(Ok(reply)) if serial != Some(*reply as u64) => {
            Some("the reply is that of another command".to_string())
        }
        Some(Ok(_)) => None,
        Some(Err(error)) if !error.sent && !executions.is_empty() => {
            Some("executed, but reported as not sent".to_string())
        }
        _ if case.may_fail.contains(&outcome.caller) => None,
        _ => Some("this caller may not fail".to_string()),
    }
}

fn check_time(case: &Case, outcome: &Outcome, records: &Records, thaw_time: u64) -> Option<String> {
    let interrupts = &mut records.interrupts.iter();
    let interrupt = interrupts.find(|(caller, _)| *caller == outcome.caller);
    if let (Some((_, at)), Some(Err(_))) = (interrupt, &outcome.result)
        && outcome.ended > at + CANCEL_LATENCY
    {
        let micros = (outcome.ended - at) / US;
        return Some(format!("returned {micros} us after its interrupt"));
    }
    let passed: u64 = case.events.iter().map(passed_time).sum();
    let took = outcome.ended - outcome.began.max(thaw_time).min(outcome.ended);
    let deadline = case.callers[outcome.caller].timeout_ms * MS + CANCEL_LATENCY;
    let most = match (case.max_latency, &outcome.result) {
        (Some(most), Some(Ok(_))) => most,
        // A panic fails the calls that depend on it at once, not at their deadlines.
        (Some(most), Some(Err(_))) if case.panic_at.is_some() => most,
        _ => deadline,
    };
    (took > most + passed).then(|| format!("took {} us", took / US))
}

/// By how much an event prolongs a call.
fn passed_time(event: &OutsideEvent) -> u64 {
    match event {
        OutsideEvent::TimePasses(time) | OutsideEvent::NodeFreezes(time) => *time,
        OutsideEvent::Interrupt(_) | OutsideEvent::ConnectionsBreak => 0,
    }
}

fn check_work(case: &Case, outcome: &Outcome, executions: &[Execution]) -> Option<String> {
    let others = case.callers.len() - 1;
    let activity = outcome.activity;
    if activity.batches_led > 1 || activity.replies_read_for_others > others {
        return Some(format!("worked too much for others: {activity:?}"));
    }
    // A command waits for the batch in flight and for those before it in its own batch, no others.
    if let (Some(at_join), Some(execution)) = (activity.executed_at_join, executions.first())
        && execution.serial - 1 > at_join + 2 * others as u64
    {
        return Some(format!("was overtaken: it joined a batch after {at_join}"));
    }
    None
}
