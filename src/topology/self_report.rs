//! A node's report about itself, from CLUSTER NODES and INFO. It is more exact than the information
//! that other nodes have.

use super::slot_set::SlotSet;
use super::view::resolve_address;
use crate::address::Address;
use crate::error::{Code, Error, Result};

const NODES: &str = "CLUSTER NODES";

/// A node according to itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelfReport {
    pub id: String,
    /// The id of this run of its process (`run_id`): changes with a restart.
    pub run: String,
    pub primary: bool,
    /// The configuration epoch of its slots. It grows when the node takes over a shard, and when it
    /// receives slots from a node with a newer epoch.
    pub epoch: u64,
    /// The slots that it owns.
    pub slots: SlotSet,
    /// Its slots in state MIGRATING: their keys are being moved to another node.
    pub migrating_out: Vec<MigratingOut>,
    /// Slots of other nodes in state IMPORTING: their keys are being moved to this node.
    pub importing: SlotSet,
    /// The owners of other slots: first slot, last slot, node id.
    pub other_slots: Vec<(u16, u16, String)>,
}

impl SelfReport {
    /// Adds the slot fields of the node's own line. Unknown fields are ignored.
    fn add_slots(&mut self, fields: &[&str]) {
        for field in fields {
            if let Some((first, last)) = parse_range(field) {
                self.slots.add(first, last);
            } else if let Some((slot, to)) = parse_migration(field, "->-") {
                self.migrating_out.push(MigratingOut {
                    slot,
                    to: to.to_owned(),
                    address: None,
                });
            } else if let Some((slot, _)) = parse_migration(field, "-<-") {
                self.importing.add(slot, slot);
            }
        }
    }
}

/// A slot that is migrating to another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigratingOut {
    pub slot: u16,
    /// The id of the target node.
    pub to: String,
    /// The address of the target node, if known.
    pub address: Option<Address>,
}

/// Parses the replies of the node at `from` to INFO and CLUSTER NODES.
pub fn parse_self_report(info: &str, nodes: &str, from: &Address) -> Result<SelfReport> {
    let invalid = |command, why| {
        let message = format_args!("{command} of {from} {why}");
        Error::new(Code::Protocol, message)
    };
    let mut report = None;
    let mut others = Vec::new();
    let mut addresses = Vec::new();
    for line in nodes.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
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
        ] = &fields[..]
        else {
            continue;
        };
        if !flags.split(',').any(|flag| flag == "myself") {
            addresses.push((*id, parse_address(address, from)));
            let ranges = slots.iter().filter_map(|slot| parse_range(slot));
            others.extend(ranges.map(|(first, last)| (first, last, (*id).to_owned())));
            continue;
        }
        let mut own = SelfReport {
            id: (*id).to_owned(),
            run: String::new(),
            primary: flags.split(',').any(|flag| flag == "master"),
            epoch: epoch
                .parse()
                .map_err(|_| invalid(NODES, "has no valid epoch"))?,
            slots: SlotSet::new(),
            migrating_out: Vec::new(),
            importing: SlotSet::new(),
            other_slots: Vec::new(),
        };
        own.add_slots(slots);
        report = Some(own);
    }
    let mut report = report.ok_or_else(|| invalid(NODES, "has no entry with the flag myself"))?;
    for migration in &mut report.migrating_out {
        let to = addresses.iter().find(|(id, _)| *id == migration.to);
        migration.address = to.and_then(|(_, address)| address.clone());
    }
    report.other_slots = others;
    let run = info.lines().find_map(|line| line.strip_prefix("run_id:"));
    report.run = run
        .ok_or_else(|| invalid("INFO", "has no run_id"))?
        .trim()
        .to_owned();
    Ok(report)
}

/// Parses `127.0.0.1:7001@17001,host`. The bus port and the hostname are optional.
fn parse_address(text: &str, from: &Address) -> Option<Address> {
    let text = text.split(['@', ',']).next()?;
    let (host, port) = text.rsplit_once(':')?;
    resolve_address(Some(host), port.parse().ok()?, from).ok()
}

/// Parses `5` or `5-10`.
fn parse_range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last && last < 16384).then_some((first, last))
}

/// Parses `[93->-id]` (migrating) or `[93-<-id]` (importing).
fn parse_migration<'a>(text: &'a str, arrow: &str) -> Option<(u16, &'a str)> {
    let (slot, id) = text
        .strip_prefix('[')?
        .strip_suffix(']')?
        .split_once(arrow)?;
    Some((slot.parse().ok().filter(|slot| *slot < 16384)?, id))
}

#[cfg(test)]
mod tests {
    use super::super::slot_set::tests::runs;
    use super::*;

    const INFO: &str = "# Server\r\nredis_version:7.0.15\r\nrun_id:ab12\r\ntcp_port:1\r\n";

    fn from() -> Address {
        Address::new("10.0.0.9", 7000).unwrap()
    }

    #[test]
    fn self_report_lists_owned_and_migrating_slots() {
        let nodes = "aa 10.0.0.1:7001@17001,h1 master - 0 1 8 connected 7-9 11 [5-<-bb]\n\
                     bb 10.0.0.9:7000@17000 myself,master - 0 0 12 connected 0-5 10 [5->-aa] [6-<-cc] [4->-dd]\n\
                     cc :0@17002,?,shard-id=x slave,fail? aa 0 1 8 disconnected\n";
        let view = parse_self_report(INFO, nodes, &from()).unwrap();
        assert_eq!((view.id.as_str(), view.run.as_str()), ("bb", "ab12"));
        assert!(view.primary && view.epoch == 12);
        assert_eq!(runs(&view.slots), [(0, 5), (10, 10)]);
        assert_eq!(runs(&view.importing), [(6, 6)]);
        let address = Some(Address::new("10.0.0.1", 7001).unwrap());
        assert_eq!(view.migrating_out[0].address, address);
        assert_eq!(
            (
                view.migrating_out[0].slot,
                view.migrating_out[0].to.as_str()
            ),
            (5, "aa")
        );
        assert_eq!(
            (view.migrating_out[1].slot, &view.migrating_out[1].address),
            (4, &None)
        );
        assert_eq!(
            view.other_slots,
            [(7, 9, "aa".into()), (11, 11, "aa".into())]
        );
        // Brackets, and an IPv6 address without them.
        for address in ["[fd00::1]:7001@17001,h", "fd00::1:7001@17001"] {
            let nodes = format!(
                "aa {address} master - 0 1 8 connected\n\
                 bb 10.0.0.9:7000@17000 myself,master - 0 0 12 connected 5 [5->-aa]\n"
            );
            let view = parse_self_report(INFO, &nodes, &from()).unwrap();
            let address = Address::new("fd00::1", 7001).unwrap();
            assert_eq!(view.migrating_out[0].address, Some(address));
        }
        // An address without a host is on the host of the node that sent the report.
        let alone = "bb :7000@1 myself,slave aa 0 0 3 connected\n";
        let view = parse_self_report(INFO, alone, &from()).unwrap();
        assert!(!view.primary && runs(&view.slots).is_empty());
    }

    #[test]
    fn invalid_self_report_lines_are_rejected_or_skipped() {
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
        assert_eq!(runs(&view.slots), [(3, 3)]);
        assert!(view.migrating_out.is_empty());
    }
}
