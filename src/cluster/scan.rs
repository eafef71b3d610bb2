//! SCAN over the whole cluster: the table of scans under way, and one step of one.
//!
//! The cursor that a caller gets is the number of its scan and of its step. What is known of the
//! scan stays here, because it does not fit into a cursor: which slots have been seen. The state before
//! the last step is kept too, so that a caller may ask for a page again. See [`crate::route::Scan`] for
//! why no key is missed.

use super::client::Client;
use crate::address::Address;
use crate::cluster::execute::{ExecPolicy, RoutedCommand, Target};
use crate::cluster::state::Core;
use crate::cluster::state::backoff;
use crate::cluster::state::count;
use crate::deadline::now;
use crate::error::{Code, Error, Result};
use crate::net::Call;
use crate::resp::{Answer, CommandBody, Kind, Reply, Value, View, encode_command, flag};
use crate::route::{At, Next, Scan};
use crate::sync::lock;
use crate::topology::{SelfReport, parse_self_report};
use rand::Rng;
use std::collections::HashMap;

/// So many scans are remembered; then the one that has not been used for longest is forgotten. Each
/// takes some 6 KiB.
const MOST: usize = 1024;

const INFO: &[u8] = b"*2\r\n$4\r\nINFO\r\n$6\r\nserver\r\n";
const NODES: &[u8] = b"*2\r\n$7\r\nCLUSTER\r\n$5\r\nNODES\r\n";

/// The scans under way in one process.
#[derive(Clone, Debug, Default)]
pub struct Scans {
    live: HashMap<u32, Live>,
    /// Grows with each step of any scan.
    time: u64,
}

#[derive(Clone, Debug)]
struct Live {
    step: u32,
    now: Scan,
    before: Scan,
    used: u64,
}

impl Scans {
    /// What a cursor stands for.
    fn find(&self, cursor: u64) -> Result<Scan> {
        if cursor == 0 {
            return Ok(Scan::default());
        }
        let (number, step) = parts(cursor);
        match self.live.get(&number) {
            Some(live) if live.step == step => Ok(live.now.clone()),
            Some(live) if live.step.wrapping_sub(1) == step => Ok(live.before.clone()),
            _ => Err(Error::invalid(format_args!(
                "the cursor of SCAN, {cursor}, is of no scan under way in this client: it has ended or gone on, or {MOST} others \
                 were begun since; begin again with 0"
            ))),
        }
    }

    /// Remembers what a step with this cursor led to; returns the next cursor.
    fn keep(&mut self, cursor: u64, scan: Scan) -> u64 {
        self.time += 1;
        let (mut number, step) = parts(cursor);
        if cursor == 0 {
            if self.live.len() >= MOST
                && let Some(oldest) = self.live.iter().min_by_key(|(_, live)| live.used)
            {
                let oldest = *oldest.0;
                self.live.remove(&oldest);
            }
            // At random, so that a cursor of another client is not taken for one of ours.
            while number == 0 || self.live.contains_key(&number) {
                number = crate::sim_hooks::rng().random_range(1..1 << 31);
            }
        }
        let used = self.time;
        let live = self.live.entry(number).or_insert_with(|| Live {
            step,
            now: Scan::default(),
            before: Scan::default(),
            used,
        });
        live.used = used;
        if live.step == step {
            live.before = std::mem::replace(&mut live.now, scan);
            live.step = step.wrapping_add(1);
        } else {
            live.now = scan;
        }
        u64::from(number) << 32 | u64::from(live.step)
    }

    fn end(&mut self, cursor: u64) {
        self.live.remove(&parts(cursor).0);
    }
}

/// The number of a scan, 31 bits, and of its step, 32 bits.
fn parts(cursor: u64) -> (u32, u32) {
    ((cursor >> 32) as u32, cursor as u32)
}

/// One step: the next page, with the cursor for the one after it.
pub fn scan(
    client: &Client,
    core: &Core,
    args: &[&[u8]],
    call: &Call<'_>,
    policy: ExecPolicy,
) -> Result<Box<Reply>> {
    let cursor = args.get(1).and_then(|arg| std::str::from_utf8(arg).ok());
    let cursor = cursor.and_then(|text| text.parse::<u64>().ok());
    let cursor = cursor.ok_or_else(|| {
        Error::invalid(
            "the cursor of SCAN is not a number: begin with 0, and go on with the one in the reply",
        )
    })?;
    let process = core.process();
    let scan = lock(&process.scans).find(cursor)?;
    let mut step = Step {
        client,
        core,
        call,
        policy,
        rest: args.get(2..).unwrap_or_default(),
        scan,
        tries: 0,
    };
    let (mut reply, page) = match step.page()? {
        Page::Keys(reply, page) => (reply, page),
        Page::Failed(reply) => return Ok(reply),
        Page::None => {
            let mut reply = Box::<Reply>::default();
            let first = reply.values.len() as u64;
            let empty = Value::new(Kind::Array, 0, 0);
            reply.values.extend([Value::NIL, empty]);
            let value = Value::new(Kind::Array, 2, first);
            (reply, Answer { value, node: 0 })
        }
    };
    let done = step.scan.next(&process.topology.load()) == Next::Done;
    let mut scans = lock(&process.scans);
    let next = if done {
        scans.end(cursor);
        0
    } else {
        scans.keep(cursor, step.scan)
    };
    drop(scans);
    let text = reply.store_text(Kind::String, next.to_string().as_bytes());
    reply.values[page.value.data as usize] = text;
    reply.root = page;
    reply.root.value.flags |= flag::ANSWER | flag::SENT;
    reply.answers.clear();
    Ok(reply)
}

/// A page, or why there is none.
enum Page {
    /// The answer with the server's cursor and its keys.
    Keys(Box<Reply>, Answer),
    /// The scan was at its end already.
    None,
    /// A server said no.
    Failed(Box<Reply>),
}

struct Step<'a> {
    client: &'a Client,
    core: &'a Core,
    call: &'a Call<'a>,
    policy: ExecPolicy,
    /// MATCH, COUNT, TYPE and whatever else the caller said.
    rest: &'a [&'a [u8]],
    scan: Scan,
    tries: u32,
}

impl Step<'_> {
    /// Goes on until there is a page: seldom more than once.
    fn page(&mut self) -> Result<Page> {
        loop {
            let topology = self.core.process().topology.load();
            let found = match self.scan.next(&topology) {
                Next::Done => return Ok(Page::None),
                Next::Unserved(slot) => {
                    drop(topology);
                    self.wait(format_args!("no node serves slot {slot}"))?;
                    continue;
                }
                Next::Close => {
                    self.close()?;
                    continue;
                }
                Next::Open(at) => self.open(&at)?,
                Next::Page => self.more()?,
            };
            let Some((mut reply, answer)) = found else {
                continue;
            };
            if answer.value.kind == Kind::Error {
                reply.root = answer;
                reply.answers.clear();
                return Ok(Page::Failed(reply));
            }
            self.sift(&mut reply, answer)?;
            // At the end of a node the last word is its own. If that fails, it is asked again in the
            // next step: the page is not lost.
            if self.scan.next(&self.core.process().topology.load()) == Next::Close {
                let _ = self.close();
            }
            return Ok(Page::Keys(reply, answer));
        }
    }

    /// Lets the cluster come to terms with itself.
    fn wait(&mut self, why: std::fmt::Arguments<'_>) -> Result<()> {
        self.call.check()?;
        let error = Error::new(
            Code::Down,
            format_args!("{why}; SCAN can be asked again with this cursor"),
        );
        if self.call.deadline.passed(now()) {
            return Err(error);
        }
        count(&self.core.stats.retries);
        self.core.refresh_if_due(self.core.process(), self.call);
        self.call
            .sleep(backoff(self.tries).min(self.call.deadline))?;
        self.tries += 1;
        Ok(())
    }

    /// Asks one node several things in order; `None` if not all of them were answered by the same.
    fn ask(&self, target: Target, bodies: &[&[u8]]) -> Option<(Box<Reply>, String)> {
        let mut parts: Vec<RoutedCommand<'_>> = bodies
            .iter()
            .map(|body| {
                RoutedCommand::new(CommandBody::Encoded(body), "SCAN", target.clone(), true)
            })
            .collect();
        let reply = self
            .client
            .run_many(self.core, &mut parts, self.call, self.policy);
        let node = reply.origin_of(reply.answers[0])?.name().to_owned();
        let same = |a: &Answer| reply.origin_of(*a).is_some_and(|o| o.name() == node);
        reply.answers.iter().all(same).then_some((reply, node))
    }

    fn command(&self, cursor: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        let cursor = cursor.to_string();
        let mut words: Vec<&[u8]> = vec![b"SCAN", cursor.as_bytes()];
        words.extend(self.rest);
        encode_command(&mut bytes, &words);
        bytes
    }

    /// Begins to walk a node: what it has, and its first page.
    fn open(&mut self, at: &At) -> Result<Option<(Box<Reply>, Answer)>> {
        let process = self.core.process();
        let target = match at {
            At::Slot(slot) => Target::Primary(*slot),
            At::Node(id, address) => {
                let topology = process.topology.load();
                let node = topology.nodes.iter().find(|node| node.id == *id);
                let peer = node.map(|node| node.peer.clone());
                let by_address = || address.as_ref().map(|a| process.peer(a, &self.core.config));
                match peer.or_else(by_address) {
                    Some(peer) => Target::Peer(peer),
                    None => {
                        self.scan.drop_halves(at);
                        self.wait(format_args!(
                            "node {id}, to which keys are migrating_slots, has no address"
                        ))?;
                        return Ok(None);
                    }
                }
            }
        };
        let first = self.command(0);
        let asked = self.ask(target, &[INFO, NODES, &first]);
        let Some((reply, node)) = asked else {
            self.scan.drop_halves(at);
            self.wait(format_args!("the nodes have changed their roles"))?;
            return Ok(None);
        };
        if let Some(failed) = reply
            .answers
            .iter()
            .find(|a| a.value.kind == Kind::Error)
            .copied()
        {
            self.scan.drop_halves(at);
            return Ok(Some((reply, failed)));
        }
        let word = said(&reply, &node)?;
        if !self.scan.open(at, &node, word) {
            self.wait(format_args!(
                "{node} does not serve what others say it does"
            ))?;
            return Ok(None);
        }
        let page = reply.answers[2];
        Ok(Some((reply, page)))
    }

    /// The node that is being walked; `None` if it is no primary any more, or has nothing left.
    fn here(&self) -> Option<Target> {
        let process = self.core.process();
        let walk = self.scan.walk()?;
        let topology = process.topology.load();
        if let Some(slot) = topology.first_slot_of(&walk.node) {
            return Some(Target::Primary(slot));
        }
        // It may be getting its first slot just now.
        let address = Address::parse(&walk.node).ok()?;
        let known = topology.node_at(&address).is_some();
        (!known).then(|| Target::Peer(process.peer(&address, &self.core.config)))
    }

    /// The next page of the node that is being walked.
    fn more(&mut self) -> Result<Option<(Box<Reply>, Answer)>> {
        let (Some(target), Some(walk)) = (self.here(), self.scan.walk()) else {
            self.scan.lost();
            return Ok(None);
        };
        let body = self.command(walk.cursor);
        let walked = walk.node.clone();
        match self.ask(target, &[&body]) {
            Some((reply, node)) if node == walked => {
                let page = reply.answers[0];
                Ok(Some((reply, page)))
            }
            // Its successor, to whom the cursor means nothing.
            _ => {
                self.scan.lost();
                self.wait(format_args!("{walked} does not answer"))?;
                Ok(None)
            }
        }
    }

    /// Ends the walk of a node with what it says of itself.
    fn close(&mut self) -> Result<()> {
        let (Some(target), Some(walk)) = (self.here(), self.scan.walk()) else {
            self.scan.lost();
            return Ok(());
        };
        let walked = walk.node.clone();
        match self.ask(target, &[INFO, NODES]) {
            Some((reply, node)) if node == walked => {
                let refused = reply.answers.iter().find(|a| a.value.kind == Kind::Error);
                if let Some(refused) = refused {
                    let text = View::new(&reply, refused.value).str().unwrap_or_default();
                    return Err(Error::new(
                        Code::Down,
                        format_args!("{node} does not say what it has: {text}"),
                    ));
                }
                self.scan.close(&said(&reply, &node)?);
                Ok(())
            }
            _ => {
                self.scan.lost();
                self.wait(format_args!("{walked} does not answer"))
            }
        }
    }

    /// Takes the server's cursor out of a page, and the keys that have been shown already.
    fn sift(&mut self, reply: &mut Reply, answer: Answer) -> Result<()> {
        let broken = || {
            let error = Error::new(Code::Protocol, "the reply to SCAN is not a cursor and keys");
            error.sent(true)
        };
        let view = View::new(reply, answer.value);
        let (Some(cursor), Some(keys)) = (view.at(0), view.at(1)) else {
            return Err(broken());
        };
        let cursor = cursor.str().and_then(|text| text.parse().ok());
        let cursor: u64 = cursor.ok_or_else(broken)?;
        if !keys.kind().has_elements() {
            return Err(broken());
        }
        if self.scan.repeats() {
            let news = |key: &View<'_>| self.scan.is_news(key.text().unwrap_or_default());
            let kept: Vec<Value> = keys.elements().filter(news).map(View::value).collect();
            let mut list = keys.value();
            let first = list.data as usize;
            list.len = kept.len() as u32;
            reply.values[first..first + kept.len()].copy_from_slice(&kept);
            reply.values[answer.value.data as usize + 1] = list;
        }
        self.scan.turn(cursor);
        Ok(())
    }
}

/// What a node said of itself: the first two answers.
fn said(reply: &Reply, node: &str) -> Result<SelfReport> {
    let text = |n: usize| {
        View::new(reply, reply.answers[n].value)
            .str()
            .unwrap_or_default()
    };
    parse_self_report(text(0), text(1), &Address::parse(node)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_may_be_used_twice_but_not_when_the_scan_has_gone_on() {
        let mut scans = Scans::default();
        let first = scans.keep(0, Scan::default());
        let second = scans.keep(first, Scan::default());
        assert!(scans.find(first).is_ok() && scans.find(second).is_ok());
        assert_eq!(scans.keep(first, Scan::default()), second);
        let third = scans.keep(second, Scan::default());
        assert!(scans.find(first).is_err() && scans.find(second).is_ok());
        assert!(
            [first, second, third]
                .iter()
                .all(|c| *c > 0 && *c < 1 << 63)
        );
        scans.end(third);
        assert!(scans.find(third).is_err() && scans.find(second).is_err());
    }

    #[test]
    fn the_scan_that_nobody_goes_on_with_is_forgotten_first() {
        let mut scans = Scans::default();
        let cursors: Vec<u64> = (0..MOST).map(|_| scans.keep(0, Scan::default())).collect();
        let used = scans.keep(cursors[0], Scan::default());
        let new = scans.keep(0, Scan::default());
        assert_eq!(scans.live.len(), MOST);
        assert!(scans.find(used).is_ok() && scans.find(new).is_ok());
        let error = scans.find(cursors[1]).unwrap_err();
        assert!(error.message.contains("begin again with 0"), "{error}");
        assert!(scans.find(cursors[2]).is_ok());
    }
}
