//! A thread that publishes. The text of each message is a number of its own.

use super::caller::Caller;
use crate::resp::Kind;
use crate::simulation::cluster_model::ChannelKind;
use crate::simulation::simulator::{MS, SeededRng};
use std::sync::atomic::Ordering;

/// Two sharded channels in each of two slots, and one in each of two others.
pub(super) const SHARDED: [&str; 6] = ["{a}x", "{a}y", "{b}x", "{b}y", "{c}x", "d"];
pub(super) const CHANNELS: [&str; 4] = ["news:1", "news:2", "sport:1", "sport:2"];
pub(super) const PATTERNS: [&str; 2] = ["news:*", "*"];
/// The events of SET at every node.
pub(super) const EVENTS: &str = "__keyevent@0__:set";

impl Caller<'_> {
    /// Publishes until the faults end, and somewhat longer.
    pub(super) fn publish_at_random(&self, rng: &mut SeededRng) {
        let end = self.context.heal_time + 200 * MS;
        let pause = rng.between(8, 60) * MS;
        while self.now() < end {
            self.thread.sleep(rng.below(pause));
            let any = |names: &[&'static str], rng: &mut SeededRng| {
                names[rng.below(names.len() as u64) as usize]
            };
            match rng.below(9) {
                0..=4 => drop(self.publish(ChannelKind::Sharded, any(&SHARDED, rng))),
                5..=7 => drop(self.publish(ChannelKind::Channel, any(&CHANNELS, rng))),
                _ => drop(self.change_key()),
            }
        }
    }

    fn next_text(&self) -> String {
        let number = self.context.published.fetch_add(1, Ordering::SeqCst);
        format!("m{number}")
    }

    /// Publishes on a channel. Returns the text if it was accepted.
    pub(super) fn publish(&self, kind: ChannelKind, channel: &str) -> Option<String> {
        let (client, text) = (&self.context.client, self.next_text());
        let command = match kind {
            ChannelKind::Sharded => "SPUBLISH",
            _ => "PUBLISH",
        };
        let args = [command.as_bytes(), channel.as_bytes(), text.as_bytes()];
        let (_, reply) = self.call(&format!("{command} {channel} {text}"), client, || {
            client.command(&args)
        });
        let is_accepted = reply.is_some_and(|reply| reply.root.value.kind == Kind::Integer);
        is_accepted.then_some(text)
    }

    /// Changes a key of its own, which causes an event. Returns the key.
    pub(super) fn change_key(&self) -> String {
        let key = self.next_text();
        self.set(&key, &format!("token of {key}"));
        key
    }
}
