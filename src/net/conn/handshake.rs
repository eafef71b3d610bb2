//! The handshake: the commands that set up a new connection.
//!
//! HELLO with the credentials comes first. AUTH is sent only if the server does not support HELLO, and nothing is
//! pipelined after it, because a server that refuses it may not answer pipelined commands (redis#15640). CLUSTER MYID
//! shows which node has answered, at no round trip of its own. What follows a refusal is in `refusal`.

use super::connection::Connection;
use super::connection_kind::ConnectionKind;
use super::refusal::{
    Consequence, RefusalContext, Step, consequence, database_advice, refuses_every_command,
};
use super::reported_identity::ReportedIdentity;
use super::reported_role::ReportedRole;
use crate::config::{ClusterMode, Config, Credentials, Protocol};
use crate::error::{Code, Error, Result};
use crate::net::wait::Attempt;
use crate::resp::{CommandBody, Kind, Reply, View};
use std::borrow::Cow;

/// Which commands a handshake has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// HELLO, unless the option `protocol` is 2, and all others.
    Hello,
    /// The same without HELLO, on which the node closes connections.
    NoHello,
    /// Only what the options demand, for a proxy that may close connections on other commands, too.
    Minimal,
}

/// What a new connection is for.
#[derive(Clone, Copy)]
pub struct HandshakePlan<'a> {
    pub config: &'a Config,
    pub credentials: &'a Credentials,
    pub kind: ConnectionKind,
    pub opening: Opening,
    /// Whether the node is no cluster, so that it need not know commands for clusters.
    pub is_standalone: bool,
    /// The connection is closed when its first commands have been answered: CLIENT LIST need not show what it is.
    pub is_temporary: bool,
    /// Whether the node is of a shard that has replicas, which serve reads only after READONLY.
    pub has_replicas: bool,
    /// Commands of the caller, sent with the last command of the handshake to save a round trip. The caller reads their
    /// replies.
    pub first: &'a [CommandBody<'a>],
}

/// What a node says in the handshake.
#[derive(Debug, Default)]
pub struct Greeting {
    /// Its availability zone (Valkey 8 and later).
    pub zone: Option<String>,
    pub identity: ReportedIdentity,
    pub role: ReportedRole,
    /// It has refused HELLO, and serves the connection without it.
    pub refused_hello: bool,
    /// A refusal that the handshake has gone on without: for the log.
    pub warning: Option<String>,
    /// The node does not have the database, so that the connection is in another one: it must not be used.
    pub refused_database: Option<Error>,
}

/// Why a handshake has failed.
pub enum HandshakeError {
    /// The node closed the connection instead of replying to HELLO, without saying why.
    ClosedOnHello(Error),
    Other(Error),
}

impl HandshakeError {
    pub fn into_error(self) -> Error {
        match self {
            HandshakeError::ClosedOnHello(error) | HandshakeError::Other(error) => error,
        }
    }

    /// The same with another error.
    pub fn map(self, change: impl FnOnce(Error) -> Error) -> HandshakeError {
        match self {
            HandshakeError::ClosedOnHello(error) => HandshakeError::ClosedOnHello(change(error)),
            HandshakeError::Other(error) => HandshakeError::Other(change(error)),
        }
    }
}

impl From<Error> for HandshakeError {
    fn from(error: Error) -> HandshakeError {
        HandshakeError::Other(error)
    }
}

/// Sets up a new connection. An error reports whether any of the first commands may have run: a server that refuses one
/// command runs those behind it.
pub fn handshake(
    connection: &mut Connection,
    plan: &HandshakePlan<'_>,
    attempt: Attempt<'_>,
) -> std::result::Result<Greeting, HandshakeError> {
    let mut handshake = Handshake {
        connection,
        plan,
        attempt,
        size: usize::MAX,
        mode: None,
        greeting: Greeting::default(),
    };
    let outcome = handshake.run();
    let sent = handshake.connection.written() > handshake.size;
    let greeting = handshake.greeting;
    outcome.map(|()| greeting).map_err(|error| {
        error.map(|mut e| {
            e.message = plan.credentials.remove_from(&e.message);
            let sent = sent && e.sent;
            e.sent(sent)
        })
    })
}

struct Handshake<'a> {
    connection: &'a mut Connection,
    plan: &'a HandshakePlan<'a>,
    attempt: Attempt<'a>,
    /// The number of bytes of the handshake; `usize::MAX` until all its commands have been pushed.
    size: usize,
    /// The field `mode` of the reply to HELLO.
    mode: Option<String>,
    greeting: Greeting,
}

impl Handshake<'_> {
    fn run(&mut self) -> std::result::Result<(), HandshakeError> {
        if self.sends_hello() {
            self.push_hello();
            // With a password, the rest is sent after it has been accepted.
            let sent = match self.plan.credentials.password {
                None => Some(self.send_setup()),
                Some(_) => None,
            };
            let is_accepted = self.read_hello()?;
            if let Some(sent) = sent {
                return Ok(self.read_setup_replies(&sent)?);
            }
            if !is_accepted {
                self.authenticate()?;
            }
        } else {
            self.authenticate()?;
        }
        let sent = self.send_setup();
        Ok(self.read_setup_replies(&sent)?)
    }

    fn sends_hello(&self) -> bool {
        self.plan.opening == Opening::Hello && self.plan.config.protocol == Protocol::Resp3
    }

    fn push_hello(&mut self) {
        let credentials = self.plan.credentials;
        let Some(password) = &credentials.password else {
            return self.connection.push(&CommandBody::Args(&[b"HELLO", b"3"]));
        };
        let user = credentials.user.as_deref().unwrap_or("default");
        let (user, password) = (user.as_bytes(), password.reveal().as_bytes());
        let hello = [b"HELLO", b"3".as_slice(), b"AUTH", user, password];
        self.connection.push(&CommandBody::SecretArgs(&hello));
    }

    /// Reads the reply to HELLO. False if the connection uses RESP2 instead.
    fn read_hello(&mut self) -> std::result::Result<bool, HandshakeError> {
        let reply = self.reply().map_err(|error| match error.code {
            Code::Io => HandshakeError::ClosedOnHello(error),
            _ => HandshakeError::Other(error),
        })?;
        if let Some(message) = message(&reply) {
            self.on_refusal(Step::Hello, &reply, &message)?;
            self.greeting.refused_hello = true;
            return Ok(false);
        }
        self.connection.pushes = true;
        for (name, value) in reply.view().pairs() {
            let text = || value.str().filter(|text| !text.is_empty());
            match name.text().unwrap_or_default() {
                b"availability_zone" => self.greeting.zone = text().map(str::to_string),
                b"role" => self.greeting.role = ReportedRole::of(text()),
                b"mode" => self.mode = text().map(str::to_string),
                _ => {}
            }
        }
        Ok(true)
    }

    /// Sends AUTH if there is a password.
    fn authenticate(&mut self) -> Result<()> {
        if !push_auth(self.connection, self.plan.credentials) {
            return Ok(());
        }
        let reply = self.reply()?;
        match message(&reply) {
            Some(message) => self.on_refusal(Step::Auth, &reply, &message),
            None => Ok(()),
        }
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

    /// Sends the commands after the authentication, and the first commands of the caller.
    fn send_setup(&mut self) -> Vec<Step> {
        let HandshakePlan {
            config,
            kind,
            opening,
            is_standalone,
            is_temporary,
            first,
            ..
        } = *self.plan;
        let is_minimal = opening == Opening::Minimal;
        let is_unanswered = !self.sends_hello() && config.password.is_none();
        let mut sent = Vec::new();
        let mut send = |step, args: &[&[u8]]| {
            self.connection.push(&CommandBody::Args(args));
            sent.push(step);
        };
        if !is_standalone && !is_minimal {
            send(Step::MyId, &[b"CLUSTER", b"MYID"]);
        }
        // With the option cluster=no, the node may be a proxy.
        let is_behind_proxy = config.cluster == ClusterMode::No;
        // Something that the node must reply to. All servers and proxies know PING.
        if is_minimal || (is_behind_proxy && is_unanswered) {
            send(Step::Ping, &[b"PING"]);
        }
        // Without READONLY, a replica of a cluster redirects reads.
        if kind.is_readonly() && !is_standalone && !is_minimal {
            send(Step::Readonly, &[b"READONLY"]);
        }
        let database = kind.database();
        if database != 0 {
            send(Step::Select, &[b"SELECT", database.to_string().as_bytes()]);
        }
        if let Some(name) = &config.client_name {
            let args = [b"CLIENT".as_slice(), b"SETNAME", name.as_bytes()];
            send(Step::SetName, &args);
        }
        if !is_minimal && !is_behind_proxy && !is_temporary {
            // Redis 7.2 and later, and Valkey. Shown by CLIENT LIST.
            let version = env!("CARGO_PKG_VERSION").as_bytes();
            for (attribute, value) in [
                (b"LIB-NAME".as_slice(), b"librediscluster".as_slice()),
                (b"LIB-VER", version),
            ] {
                send(Step::SetInfo, &[b"CLIENT", b"SETINFO", attribute, value]);
            }
        }
        self.size = self.connection.pushed();
        for body in first {
            self.connection.push(body);
        }
        sent
    }

    fn read_setup_replies(&mut self, sent: &[Step]) -> Result<()> {
        for step in sent {
            let reply = self.reply()?;
            let message = message(&reply);
            if *step == Step::MyId {
                let id = match &message {
                    Some(message) => Err(message.as_ref()),
                    None => Ok(reply.view().str().unwrap_or_default()),
                };
                self.greeting.identity = ReportedIdentity::of(id, self.mode.as_deref());
            }
            match message {
                Some(message) => self.on_refusal(*step, &reply, &message)?,
                None => self.check_kind(*step, reply.view())?,
            }
        }
        Ok(())
    }

    /// Fails if the reply is not of the kind that the command has: then it is the reply to another command.
    fn check_kind(&self, step: Step, reply: View<'_>) -> Result<()> {
        let is_text = reply.kind() == Kind::String;
        let is_right = step == Step::MyId || reply.text() == Some(b"OK");
        if reply.kind() == Kind::Status || (is_text && is_right) {
            return Ok(());
        }
        let (node, name) = (self.connection.origin().name(), step.name());
        let problem =
            format_args!("{node} sent a reply to {name} on a new connection that is none");
        Err(Error::new(Code::Protocol, problem).at(node))
    }

    /// Fails if the connection cannot go on after a refusal.
    fn on_refusal(&mut self, step: Step, reply: &Reply, message: &str) -> Result<()> {
        let context = RefusalContext {
            has_password: self.plan.credentials.password.is_some(),
            has_replicas: self.plan.has_replicas,
            cluster: self.plan.config.cluster,
        };
        let node = || {
            let origin = reply.origin_of(reply.root);
            origin.map_or_else(String::new, |o| o.name().to_string())
        };
        match consequence(step, message, context) {
            Consequence::UseResp2 | Consequence::Ignore | Consequence::KeepUser => Ok(()),
            Consequence::Warn => {
                let name = step.name();
                self.greeting.warning.get_or_insert_with(|| {
                    let (node, message) = (node(), self.plan.credentials.remove_from(message));
                    format!("{node} refused {name}, and is used without it: {message}")
                });
                Ok(())
            }
            Consequence::NoDatabase => {
                let (name, node, database) = (step.name(), node(), self.plan.kind.database());
                let advice = database_advice(message);
                let problem = format_args!(
                    "{node} refused {name} {database} (option database): {message}; {advice}"
                );
                let error = Error::new(Code::Invalid, problem).at(node);
                self.greeting.refused_database = Some(error);
                Ok(())
            }
            Consequence::Fail(code) => {
                let (name, node) = (step.name(), node());
                let option = match step {
                    Step::SetName => " (option client_name)",
                    Step::Select => " (option database)",
                    _ => "",
                };
                let error =
                    format_args!("{node} refused {name}{option} on a new connection: {message}");
                Err(Error::new(code, error)
                    .at(node)
                    .sent(!refuses_every_command(message)))
            }
        }
    }
}

/// Pushes AUTH. False if there is no password.
pub(super) fn push_auth(connection: &mut Connection, credentials: &Credentials) -> bool {
    let Some(password) = &credentials.password else {
        return false;
    };
    let mut auth: Vec<&[u8]> = vec![b"AUTH"];
    // Redis before 6 has no users.
    auth.extend(credentials.user.as_ref().map(|user| user.as_bytes()));
    auth.push(password.reveal().as_bytes());
    connection.push(&CommandBody::SecretArgs(&auth));
    true
}

/// The message of an error reply.
pub(super) fn message(reply: &Reply) -> Option<Cow<'_, str>> {
    let view = reply.view();
    (view.kind() == Kind::Error).then(|| String::from_utf8_lossy(view.text().unwrap_or_default()))
}
