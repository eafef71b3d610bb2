//! What follows if a node refuses a command of the handshake, or AUTH after it. One table, no I/O.

use crate::config::ClusterMode;
use crate::error::{Code, Error};

/// A command of the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Hello,
    Auth,
    /// AUTH on an open connection, after the credentials have changed.
    AuthAgain,
    Readonly,
    SetName,
    SetInfo,
    Select,
    MyId,
    Ping,
}

impl Step {
    pub fn name(self) -> &'static str {
        match self {
            Step::Hello => "HELLO",
            Step::Auth | Step::AuthAgain => "AUTH",
            Step::Readonly => "READONLY",
            Step::SetName => "CLIENT SETNAME",
            Step::SetInfo => "CLIENT SETINFO",
            Step::Select => "SELECT",
            Step::MyId => "CLUSTER MYID",
            Step::Ping => "PING",
        }
    }
}

/// What is known when a command is refused.
#[derive(Clone, Copy, Debug)]
pub struct RefusalContext {
    pub has_password: bool,
    /// The node is of a shard that has replicas, according to the map.
    pub has_replicas: bool,
    /// The option `cluster`: with `no`, the node may be a proxy.
    pub cluster: ClusterMode,
}

/// What follows a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consequence {
    /// The connection fails.
    Fail(Code),
    /// The connection uses RESP2. A password is sent with AUTH.
    UseResp2,
    /// The connection goes without the command.
    Ignore,
    /// The same, and the log says so once for each node.
    Warn,
    /// The node does not have the database: the connection fails, and so does every other one to it.
    NoDatabase,
    /// The connection keeps the user that it has.
    KeepUser,
}

/// Whether the node refuses every command on this connection, and not only the one that it replies to.
pub fn refuses_every_command(message: &str) -> bool {
    let is_of = |words: &[&str]| words.iter().any(|text| message.contains(text));
    let mut rows = EVERY_STEP.iter();
    message.starts_with("NOAUTH") || rows.any(|(words, _, every)| *every && is_of(words))
}

/// Whether a connection has failed because of its credentials, and not because its user lacks a permission.
pub fn are_credentials_refused(error: &Error) -> bool {
    error.code == Code::Auth && !error.message.contains("NOPERM")
}

/// A row of the table.
struct Row {
    step: Step,
    /// One of these is in the message: an error code as a word of it, other text anywhere. If there are none, the row
    /// applies to every message.
    words: &'static [&'static str],
    applies: fn(RefusalContext) -> bool,
    consequence: Consequence,
}

const fn row(step: Step, words: &'static [&'static str], consequence: Consequence) -> Row {
    Row {
        step,
        words,
        applies: |_| true,
        consequence,
    }
}

const fn row_if(
    step: Step,
    applies: fn(RefusalContext) -> bool,
    words: &'static [&'static str],
    consequence: Consequence,
) -> Row {
    Row {
        step,
        words,
        applies,
        consequence,
    }
}

/// The credentials are wrong. A second try would be another failed login.
const WRONG_PASSWORD: &[&str] = &["WRONGPASS", "invalid password", "invalid username-password"];
/// The server asks for a password, or for rights that the user does not have.
const NO_RIGHTS: &[&str] = &["NOAUTH", "NOPERM", "WRONGPASS"];
/// The server has no password, so the client needs none: it would have accepted any with HELLO.
const NO_PASSWORD_NEEDED: &[&str] = &["without any password configured", "no password is set"];

/// The first row that applies counts. Rows of [`EVERY_STEP`] come before all of them.
///
/// The words of a refusal are not the same at every server, and less so at proxies (Envoy: `unsupported command
/// 'hello'`). So HELLO names the refusals that no other protocol would change, and everything else means RESP2.
const ROWS: &[Row] = &[
    row(Step::Hello, WRONG_PASSWORD, Consequence::Fail(Code::Auth)),
    // With a password: a proxy that reads it only from AUTH.
    row_if(
        Step::Hello,
        |context| !context.has_password,
        &["NOAUTH"],
        Consequence::Fail(Code::Auth),
    ),
    row(Step::Hello, &[], Consequence::UseResp2),
    row(Step::Auth, NO_PASSWORD_NEEDED, Consequence::Warn),
    row(Step::Auth, &[], Consequence::Fail(Code::Auth)),
    // Whatever the reason: a working connection is better than none.
    row(Step::AuthAgain, &[], Consequence::KeepUser),
    row(
        Step::Readonly,
        &["cluster support disabled"],
        Consequence::Ignore,
    ),
    row(Step::Readonly, NO_RIGHTS, Consequence::Fail(Code::Auth)),
    // A proxy, or a primary without replicas. If it becomes a replica, it redirects reads on this connection.
    row_if(
        Step::Readonly,
        |context| !context.has_replicas,
        &[],
        Consequence::Warn,
    ),
    row(Step::Readonly, &[], Consequence::Fail(Code::Connect)),
    row(Step::SetName, NO_RIGHTS, Consequence::Fail(Code::Auth)),
    // A proxy. Its servers would not show the name anyway.
    row_if(
        Step::SetName,
        |context| context.cluster == ClusterMode::No,
        &[],
        Consequence::Warn,
    ),
    row(Step::SetName, &[], Consequence::Fail(Code::Connect)),
    row(Step::Select, NO_RIGHTS, Consequence::Fail(Code::Auth)),
    row(Step::Select, &[], Consequence::NoDatabase),
    row(Step::SetInfo, &["NOAUTH"], Consequence::Fail(Code::Auth)),
    row(Step::SetInfo, &[], Consequence::Ignore),
    row(Step::MyId, &["NOAUTH"], Consequence::Fail(Code::Auth)),
    row(Step::MyId, &[], Consequence::Ignore),
    row(Step::Ping, &["NOAUTH"], Consequence::Fail(Code::Auth)),
    row(Step::Ping, &[], Consequence::Ignore),
];

/// Refusals that do not depend on the command: words, the code, and whether optional commands fail as well.
const EVERY_STEP: &[(&[&str], Code, bool)] = &[
    // Sent in reply to any command. Then the server closes the connection.
    (&["max number of clients"], Code::Connect, true),
    // Protected mode: the same.
    (&["DENIED"], Code::Connect, true),
    (&["LOADING", "BUSY", "MASTERDOWN"], Code::Server, false),
];

/// What to do about a database that a node refuses with this message.
pub fn database_advice(message: &str) -> &'static str {
    let mut rows = DATABASE_ADVICE.iter();
    let row = rows.find(|(words, _)| message.contains(words));
    row.map_or(OTHER_DATABASE_ADVICE, |(_, advice)| advice)
}

const DATABASE_ADVICE: &[(&str, &str)] = &[
    (
        "not allowed in cluster mode",
        "only a cluster of Valkey 9 or later has several databases (its setting cluster-databases); use database 0",
    ),
    (
        "out of range",
        "use a lower number, or raise the server's setting databases (cluster-databases for the nodes of a cluster)",
    ),
];
/// Of a proxy, mostly.
const OTHER_DATABASE_ADVICE: &str = "use database 0, or a server that has several";

/// What follows if a node refuses a command of the handshake with this message.
pub fn consequence(step: Step, message: &str, context: RefusalContext) -> Consequence {
    let is_code = |word: &[u8]| word.iter().all(u8::is_ascii_uppercase);
    let words = message.as_bytes().split(|b| *b == b' ');
    let codes: Vec<&[u8]> = words.filter(|word| is_code(word)).collect();
    let has = |text: &str| match is_code(text.as_bytes()) {
        true => codes.contains(&text.as_bytes()),
        false => message.contains(text),
    };
    let has_any = |texts: &[&str]| texts.iter().any(|text| has(text));
    let is_optional = matches!(step, Step::SetInfo | Step::MyId | Step::Ping);
    let of_every_step = EVERY_STEP
        .iter()
        .find(|(words, _, optional)| (*optional || !is_optional) && has_any(words));
    if let Some((_, code, _)) = of_every_step {
        return Consequence::Fail(*code);
    }
    let applies = |row: &&Row| {
        row.step == step && (row.applies)(context) && (row.words.is_empty() || has_any(row.words))
    };
    let row = ROWS.iter().find(applies);
    row.map_or(Consequence::Fail(Code::Connect), |row| row.consequence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Consequence::{Fail, Ignore, KeepUser, NoDatabase, UseResp2, Warn};

    #[test]
    fn refusals_of_servers_and_proxies_have_their_consequence() {
        let none = RefusalContext {
            has_password: false,
            has_replicas: false,
            cluster: ClusterMode::Auto,
        };
        let proxy = RefusalContext {
            cluster: ClusterMode::No,
            ..none
        };
        let password = RefusalContext {
            has_password: true,
            ..none
        };
        let node = RefusalContext {
            has_replicas: true,
            ..none
        };
        for (step, message, context, expected) in [
            (Step::Hello, "ERR unknown command `HELLO`", none, UseResp2),
            (
                Step::Hello,
                "NOPROTO unsupported protocol version",
                none,
                UseResp2,
            ),
            (Step::Hello, "NOPERM no rights", password, UseResp2),
            (
                Step::Hello,
                "unsupported command 'hello'",
                password,
                UseResp2,
            ),
            (Step::Hello, "invalid request", none, UseResp2),
            (
                Step::Hello,
                "NOAUTH HELLO must be called",
                none,
                Fail(Code::Auth),
            ),
            (
                Step::Hello,
                "NOAUTH Authentication required.",
                password,
                UseResp2,
            ),
            (Step::Hello, "WRONGPASS invalid", password, Fail(Code::Auth)),
            (
                Step::Hello,
                "ERR invalid password",
                password,
                Fail(Code::Auth),
            ),
            (
                Step::Hello,
                "ERR max number of clients reached",
                none,
                Fail(Code::Connect),
            ),
            (
                Step::Hello,
                "DENIED protected mode",
                none,
                Fail(Code::Connect),
            ),
            (Step::Hello, "LOADING", none, Fail(Code::Server)),
            (
                Step::Auth,
                "ERR AUTH <password> called without any password configured for the default user.",
                password,
                Warn,
            ),
            (
                Step::Auth,
                "ERR Client sent AUTH, but no password is set",
                password,
                Warn,
            ),
            (
                Step::Auth,
                "ERR invalid password",
                password,
                Fail(Code::Auth),
            ),
            (
                Step::Auth,
                "ERR wrong number of arguments for 'auth' command",
                password,
                Fail(Code::Auth),
            ),
            (
                Step::AuthAgain,
                "WRONGPASS invalid username-password pair",
                password,
                KeepUser,
            ),
            (
                Step::AuthAgain,
                "ERR unknown command 'AUTH'",
                password,
                KeepUser,
            ),
            (
                Step::AuthAgain,
                "BUSY Redis is busy running a script",
                password,
                Fail(Code::Server),
            ),
            (
                Step::Readonly,
                "ERR This instance has cluster support disabled",
                none,
                Ignore,
            ),
            (Step::Readonly, "ERR unknown command 'READONLY'", none, Warn),
            (
                Step::Readonly,
                "ERR unknown command 'READONLY'",
                node,
                Fail(Code::Connect),
            ),
            (Step::Readonly, "NOPERM no rights", none, Fail(Code::Auth)),
            (Step::Readonly, "BUSY", node, Fail(Code::Server)),
            (
                Step::SetName,
                "ERR unknown command",
                none,
                Fail(Code::Connect),
            ),
            (
                Step::Select,
                "ERR SELECT is not allowed in cluster mode",
                node,
                NoDatabase,
            ),
            (
                Step::Select,
                "ERR DB index is out of range",
                password,
                NoDatabase,
            ),
            (
                Step::Select,
                "ERR unknown command 'SELECT'",
                none,
                NoDatabase,
            ),
            (Step::Select, "NOPERM no rights", password, Fail(Code::Auth)),
            (Step::Select, "NOAUTH", none, Fail(Code::Auth)),
            (Step::Select, "BUSY", node, Fail(Code::Server)),
            (Step::SetName, "unsupported command 'client'", proxy, Warn),
            (Step::SetName, "NOPERM no rights", proxy, Fail(Code::Auth)),
            (Step::SetInfo, "NOPERM no rights", none, Ignore),
            (
                Step::SetInfo,
                "NOAUTH Authentication required.",
                none,
                Fail(Code::Auth),
            ),
            (Step::MyId, "LOADING", node, Ignore),
            (Step::MyId, "ERR unknown subcommand", none, Ignore),
            (
                Step::MyId,
                "ERR max number of clients + cluster connections reached",
                none,
                Fail(Code::Connect),
            ),
        ] {
            assert_eq!(consequence(step, message, context), expected, "{message}");
        }
    }
}
