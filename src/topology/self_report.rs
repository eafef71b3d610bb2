//! What a node says of itself, in CLUSTER NODES and INFO: more exactly than others can know it.

use super::slot_set::SlotSet;
use super::view::place;
use crate::address::Address;
use crate::error::{Code, Error, Result};

/// A node by its own word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelfReport {
    pub id: String,
    /// Of this run of its process: another after a restart.
    pub run: String,
    pub primary: bool,
    /// Of its slots: grows when it takes over a shard, and when slots come to it from a node whose
    /// epoch is newer.
    pub epoch: u64,
    /// The slots that it serves.
    pub slots: SlotSet,
    /// Those of them whose keys are on their way to another node.
    pub leaving: Vec<MigratingOut>,
    /// Those of others whose keys are on their way here.
    pub coming: SlotSet,
    /// Who serves the rest: first slot, last slot, id.
    pub others: Vec<(u16, u16, String)>,
}

/// A slot that is on its way to another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigratingOut {
    pub slot: u16,
    /// The node's id, and its address where it has one.
    pub to: String,
    pub address: Option<Address>,
}

/// Reads the answers of the node at `from` to INFO and CLUSTER NODES.
pub fn parse_self_report(info: &str, nodes: &str, from: &Address) -> Result<SelfReport> {
    let broken = |why| Error::new(Code::Protocol, format_args!("{from} {why}"));
    let mut view = None;
    let mut others = Vec::new();
    let mut addresses = Vec::new();
    for line in nodes.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [
            id,
            address,
            flags,
            _primary,
            _ping,
            _pong,
            epoch,
            _link,
            slots @ ..,
        ] = &words[..]
        else {
            continue;
        };
        if !flags.split(',').any(|flag| flag == "myself") {
            addresses.push((*id, address_of(address, from)));
            let runs = slots.iter().filter_map(|slot| run(slot));
            others.extend(runs.map(|(first, last)| (first, last, (*id).to_owned())));
            continue;
        }
        let mut own = SelfReport {
            id: (*id).to_owned(),
            run: String::new(),
            primary: flags.split(',').any(|flag| flag == "master"),
            epoch: epoch.parse().map_err(|_| broken("has no epoch"))?,
            slots: SlotSet::new(),
            leaving: Vec::new(),
            coming: SlotSet::new(),
            others: Vec::new(),
        };
        for word in slots {
            if let Some((first, last)) = run(word) {
                own.slots.add(first, last);
            } else if let Some((slot, to)) = open(word, "->-") {
                own.leaving.push(MigratingOut {
                    slot,
                    to: to.to_owned(),
                    address: None,
                });
            } else if let Some((slot, _)) = open(word, "-<-") {
                own.coming.add(slot, slot);
            }
        }
        view = Some(own);
    }
    let mut view = view.ok_or_else(|| broken("does not name itself in CLUSTER NODES"))?;
    for leaving in &mut view.leaving {
        let to = addresses.iter().find(|(id, _)| *id == leaving.to);
        leaving.address = to.and_then(|(_, address)| address.clone());
    }
    view.others = others;
    let run = info.lines().find_map(|line| line.strip_prefix("run_id:"));
    view.run = run
        .ok_or_else(|| broken("says no run_id in INFO"))?
        .trim()
        .to_owned();
    Ok(view)
}

/// `127.0.0.1:7001@17001,host`: the name after the comma is not always there, the bus port
/// neither.
fn address_of(word: &str, from: &Address) -> Option<Address> {
    let word = word.split(['@', ',']).next()?;
    let (host, port) = word.rsplit_once(':')?;
    place(Some(host), port.parse().ok()?, from).ok()
}

/// `5` or `5-10`.
fn run(word: &str) -> Option<(u16, u16)> {
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last && last < 16384).then_some((first, last))
}

/// `[93->-id]` or `[93-<-id]`.
fn open<'a>(word: &'a str, arrow: &str) -> Option<(u16, &'a str)> {
    let (slot, id) = word
        .strip_prefix('[')?
        .strip_suffix(']')?
        .split_once(arrow)?;
    Some((slot.parse().ok().filter(|slot| *slot < 16384)?, id))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "# Server\r\nredis_version:7.0.15\r\nrun_id:ab12\r\ntcp_port:1\r\n";

    fn from() -> Address {
        Address::new("10.0.0.9", 7000).unwrap()
    }

    #[test]
    fn a_node_says_what_it_has_and_what_is_on_its_way() {
        let nodes = "aa 10.0.0.1:7001@17001,h1 master - 0 1 8 connected 7-9 11 [5-<-bb]\n\
                     bb 10.0.0.9:7000@17000 myself,master - 0 0 12 connected 0-5 10 [5->-aa] [6-<-cc] [4->-dd]\n\
                     cc :0@17002,?,shard-id=x slave,fail? aa 0 1 8 disconnected\n";
        let view = parse_self_report(INFO, nodes, &from()).unwrap();
        assert_eq!((view.id.as_str(), view.run.as_str()), ("bb", "ab12"));
        assert!(view.primary && view.epoch == 12);
        assert_eq!(view.slots.runs(), [(0, 5), (10, 10)]);
        assert_eq!(view.coming.runs(), [(6, 6)]);
        let address = Some(Address::new("10.0.0.1", 7001).unwrap());
        assert_eq!(view.leaving[0].address, address);
        assert_eq!(
            (view.leaving[0].slot, view.leaving[0].to.as_str()),
            (5, "aa")
        );
        assert_eq!((view.leaving[1].slot, &view.leaving[1].address), (4, &None));
        assert_eq!(view.others, [(7, 9, "aa".into()), (11, 11, "aa".into())]);
        // An address without a host is on the host that was asked.
        let alone = "bb :7000@1 myself,slave aa 0 0 3 connected\n";
        let view = parse_self_report(INFO, alone, &from()).unwrap();
        assert!(!view.primary && view.slots.runs().is_empty());
    }

    #[test]
    fn what_makes_no_sense_is_an_error_or_is_passed_over() {
        assert!(parse_self_report(INFO, "", &from()).is_err());
        assert!(
            parse_self_report(INFO, "aa 10.0.0.1:1 master - 0 0 1 connected 0-5", &from()).is_err()
        );
        assert!(parse_self_report("", "aa h:1 myself,master - 0 0 1 connected", &from()).is_err());
        assert!(
            parse_self_report(INFO, "aa h:1 myself,master - 0 0 x connected", &from()).is_err()
        );
        let odd = "aa h:1 myself,master - 0 0 1 connected 9-1 16384 x [z->-b] [99999->-b] [1->] 3";
        let view = parse_self_report(INFO, odd, &from()).unwrap();
        assert_eq!(view.slots.runs(), [(3, 3)]);
        assert!(view.leaving.is_empty());
    }
}
