//! The handshake: the commands that set up a new connection.
//!
//! HELLO with the credentials comes first. AUTH is sent only if the server does not support HELLO, and nothing is
//! pipelined after it, because a server that refuses it may not answer pipelined commands (redis#15640). The connection
//! fails if any command is refused, except an unknown CLIENT SETINFO.

use super::connection::Connection;
use super::connection_kind::ConnectionKind;
use crate::config::{Config, Protocol};
use crate::error::{Code, Error, Result};
use crate::net::wait::Attempt;
use crate::resp::{CommandBody, Kind, Reply};
use std::borrow::Cow;

/// Sets up a new connection. Returns the availability zone that the node names (Valkey 8 and later). The commands in
/// `first` are sent with the last command of the handshake, to save a round trip, and the caller reads their replies.
/// An error reports whether any of `first` may have run: a server that refuses one command runs those behind it.
pub fn handshake(
    connection: &mut Connection,
    config: &Config,
    kind: ConnectionKind,
    first: &[CommandBody<'_>],
    attempt: Attempt<'_>,
) -> Result<Option<String>> {
    let mut handshake = Handshake {
        connection,
        attempt,
        size: usize::MAX,
    };
    let outcome = handshake.run(config, kind, first);
    let sent = handshake.connection.written() > handshake.size;
    outcome.map_err(|mut e| {
        if let Some(password) = &config.password {
            e.message = password.remove_from(&e.message);
        }
        let sent = sent && e.sent;
        e.sent(sent)
    })
}

/// A command of the handshake that has been sent.
struct SentCommand {
    name: &'static str,
    /// Whether the connection fails if the server refuses the command.
    is_required: bool,
}

struct Handshake<'a> {
    connection: &'a mut Connection,
    attempt: Attempt<'a>,
    /// The number of bytes of the handshake; `usize::MAX` until all its commands have been pushed.
    size: usize,
}

impl Handshake<'_> {
    fn run(
        &mut self,
        config: &Config,
        kind: ConnectionKind,
        first: &[CommandBody<'_>],
    ) -> Result<Option<String>> {
        let password = config.password.as_ref().map(|p| p.reveal());
        let user = config.user.as_deref().unwrap_or("default");
        let mut resp3 = config.protocol == Protocol::Resp3;
        let mut zone = None;
        if resp3 {
            let mut hello: Vec<&[u8]> = vec![b"HELLO", b"3"];
            if let Some(password) = password {
                hello.extend([b"AUTH".as_slice(), user.as_bytes(), password.as_bytes()]);
            }
            self.connection.push(&CommandBody::SecretArgs(&hello));
            // With a password, the rest is sent after it has been accepted.
            let sent = match password {
                None => self.send_setup(config, kind, first),
                Some(_) => Vec::new(),
            };
            let reply = self.reply()?;
            if let Some(error) = refusal(&reply, "HELLO") {
                // ERR: Redis before 6 does not support HELLO. NOPROTO: a proxy does not support the protocol version.
                // NOPERM: the ACL does not grant it.
                let is_unknown = ["ERR", "NOPROTO", "NOPERM"]
                    .iter()
                    .any(|word| error.message.split(' ').any(|w| w == *word));
                if !is_unknown
                    || error.message.contains("invalid password")
                    || is_maxclients(&error.message)
                {
                    return Err(error);
                }
                resp3 = false;
            } else {
                self.connection.pushes = true;
                let name = reply.view().find("availability_zone");
                let name = name.and_then(|name| name.str());
                zone = name.filter(|name| !name.is_empty()).map(str::to_string);
            }
            if !sent.is_empty() {
                return self.read_setup_replies(&sent).map(|()| zone);
            }
        }
        if !resp3 && let Some(password) = password {
            let mut auth: Vec<&[u8]> = vec![b"AUTH"];
            // Redis before 6 has no users.
            auth.extend(config.user.as_ref().map(|user| user.as_bytes()));
            auth.push(password.as_bytes());
            self.connection.push(&CommandBody::SecretArgs(&auth));
            let reply = self.reply()?;
            if let Some(error) = refusal(&reply, "AUTH") {
                return Err(error);
            }
        }
        let sent = self.send_setup(config, kind, first);
        self.read_setup_replies(&sent).map(|()| zone)
    }

    /// The next reply. A server that closes the connection at once may have sent an error before, which can be received
    /// even if the send has failed.
    fn reply(&mut self) -> Result<Box<Reply>> {
        // An interrupt is not noticed during a receive, which may take a tick of the kernel's clock. So check before each.
        self.connection.check(self.attempt.call)?;
        match self.connection.reply(self.attempt) {
            Err(error) if error.code == Code::Io => Err(match self.connection.read_final_error() {
                Some(text) => {
                    let node = self.connection.origin().name().to_string();
                    let message = format_args!("{node} refused a new connection: {text}");
                    Error::new(Code::Connect, message).at(node)
                }
                None => error,
            }),
            outcome => outcome,
        }
    }

    /// Sends the commands after the authentication, and `first`.
    fn send_setup(
        &mut self,
        config: &Config,
        kind: ConnectionKind,
        first: &[CommandBody<'_>],
    ) -> Vec<SentCommand> {
        let version = env!("CARGO_PKG_VERSION").as_bytes();
        let mut sent = Vec::new();
        let mut send = |args: &[&[u8]], name, is_required| {
            self.connection.push(&CommandBody::Args(args));
            sent.push(SentCommand { name, is_required });
        };
        if kind.is_readonly() {
            send(&[b"READONLY"], "READONLY", true);
        }
        if let Some(name) = &config.client_name {
            let name = name.as_bytes();
            send(&[b"CLIENT", b"SETNAME", name], "CLIENT SETNAME", true);
        }
        // Redis 7.2 and later, and Valkey. Shown by CLIENT LIST.
        for (attribute, value) in [
            (b"LIB-NAME".as_slice(), b"librediscluster".as_slice()),
            (b"LIB-VER", version),
        ] {
            send(
                &[b"CLIENT", b"SETINFO", attribute, value],
                "CLIENT SETINFO",
                false,
            );
        }
        self.size = self.connection.pushed();
        for body in first {
            self.connection.push(body);
        }
        sent
    }

    fn read_setup_replies(&mut self, sent: &[SentCommand]) -> Result<()> {
        for command in sent {
            let reply = self.reply()?;
            let Some(message) = message(&reply) else {
                continue;
            };
            let is_fatal =
                command.is_required || code(&message) == Code::Auth || is_maxclients(&message);
            // A server without cluster support refuses READONLY, and serves reads without it.
            if is_fatal && !message.contains("cluster support disabled") {
                return Err(refused(&reply, command.name, &message));
            }
        }
        Ok(())
    }
}

/// Whether the server has reached maxclients. It sends this error to any command and closes the connection.
fn is_maxclients(message: &str) -> bool {
    message.contains("max number of clients")
}

/// The message of an error reply.
fn message(reply: &Reply) -> Option<Cow<'_, str>> {
    let view = reply.view();
    (view.kind() == Kind::Error).then(|| String::from_utf8_lossy(view.text().unwrap_or_default()))
}

/// The error of a command that was refused.
fn refusal(reply: &Reply, command: &str) -> Option<Error> {
    message(reply).map(|message| refused(reply, command, &message))
}

fn refused(reply: &Reply, command: &str, message: &str) -> Error {
    let node = reply.origin_of(reply.root).map(|o| o.name().to_string());
    let node = node.unwrap_or_default();
    let error = format_args!("{node} refused {command} on a new connection: {message}");
    let refuses_all = message.starts_with("NOAUTH") || is_maxclients(message);
    Error::new(code(message), error).at(node).sent(!refuses_all)
}

/// The code of an error in the handshake.
fn code(message: &str) -> Code {
    match message.split(' ').next().unwrap_or_default() {
        "WRONGPASS" | "NOAUTH" | "NOPERM" => Code::Auth,
        // Redis before 6: a wrong password, or one that is not required.
        "ERR" if message.contains("invalid password") || message.contains("AUTH") => Code::Auth,
        "LOADING" | "BUSY" | "MASTERDOWN" => Code::Server,
        _ => Code::Connect,
    }
}
