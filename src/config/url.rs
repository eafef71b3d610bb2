//! The option `url`, which has one of these forms:
//!
//! ```text
//! redis://[user[:password]@]host[:port][,host[:port]...][/database][?option=value&...]
//! unix://[user[:password]@]/path/of/socket[?option=value&...]
//! ```
//!
//! The parser is strict, so that a password is never sent to the wrong host: a misplaced '@', '/',
//! '?' or '#' of a password is an error. No error repeats text that may be part of a password.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use zeroize::Zeroizing;

use super::address_map::split_host_port;
use super::table::MAX_DATABASE;
use super::{Config, Secret, quote, suggest, table};
use crate::address::{Address, BAD_PORT, parse_port};
use crate::error::{Error, Result};

const DEFAULT_PORT: u16 = 6379;

/// How the servers of a URL are reached.
#[derive(Clone, Copy, PartialEq)]
enum Transport {
    Tcp,
    Tls,
    UnixSocket,
}

/// The schemes. The first one of a transport is its name.
const SCHEMES: &[(&str, Transport)] = &[
    ("redis", Transport::Tcp),
    ("valkey", Transport::Tcp),
    ("rediss", Transport::Tls),
    ("valkeys", Transport::Tls),
    ("unix", Transport::UnixSocket),
];

/// The schemes that a URL can have.
pub fn schemes() -> impl Iterator<Item = &'static str> {
    SCHEMES.iter().map(|(name, _)| *name)
}

/// An error at a byte offset of the URL.
fn error_at(position: usize, why: impl std::fmt::Display) -> Error {
    Error::invalid(format_args!("url: {why} (at byte {position})"))
}

/// Sets seeds, TLS, credentials and options from `url`. An error leaves `config` unchanged.
pub(super) fn set_url(config: &mut Config, url: &str) -> Result<()> {
    if let Some(position) = url.as_bytes().iter().position(u8::is_ascii_control) {
        return Err(error_at(position, "it contains a control character"));
    }
    let (transport, start) = parse_scheme(url)?;
    let is_end = |b: &u8| matches!(b, b'/' | b'?' | b'#');
    let end = url.as_bytes()[start..].iter().position(is_end);
    let end = end.map_or(url.len(), |i| start + i);
    let authority = &url[start..end];
    let (userinfo, hosts) = match authority.split_once('@') {
        Some((userinfo, _)) => (Some(userinfo), start + userinfo.len() + 1),
        None => (None, start),
    };
    // A second '@' is part of a password, or ends credentials of a second host. A wrong guess would
    // send part of a password to a name server.
    if let Some(i) = url[hosts..].find('@') {
        return Err(error_at(
            hosts + i,
            "misplaced '@'; user and password come once, before the first host, and in them '@' is \
             written %40, '/' %2F, '?' %3F, '#' %23",
        ));
    }
    if let Some(i) = url.find('#') {
        return Err(error_at(
            i,
            "a '#fragment' is not supported; '#' is written %23",
        ));
    }

    let rest = &url[end..];
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));

    let mut next = config.clone();
    next.tls = transport == Transport::Tls;
    if std::mem::take(&mut next.database_of_url) {
        next.database = 0;
    }
    if transport == Transport::UnixSocket {
        next.seeds = vec![parse_socket(&url[hosts..end], hosts, path)?];
    } else {
        next.seeds = parse_seeds(&url[hosts..end], hosts)?;
        set_database(&mut next, path, end)?;
    }
    if std::mem::take(&mut next.credentials_of_url) {
        next.user = None;
        next.password = None;
        next.user_file = None;
        next.password_file = None;
    }
    let mut credentials = userinfo.is_some();
    if let Some(userinfo) = userinfo {
        set_credentials(&mut next, userinfo, start)?;
    }
    if !query.is_empty() {
        credentials |= set_options(&mut next, query, end + path.len() + 1)?;
    }
    next.credentials_of_url = credentials;
    *config = next;
    Ok(())
}

/// Sets the user and the password from the URL. A part that is missing leaves its option unchanged.
fn set_credentials(config: &mut Config, userinfo: &str, start: usize) -> Result<()> {
    let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
    let position = start + userinfo.len() - password.len();
    let user = percent_decode(user, start, "the user")?;
    let password = percent_decode(password, position, "the password")?;
    if user.chars().any(char::is_control) {
        return Err(error_at(start, "the user contains a control character"));
    }
    if !user.is_empty() {
        config.user = Some(user.to_string());
    }
    if !password.is_empty() {
        config.password = Some(Secret::new(&password));
    }
    Ok(())
}

/// Sets the database from the path. Without a number it is left unchanged. The error does not repeat the path.
fn set_database(config: &mut Config, path: &str, position: usize) -> Result<()> {
    let number = path.strip_prefix('/').unwrap_or(path);
    if number.is_empty() {
        return Ok(());
    }
    if !number.bytes().all(|b| b.is_ascii_digit()) {
        let problem = "the path must be empty, / or the number of a database, as in /3";
        return Err(error_at(position, problem));
    }
    let database = number.parse().ok().filter(|n| *n <= MAX_DATABASE);
    config.database = database.ok_or_else(|| {
        let problem = format_args!("the number of the database is not in 0 to {MAX_DATABASE}");
        error_at(position, problem)
    })?;
    config.database_of_url = true;
    Ok(())
}

/// Parses the path of a unix socket. `host` is what stands before it, at `start` of the URL.
fn parse_socket(host: &str, start: usize, path: &str) -> Result<Address> {
    if !host.is_empty() {
        let problem =
            "a unix socket has no host, and its path begins with a slash; write unix:///path";
        return Err(error_at(start, problem));
    }
    if let Some(i) = path.find(',') {
        let problem =
            "a unix url names one socket and no other host; a ',' of its path is written %2C";
        return Err(error_at(start + i, problem));
    }
    if path.is_empty() {
        return Err(error_at(
            start,
            "the path of the socket is empty; write unix:///path",
        ));
    }
    let path = percent_decode(path, start, "the path")?;
    Address::unix(&path).map_err(|why| error_at(start, why))
}

/// The transport that the scheme names, and the offset after "://".
fn parse_scheme(url: &str) -> Result<(Transport, usize)> {
    let Some((scheme, _)) = url.split_once("://") else {
        return Err(error_at(
            0,
            "it has no scheme; did you mean redis://host:port?",
        ));
    };
    let is_given = |(name, _): &&(&str, Transport)| scheme.eq_ignore_ascii_case(name);
    if let Some((_, transport)) = SCHEMES.iter().find(is_given) {
        return Ok((*transport, scheme.len() + "://".len()));
    }
    let all: Vec<&str> = schemes().collect();
    let all = all.join(", ");
    // In "bob:secret://..." the text is not a scheme, and must not be repeated.
    let looks_like_scheme = scheme
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'+');
    Err(if looks_like_scheme {
        let hint = suggest::nearest(scheme, schemes())
            .map_or(String::new(), |name| format!("; did you mean {name}://?"));
        error_at(
            0,
            format_args!(
                "scheme {} is unknown: the schemes are {all}{hint}",
                quote(scheme)
            ),
        )
    } else {
        error_at(
            0,
            format_args!("it does not begin with a scheme; the schemes are {all}"),
        )
    })
}

/// Parses the comma-separated hosts, which begin at `start` of the URL.
fn parse_seeds(hosts: &str, start: usize) -> Result<Vec<Address>> {
    let mut seeds = Vec::with_capacity(hosts.bytes().filter(|b| *b == b',').count() + 1);
    let mut position = start;
    for entry in hosts.split(',') {
        seeds.push(parse_seed(entry).map_err(|why| error_at(position, why))?);
        position += entry.len() + 1;
    }
    Ok(without_duplicates(seeds))
}

/// The first of each of the addresses that are equal, in their order. Most differ by their hashes (FNV-1a), which are
/// compared several at a time. Sorting would take 8 KB of code.
fn without_duplicates(addresses: Vec<Address>) -> Vec<Address> {
    let mut unique: Vec<Address> = Vec::with_capacity(addresses.len());
    let mut hashes: Vec<u64> = Vec::with_capacity(addresses.len());
    for address in addresses {
        let hash = (address.host.bytes()).fold(u64::from(address.port), |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
        if !(hashes.contains(&hash) && unique.contains(&address)) {
            hashes.push(hash);
            unique.push(address);
        }
    }
    unique
}

/// Parses one host with an optional port. The error does not repeat them: in "redis://bob:secret",
/// where the host is missing, the port is a password.
fn parse_seed(entry: &str) -> std::result::Result<Address, String> {
    if entry.is_empty() {
        return Err("the host is empty".to_owned());
    }
    let (host, port) = split_host_port(entry)?;
    let port = match port {
        Some(port) => parse_port(port).ok_or(BAD_PORT)?,
        None => DEFAULT_PORT,
    };
    // RFC 6874 writes the '%' before a scope as "%25"; most software writes a plain '%'.
    let scope = host.find('%').map(|i| host.split_at(i));
    let scope = scope.and_then(|(address, rest)| Some((address, rest.strip_prefix("%25")?)));
    let host = match scope {
        Some((address, scope)) if !scope.is_empty() && address.contains(':') => {
            Cow::Owned(format!("{address}%{scope}"))
        }
        _ => Cow::Borrowed(host),
    };
    Address::new(&host, port).map_err(|error| {
        let message = &error.message;
        let text = message.strip_prefix("INVALID ").unwrap_or(message);
        text.to_owned()
    })
}

/// Sets the options of the query, which begins at `start` of the URL. If a name occurs twice, the last
/// value applies. Returns whether the password was set.
fn set_options(config: &mut Config, query: &str, start: usize) -> Result<bool> {
    let mut position = start;
    let mut has_password = false;
    for option in query.split('&') {
        let Some((name, value)) = option.split_once('=') else {
            let known = table::find(option).map_or(String::new(), |row| format!(" {}", row.name));
            return Err(error_at(
                position,
                format_args!("option{known} has no value; write name=value, joined by '&'"),
            ));
        };
        let row = match table::find(name) {
            Ok(row) => row,
            // Text after a password may be part of it, if its '&' was not encoded: not repeated.
            Err(_) if has_password || !is_name(name) => {
                let hint = table::did_you_mean(name);
                let hint = hint.map_or(String::new(), |hint| format!("; {hint}"));
                return Err(error_at(
                    position,
                    format_args!("an option is unknown{hint}"),
                ));
            }
            Err(error) => return Err(error),
        };
        if row.is_url() {
            return Err(error_at(position, "a url cannot contain the option url"));
        }
        let part = format!("option {name}");
        let value = percent_decode(value, position + name.len() + 1, &part)?;
        row.set(config, &value)?;
        has_password |= row.gives_password;
        position += option.len() + 1;
    }
    Ok(has_password)
}

fn is_name(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    !text.is_empty() && text.bytes().all(allowed)
}

/// Removes the percent-encoding. A '+' stays a '+'. The result may be a password: it is overwritten when dropped, and its
/// buffer never grows, which would leave a copy.
fn percent_decode(text: &str, start: usize, part: &str) -> Result<Zeroizing<String>> {
    let bytes = text.as_bytes();
    for (i, _) in text.match_indices('%') {
        let digits = bytes.get(i + 1..i + 3);
        if !digits.is_some_and(|pair| pair.iter().all(u8::is_ascii_hexdigit)) {
            return Err(error_at(
                start + i,
                format_args!("{part} has a '%' without two hexadecimal digits; '%' is written %25"),
            ));
        }
    }
    let mut decoded = Zeroizing::new(Vec::with_capacity(text.len()));
    decoded.extend(percent_decode_str(text));
    let Ok(decoded) = std::str::from_utf8(&decoded) else {
        return Err(error_at(start, format_args!("{part} is not UTF-8")));
    };
    if decoded.contains('\0') {
        return Err(error_at(start, format_args!("{part} contains a NUL")));
    }
    Ok(Zeroizing::new(decoded.to_owned()))
}

/// The characters of a path that a URL gives another meaning.
const NOT_IN_PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'%')
    .add(b'?')
    .add(b'#')
    .add(b'@')
    .add(b',');

/// The seeds as a URL, without credentials and database, which are separate options.
pub(super) fn format_url(config: &Config) -> String {
    let transport = match config.tls {
        true => Transport::Tls,
        false if config.is_unix() => Transport::UnixSocket,
        false => Transport::Tcp,
    };
    let mut schemes = SCHEMES.iter().filter(|_| !config.seeds.is_empty());
    let Some((scheme, _)) = schemes.find(|(_, of)| *of == transport) else {
        return String::new();
    };
    let text = |seed: &Address| match seed.is_unix() {
        true => utf8_percent_encode(&seed.host, NOT_IN_PATH).to_string(),
        false => seed.to_string(),
    };
    let seeds: Vec<String> = config.seeds.iter().map(text).collect();
    format!("{scheme}://{}", seeds.join(","))
}
