//! The replies that precede the answer of a command: to ASKING, and in a transaction to MULTI and to the queued commands.
//! They show whether an error is the command's own, and whether anything has run.

use super::routed_command::RoutedCommand;
use crate::resp::{CommandBody, Kind, Reply, Value, View, parse_command};
use crate::route::{Wording, find, is_refusal};

/// What the replies before an error show.
pub(super) enum Verdict<'r> {
    /// Nothing more: the error itself decides.
    OwnError,
    /// The command did not run because ASKING was refused.
    AskingRefused(View<'r>),
    /// The transaction did not run because this error, of a queued command, aborted it.
    Aborted(View<'r>),
    /// The transaction did not run: MULTI was refused, and so was each command behind it.
    MultiRefused(View<'r>),
    /// MULTI was refused, but not every command behind it: these have run by themselves.
    RanWithoutMulti(View<'r>),
    /// A command behind MULTI was answered, not queued.
    RanInMulti,
}

/// The replies that precede an error, which is the answer of a command.
pub(super) struct PreludeReplies<'r> {
    reply: &'r Reply,
    asking: Option<Value>,
    multi: Option<Value>,
    queued: &'r [Value],
}

impl<'r> PreludeReplies<'r> {
    pub(super) fn new(
        reply: &'r Reply,
        command: &RoutedCommand<'_>,
        preludes: &'r [Value],
    ) -> PreludeReplies<'r> {
        let (asking, preludes) = match preludes {
            [asking, rest @ ..] if command.sends_asking() => (Some(*asking), rest),
            _ => (None, preludes),
        };
        let (multi, queued) = match preludes {
            [multi, queued @ ..] => (Some(*multi), queued),
            [] => (None, preludes),
        };
        PreludeReplies {
            reply,
            asking,
            multi,
            queued,
        }
    }

    pub(super) fn verdict(&self, command: &RoutedCommand<'_>, error: Value) -> Verdict<'r> {
        let asking = self.asking.filter(is_error).map(|value| self.view(value));
        if let Some(multi) = self.multi.filter(is_error) {
            let multi = self.view(multi);
            return match self.is_each_refused(command) {
                true => Verdict::MultiRefused(multi),
                false => Verdict::RanWithoutMulti(multi),
            };
        }
        let is_queued = |value: &Value| is_error(value) || self.text(*value) == b"QUEUED";
        if !self.queued.iter().all(is_queued) {
            return Verdict::RanInMulti;
        }
        let cause = self.queued.iter().copied().find(is_error);
        // Without ASKING the node redirects the command to the node that has just answered ASK.
        match asking {
            Some(asking) if self.text(cause.unwrap_or(error)).starts_with(b"MOVED ") => {
                Verdict::AskingRefused(asking)
            }
            _ => cause.map_or(Verdict::OwnError, |c| Verdict::Aborted(self.view(c))),
        }
    }

    /// Whether every command between MULTI and EXEC was refused.
    fn is_each_refused(&self, transaction: &RoutedCommand<'_>) -> bool {
        let (CommandBody::Encoded(bytes) | CommandBody::SecretEncoded(bytes)) = transaction.body()
        else {
            return false;
        };
        let mut args = Vec::new();
        // The first command is MULTI.
        let mut next = parse_command(bytes, 0, &mut args);
        self.queued.iter().all(|value| {
            next = (next.clone()).and_then(|at| parse_command(bytes, at, &mut args));
            let wording = Wording::of(find(&args), transaction.slot());
            next.is_ok() && is_error(value) && is_refusal(self.text(*value), wording)
        })
    }

    fn view(&self, value: Value) -> View<'r> {
        View::new(self.reply, value)
    }

    fn text(&self, value: Value) -> &'r [u8] {
        self.view(value).text().unwrap_or_default()
    }
}

fn is_error(value: &Value) -> bool {
    value.kind == Kind::Error
}
