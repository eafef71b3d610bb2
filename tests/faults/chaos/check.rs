//! Compares what the program was told with what the servers did.

use super::SHARDS;
use super::evidence::{Evidence, Executed};
use super::faults::{Effect, Window};
use super::journal::{Journals, Outcome, Verdict, Write};
use rediscluster::error::Code;
use std::collections::{BTreeMap, HashMap, HashSet};
use support::slot_of;

/// A call may end this much after its limit.
const LATE_US: i64 = 50_000;
/// A replica lags by less than this, unless a fault concerns it.
const LAG_US: i64 = 1_000_000;
/// After a change of permissions is undone, calls may still fail by it for this time.
const REFUSAL_US: i64 = 2_000_000;

/// A violated guarantee.
pub struct Violation {
    pub kind: String,
    pub details: String,
}

fn violation(kind: &str, details: String) -> Violation {
    let kind = kind.to_string();
    Violation { kind, details }
}

/// The result of one run.
pub struct Run {
    pub journals: Journals,
    pub evidence: Evidence,
    /// The tokens of all streams at the end.
    pub stored: HashSet<String>,
    pub windows: Vec<Window>,
}

/// Whether two faults of a shard overlap, or nearly.
fn are_close(a: &Window, b: &Window) -> bool {
    a.began <= b.ended + LAG_US
        && b.began <= a.ended + LAG_US
        && a.shards.iter().any(|shard| b.shards.contains(shard))
}

impl Run {
    pub fn violations(&self) -> Vec<Violation> {
        let foreign = self.journals.foreign.iter();
        let mut found: Vec<_> = foreign
            .map(|line| violation("foreign bytes are in a journal", line.clone()))
            .collect();
        found.extend(self.writes());
        found.extend(self.groups());
        found.extend(self.transactions());
        found.extend(self.outcomes());
        let findings = self.journals.findings.iter();
        found.extend(
            findings
                .filter(|f| f.kind != "nil" || !self.is_move_interrupted(&f.tag))
                .map(|f| violation(&format!("finding: {}", f.kind), f.line.clone())),
        );
        found
    }

    fn writes(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        for (token, write) in &self.journals.writes {
            let executed = self.evidence.tokens.get(token);
            let mut violates = |what: &str| {
                found.push(violation(what, format!("{token} {write:?} {executed:?}")));
            };
            let Some(executed) = executed else {
                if write.verdict == Verdict::Ran {
                    violates("was acknowledged and has not run");
                }
                continue;
            };
            if write.verdict == Verdict::Not {
                violates("was reported as not run and has run");
            }
            if executed.ids.len() > 1 {
                violates("ran twice");
            }
            if executed.outside {
                violates("ran at a server that is no node of the cluster");
            }
            if write.replicas > 0 && executed.nodes.len() <= write.replicas {
                violates("was counted by WAIT at a replica that does not have it");
            }
            if write.verdict == Verdict::Ran && self.is_lost(token, write, executed) {
                violates("was acknowledged and is missing");
            }
        }
        found
    }

    /// Whether a write is missing without a fault that explains it.
    fn is_lost(&self, token: &str, write: &Write, executed: &Executed) -> bool {
        // The id of a stream entry begins with the time in milliseconds. Values are overwritten: they are not checked.
        let id = executed.ids.first().and_then(|id| id.split_once('-'));
        let Some((ms, _)) = id else { return false };
        let at = ms.parse::<i64>().unwrap() * 1000;
        let shards: Vec<usize> = executed.nodes.iter().map(|node| node % SHARDS).collect();
        !self.stored.contains(token)
            && !self.is_move_interrupted(&write.tag)
            && !self
                .losses(&shards)
                .any(|(from, to)| (from..=to).contains(&at))
    }

    fn of_effect(&self, effect: Effect) -> impl Iterator<Item = &Window> {
        self.windows.iter().filter(move |w| w.effect == effect)
    }

    /// When acknowledged writes of these shards may have been lost: until a replica was promoted, from the first of the
    /// faults before that, which may have left it no time to catch up between them.
    fn losses(&self, shards: &[usize]) -> impl Iterator<Item = (i64, i64)> {
        let of_shards = |w: &&Window| w.shards.iter().any(|s| shards.contains(s));
        let promotions = self.of_effect(Effect::Loss).filter(of_shards);
        promotions.map(move |promotion| {
            let lags = self.of_effect(Effect::Lag).filter(of_shards);
            let mut all: Vec<_> = lags
                .chain(self.of_effect(Effect::Loss).filter(of_shards))
                .collect();
            all.sort_by_key(|w| -w.ended);
            let mut from = promotion.began;
            for window in all.iter().filter(|w| w.began <= promotion.ended) {
                if window.ended + LAG_US >= from {
                    from = from.min(window.began);
                }
            }
            (from - LAG_US, promotion.ended + LAG_US)
        })
    }

    /// Whether a promotion interrupted a move of the slot of this tag. The new primary does not know that the slot
    /// moves, and misses the keys that have moved already.
    fn is_move_interrupted(&self, tag: &str) -> bool {
        let slot = slot_of(tag.as_bytes());
        let mut moves = self.windows.iter().filter(|w| w.slot == Some(slot));
        moves.any(|moved| self.of_effect(Effect::Loss).any(|w| are_close(w, moved)))
    }

    /// The commands of an atomic call ran all or not at all; those of a pipeline for one key ran in order.
    fn groups(&self) -> Vec<Violation> {
        let mut groups: BTreeMap<&str, Vec<(&String, &Write)>> = BTreeMap::new();
        for (token, write) in &self.journals.writes {
            groups.entry(&write.group).or_default().push((token, write));
        }
        let mut found = Vec::new();
        for members in groups.into_values() {
            let tokens: Vec<String> = members.iter().map(|(token, _)| token.to_string()).collect();
            let ran = tokens
                .iter()
                .filter(|t| self.evidence.tokens.contains_key(*t));
            let ran = ran.count();
            if members[0].1.operation == "atomic" && ran > 0 {
                let is_transaction = self.evidence.transactions.contains(&tokens);
                // Without the right to MULTI the commands run one by one, and the reply says that they may have.
                let ran_one_by_one = members.iter().all(|(_, w)| w.verdict == Verdict::May);
                if ran < tokens.len() || (ran > 1 && !is_transaction && !ran_one_by_one) {
                    let details = format!("{ran} of {tokens:?}");
                    found.push(violation(
                        "an atomic call did not run as one transaction",
                        details,
                    ));
                }
            }
            let mut last: HashMap<&str, (u64, u64)> = HashMap::new();
            for (token, write) in members {
                let executed = self.evidence.tokens.get(token);
                let id = executed.and_then(|e| e.ids.first()?.split_once('-'));
                let Some((ms, sequence)) = id else { continue };
                let id = (ms.parse().unwrap(), sequence.parse().unwrap());
                if last
                    .insert(&write.tag, id)
                    .is_some_and(|before| before > id)
                {
                    let details = format!("{token} {write:?} {executed:?}");
                    found.push(violation("ran before an earlier command", details));
                }
            }
        }
        found
    }

    /// A transaction in a file of a server is one atomic call, whole and in order.
    fn transactions(&self) -> Vec<Violation> {
        let mut sizes: HashMap<&str, usize> = HashMap::new();
        for write in self.journals.writes.values() {
            *sizes.entry(&write.group).or_default() += 1;
        }
        let is_whole = |tokens: &[String]| {
            let first = self.journals.writes.get(&tokens[0]);
            first.is_some_and(|write| {
                write.operation == "atomic"
                    && sizes[write.group.as_str()] == tokens.len()
                    && tokens.windows(2).all(|two| two[0] < two[1])
                    && tokens.iter().all(|t| {
                        self.journals
                            .writes
                            .get(t)
                            .is_some_and(|w| w.group == write.group)
                    })
            })
        };
        let transactions = self.evidence.transactions.iter();
        transactions
            .filter(|tokens| !is_whole(tokens))
            .map(|tokens| {
                violation(
                    "a transaction is none of an atomic call",
                    format!("{tokens:?}"),
                )
            })
            .collect()
    }

    fn outcomes(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        for outcome in &self.journals.outcomes {
            if outcome.late > LATE_US {
                found.push(violation("a call ended late", outcome.line.clone()));
            }
            if outcome.code != 0 && !self.is_explained(outcome) {
                found.push(violation(
                    "no fault explains an error",
                    outcome.line.clone(),
                ));
            }
        }
        found
    }

    fn is_explained(&self, outcome: &Outcome) -> bool {
        const REPLIES: &[&str] = &[
            "CLUSTERDOWN",
            "LOADING",
            "MASTERDOWN",
            "TRYAGAIN",
            "UNBLOCKED",
            "READONLY",
            "EXECABORT",
            "NOREPLICAS",
        ];
        /// The last two are of scripts.
        const REFUSALS: &[&str] = &[
            "NOPERM",
            "ACL failure in script",
            "The user executing the script can't run this command",
        ];
        let message = outcome.message.as_str();
        let is_refused = || {
            self.windows.iter().any(|w| {
                w.effect == Effect::Refusal
                    && w.began <= outcome.ended
                    && outcome.began <= w.ended + REFUSAL_US
            })
        };
        match Code::from_number(outcome.code) {
            Some(Code::Interrupted) => true,
            _ if message.contains("of-the-script") => true,
            _ if outcome.calm => false,
            Some(Code::Connect | Code::Io | Code::Timeout | Code::Down | Code::Redirects) => true,
            Some(Code::Auth) => is_refused(),
            Some(Code::Server) => {
                REPLIES.iter().any(|word| message.contains(word))
                    || (REFUSALS.iter().any(|word| message.contains(word)) && is_refused())
            }
            _ => false,
        }
    }
}
