//! One connection of a subscriber: what was sent on it, and what its frames mean.
//!
//! A batch of commands ends with PING. Push frames that confirm subscriptions have no fixed place among the replies, and a
//! node may end a subscription by itself at any moment. The reply to PING shows that the batch before it is done.

use super::channel::{ChannelKey, ChannelKind, PushType, Verb};
use crate::deadline::Time;
use crate::error::{Code, Error, Result};
use crate::net::{Connection, Recv};
use crate::resp::{CommandBody, Kind, Reply, View};
use crate::route::table;
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

/// A command of a batch whose channels are not all confirmed.
#[derive(Debug)]
pub(super) struct SentCommand {
    pub(super) kind: ChannelKind,
    /// Those that are not confirmed.
    names: VecDeque<Rc<[u8]>>,
    needs_primary: bool,
    is_single: bool,
}

#[derive(Debug)]
enum Batch {
    Subscribe {
        /// The reply that says which role the node has is outstanding.
        asks_role: bool,
        /// The role was not asked for, although channels of the batch depend on it.
        is_unchecked: bool,
        commands: VecDeque<SentCommand>,
    },
    Unsubscribe(BTreeSet<ChannelKey>),
    Ping,
}

/// What a frame means.
#[derive(Debug)]
pub(super) enum Frame {
    /// A message, which is the frame itself.
    Message(ChannelKind),
    Confirmed(ChannelKey),
    /// The same, of a channel that depends on the role of the node, which could not be asked for on this connection.
    Unchecked(ChannelKey),
    /// The node has ended a subscription.
    Revoked(ChannelKey),
    /// The node has refused a command. `is_single` if it had one channel.
    Refused {
        channels: Vec<ChannelKey>,
        text: String,
        is_single: bool,
    },
    /// The node is a replica, which these channels must not be on.
    Demoted(Vec<ChannelKey>),
    /// Nothing that matters to others.
    Handled,
}

/// A channel to subscribe to.
pub(super) struct Request {
    pub(super) key: ChannelKey,
    /// Of a sharded channel.
    pub(super) slot: Option<u16>,
    pub(super) needs_primary: bool,
    pub(super) is_alone: bool,
}

/// An open connection of a subscriber.
pub(super) struct Link {
    pub(super) connection: Box<Connection>,
    batches: VecDeque<Batch>,
    pub(super) to_unsubscribe: Vec<ChannelKey>,
    /// Channels that it may bring messages of although they are not held here. A node that refuses to unsubscribe may go on
    /// sending: a demoted one, for example, whose map changes just then.
    unheld: BTreeSet<ChannelKey>,
    /// The node has ended a subscription, or is not the primary that it should be.
    pub(super) is_revoked: bool,
    /// A subscription was sent.
    is_used: bool,
    /// When something was received last.
    pub(super) received_at: Time,
    /// When PING was sent to a silent node.
    pub(super) pinged_at: Option<Time>,
}

/// The most channels of one command.
const MAX_CHANNELS: usize = 1000;

impl Link {
    pub(super) fn new(connection: Box<Connection>, time: Time) -> Link {
        Link {
            connection,
            batches: VecDeque::new(),
            to_unsubscribe: Vec::new(),
            unheld: BTreeSet::new(),
            is_revoked: false,
            is_used: false,
            received_at: time,
            pinged_at: None,
        }
    }

    /// Whether the node may go on sending messages of channels that are not held here.
    pub(super) fn has_unheld(&self) -> bool {
        !self.unheld.is_empty()
    }

    /// Whether it may take new subscriptions. With RESP2, the role of a node can be asked for on a new connection only.
    pub(super) fn is_usable(&self) -> bool {
        self.connection.pushes || !self.is_revoked
    }

    pub(super) fn is_idle(&self) -> bool {
        self.batches.is_empty() && self.to_unsubscribe.is_empty()
    }

    pub(super) fn unsubscribe(&mut self, key: ChannelKey) {
        self.unheld.insert(key.clone());
        self.to_unsubscribe.push(key);
    }

    fn push(&mut self, args: &[&[u8]]) {
        self.connection.push(&CommandBody::Args(args));
    }

    pub(super) fn ping(&mut self, time: Time) {
        self.pinged_at = Some(time);
        self.push(&[table::PING.name.as_bytes()]);
        self.batches.push_back(Batch::Ping);
    }

    /// Appends UNSUBSCRIBE and the like.
    pub(super) fn push_unsubscribes(&mut self) {
        let keys = std::mem::take(&mut self.to_unsubscribe);
        if keys.is_empty() {
            return;
        }
        for (kind, name) in &keys {
            // One channel each: channels of a slot that has moved are refused, and others not.
            self.push(&[kind.unsubscribe().as_bytes(), name]);
        }
        self.push(&[table::PING.name.as_bytes()]);
        let keys = keys.into_iter().collect();
        self.batches.push_back(Batch::Unsubscribe(keys));
    }

    /// Appends SUBSCRIBE and the like: one command for the sharded channels of a slot, and for others of a kind.
    pub(super) fn push_subscribes(&mut self, requests: &[Request]) {
        if requests.is_empty() {
            return;
        }
        let needs_primary = requests.iter().any(|request| request.needs_primary);
        let asks_role = needs_primary && self.ask_role();
        let mut commands = VecDeque::new();
        let mut rest = requests;
        while let Some(first) = rest.first() {
            let is_same = |other: &Request| {
                (other.key.0, other.slot) == (first.key.0, first.slot)
                    && other.needs_primary == first.needs_primary
                    && !other.is_alone
            };
            let len = match first.is_alone {
                true => 1,
                false => rest
                    .iter()
                    .take(MAX_CHANNELS)
                    .take_while(|r| is_same(r))
                    .count(),
            };
            let (these, others) = rest.split_at(len);
            commands.push_back(self.push_subscribe(these));
            rest = others;
        }
        self.push(&[table::PING.name.as_bytes()]);
        self.is_used = true;
        self.batches.push_back(Batch::Subscribe {
            asks_role,
            is_unchecked: needs_primary && !asks_role,
            commands,
        });
    }

    fn push_subscribe(&mut self, requests: &[Request]) -> SentCommand {
        let kind = requests[0].key.0;
        let names: VecDeque<_> = requests.iter().map(|r| r.key.1.clone()).collect();
        let mut args: Vec<&[u8]> = vec![kind.subscribe().as_bytes()];
        args.extend(names.iter().map(|name| &**name));
        self.push(&args);
        SentCommand {
            kind,
            is_single: names.len() == 1,
            needs_primary: requests[0].needs_primary,
            names,
        }
    }

    /// Asks for the role of the node, in front of the subscriptions that depend on it. Both run one after another: a node
    /// that is demoted afterwards ends the subscriptions itself.
    fn ask_role(&mut self) -> bool {
        if self.connection.pushes {
            self.push(&[table::HELLO.name.as_bytes(), b"3"]);
            return true;
        }
        if self.is_used {
            return false;
        }
        self.push(&[table::ROLE.name.as_bytes()]);
        true
    }

    /// Sends what can be sent.
    pub(super) fn send(&mut self) -> Result<()> {
        self.connection.send()?;
        self.connection.drop_sent();
        Ok(())
    }

    /// Receives once. False if nothing has arrived.
    pub(super) fn receive(&mut self, time: Time) -> Result<bool> {
        let has_received = self.connection.receive(Recv::Now)?;
        if has_received {
            self.received_at = time;
            self.pinged_at = None;
        }
        Ok(has_received)
    }

    /// What a frame means. Fails if it cannot be what the node should have sent.
    pub(super) fn interpret(&mut self, frame: &Reply) -> Result<Frame> {
        let view = frame.view();
        if matches!(view.kind(), Kind::Push | Kind::Array)
            && let Some(word) = view.at(0).and_then(View::text)
            && let Some(PushType::Message(kind)) = PushType::of(word, view.len())
        {
            return Ok(Frame::Message(kind));
        }
        self.interpret_other(view)
    }

    #[cold]
    fn interpret_other(&mut self, view: View<'_>) -> Result<Frame> {
        match view.kind() {
            Kind::Push | Kind::Array => {
                let word = view.at(0).and_then(View::text).unwrap_or_default();
                match PushType::of(word, view.len()) {
                    Some(PushType::Confirmation(kind, verb)) => {
                        let name = view.at(1).and_then(View::text);
                        let name = name.map(|name| (kind, Rc::from(name)));
                        name.map_or(Ok(Frame::Handled), |key| self.on_confirmation(key, verb))
                    }
                    // The reply to PING of RESP2.
                    _ if word == b"pong" => self.end_batch(),
                    _ if view.kind() == Kind::Push => Ok(Frame::Handled),
                    _ => self.on_role(view),
                }
            }
            Kind::Map => self.on_role(view),
            Kind::Error => {
                let text = String::from_utf8_lossy(view.text().unwrap_or_default());
                self.on_error(&text)
            }
            Kind::Status => self.end_batch(),
            _ => Err(self.unexpected("a reply to no command")),
        }
    }

    fn on_confirmation(&mut self, key: ChannelKey, verb: Verb) -> Result<Frame> {
        match (verb, self.batches.front_mut()) {
            (
                Verb::Subscribe,
                Some(Batch::Subscribe {
                    commands,
                    is_unchecked,
                    ..
                }),
            ) => {
                let Some(command) = commands.front_mut() else {
                    return Err(self.unexpected("the confirmation of no command"));
                };
                if command.kind != key.0 || command.names.front() != Some(&key.1) {
                    return Err(self.unexpected("the confirmation of another channel"));
                }
                command.names.pop_front();
                let is_unchecked = *is_unchecked && command.needs_primary;
                if command.names.is_empty() {
                    commands.pop_front();
                }
                if self.is_unsubscribed_later(&key) {
                    return Ok(Frame::Handled);
                }
                self.unheld.remove(&key);
                Ok(match is_unchecked {
                    true => Frame::Unchecked(key),
                    false => Frame::Confirmed(key),
                })
            }
            (Verb::Subscribe, _) => Err(self.unexpected("the confirmation of no command")),
            (Verb::Unsubscribe, Some(Batch::Unsubscribe(keys))) if keys.contains(&key) => {
                if !self.is_unsubscribed_later(&key) {
                    self.unheld.remove(&key);
                }
                Ok(Frame::Handled)
            }
            (Verb::Unsubscribe, _) => {
                self.unheld.remove(&key);
                self.is_revoked = true;
                Ok(Frame::Revoked(key))
            }
        }
    }

    /// Whether the channel was unsubscribed after the batch that is confirmed now. It may be subscribed once more since:
    /// this is not that confirmation.
    fn is_unsubscribed_later(&self, key: &ChannelKey) -> bool {
        let has_key =
            |batch: &Batch| matches!(batch, Batch::Unsubscribe(keys) if keys.contains(key));
        // The first batch is the one that is confirmed now.
        let mut later = self.batches.iter().skip(1);
        self.unheld.contains(key) && (self.to_unsubscribe.contains(key) || later.any(has_key))
    }

    /// The reply to HELLO or ROLE. Without one that names a replica, the node is used.
    fn on_role(&mut self, view: View<'_>) -> Result<Frame> {
        let named = match view.kind() {
            Kind::Map => view.find("role"),
            _ => view.at(0),
        };
        let role = named.and_then(View::text).unwrap_or_default();
        let is_replica = matches!(role, b"replica" | b"slave");
        let Some(Batch::Subscribe {
            asks_role,
            commands,
            ..
        }) = self.batches.front_mut()
        else {
            return Err(self.unexpected("a role that was not asked for"));
        };
        if !std::mem::take(asks_role) {
            return Err(self.unexpected("a role that was not asked for"));
        }
        if !is_replica {
            return Ok(Frame::Handled);
        }
        let wrong = commands.iter().filter(|command| command.needs_primary);
        let keys = wrong.flat_map(|command| {
            let names = command.names.iter();
            names.map(|name| (command.kind, name.clone()))
        });
        let keys = keys.collect();
        // With RESP2, the next subscription needs a new connection, to ask again.
        self.is_revoked = true;
        Ok(Frame::Demoted(keys))
    }

    fn on_error(&mut self, text: &str) -> Result<Frame> {
        match self.batches.front_mut() {
            // The user may not ask for the role.
            Some(Batch::Subscribe { asks_role, .. }) if *asks_role => {
                *asks_role = false;
                Ok(Frame::Handled)
            }
            Some(Batch::Subscribe { commands, .. }) => {
                let Some(refused) = commands.pop_front() else {
                    // PING is refused. That is a reply, too.
                    return self.end_batch();
                };
                let keys = refused.names.into_iter().map(|name| (refused.kind, name));
                Ok(Frame::Refused {
                    channels: keys.collect(),
                    text: text.to_string(),
                    is_single: refused.is_single,
                })
            }
            // The slot of the channel has moved. Whether the subscription has ended with that is not known.
            Some(Batch::Unsubscribe(_)) if !text.starts_with("NOPERM") => Ok(Frame::Handled),
            Some(Batch::Unsubscribe(_) | Batch::Ping) => self.end_batch(),
            None => Err(self.unexpected(&format!("an error: {text}"))),
        }
    }

    /// The reply to the PING of the first batch.
    fn end_batch(&mut self) -> Result<Frame> {
        match self.batches.pop_front() {
            Some(Batch::Subscribe { commands, .. }) if !commands.is_empty() => {
                Err(self.unexpected("no confirmation of a subscription"))
            }
            Some(_) => Ok(Frame::Handled),
            None => Err(self.unexpected("a reply to no command")),
        }
    }

    #[cold]
    fn unexpected(&self, what: &str) -> Error {
        let node = self.connection.origin().name();
        let problem = format_args!("{node} sent {what} to a subscriber");
        Error::new(Code::Protocol, problem).at(node).sent(true)
    }
}
