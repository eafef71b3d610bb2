//! The URL, of this form:
//!
//! ```text
//! redis://[user[:password]@]host[:port][,host[:port]...][/0][?option=value&...]
//! ```
//!
//! Stricter than a browser where leniency would send a password to the wrong place: a misplaced
//! '@', '/', '?' or '#' of a password is an error, and no error repeats text that may be part of one.

use std::collections::HashSet;

use percent_encoding::percent_decode_str;

use super::address_map::split_place;
use super::{Config, Secret, quote, suggest, table};
use crate::address::{Address, BAD_PORT, parse_port};
use crate::error::{Error, Result};

const DEFAULT_PORT: u16 = 6379;

/// The schemes, and whether they mean TLS.
const SCHEMES: &[(&str, bool)] = &[
    ("redis", false),
    ("valkey", false),
    ("rediss", true),
    ("valkeys", true),
];

/// The schemes that a URL may have.
pub fn schemes() -> impl Iterator<Item = &'static str> {
    SCHEMES.iter().map(|(name, _)| *name)
}

/// An error at a byte of the URL, counted from 0.
fn at(position: usize, why: impl std::fmt::Display) -> Error {
    Error::invalid(format_args!("url: {why} (at byte {position})"))
}

/// Takes seeds, TLS, credentials and options from `url` into `config`, or changes nothing.
pub(super) fn set_url(config: &mut Config, url: &str) -> Result<()> {
    if let Some(position) = url.bytes().position(|b| b.is_ascii_control()) {
        return Err(at(position, "it has a control character"));
    }
    let (tls, start) = scheme(url)?;
    let end = url[start..]
        .find(['/', '?', '#'])
        .map_or(url.len(), |i| start + i);
    let authority = &url[start..end];
    let (userinfo, hosts) = match authority.split_once('@') {
        Some((userinfo, _)) => (Some(userinfo), start + userinfo.len() + 1),
        None => (None, start),
    };
    // A second '@' is a piece of a password or credentials before a second host; to guess which
    // would be to send one of them to a host that is none.
    if let Some(i) = url[hosts..].find('@') {
        return Err(at(
            hosts + i,
            "an '@' that does not end user and password, which stand once, before the first host; \
             there, '@' is written %40, '/' %2F, '?' %3F, '#' %23",
        ));
    }
    if let Some(i) = url.find('#') {
        return Err(at(
            i,
            "a '#fragment' has no meaning here; a '#' is written %23",
        ));
    }

    let mut next = config.clone();
    next.tls = tls;
    next.seeds = seeds(&url[hosts..end], hosts)?;
    if std::mem::take(&mut next.credentials_of_url) {
        next.user = None;
        next.password = None;
    }
    // What the URL does not say stays as it was set by name.
    let mut credentials = userinfo.is_some();
    if let Some(userinfo) = userinfo {
        let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
        let position = start + userinfo.len() - password.len();
        let user = decode(user, start, "the user")?;
        let password = decode(password, position, "the password")?;
        if user.chars().any(char::is_control) {
            return Err(at(start, "the user has a control character"));
        }
        if !user.is_empty() {
            next.user = Some(user);
        }
        if !password.is_empty() {
            next.password = Some(Secret::new(&password));
        }
    }
    let (path, query) = match url[end..].split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (&url[end..], None),
    };
    if !matches!(path, "" | "/" | "/0") {
        let number = path[1..].bytes().all(|b| b.is_ascii_digit());
        return Err(at(
            end,
            if number {
                "a cluster has only database 0, so the path can be nothing but / or /0"
            } else {
                "the path can be nothing but / or /0"
            },
        ));
    }
    if let Some(query) = query.filter(|query| !query.is_empty()) {
        credentials |= set_options(&mut next, query, end + path.len() + 1)?;
    }
    next.credentials_of_url = credentials;
    *config = next;
    Ok(())
}

/// Whether the scheme means TLS, and where it ends.
fn scheme(url: &str) -> Result<(bool, usize)> {
    let Some((scheme, _)) = url.split_once("://") else {
        return Err(at(0, "it has no scheme; did you mean redis://host:port?"));
    };
    let is = |(name, _): &&(&str, bool)| scheme.eq_ignore_ascii_case(name);
    if let Some((_, tls)) = SCHEMES.iter().find(is) {
        return Ok((*tls, scheme.len() + "://".len()));
    }
    let all: Vec<&str> = schemes().collect();
    let all = all.join(", ");
    // Of "bob:secret://..." only a scheme may be shown.
    let like_one = scheme
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'+');
    Err(if like_one {
        let hint = suggest::nearest(scheme, schemes())
            .map_or(String::new(), |name| format!("did you mean {name}://? "));
        at(
            0,
            format_args!(
                "scheme {} is unknown; {hint}It is one of {all}",
                quote(scheme)
            ),
        )
    } else {
        at(
            0,
            format_args!("it does not begin with a scheme, one of {all}"),
        )
    })
}

/// The comma-separated hosts, which begin at `start` of the URL.
fn seeds(hosts: &str, start: usize) -> Result<Vec<Address>> {
    let mut known = HashSet::new();
    let mut seeds = Vec::new();
    let mut position = start;
    for entry in hosts.split(',') {
        let address = seed(entry).map_err(|why| at(position, why))?;
        if known.insert(address.clone()) {
            seeds.push(address);
        }
        position += entry.len() + 1;
    }
    Ok(seeds)
}

/// One host with or without its port. The error does not repeat it: in "redis://bob:secret", which
/// lacks its host, the port is a password.
fn seed(entry: &str) -> std::result::Result<Address, String> {
    if entry.is_empty() {
        return Err("the host is empty".to_owned());
    }
    let (host, port) = split_place(entry)?;
    let port = match port {
        Some(port) => parse_port(port).ok_or(BAD_PORT)?,
        None => DEFAULT_PORT,
    };
    // RFC 6874 writes the '%' before a scope as "%25"; everyone else writes it as it is.
    let host = match host.split_once("%25") {
        Some((address, scope)) if !scope.is_empty() && address.contains(':') => {
            format!("{address}%{scope}")
        }
        _ => host.to_owned(),
    };
    Address::new(&host, port).map_err(|error| {
        let words = &error.message;
        words.strip_prefix("INVALID ").unwrap_or(words).to_owned()
    })
}

/// Sets the options of the query, which begins at `start` of the URL; the last of a name holds.
/// Answers whether a password was among them.
fn set_options(config: &mut Config, query: &str, start: usize) -> Result<bool> {
    let mut position = start;
    let mut password = false;
    for piece in query.split('&') {
        let Some((name, value)) = piece.split_once('=') else {
            let known = table::find(piece).map_or(String::new(), |row| format!(" {}", row.name));
            return Err(at(
                position,
                format_args!("option{known} has no value; options are name=value, joined by '&'"),
            ));
        };
        let row = match table::find(name) {
            Ok(row) => row,
            // What follows a password may belong to it, if its '&' was not encoded.
            Err(_) if password || !is_name(name) => {
                let hint = table::did_you_mean(name);
                let hint = hint.map_or(String::new(), |hint| format!("; {hint}"));
                return Err(at(position, format_args!("an option is unknown{hint}")));
            }
            Err(error) => return Err(error),
        };
        if row.is_url() {
            return Err(at(position, "a url cannot hold the option url"));
        }
        let what = format!("option {name}");
        let value = decode(value, position + name.len() + 1, &what)?;
        row.set(config, &value)?;
        password |= row.is_secret();
        position += piece.len() + 1;
    }
    Ok(password)
}

fn is_name(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    !text.is_empty() && text.bytes().all(allowed)
}

/// `text` without its percent-encoding; '+' stays '+'.
fn decode(text: &str, start: usize, what: &str) -> Result<String> {
    let bytes = text.as_bytes();
    for (i, _) in text.match_indices('%') {
        let digits = bytes.get(i + 1..i + 3);
        if !digits.is_some_and(|pair| pair.iter().all(u8::is_ascii_hexdigit)) {
            return Err(at(
                start + i,
                format_args!("{what} has a '%' without two hexadecimal digits; '%' is written %25"),
            ));
        }
    }
    let decoded = percent_decode_str(text).decode_utf8();
    let decoded = decoded.map_err(|_| at(start, format_args!("{what} is not UTF-8")))?;
    if decoded.contains('\0') {
        return Err(at(start, format_args!("{what} has a NUL")));
    }
    Ok(decoded.into_owned())
}

/// The seeds as a URL without credentials, which are options of their own.
pub(super) fn shown(config: &Config) -> String {
    let Some((scheme, _)) = SCHEMES
        .iter()
        .find(|(_, tls)| *tls == config.tls && !config.seeds.is_empty())
    else {
        return String::new();
    };
    let seeds: Vec<String> = config.seeds.iter().map(Address::to_string).collect();
    format!("{scheme}://{}", seeds.join(","))
}
