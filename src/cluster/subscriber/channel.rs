//! The kinds of channels, and the commands that subscribe to them.

use crate::cluster::client::empty_command;
use crate::error::{Error, Result};
use crate::resp::MessageType;
use crate::route::{Row, classify, table};
use std::rc::Rc;

/// What a subscription is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ChannelKind {
    Channel,
    Pattern,
    Sharded,
}

/// A channel or pattern of a subscriber.
pub(super) type ChannelKey = (ChannelKind, Rc<[u8]>);

/// What servers say about a kind of channels.
struct Words {
    kind: ChannelKind,
    /// The first element of a message.
    message: &'static [u8],
    subscribe: &'static Row,
    subscribed: &'static [u8],
    unsubscribe: &'static Row,
    unsubscribed: &'static [u8],
}

/// In the order of the kinds.
const WORDS: [Words; 3] = [
    Words {
        kind: ChannelKind::Channel,
        message: b"message",
        subscribe: table::SUBSCRIBE,
        subscribed: b"subscribe",
        unsubscribe: table::UNSUBSCRIBE,
        unsubscribed: b"unsubscribe",
    },
    Words {
        kind: ChannelKind::Pattern,
        message: b"pmessage",
        subscribe: table::PSUBSCRIBE,
        subscribed: b"psubscribe",
        unsubscribe: table::PUNSUBSCRIBE,
        unsubscribed: b"punsubscribe",
    },
    Words {
        kind: ChannelKind::Sharded,
        message: b"smessage",
        subscribe: table::SSUBSCRIBE,
        subscribed: b"ssubscribe",
        unsubscribe: table::SUNSUBSCRIBE,
        unsubscribed: b"sunsubscribe",
    },
];

/// The names of channels and patterns whose events each node sends about its own keys only.
const NODE_LOCAL: [&[u8]; 2] = [b"__keyspace@", b"__keyevent@"];

impl From<MessageType> for ChannelKind {
    #[inline]
    fn from(message: MessageType) -> ChannelKind {
        match message {
            MessageType::Message => ChannelKind::Channel,
            MessageType::PatternMessage => ChannelKind::Pattern,
            MessageType::ShardedMessage => ChannelKind::Sharded,
        }
    }
}

impl ChannelKind {
    fn words(self) -> &'static Words {
        &WORDS[self as usize]
    }

    /// The first element of its messages, which also names the kind in a gap.
    pub(super) fn message(self) -> &'static [u8] {
        self.words().message
    }

    pub(super) fn subscribe(self) -> &'static str {
        self.words().subscribe.name
    }

    pub(super) fn unsubscribe(self) -> &'static str {
        self.words().unsubscribe.name
    }

    /// The first element of a confirmation.
    pub(super) fn confirmation(self, verb: Verb) -> &'static [u8] {
        match verb {
            Verb::Subscribe => self.words().subscribed,
            Verb::Unsubscribe => self.words().unsubscribed,
        }
    }

    /// Whether the events of such a channel come from every primary.
    pub(super) fn is_node_local(self, name: &[u8]) -> bool {
        self != ChannelKind::Sharded && NODE_LOCAL.iter().any(|begin| name.starts_with(begin))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Subscribe,
    Unsubscribe,
}

/// What a push frame is about, by its first element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PushType {
    Message(ChannelKind),
    Confirmation(ChannelKind, Verb),
}

/// The number of elements of a frame.
const CONFIRMATION_LEN: usize = 3;

impl PushType {
    /// None for a push frame of another feature.
    #[inline]
    pub(super) fn of(word: &[u8], elements: usize) -> Option<PushType> {
        match (word, elements) {
            (b"message", 3) => Some(PushType::Message(ChannelKind::Channel)),
            (b"pmessage", 4) => Some(PushType::Message(ChannelKind::Pattern)),
            (b"smessage", 3) => Some(PushType::Message(ChannelKind::Sharded)),
            (_, CONFIRMATION_LEN) => PushType::confirmation(word),
            _ => None,
        }
    }

    #[cold]
    fn confirmation(word: &[u8]) -> Option<PushType> {
        let of = |words: &Words| {
            let verb = if word == words.subscribed {
                Verb::Subscribe
            } else if word == words.unsubscribed {
                Verb::Unsubscribe
            } else {
                return None;
            };
            Some(PushType::Confirmation(words.kind, verb))
        };
        WORDS.iter().find_map(of)
    }
}

/// A command of a subscriber.
#[derive(Debug)]
pub(super) struct ChannelCommand<'a> {
    pub(super) kind: ChannelKind,
    pub(super) verb: Verb,
    pub(super) names: &'a [&'a [u8]],
}

impl<'a> ChannelCommand<'a> {
    /// Fails if it is no command for a subscriber.
    pub(super) fn parse(args: &'a [&'a [u8]]) -> Result<ChannelCommand<'a>> {
        if args.is_empty() {
            return Err(empty_command());
        }
        let command = classify(args);
        let is = |row: &Row| command.row.is_some_and(|of| of.name == row.name);
        let found = WORDS.iter().find_map(|words| {
            let verb = if is(words.subscribe) {
                Verb::Subscribe
            } else if is(words.unsubscribe) {
                Verb::Unsubscribe
            } else {
                return None;
            };
            Some((words.kind, verb))
        });
        let name = command.full_name();
        let Some((kind, verb)) = found else {
            return Err(Error::invalid(format!(
                "a subscriber does not execute {name}: it takes SUBSCRIBE, PSUBSCRIBE, SSUBSCRIBE, UNSUBSCRIBE, \
                 PUNSUBSCRIBE and SUNSUBSCRIBE; use its client for other commands"
            )));
        };
        let names = &args[1..];
        if names.is_empty() && verb == Verb::Subscribe {
            return Err(Error::invalid(format!("{name} needs a channel")));
        }
        Ok(ChannelCommand { kind, verb, names })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_in_order_of_kinds() {
        for (index, words) in WORDS.iter().enumerate() {
            assert_eq!(words.kind as usize, index);
            let lower = |row: &Row| row.name.to_ascii_lowercase().into_bytes();
            assert_eq!(words.subscribed, lower(words.subscribe));
            assert_eq!(words.unsubscribed, lower(words.unsubscribe));
        }
    }

    #[test]
    fn push_types_are_known_by_word_and_length() {
        use ChannelKind::{Channel, Pattern, Sharded};
        for (word, elements, expected) in [
            ("message", 3, Some(PushType::Message(Channel))),
            ("pmessage", 4, Some(PushType::Message(Pattern))),
            ("smessage", 3, Some(PushType::Message(Sharded))),
            ("message", 4, None),
            ("pmessage", 3, None),
            (
                "sunsubscribe",
                3,
                Some(PushType::Confirmation(Sharded, Verb::Unsubscribe)),
            ),
            (
                "subscribe",
                3,
                Some(PushType::Confirmation(Channel, Verb::Subscribe)),
            ),
            ("subscribe", 2, None),
            ("invalidate", 2, None),
            ("", 3, None),
        ] {
            assert_eq!(PushType::of(word.as_bytes(), elements), expected, "{word}");
        }
    }

    #[test]
    fn only_commands_with_channels_belong_on_a_subscriber() {
        let parse = |line: &str| {
            let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            let command = ChannelCommand::parse(&args);
            command.map(|c| (c.kind, c.verb, c.names.len()))
        };
        assert_eq!(
            parse("ssubscribe a b"),
            Ok((ChannelKind::Sharded, Verb::Subscribe, 2))
        );
        assert_eq!(
            parse("PUNSUBSCRIBE"),
            Ok((ChannelKind::Pattern, Verb::Unsubscribe, 0))
        );
        for (line, expected) in [
            ("SUBSCRIBE", "SUBSCRIBE needs a channel"),
            ("GET k", "does not execute GET"),
            ("PUBLISH c m", "does not execute PUBLISH"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.message.contains(expected), "{error}");
        }
        assert!(ChannelCommand::parse(&[]).is_err());
    }

    #[test]
    fn keyspace_channels_are_node_local() {
        for (kind, name, expected) in [
            (ChannelKind::Pattern, "__keyspace@0__:*", true),
            (ChannelKind::Channel, "__keyevent@0__:set", true),
            (ChannelKind::Sharded, "__keyspace@0__:x", false),
            (ChannelKind::Pattern, "*", false),
        ] {
            assert_eq!(kind.is_node_local(name.as_bytes()), expected, "{name}");
        }
    }
}
