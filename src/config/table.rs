//! The option table: one row per option.

use super::url::set_url;
use super::{
    AddressMap, AllowedHosts, ClusterMode, Config, MAX_VALUE, NilPolicy, Protocol, ReadFrom,
    Secret, quote, suggest,
};
use crate::address::canonical_host;
use crate::error::{Error, Result};

/// The definition of an option.
pub struct OptionRow {
    pub name: &'static str,
    /// The unit of a number; empty if there is none.
    pub unit: &'static str,
    /// Whether derived handles can change it (`rdc_with`).
    pub per_handle: bool,
    /// Whether the value is a password or says where it is: it is only for the nodes of the url that contains it.
    pub(super) gives_password: bool,
    /// The effect of the option, in one or two sentences.
    pub help: &'static str,
    default: &'static str,
    kind: Kind,
}

/// The type of an option, with the accessors of its field.
enum Kind {
    Url,
    Number {
        min: u64,
        max: u64,
        get: fn(&Config) -> u64,
        set: fn(&mut Config, u64),
    },
    Flag {
        get: fn(&Config) -> bool,
        set: fn(&mut Config, bool),
    },
    Enum {
        names: &'static [&'static str],
        get: fn(&Config) -> &'static str,
        /// Returns false if the text is not one of the names.
        set: fn(&mut Config, &str) -> bool,
    },
    Text {
        allowed: Allowed,
        get: fn(&Config) -> &Option<String>,
        set: fn(&mut Config, Option<String>),
    },
    Password,
    AddressMap,
    AllowedHosts,
}

/// The texts that an option accepts. The empty text is always accepted, and unsets the option.
struct Allowed {
    description: &'static str,
    test: fn(&str) -> bool,
}

const PRINTABLE: Allowed = Allowed {
    description: "text without control characters",
    test: |text| !text.chars().any(char::is_control),
};

/// The names that `CLIENT SETNAME` accepts.
const CLIENT_NAME: Allowed = Allowed {
    description: "ASCII text without spaces and control characters",
    test: |text| text.bytes().all(|b| b.is_ascii_graphic()),
};

const HOST: Allowed = Allowed {
    description: "a host name or an IP address",
    test: |text| canonical_host(text).is_ok(),
};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

impl OptionRow {
    const fn new(
        name: &'static str,
        kind: Kind,
        default: &'static str,
        help: &'static str,
    ) -> OptionRow {
        OptionRow {
            name,
            unit: "",
            per_handle: false,
            gives_password: false,
            help,
            default,
            kind,
        }
    }

    const fn unit(mut self, unit: &'static str) -> OptionRow {
        self.unit = unit;
        self
    }

    const fn per_handle(mut self) -> OptionRow {
        self.per_handle = true;
        self
    }

    pub(super) fn is_url(&self) -> bool {
        matches!(self.kind, Kind::Url)
    }

    const fn gives_password(mut self) -> OptionRow {
        self.gives_password = true;
        self
    }

    /// The name of the type.
    pub fn kind(&self) -> &'static str {
        match self.kind {
            Kind::Url => "URL",
            Kind::Number { .. } => "number",
            Kind::Flag { .. } => "boolean",
            Kind::Enum { .. } => "enum",
            Kind::Text { .. } => "text",
            Kind::Password => "secret",
            Kind::AddressMap => "address pairs",
            Kind::AllowedHosts => "hosts",
        }
    }

    /// The default value; empty if there is none.
    pub fn default(&self) -> String {
        self.value(&Config::new())
    }

    /// A description of the accepted values.
    pub fn range(&self) -> String {
        match &self.kind {
            Kind::Url => "redis://host:port,... or unix:///path".to_owned(),
            Kind::Number { min, max, .. } => format!("{min} to {max}"),
            Kind::Flag { .. } => "yes, no".to_owned(),
            Kind::Enum { .. } => self.names().collect::<Vec<_>>().join(", "),
            Kind::Text { allowed, .. } => allowed.description.to_owned(),
            Kind::Password => "any text".to_owned(),
            Kind::AddressMap => "from=to,from=to; each host or host:port".to_owned(),
            Kind::AllowedHosts => "name,*.domain,10.0.0.1,10.0.0.0/8,fd00::/8".to_owned(),
        }
    }

    /// The values of a [`Kind::Enum`] that this version implements.
    fn names(&self) -> impl Iterator<Item = &'static str> {
        let names = match self.kind {
            Kind::Enum { names, .. } => names,
            _ => &[],
        };
        names.iter().copied().filter(|name| !self.is_planned(name))
    }

    fn is_planned(&self, value: &str) -> bool {
        PLANNED_VALUES
            .iter()
            .any(|(name, planned)| *name == self.name && planned.eq_ignore_ascii_case(value))
    }

    pub(super) fn value(&self, config: &Config) -> String {
        match &self.kind {
            Kind::Url => super::url::format_url(config),
            Kind::Number { get, .. } => get(config).to_string(),
            Kind::Flag { get, .. } => if get(config) { "yes" } else { "no" }.to_owned(),
            Kind::Enum { get, .. } => get(config).to_owned(),
            Kind::Text { get, .. } => get(config).clone().unwrap_or_default(),
            Kind::Password if config.password.is_some() => "***".to_owned(),
            Kind::Password => String::new(),
            Kind::AddressMap => config.address_map.to_string(),
            Kind::AllowedHosts => config.allowed_hosts.to_string(),
        }
    }

    pub(super) fn set(&self, config: &mut Config, value: &str) -> Result<()> {
        if value.len() > MAX_VALUE {
            return Err(Error::invalid(format_args!(
                "option {}: the value has {} bytes; the maximum is {MAX_VALUE}",
                self.name,
                value.len()
            )));
        }
        match &self.kind {
            Kind::Url => set_url(config, value)?,
            Kind::Number { min, max, set, .. } => {
                let number = self.parse_number(value)?;
                if !(*min..=*max).contains(&number) {
                    return Err(self.invalid(value, "is out of range"));
                }
                set(config, number);
            }
            Kind::Flag { set, .. } => {
                let is_one_of =
                    |texts: [&str; 3]| texts.iter().any(|t| value.eq_ignore_ascii_case(t));
                if is_one_of(["yes", "true", "1"]) {
                    set(config, true);
                } else if is_one_of(["no", "false", "0"]) {
                    set(config, false);
                } else {
                    return Err(self.invalid(value, "is not a boolean"));
                }
            }
            Kind::Enum { set, .. } => {
                if self.is_planned(value) {
                    return Err(self.invalid(value, "is not supported by this version"));
                }
                if !set(config, value) {
                    return Err(match suggest::nearest(value, self.names()) {
                        Some(name) => {
                            self.invalid(value, &format!("is unknown; did you mean `{name}`?"))
                        }
                        None => self.invalid(value, "is unknown"),
                    });
                }
            }
            Kind::Text { allowed, set, .. } => {
                if !value.is_empty() && !(allowed.test)(value) {
                    return Err(self.invalid(value, "is not allowed"));
                }
                set(config, Some(value.to_owned()).filter(|v| !v.is_empty()));
            }
            Kind::Password => {
                config.password = Some(Secret::new(value)).filter(|_| !value.is_empty());
            }
            Kind::AddressMap => {
                config.address_map = AddressMap::parse(value)
                    .map_err(|why| self.invalid(value, &format!("is not an address map: {why}")))?;
            }
            Kind::AllowedHosts => {
                config.allowed_hosts = AllowedHosts::parse(value).map_err(|why| {
                    self.invalid(value, &format!("is not a list of hosts: {why}"))
                })?;
            }
        }
        if self.gives_password {
            config.credentials_of_url = false;
        }
        Ok(())
    }

    fn parse_number(&self, value: &str) -> Result<u64> {
        if value.is_empty() || !value.bytes().all(|b| b.is_ascii_digit()) {
            return Err(self.invalid(value, "is not a decimal number"));
        }
        // A number that overflows is out of range, as u64::MAX is for every option.
        Ok(value.parse().unwrap_or(u64::MAX))
    }

    fn invalid(&self, value: &str, why: &str) -> Error {
        let unit = if self.unit.is_empty() { "" } else { " " };
        Error::invalid(format_args!(
            "option {}: {} {why} (allowed: {}{unit}{})",
            self.name,
            quote(value),
            self.range(),
            self.unit
        ))
    }
}

macro_rules! number {
    ($field:ident: $type:ty, $min:expr, $max:expr, $default:literal, $help:literal) => {
        OptionRow::new(
            stringify!($field),
            Kind::Number {
                min: $min,
                max: $max,
                get: |config| config.$field as u64,
                // The range ensures that the number fits the type of the field.
                set: |config, number| config.$field = number as $type,
            },
            $default,
            $help,
        )
    };
}

macro_rules! flag {
    ($field:ident, $default:literal, $help:literal) => {
        OptionRow::new(
            stringify!($field),
            Kind::Flag {
                get: |config| config.$field,
                set: |config, flag| config.$field = flag,
            },
            $default,
            $help,
        )
    };
}

macro_rules! enum_option {
    ($field:ident: $type:ident, $default:literal, $help:literal) => {
        OptionRow::new(
            stringify!($field),
            Kind::Enum {
                names: $type::NAMES,
                get: |config| config.$field.name(),
                set: |config, name| {
                    let value = $type::from_name(name);
                    config.$field = value.unwrap_or(config.$field);
                    value.is_some()
                },
            },
            $default,
            $help,
        )
    };
}

macro_rules! text {
    ($field:ident, $allowed:expr, $help:literal) => {
        OptionRow::new(
            stringify!($field),
            Kind::Text {
                allowed: $allowed,
                get: |config| &config.$field,
                set: |config, text| config.$field = text,
            },
            "",
            $help,
        )
    };
}

/// Its default depends on `readonly`, so no default is written into the field.
const READ_FROM: OptionRow = OptionRow::new(
    "read_from",
    Kind::Enum {
        names: ReadFrom::NAMES,
        get: |config| config.read_from().name(),
        set: |config, name| {
            let value = ReadFrom::from_name(name);
            config.read_from_option = value.or(config.read_from_option);
            value.is_some()
        },
    },
    "",
    "Which nodes of a slot serve reads: the primary; any, uniformly over primary and replicas; a replica \
     while one is usable; the nearest by round trip; or those of the configured zone first. All but \
     primary may return stale data. With readonly the default is any.",
);

/// The highest number of a database. The settings of the servers allow higher ones; their default is 16 databases.
pub(super) const MAX_DATABASE: u16 = 16_383;

/// Set by name, it is not that of the URL's path any more.
const DATABASE: OptionRow = OptionRow::new(
    "database",
    Kind::Number {
        min: 0,
        max: MAX_DATABASE as u64,
        get: |config| config.database.into(),
        set: |config, number| {
            config.database = number as u16;
            config.database_of_url = false;
        },
    },
    "0",
    "The number of the database, which every connection of the handle selects; also the path of the url, as in \
     redis://host/3. Databases other than 0 need a server that is no cluster, or Valkey 9 with the setting \
     cluster-databases.",
);

/// The options of this version.
static TABLE: &[OptionRow] = &[
    OptionRow::new(
        "url",
        Kind::Url,
        "",
        "The seed nodes from which the cluster is discovered, the credentials, and any other option in \
         the query. Setting it again replaces the nodes.",
    ),
    number!(timeout_ms: u64, 1, DAY_MS, "5000",
        "Time limit of a whole call: name resolution, connecting, redirections and retries included.")
    .unit("ms")
    .per_handle(),
    number!(attempt_timeout_ms: u64, 1, DAY_MS, "1000",
        "Time limit for the reply of one node. After it, another node is tried or the call fails.")
    .unit("ms")
    .per_handle(),
    number!(connect_timeout_ms: u64, 1, DAY_MS, "1000",
        "Time limit for opening a connection, TLS and authentication included. After it, the node \
         counts as unreachable.")
    .unit("ms"),
    flag!(
        lazy,
        "no",
        "Creating a client sends nothing and waits for nothing: its first call connects."
    ),
    flag!(
        readonly,
        "no",
        "Refuse every command that is not a read before it is sent, and allow replicas to serve reads."
    )
    .per_handle(),
    READ_FROM.per_handle(),
    text!(
        zone,
        PRINTABLE,
        "The availability zone of this process, for read_from=zone, spelled as the nodes report theirs \
         (Valkey 8 and later)."
    )
    .per_handle(),
    number!(max_staleness_ms: u64, 0, DAY_MS, "0",
        "Maximum age of a reply from a replica. A replica whose lag is not proven to be within it serves \
         no reads. 0 sets no bound.")
    .unit("ms")
    .per_handle(),
    flag!(
        read_your_writes,
        "no",
        "A read includes the writes of every handle of this client: a slot that was written to is read at \
         its primary until a replica is proven to have caught up."
    )
    .per_handle(),
    flag!(
        monotonic,
        "no",
        "A read never returns an older state of its slot than an earlier command, on any handle of this \
         client that has this option."
    )
    .per_handle(),
    enum_option!(nil: NilPolicy, "accept",
        "What to do when a replica does not have a key: accept the reply (unless the slot is known to be \
         migrating), or verify it at the primary. With max_staleness_ms, read_your_writes or monotonic it \
         is always verified.")
    .per_handle(),
    number!(max_redirects: u32, 0, 1000, "16",
        "Number of MOVED and ASK redirections that a command follows before it fails.")
    .per_handle(),
    flag!(
        retry_writes,
        "no",
        "Send a write again after its connection broke or its reply timed out, when it is unknown \
         whether it ran. It may then run twice."
    )
    .per_handle(),
    flag!(
        split_writes,
        "no",
        "Split an MSET with keys in several slots by slot. It is then not atomic: if one part fails, the \
         others are still set. DEL and UNLINK are always split, MSETNX never."
    )
    .per_handle(),
    flag!(
        trust_module_flags,
        "no",
        "A read-only handle executes a command of a module that the library does not know if the server flags \
         it readonly (COMMAND INFO). Some modules flag commands readonly that write."
    )
    .per_handle(),
    number!(connections_per_node: usize, 1, 1000, "16",
        "Maximum number of shared connections to one node, and the same number again for handles that \
         read from replicas. Blocking commands and pinned handles have connections of their own."),
    enum_option!(protocol: Protocol, "3",
        "Version of RESP. 3 falls back to 2 for a server that does not support it."),
    text!(
        user,
        PRINTABLE,
        "The ACL user to authenticate as. If empty, the password is that of the default user."
    ),
    OptionRow::new(
        "password",
        Kind::Password,
        "",
        "The password to authenticate with. It never appears in an error, a log message or a listing.",
    )
    .gives_password(),
    DATABASE.per_handle(),
    text!(
        user_file,
        PRINTABLE,
        "File that contains the user, instead of the option user. Read when the client is created, and again \
         when the file changes (see docs/credentials.md)."
    ),
    text!(
        password_file,
        PRINTABLE,
        "File that contains the password, instead of the option password. Read when the client is created, \
         and again when the file changes (see docs/credentials.md)."
    )
    .gives_password(),
    text!(
        client_name,
        CLIENT_NAME,
        "The name of the connections in CLIENT LIST."
    ),
    enum_option!(cluster: ClusterMode, "auto",
        "Whether the nodes of the url form a cluster: auto asks them; yes fails if they do not; no uses \
         them as one server with its replicas, or as a proxy, and sends no command for clusters."),
    OptionRow::new(
        "address_map",
        Kind::AddressMap,
        "",
        "Maps addresses as the cluster announces them to addresses that are reachable from here, behind \
         NAT or port forwarding. A pair with a port takes precedence over one without, which keeps the port.",
    ),
    OptionRow::new(
        "allowed_hosts",
        Kind::AllowedHosts,
        "",
        "The hosts that the cluster's map and its redirections may lead to: names, *.domain for all names \
         below it, IP addresses and networks. No connection to another host is opened. Empty allows every \
         host. Seeds and the targets of address_map are always allowed.",
    ),
    number!(max_reply_bytes: usize, 1024, u32::MAX as u64, "1073741824",
        "Maximum size of a reply. A longer one is an error, and its connection is closed.")
    .unit("bytes"),
    number!(max_reply_elements: usize, 1, u32::MAX as u64, "67108864",
        "Maximum number of elements in a reply. More are an error, and the connection is closed."),
    number!(max_reply_depth: usize, 1, 1000, "32",
        "Maximum nesting depth of a reply. A deeper one is an error, and its connection is closed."),
    number!(max_nodes: usize, 1, 1 << 20, "16384",
        "Maximum number of nodes in the topology that a node reports. More are an error."),
    number!(max_memory_bytes: usize, 0, 1 << 50, "4294967296",
        "Maximum memory of all replies being received, over all threads and pipelines of a client and its \
         derived handles. A reply that exceeds it is an error, and its connection is closed. 0 sets no bound.")
    .unit("bytes"),
    number!(queue_limit: usize, 0, 1 << 30, "100000",
        "Maximum number of commands in a queue (rdc_queue) that have been submitted and whose replies have not been \
         taken. Further ones complete with RDC_ERR_QUEUE_FULL. 0 sets no bound.")
    .per_handle(),
    number!(subscriber_ping_ms: u64, 20, DAY_MS, "5000",
        "Time within which a subscriber (rdc_subscriber) notices that a silent connection is dead: it sends PING after \
         half of it. A subscriber also refreshes the topology after this time, and so does a handle that publishes.")
    .unit("ms")
    .per_handle(),
    flag!(
        spread_channels,
        "no",
        "A subscriber spreads its channels and patterns over the nodes by their slots, as PUBLISH does, instead of using \
         the node of its first channel for all. Sharded channels are always on the nodes of their slots."
    )
    .per_handle(),
    number!(keepalive_ms: u64, 0, DAY_MS, "30000",
        "Idle time after which TCP keepalive probes a connection. 0 turns it off.")
    .unit("ms"),
    text!(
        tls_ca_file,
        PRINTABLE,
        "PEM file of the authorities that may sign the nodes' certificates, instead of the system's."
    ),
    text!(
        tls_cert_file,
        PRINTABLE,
        "PEM file of the client's certificate chain, for nodes that request one."
    ),
    text!(
        tls_key_file,
        PRINTABLE,
        "PEM file of the private key of tls_cert_file."
    ),
    text!(
        tls_server_name,
        HOST,
        "The name that every node's certificate must contain, instead of the node's own host."
    ),
    flag!(
        tls_insecure_skip_verify,
        "no",
        "Accept any certificate. A man in the middle can then read and change all traffic."
    ),
];

// ---- Options and values that are planned but not implemented. ---------------------------------
//
// Setting one is an error with that reason, never a silent no-op. To enable an option, move its row into
// TABLE. To enable a value, remove it from PLANNED_VALUES.

static PLANNED: &[OptionRow] = &[number!(refresh_interval_ms: u64, 0, DAY_MS, "0",
        "The topology is refreshed by the first call after this time; 0 refreshes only when \
         something points to a change.")
.unit("ms")];

const PLANNED_VALUES: &[(&str, &str)] = &[];

// -----------------------------------------------------------------------------------------------

/// All options, in the order of CONFIGURATION.md.
pub fn options() -> &'static [OptionRow] {
    TABLE
}

/// The option with this name.
pub(super) fn find(name: &str) -> Result<&'static OptionRow> {
    if let Some(row) = TABLE.iter().find(|row| row.name == name) {
        return Ok(row);
    }
    Err(Error::invalid(
        if PLANNED.iter().any(|row| row.name == name) {
            format!("option {name} is not supported by this version")
        } else {
            let hint = did_you_mean(name).unwrap_or("see CONFIGURATION.md for all options".into());
            format!("option {} is unknown; {hint}", quote(name))
        },
    ))
}

pub(super) fn did_you_mean(name: &str) -> Option<String> {
    let near = suggest::nearest(name, TABLE.iter().map(|row| row.name))?;
    Some(format!("did you mean `{near}`?"))
}

/// Sets every option to its default.
pub(super) fn set_defaults(config: &mut Config) {
    for row in TABLE.iter().chain(PLANNED) {
        if !row.default.is_empty() {
            row.set(config, row.default)
                .expect("a default is within its own range");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn option_names_are_unique() {
        let mut names: Vec<&str> = TABLE.iter().chain(PLANNED).map(|row| row.name).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn reserved_option_rows_accept_values() {
        for (name, default, value) in [
            ("split_writes", "no", "yes"),
            ("refresh_interval_ms", "0", "86400000"),
        ] {
            let row = TABLE.iter().chain(PLANNED).find(|row| row.name == name);
            let row = row.unwrap_or_else(|| panic!("{name} has no row"));
            assert_eq!(row.default(), default, "{name}");
            let mut config = Config::new();
            row.set(&mut config, value).unwrap();
            assert_eq!(row.value(&config), value, "{name}");
        }
    }

    #[test]
    fn reserved_enum_words_exist() {
        for (name, value) in PLANNED_VALUES {
            let row = TABLE.iter().find(|row| row.name == *name).unwrap();
            let Kind::Enum { names, .. } = row.kind else {
                panic!("{name} is not an enum")
            };
            assert!(names.contains(value), "{name} {value}");
        }
    }
}
