//! What is said on a new connection before it carries commands.
//!
//! HELLO with the credentials in it comes first; only where the server does not know HELLO is
//! AUTH sent, alone, because a server that closes the door may leave what was pipelined behind it
//! without an answer (redis#15640). Any refusal but that of an unknown CLIENT SETINFO fails the
//! connection: none is used half set up.

use crate::config::{Config, Protocol};
use crate::deadline::Deadline;
use crate::error::{Code, Error, Result};
use crate::net::conn::Connection;
use crate::net::wait::Call;
use crate::resp::{CommandBody, Kind, Reply};
use std::borrow::Cow;

/// Sets a new connection up; returns the availability zone that the node names, which Valkey does
/// since version 8. What is to be asked `first` goes out with the last of it, to save a round
/// trip; the replies to that are the caller's to take. An error says whether any of that may have run:
/// not behind a refusal.
pub fn handshake(
    connection: &mut Connection,
    config: &Config,
    readonly: bool,
    first: &[CommandBody<'_>],
    call: &Call<'_>,
    until: Deadline,
) -> Result<Option<String>> {
    let mut talk = Handshake {
        connection,
        call,
        until,
        greeting: usize::MAX,
    };
    let outcome = talk.greet(config, readonly, first);
    let sent = talk.connection.written() > talk.greeting;
    outcome.map_err(|e| {
        let sent = sent && e.sent;
        e.sent(sent)
    })
}

/// What was said: the command, and whether its refusal matters.
type Said = Vec<(&'static str, bool)>;

struct Handshake<'a> {
    connection: &'a mut Connection,
    call: &'a Call<'a>,
    until: Deadline,
    /// How many bytes the greeting has, once all of it has been said.
    greeting: usize,
}

impl Handshake<'_> {
    fn greet(
        &mut self,
        config: &Config,
        readonly: bool,
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
            self.connection.push(&CommandBody::Args(&hello));
            // Behind a password nothing is sent before the door is open.
            let said = match password {
                None => self.send_setup(config, readonly, first),
                Some(_) => Vec::new(),
            };
            let reply = self.reply()?;
            if let Some(error) = refusal(&reply, "HELLO") {
                // Redis before 6 does not know the command, a proxy may not know the version, and an
                // ACL may not grant it.
                let unknown = ["ERR", "NOPROTO", "NOPERM"]
                    .iter()
                    .any(|word| error.message.split(' ').any(|w| w == *word));
                if !unknown
                    || error.message.contains("invalid password")
                    || is_farewell(&error.message)
                {
                    return Err(error);
                }
                resp3 = false;
            } else {
                self.connection.pushes = true;
                let named = reply.view().find("availability_zone");
                let named = named.and_then(|named| named.str());
                zone = named.filter(|name| !name.is_empty()).map(str::to_string);
            }
            if !said.is_empty() {
                return self.read_setup_replies(&said).map(|()| zone);
            }
        }
        if !resp3 && let Some(password) = password {
            let mut auth: Vec<&[u8]> = vec![b"AUTH"];
            // Redis before 6 knows no users.
            auth.extend(config.user.as_ref().map(|user| user.as_bytes()));
            auth.push(password.as_bytes());
            let reply = self.ask(&auth)?;
            if let Some(error) = refusal(&reply, "AUTH") {
                return Err(error);
            }
        }
        let said = self.send_setup(config, readonly, first);
        self.read_setup_replies(&said).map(|()| zone)
    }

    fn ask(&mut self, args: &[&[u8]]) -> Result<Box<Reply>> {
        self.connection.push(&CommandBody::Args(args));
        self.reply()
    }

    /// The next reply. A server that hangs up at once may have said why, and what it said has come
    /// although what we said could not be sent.
    fn reply(&mut self) -> Result<Box<Reply>> {
        // Each may take a tick of the kernel's clock in which no interrupt is noticed: no more than one of them.
        self.connection.check(self.call)?;
        match self.connection.reply(self.call, self.until) {
            Err(error) if error.code == Code::Io => Err(match self.connection.read_final_error() {
                Some(text) => {
                    let node = self.connection.origin().name().to_string();
                    let words = format_args!("{node} refused a new connection: {text}");
                    Error::new(Code::Connect, words).at(node)
                }
                None => error,
            }),
            outcome => outcome,
        }
    }

    /// Everything that can be said in one go.
    fn send_setup(&mut self, config: &Config, readonly: bool, first: &[CommandBody<'_>]) -> Said {
        let version = env!("CARGO_PKG_VERSION").as_bytes();
        let mut said = Vec::new();
        let mut send_setup = |args: &[&[u8]], name, must| {
            self.connection.push(&CommandBody::Args(args));
            said.push((name, must));
        };
        if readonly {
            send_setup(&[b"READONLY"], "READONLY", true);
        }
        if let Some(name) = &config.client_name {
            let name = name.as_bytes();
            send_setup(&[b"CLIENT", b"SETNAME", name], "CLIENT SETNAME", true);
        }
        // Known from Redis 7.2 and Valkey on; of use to whoever reads CLIENT LIST.
        for (what, value) in [
            (b"LIB-NAME".as_slice(), b"librediscluster".as_slice()),
            (b"LIB-VER", version),
        ] {
            send_setup(
                &[b"CLIENT", b"SETINFO", what, value],
                "CLIENT SETINFO",
                false,
            );
        }
        self.greeting = self.connection.pushed();
        for body in first {
            self.connection.push(body);
        }
        said
    }

    fn read_setup_replies(&mut self, said: &Said) -> Result<()> {
        for (name, must) in said {
            let reply = self.reply()?;
            let Some(words) = words(&reply) else {
                continue;
            };
            // A server that is part of no cluster serves every read without READONLY.
            let matters = *must || code(&words) == Code::Auth || is_farewell(&words);
            if matters && !words.contains("cluster support disabled") {
                return Err(refused(&reply, name, &words));
            }
        }
        Ok(())
    }
}

/// Whether a server says so to whoever it hangs up on, whatever was asked: maxclients.
fn is_farewell(words: &str) -> bool {
    words.contains("max number of clients")
}

/// The words of the error that a reply is.
fn words(reply: &Reply) -> Option<Cow<'_, str>> {
    let view = reply.view();
    (view.kind() == Kind::Error).then(|| String::from_utf8_lossy(view.text().unwrap_or_default()))
}

/// The error that a reply is, as one of setting up.
fn refusal(reply: &Reply, command: &str) -> Option<Error> {
    words(reply).map(|words| refused(reply, command, &words))
}

fn refused(reply: &Reply, command: &str, words: &str) -> Error {
    let node = reply.origin_of(reply.root).map(|o| o.name().to_string());
    let node = node.unwrap_or_default();
    let error = format_args!("{node} refused {command} on a new connection: {words}");
    Error::new(code(words), error).at(node)
}

/// What it means where a connection is set up.
fn code(words: &str) -> Code {
    match words.split(' ').next().unwrap_or_default() {
        "WRONGPASS" | "NOAUTH" | "NOPERM" => Code::Auth,
        // What Redis before 6 says to a wrong or a needless password.
        "ERR" if words.contains("invalid password") || words.contains("AUTH") => Code::Auth,
        "LOADING" | "BUSY" | "MASTERDOWN" => Code::Server,
        _ => Code::Connect,
    }
}
