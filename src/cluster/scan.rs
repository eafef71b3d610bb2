//! One step of a SCAN over the whole cluster: from a cursor to a page and the next cursor.
//!
//! [`crate::route::Scan`] has the reason why no key is missed.

use super::context::ExecContext;
use crate::address::Address;
use crate::cluster::execute::{RoutedCommand, Target};
use crate::cluster::state::{backoff, count};
use crate::deadline::now;
use crate::error::{Code, Error, Result};
use crate::resp::{CommandBody, Kind, NodeValue, Reply, Value, View, encode_command, flag};
use crate::route::{Scan, ScanStep, WalkTarget};
use crate::sync::lock;
use crate::topology::{SelfReport, parse_self_report};
use std::fmt::Arguments;

const INFO_SERVER: &[u8] = b"*2\r\n$4\r\nINFO\r\n$6\r\nserver\r\n";
const CLUSTER_NODES: &[u8] = b"*2\r\n$7\r\nCLUSTER\r\n$5\r\nNODES\r\n";

/// A reply, and the answer in it that is a page.
type PageReply = (Box<Reply>, NodeValue);

/// Returns the next page of a scan, with the cursor for the page after it.
pub fn scan(context: &ExecContext<'_>, args: &[&[u8]]) -> Result<Box<Reply>> {
    let cursor = parse_cursor(args)?;
    let process = context.process;
    let database = context.policy.kind.database();
    let progress = lock(&process.scans).get(cursor, database)?;
    let mut step = Step {
        context,
        options: args.get(2..).unwrap_or_default(),
        progress,
        retries: 0,
    };
    let (mut reply, page) = match step.page()? {
        Page::Keys(reply, page) => (reply, page),
        Page::Failed(reply) => return Ok(reply),
        Page::None => empty_page(),
    };
    let is_done = step.progress.next_step(&process.load_topology()) == ScanStep::Done;
    let mut scans = lock(&process.scans);
    let next = if is_done {
        scans.remove(cursor);
        0
    } else {
        scans.put(cursor, database, step.progress)
    };
    drop(scans);
    let text = reply.store_text(Kind::String, next.to_string().as_bytes());
    reply.values[page.value.data as usize] = text;
    reply.root = page;
    reply.root.value.flags |= flag::NODE_VALUE | flag::SENT;
    reply.node_values.clear();
    Ok(reply)
}

fn parse_cursor(args: &[&[u8]]) -> Result<u64> {
    let cursor = args.get(1).and_then(|arg| std::str::from_utf8(arg).ok());
    let cursor = cursor.and_then(|text| text.parse::<u64>().ok());
    cursor.ok_or_else(|| {
        Error::invalid(
            "the cursor of SCAN is not a number: begin with 0, and continue with the cursor of the last reply",
        )
    })
}

/// A page without keys; the cursor is filled in later.
fn empty_page() -> PageReply {
    let mut reply = Box::<Reply>::default();
    let first = reply.values.len() as u64;
    let no_keys = Value::new(Kind::Array, 0, 0);
    reply.values.extend([Value::NIL, no_keys]);
    let value = Value::new(Kind::Array, 2, first);
    (reply, NodeValue { value, node: 0 })
}

/// The outcome of a step.
enum Page {
    /// The page as the server sent it: its cursor and its keys.
    Keys(Box<Reply>, NodeValue),
    /// The scan had ended already.
    None,
    /// A server replied with an error.
    Failed(Box<Reply>),
}

struct Step<'a> {
    context: &'a ExecContext<'a>,
    /// The arguments after the cursor: MATCH, COUNT, TYPE.
    options: &'a [&'a [u8]],
    progress: Scan,
    retries: u32,
}

impl Step<'_> {
    /// Repeats until there is a page; mostly once.
    fn page(&mut self) -> Result<Page> {
        loop {
            let topology = self.context.process.load_topology();
            let page = match self.progress.next_step(&topology) {
                ScanStep::Done => return Ok(Page::None),
                ScanStep::Unserved(slot) => {
                    drop(topology);
                    self.wait(format_args!("no node serves slot {slot}"))?;
                    continue;
                }
                ScanStep::EndWalk => {
                    self.end_walk()?;
                    continue;
                }
                ScanStep::BeginWalk(target) => self.begin_walk(&target)?,
                ScanStep::NextPage => self.next_page()?,
            };
            let Some((mut reply, answer)) = page else {
                continue;
            };
            if answer.value.kind == Kind::Error {
                reply.root = answer;
                reply.node_values.clear();
                return Ok(Page::Failed(reply));
            }
            self.filter_page(&mut reply, answer)?;
            // After the last page of a node its report ends the walk. If that fails, the next step repeats
            // it: the page is not lost.
            let topology = self.context.process.load_topology();
            if self.progress.next_step(&topology) == ScanStep::EndWalk {
                let _ = self.end_walk();
            }
            return Ok(Page::Keys(reply, answer));
        }
    }

    /// Waits until the nodes may agree about the topology.
    fn wait(&mut self, why: Arguments<'_>) -> Result<()> {
        let ExecContext {
            core,
            process,
            call,
            ..
        } = self.context;
        call.check()?;
        let error = Error::new(
            Code::Down,
            format_args!("{why}; call SCAN again with the same cursor"),
        );
        if call.deadline.passed(now()) {
            return Err(error);
        }
        count(&core.stats.retries);
        core.refresh_if_due(process, call);
        call.sleep(backoff(self.retries).min(call.deadline))?;
        self.retries += 1;
        Ok(())
    }

    /// Sends several commands to one target; `None` unless the same node answered all of them. The
    /// string is the node's name.
    fn query(&self, target: Target, bodies: &[&[u8]]) -> Option<(Box<Reply>, String)> {
        let mut commands: Vec<RoutedCommand<'_>> = bodies
            .iter()
            .map(|body| {
                RoutedCommand::new(CommandBody::Encoded(body), "SCAN", target.clone(), true)
            })
            .collect();
        let reply = self.context.run_many(&mut commands);
        let node = reply.origin_of(reply.node_values[0])?.name().to_owned();
        let is_same = |a: &NodeValue| reply.origin_of(*a).is_some_and(|o| o.name() == node);
        let all_same = reply.node_values.iter().all(is_same);
        all_same.then_some((reply, node))
    }

    /// The encoded SCAN with a server's cursor.
    fn command(&self, cursor: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        let cursor = cursor.to_string();
        let mut args: Vec<&[u8]> = vec![b"SCAN", cursor.as_bytes()];
        args.extend(self.options);
        encode_command(&mut bytes, &args);
        bytes
    }

    /// Begins the walk of a node: gets its report and its first page.
    fn begin_walk(&mut self, target: &WalkTarget) -> Result<Option<PageReply>> {
        let node = match self.resolve(target) {
            Ok(node) => node,
            Err(id) => {
                self.progress.forget_half_seen(target);
                self.wait(format_args!(
                    "node {id}, the destination of a slot migration, has no known address"
                ))?;
                return Ok(None);
            }
        };
        let first = self.command(0);
        let Some((reply, node)) = self.query(node, &[INFO_SERVER, CLUSTER_NODES, &first]) else {
            self.progress.forget_half_seen(target);
            self.wait(format_args!(
                "the commands of one SCAN call were answered by different nodes"
            ))?;
            return Ok(None);
        };
        let failed = reply
            .node_values
            .iter()
            .find(|a| a.value.kind == Kind::Error);
        if let Some(failed) = failed.copied() {
            self.progress.forget_half_seen(target);
            return Ok(Some((reply, failed)));
        }
        let report = report_of(&reply, &node)?;
        if !self.progress.begin_walk(target, &node, report) {
            self.wait(format_args!(
                "{node} does not own the slots that other nodes assign to it"
            ))?;
            return Ok(None);
        }
        let page = reply.node_values[2];
        Ok(Some((reply, page)))
    }

    /// The node to walk, or the id of a node without a known address.
    fn resolve<'t>(&self, target: &'t WalkTarget) -> std::result::Result<Target, &'t str> {
        match target {
            WalkTarget::Slot(slot) => Ok(Target::Primary(*slot)),
            WalkTarget::Node(id, address) => {
                let process = self.context.process;
                let topology = process.load_topology();
                let node = topology.nodes.iter().find(|node| *node.id == **id);
                let peer = node.map(|node| node.peer.clone());
                let at = |address| process.peer(address);
                let peer = peer.or_else(|| address.as_ref().map(at));
                peer.map(Target::Peer).ok_or(id)
            }
        }
    }

    /// The node that is being walked; `None` if it is no longer a primary with slots.
    fn walked_node(&self) -> Option<Target> {
        let process = self.context.process;
        let walk = self.progress.walk()?;
        let topology = process.load_topology();
        let address = Address::parse(&walk.node).ok()?;
        if let Some(slot) = topology.first_slot_of(&address) {
            return Some(Target::Primary(slot));
        }
        // A node that the topology does not have yet may just be receiving its first slot.
        let is_known = topology.node_at(&address).is_some();
        (!is_known).then(|| Target::Peer(process.peer(&address)))
    }

    /// The next page of the node that is being walked.
    fn next_page(&mut self) -> Result<Option<PageReply>> {
        let (Some(target), Some(walk)) = (self.walked_node(), self.progress.walk()) else {
            self.progress.abandon_walk();
            return Ok(None);
        };
        let body = self.command(walk.cursor);
        let walked = walk.node.clone();
        match self.query(target, &[&body]) {
            Some((reply, node)) if node == walked => {
                let page = reply.node_values[0];
                Ok(Some((reply, page)))
            }
            // The cursor is not valid at the node's successor.
            _ => {
                self.progress.abandon_walk();
                self.wait(format_args!("{walked} did not serve the request"))?;
                Ok(None)
            }
        }
    }

    /// Ends the walk of a node with its report.
    fn end_walk(&mut self) -> Result<()> {
        let (Some(target), Some(walk)) = (self.walked_node(), self.progress.walk()) else {
            self.progress.abandon_walk();
            return Ok(());
        };
        let walked = walk.node.clone();
        match self.query(target, &[INFO_SERVER, CLUSTER_NODES]) {
            Some((reply, node)) if node == walked => {
                let refused = reply
                    .node_values
                    .iter()
                    .find(|a| a.value.kind == Kind::Error);
                if let Some(refused) = refused {
                    let text = View::new(&reply, refused.value).str().unwrap_or_default();
                    return Err(Error::new(
                        Code::Down,
                        format_args!(
                            "{node} refuses INFO or CLUSTER NODES, which SCAN needs: {text}"
                        ),
                    ));
                }
                self.progress.end_walk(&report_of(&reply, &node)?);
                Ok(())
            }
            _ => {
                self.progress.abandon_walk();
                self.wait(format_args!("{walked} did not serve the request"))
            }
        }
    }

    /// Takes the server's cursor from a page, and removes the keys that were returned before.
    fn filter_page(&mut self, reply: &mut Reply, answer: NodeValue) -> Result<()> {
        let malformed = || {
            let error = Error::new(
                Code::Protocol,
                "the reply to SCAN is not a cursor and a list of keys",
            );
            error.sent(true)
        };
        let view = View::new(reply, answer.value);
        let (Some(cursor), Some(keys)) = (view.at(0), view.at(1)) else {
            return Err(malformed());
        };
        if answer.value.is_compact() {
            return Err(malformed());
        }
        let cursor = cursor.str().and_then(|text| text.parse().ok());
        let cursor: u64 = cursor.ok_or_else(malformed)?;
        if !keys.kind().has_elements() {
            return Err(malformed());
        }
        if self.progress.repeats() {
            let is_new = |key: &View<'_>| self.progress.is_new(key.text().unwrap_or_default());
            let kept: Vec<Value> = keys.elements().filter(is_new).map(View::value).collect();
            let mut list = keys.value();
            if list.is_compact() {
                list = reply.values.plain(list.kind, &kept);
            } else {
                let first = list.data as usize;
                list.len = kept.len() as u32;
                reply.values[first..first + kept.len()].copy_from_slice(&kept);
            }
            reply.values[answer.value.data as usize + 1] = list;
        }
        self.progress.set_cursor(cursor);
        Ok(())
    }
}

/// A node's report about itself, from the first two answers.
fn report_of(reply: &Reply, node: &str) -> Result<SelfReport> {
    let text = |n: usize| {
        View::new(reply, reply.node_values[n].value)
            .str()
            .unwrap_or_default()
    };
    parse_self_report(text(0), text(1), &Address::parse(node)?)
}
