//! Tables of options and URLs. `hunter2` is a password, which must appear in no error and no log.

use super::*;
use crate::error::Code;

const SECRET: &str = "hunter2";

fn seeds(config: &Config) -> String {
    let seeds: Vec<String> = config.seeds.iter().map(Address::to_string).collect();
    seeds.join(" ")
}

fn password(config: &Config) -> &str {
    config.password.as_ref().map_or("", Secret::reveal)
}

/// The error of setting an option. It must be RDC_ERR_INVALID, on one line and without the secret.
fn refused(name: &str, value: &str) -> String {
    let mut config = Config::new();
    let before = format!("{config:?}");
    let error = config.set(name, value).expect_err(value);
    assert_eq!(error.code, Code::Invalid, "{error}");
    assert!(!error.sent);
    let message = error.message.clone();
    assert!(!message.contains(SECRET), "{message}");
    assert!(!message.chars().any(char::is_control), "{message}");
    assert!(message.len() < 400, "{message}");
    assert_eq!(
        format!("{config:?}"),
        before,
        "a refused {name} changed something"
    );
    message
}

#[test]
fn valid_urls_are_parsed() {
    for (url, hosts, user, word) in [
        ("redis://h", "h:6379", "", ""),
        ("redis://h/", "h:6379", "", ""),
        ("redis://h/0", "h:6379", "", ""),
        ("redis://h:7000", "h:7000", "", ""),
        ("valkey://h:7000", "h:7000", "", ""),
        ("REDIS://H:7000", "h:7000", "", ""),
        ("redis://h:1", "h:1", "", ""),
        ("redis://h:65535", "h:65535", "", ""),
        ("redis://a:1,b:2,c", "a:1 b:2 c:6379", "", ""),
        ("redis://a:1,b:2,A:1,a:01", "a:1 b:2", "", ""),
        ("redis://a,a:6379/", "a:6379", "", ""),
        ("redis://127.0.0.1:7000", "127.0.0.1:7000", "", ""),
        ("redis://[::1]", "[::1]:6379", "", ""),
        ("redis://[::1]:7000,[0:0::1]:7000", "[::1]:7000", "", ""),
        ("redis://[2001:DB8::A]:7000", "[2001:db8::a]:7000", "", ""),
        ("redis://[fe80::1%eth0]:7000", "[fe80::1%eth0]:7000", "", ""),
        (
            "redis://[fe80::1%25eth0]:7000",
            "[fe80::1%eth0]:7000",
            "",
            "",
        ),
        ("redis://[fe80::1%2]:7000", "[fe80::1%2]:7000", "", ""),
        ("redis://[fe80::1%25]:7000", "[fe80::1%25]:7000", "", ""),
        ("redis://:hunter2@h", "h:6379", "", "hunter2"),
        ("redis://bob:hunter2@h", "h:6379", "bob", "hunter2"),
        ("redis://bob:hunter2@a,b", "a:6379 b:6379", "bob", "hunter2"),
        ("redis://bob:hunter2@[::1]:7", "[::1]:7", "bob", "hunter2"),
        ("redis://bob:a:b:c@h", "h:6379", "bob", "a:b:c"),
        ("redis://:a,b@h", "h:6379", "", "a,b"),
        ("redis://b%6Fb:p%40%2f%3A%25@h", "h:6379", "bob", "p@/:%"),
        ("redis://bob:a+b@h", "h:6379", "bob", "a+b"),
        ("redis://bob:%C3%A9@h", "h:6379", "bob", "\u{e9}"),
        ("redis://:%0A@h", "h:6379", "", "\n"),
        ("redis://@h", "h:6379", "", ""),
        ("redis://:@h", "h:6379", "", ""),
        ("redis://bob@h?password=hunter2", "h:6379", "bob", "hunter2"),
        ("redis://h?user=bob&password=p%26q", "h:6379", "bob", "p&q"),
        ("redis://:old@h?password=new", "h:6379", "", "new"),
        ("redis://:old@h?password=", "h:6379", "", ""),
        ("redis://h?", "h:6379", "", ""),
        ("redis://h/?", "h:6379", "", ""),
        ("redis://h/0?timeout_ms=5000", "h:6379", "", ""),
        ("redis://h/?timeout_ms=1&timeout_ms=5000", "h:6379", "", ""),
        (
            "redis://my_host-1.example.com.:7000",
            "my_host-1.example.com.:7000",
            "",
            "",
        ),
    ] {
        let config = Config::from_url(url).unwrap_or_else(|error| panic!("{url}: {error}"));
        assert_eq!(seeds(&config), hosts, "{url}");
        assert_eq!(config.user.as_deref().unwrap_or(""), user, "{url}");
        assert_eq!(password(&config), word, "{url}");
        assert_eq!(config.timeout_ms, 5000, "{url}");
        assert!(!config.tls, "{url}");
        assert!(!format!("{config:?}").contains(SECRET), "{url}");
    }
}

#[test]
fn invalid_urls_are_rejected() {
    for (url, why) in [
        ("", "no scheme; did you mean redis://host:port?"),
        (
            "127.0.0.1:7000,127.0.0.1:7001",
            "did you mean redis://host:port?",
        ),
        (":hunter2@h:7000", "no scheme"),
        ("redis:/h", "no scheme"),
        ("://h", "scheme"),
        ("http://h", "scheme \"http\" is unknown"),
        ("redi://h", "did you mean redis://?"),
        ("bob:hunter2://h", "does not begin with a scheme"),
        ("redis://", "the host is empty (at byte 8)"),
        ("redis:///0", "the host is empty (at byte 8)"),
        ("redis://:7000", "the host is empty"),
        ("redis://bob:hunter2@", "the host is empty (at byte 20)"),
        (
            "redis://bob:hunter2@:7000",
            "the host is empty (at byte 20)",
        ),
        (
            "redis://bob:hunter2",
            "the port is not a number from 1 to 65535 (at byte 8)",
        ),
        ("redis://:hunter2", "the port is not"),
        ("redis://bob:7000:hunter2", "several colons"),
        ("redis://h:", "the port is not"),
        ("redis://h:0", "the port is not"),
        ("redis://h:65536", "the port is not"),
        ("redis://h:-1", "the port is not"),
        ("redis://h:+1", "the port is not"),
        ("redis://h:7000x", "the port is not"),
        ("redis://h:99999999999999999999", "the port is not"),
        ("redis://a,", "the host is empty (at byte 10)"),
        ("redis://,a", "the host is empty (at byte 8)"),
        ("redis://a,,b", "the host is empty (at byte 10)"),
        (
            "redis://a,b:x",
            "the port is not a number from 1 to 65535 (at byte 10)",
        ),
        ("redis://a, b", "a character other than"),
        ("redis://h%20x", "a character other than"),
        ("redis://h\u{f6}st", "a character other than"),
        ("redis://::1:7000", "write an IPv6 address in brackets"),
        ("redis://::1", "write an IPv6 address in brackets"),
        ("redis://[::1", "not closed"),
        ("redis://[::1]7000", "only a port may follow"),
        ("redis://[h]:7000", "only an IPv6 address"),
        ("redis://[::g]:7000", "not an IPv6 address"),
        ("redis://[fe80::1%]:7000", "the scope"),
        ("redis://1.2.3:7000", "not an IPv4 address"),
        (
            "redis://h/x",
            "the path must be empty, / or the number of a database, as in /3 (at byte 9)",
        ),
        ("redis://h/0/", "the path must be empty"),
        ("redis://h/-1", "the path must be empty"),
        ("redis://h/+1", "the path must be empty"),
        ("redis://h/1,g", "the path must be empty"),
        (
            "redis://h/16384",
            "the number of the database is not in 0 to 16383 (at byte 9)",
        ),
        ("redis://h/99999999999", "the number of the database is not"),
        (
            "redis://h?database=16384",
            "option database: \"16384\" is out of range (allowed: 0 to 16383)",
        ),
        ("redis://h?database=", "is not a decimal number"),
        (
            "unix://",
            "the path of the socket is empty; write unix:///path (at byte 7)",
        ),
        ("unix:///", "the path of the socket is empty (at byte 7)"),
        ("unix://?database=3", "the path of the socket is empty"),
        (
            "unix://run/redis.sock",
            "a unix socket has no host, and its path begins with a slash; write unix:///path (at byte 7)",
        ),
        ("unix://bob:hunter2@h/p", "a unix socket has no host"),
        ("unix://bob:hunter2/p", "a unix socket has no host"),
        ("unix:///p@hunter2", "'@' is written %40"),
        ("unix:///p#hunter2", "'#' is written %23"),
        (
            "unix:///p,127.0.0.1:7000",
            "a unix url names one socket and no other host; a ',' of its path is written %2C (at byte 9)",
        ),
        ("redis://h,unix:///p", "the port is not"),
        ("unix:///p%zz", "the path has a '%' without"),
        ("unix:///p%00", "the path contains a NUL"),
        (
            "unix:///p%0a",
            "the path of the socket contains a control character",
        ),
        ("unixs:///p", "did you mean unix://?"),
        ("redis://h#hunter2", "a '#fragment'"),
        ("redis://h?password=a#hunter2", "a '#fragment'"),
        ("redis://:hunter2#x@h", "'#' %23"),
        ("redis://:hunter2/x@h", "'/' %2F"),
        ("redis://bob:7000/hunter2@h", "'/' %2F"),
        ("redis://bob:7000?hunter2@h", "'?' %3F"),
        ("redis://bob:hun@ter2@h", "'@' is written %40"),
        (
            "redis://bob:hunter2@a,bob:hunter2@b",
            "before the first host",
        ),
        (
            "redis://:hunter2%@h",
            "the password has a '%' without two hexadecimal digits",
        ),
        ("redis://:hunter2%4@h", "'%' is written %25 (at byte 16)"),
        ("redis://:hunter2%zz@h", "(at byte 16)"),
        ("redis://b%zz:hunter2@h", "the user has a '%' without"),
        ("redis://:hunter2%00@h", "the password contains a NUL"),
        ("redis://:hunter2%ff@h", "the password is not UTF-8"),
        (
            "redis://b%0a:hunter2@h",
            "the user contains a control character",
        ),
        ("redis://h\0", "a control character (at byte 9)"),
        ("redis://h\n", "a control character (at byte 9)"),
        ("redis://h\x7f", "a control character (at byte 9)"),
        ("redis://:hunter2\x1b@h", "a control character"),
        ("redis://h?timeout_ms", "option timeout_ms has no value"),
        (
            "redis://h?hunter2",
            "option has no value; write name=value, joined by '&' (at byte 10)",
        ),
        ("redis://h?timeout_ms=1&", "no value"),
        ("redis://h?&timeout_ms=1", "no value"),
        (
            "redis://h?timeout_ms=0",
            "option timeout_ms: \"0\" is out of range",
        ),
        (
            "redis://h?timeout=1",
            "\"timeout\" is unknown; did you mean `timeout_ms`?",
        ),
        ("redis://h?db=0", "option \"db\" is unknown"),
        ("redis://h?pasword=hunter2", "did you mean `password`?"),
        ("redis://h?password=x&hunter2", "no value"),
        (
            "redis://h?password=x&hunter2=1",
            "an option is unknown (at byte 21)",
        ),
        (
            "redis://h?password=x&tiemout_ms=1",
            "did you mean `timeout_ms`?",
        ),
        (
            "redis://h?password=hunter2%",
            "option password has a '%' without",
        ),
        ("redis://h?hunter2:x=1", "an option is unknown (at byte 10)"),
        (
            "redis://h?client_name=%zz",
            "option client_name has a '%' without",
        ),
        (
            "redis://h?client_name=%00",
            "option client_name contains a NUL",
        ),
        ("redis://h?url=redis://g", "cannot contain the option url"),
        (
            "redis://h?refresh_interval_ms=9",
            "option refresh_interval_ms is not supported by this version",
        ),
    ] {
        let error = refused("url", url);
        assert!(error.contains(why), "{url}: {error}");
    }
    for long in [
        format!("redis://{}", "a,".repeat(40_000)),
        format!("redis://:{}@h", SECRET.repeat(20_000)),
    ] {
        assert!(refused("url", &long).contains("the maximum is 65536"));
    }
}

#[test]
fn tls_urls_are_parsed() {
    for (url, shown) in [
        ("rediss://h:7000", "rediss://h:7000"),
        ("valkeys://h", "rediss://h:6379"),
        ("REDISS://bob:hunter2@h,g", "rediss://h:6379,g:6379"),
        (
            "rediss://h?tls_ca_file=/etc/ca.pem&tls_server_name=g",
            "rediss://h:6379",
        ),
    ] {
        let config = Config::from_url(url).unwrap_or_else(|error| panic!("{url}: {error}"));
        assert!(config.tls, "{url}");
        let row = options().iter().find(|row| row.is_url()).unwrap();
        assert_eq!(config.value(row), shown, "{url}");
    }
    // A later URL replaces the setting.
    let mut config = Config::from_url("rediss://h").unwrap();
    config.set("url", "redis://h").unwrap();
    assert!(!config.tls);
    let error = Config::from_url("redis://h?tls_ca_file=/etc/ca.pem").unwrap_err();
    assert!(error.message.contains("write rediss://"), "{error}");
}

#[test]
fn database_of_url_is_parsed() {
    for (url, database) in [
        ("redis://h", 0),
        ("redis://h/", 0),
        ("redis://h/0", 0),
        ("redis://h/00", 0),
        ("redis://h/3", 3),
        ("redis://a,b:7000/16383?timeout_ms=7", 16383),
        ("redis://h?database=4", 4),
        ("rediss://h/?database=4", 4),
        // As with other options, the last one applies.
        ("redis://h/3?database=4", 4),
        ("unix:///run/redis.sock?database=5", 5),
    ] {
        let config = Config::from_url(url).unwrap_or_else(|error| panic!("{url}: {error}"));
        assert_eq!(config.database, database, "{url}");
    }
    // The path of one URL does not hold for another; an option does.
    let mut config = Config::from_url("redis://h/3").unwrap();
    config.set("url", "redis://g").unwrap();
    assert_eq!(config.database, 0);
    config.set("database", "4").unwrap();
    config.set("url", "redis://h").unwrap();
    assert_eq!(config.database, 4);
    config.set("url", "redis://h/5").unwrap();
    assert_eq!(config.database, 5);
    config.set_per_handle("database", "6").unwrap();
    assert_eq!(config.database, 6);
}

#[test]
fn unix_urls_are_parsed() {
    for (url, path, user, word, shown) in [
        (
            "unix:///run/redis.sock",
            "/run/redis.sock",
            "",
            "",
            "unix:///run/redis.sock",
        ),
        (
            "UNIX://bob:hunter2@/Tmp/a:7000?timeout_ms=7",
            "/Tmp/a:7000",
            "bob",
            "hunter2",
            "unix:///Tmp/a:7000",
        ),
        ("unix://:hunter2@//a/", "//a/", "", "hunter2", "unix:////a/"),
        (
            "unix:///a%20b%2Cc%25%3F%C3%A9",
            "/a b,c%?\u{e9}",
            "",
            "",
            "unix:///a%20b%2Cc%25%3F%C3%A9",
        ),
    ] {
        let config = Config::from_url(url).unwrap_or_else(|error| panic!("{url}: {error}"));
        assert!(config.is_unix() && !config.tls, "{url}");
        assert_eq!(seeds(&config), path, "{url}");
        assert_eq!(config.user.as_deref().unwrap_or(""), user, "{url}");
        assert_eq!(password(&config), word, "{url}");
        let row = options().iter().find(|row| row.is_url()).unwrap();
        assert_eq!(config.value(row), shown, "{url}");
        let again = Config::from_url(shown).unwrap();
        assert_eq!(again.seeds, config.seeds, "{url}");
    }
    for (url, why) in [
        (
            "unix:///p?cluster=yes",
            "with cluster=yes the url cannot be",
        ),
        (
            "unix:///p?tls_ca_file=/ca.pem",
            "a tls_ option is set, but a unix socket has no TLS",
        ),
    ] {
        let error = Config::from_url(url).unwrap_err();
        assert!(
            error.code == Code::Invalid && error.message.contains(why),
            "{error}"
        );
    }
}

#[test]
fn thousands_of_seeds_are_parsed() {
    let hosts: Vec<String> = (0..10_000).map(|i| format!("{}", 1 + i % 5000)).collect();
    let url = format!(
        "redis://h:{}",
        hosts.join(",h:").chars().take(60_000).collect::<String>()
    );
    let config = Config::from_url(url.trim_end_matches([',', 'h', ':'])).unwrap();
    assert_eq!(config.seeds.len(), 5000);
}

#[test]
fn second_url_replaces_first() {
    let mut config = Config::new();
    config.set("timeout_ms", "7").unwrap();
    config
        .set("url", "redis://bob:hunter2@a,b?max_redirects=3")
        .unwrap();
    config.set("url", "redis://c").unwrap();
    assert_eq!(seeds(&config), "c:6379");
    assert_eq!((config.timeout_ms, config.max_redirects), (7, 3));
    // The credentials of the first URL are not for the hosts of the second ...
    assert_eq!((config.user.as_deref(), password(&config)), (None, ""));
    config
        .set("url", "redis://c?user=bob&password=hunter2")
        .unwrap();
    config.set("url", "redis://d").unwrap();
    assert_eq!((config.user.as_deref(), password(&config)), (None, ""));
    config
        .set("url", "redis://c?user_file=/u&password_file=/p")
        .unwrap();
    config.check().unwrap();
    config.set("url", "redis://d").unwrap();
    assert_eq!((&config.user_file, &config.password_file), (&None, &None));
    // ... but credentials set by name are, before or after it.
    config.set("password", "by name").unwrap();
    config.set("url", "redis://bob@e").unwrap();
    assert_eq!(
        (config.user.as_deref(), password(&config)),
        (Some("bob"), "by name")
    );
    config.set("password", "later").unwrap();
    config.set("url", "redis://f").unwrap();
    assert_eq!(password(&config), "later");
    config.check().unwrap();
}

#[test]
fn default_options_have_documented_values() {
    let expected = [
        ("url", ""),
        ("timeout_ms", "5000"),
        ("attempt_timeout_ms", "1000"),
        ("connect_timeout_ms", "1000"),
        ("lazy", "no"),
        ("readonly", "no"),
        ("read_from", "primary"),
        ("zone", ""),
        ("max_staleness_ms", "0"),
        ("read_your_writes", "no"),
        ("monotonic", "no"),
        ("nil", "accept"),
        ("max_redirects", "16"),
        ("retry_writes", "no"),
        ("split_writes", "no"),
        ("trust_module_flags", "no"),
        ("connections_per_node", "16"),
        ("protocol", "3"),
        ("user", ""),
        ("password", ""),
        ("database", "0"),
        ("user_file", ""),
        ("password_file", ""),
        ("client_name", ""),
        ("cluster", "auto"),
        ("address_map", ""),
        ("allowed_hosts", ""),
        ("max_reply_bytes", "1073741824"),
        ("max_reply_elements", "67108864"),
        ("max_reply_depth", "32"),
        ("max_nodes", "16384"),
        ("max_memory_bytes", "4294967296"),
        ("queue_limit", "100000"),
        ("subscriber_ping_ms", "5000"),
        ("spread_channels", "no"),
        ("keepalive_ms", "30000"),
        ("tls_ca_file", ""),
        ("tls_cert_file", ""),
        ("tls_key_file", ""),
        ("tls_server_name", ""),
        ("tls_insecure_skip_verify", "no"),
    ];
    let defaults: Vec<(&str, String)> = options().iter().map(|r| (r.name, r.default())).collect();
    let defaults: Vec<(&str, &str)> = defaults.iter().map(|(n, d)| (*n, d.as_str())).collect();
    assert_eq!(defaults, expected);
}

#[test]
fn valid_option_values_are_accepted() {
    for (name, value, shown) in [
        (
            "url",
            "redis://bob:hunter2@a:1,[::1]:2?timeout_ms=3",
            "redis://a:1,[::1]:2",
        ),
        ("timeout_ms", "1", "1"),
        ("timeout_ms", "86400000", "86400000"),
        ("timeout_ms", "0005", "5"),
        ("attempt_timeout_ms", "1", "1"),
        ("attempt_timeout_ms", "86400000", "86400000"),
        ("connect_timeout_ms", "1", "1"),
        ("connect_timeout_ms", "86400000", "86400000"),
        ("readonly", "yes", "yes"),
        ("readonly", "true", "yes"),
        ("readonly", "1", "yes"),
        ("readonly", "True", "yes"),
        ("readonly", "no", "no"),
        ("readonly", "false", "no"),
        ("readonly", "0", "no"),
        ("read_from", "primary", "primary"),
        ("read_from", "any", "any"),
        ("read_from", "Replica", "replica"),
        ("max_redirects", "0", "0"),
        ("max_redirects", "1000", "1000"),
        ("retry_writes", "yes", "yes"),
        ("connections_per_node", "1", "1"),
        ("connections_per_node", "1000", "1000"),
        ("protocol", "2", "2"),
        ("protocol", "3", "3"),
        ("user", "bob", "bob"),
        ("user", "", ""),
        ("password", SECRET, "***"),
        ("password", "", ""),
        ("client_name", "app:1", "app:1"),
        ("cluster", "auto", "auto"),
        ("cluster", "yes", "yes"),
        ("cluster", "no", "no"),
        (
            "address_map",
            "10.0.0.1:7000=Localhost:1,b=c",
            "10.0.0.1:7000=localhost:1,b=c",
        ),
        ("address_map", "", ""),
        (
            "allowed_hosts",
            "*.Example.org,10.1.2.3/8,[::1]",
            "*.example.org,10.0.0.0/8,::1",
        ),
        ("allowed_hosts", "", ""),
        ("max_reply_bytes", "1024", "1024"),
        ("max_reply_bytes", "4294967295", "4294967295"),
        ("max_reply_elements", "1", "1"),
        ("max_reply_elements", "4294967295", "4294967295"),
        ("max_reply_depth", "1", "1"),
        ("max_reply_depth", "1000", "1000"),
        ("max_nodes", "1", "1"),
        ("max_nodes", "1048576", "1048576"),
        ("keepalive_ms", "0", "0"),
        ("keepalive_ms", "86400000", "86400000"),
        ("tls_ca_file", "/etc/ca.pem", "/etc/ca.pem"),
        ("tls_cert_file", "cert.pem", "cert.pem"),
        ("tls_key_file", "key.pem", "key.pem"),
        ("tls_server_name", "redis.example.com", "redis.example.com"),
        ("tls_server_name", "::1", "::1"),
        ("tls_insecure_skip_verify", "yes", "yes"),
    ] {
        let mut config = Config::new();
        config
            .set(name, value)
            .unwrap_or_else(|error| panic!("{name}={value}: {error}"));
        let row = options().iter().find(|row| row.name == name).unwrap();
        assert_eq!(config.value(row), shown, "{name}={value}");
        assert!(!format!("{config:?}").contains(SECRET));
        // Every other option is unchanged, except read_from with readonly, and the options of a URL.
        for other in options() {
            let may_change = other.name == name
                || name == "url"
                || (name, other.name) == ("readonly", "read_from");
            assert!(
                may_change || config.value(other) == other.default(),
                "{name}: {}",
                other.name
            );
        }
    }
}

#[test]
fn invalid_option_values_are_rejected() {
    let long = "x".repeat(1000);
    for (name, value, why) in [
        (
            "timeout_ms",
            "0",
            "timeout_ms: \"0\" is out of range (allowed: 1 to 86400000 ms)",
        ),
        ("timeout_ms", "86400001", "out of range"),
        ("timeout_ms", "18446744073709551616", "out of range"),
        ("timeout_ms", "99999999999999999999999999", "out of range"),
        (
            "timeout_ms",
            "",
            "\"\" is not a decimal number (allowed: 1 to 86400000 ms)",
        ),
        ("timeout_ms", "-1", "not a decimal number"),
        ("timeout_ms", "+1", "not a decimal number"),
        ("timeout_ms", " 1", "not a decimal number"),
        ("timeout_ms", "1.5", "not a decimal number"),
        ("timeout_ms", "0x10", "not a decimal number"),
        ("timeout_ms", "5s", "not a decimal number"),
        ("timeout_ms", "1_000", "not a decimal number"),
        ("timeout_ms", "\u{661}", "not a decimal number"),
        ("timeout_ms", "a\nb", "\"a\\nb\" is not"),
        ("timeout_ms", &long, "x...\" is not a decimal number"),
        ("attempt_timeout_ms", "0", "out of range"),
        ("attempt_timeout_ms", "86400001", "out of range"),
        ("connect_timeout_ms", "0", "out of range"),
        ("connect_timeout_ms", "86400001", "out of range"),
        ("max_redirects", "1001", "(allowed: 0 to 1000)"),
        ("connections_per_node", "0", "(allowed: 1 to 1000)"),
        ("connections_per_node", "1001", "out of range"),
        (
            "max_reply_bytes",
            "1023",
            "(allowed: 1024 to 4294967295 bytes)",
        ),
        ("max_reply_bytes", "4294967296", "out of range"),
        ("max_reply_elements", "0", "out of range"),
        ("max_reply_elements", "4294967296", "out of range"),
        ("max_reply_depth", "0", "(allowed: 1 to 1000)"),
        ("max_reply_depth", "1001", "out of range"),
        ("max_nodes", "0", "out of range"),
        ("max_nodes", "1048577", "out of range"),
        ("keepalive_ms", "86400001", "(allowed: 0 to 86400000 ms)"),
        ("readonly", "", "\"\" is not a boolean (allowed: yes, no)"),
        ("readonly", "on", "not a boolean"),
        ("retry_writes", "2", "not a boolean"),
        (
            "read_from",
            "",
            "unknown (allowed: primary, any, replica, nearest, zone)",
        ),
        ("read_from", "replicas", "did you mean `replica`?"),
        (
            "read_from",
            "master",
            "\"master\" is unknown (allowed: primary, any, replica, nearest, zone)",
        ),
        ("read_from", "nearer", "did you mean `nearest`?"),
        (
            "max_staleness_ms",
            "86400001",
            "(allowed: 0 to 86400000 ms)",
        ),
        ("max_staleness_ms", "-1", "not a decimal number"),
        ("read_your_writes", "maybe", "not a boolean"),
        ("nil", "ask", "unknown (allowed: accept, verify)"),
        ("protocol", "4", "\"4\" is unknown (allowed: 2, 3)"),
        ("protocol", "resp3", "unknown"),
        ("cluster", "maybe", "unknown (allowed: auto, yes, no)"),
        (
            "user",
            "b\no\0b",
            "option user: \"b\\no\\0b\" is not allowed",
        ),
        ("client_name", "my app", "ASCII text without spaces"),
        ("client_name", "\u{e9}", "ASCII text without spaces"),
        (
            "tls_server_name",
            "a b",
            "\"a b\" is not allowed (allowed: a host name or an IP",
        ),
        ("tls_ca_file", "a\tb", "text without control characters"),
        ("tls_insecure_skip_verify", "maybe", "not a boolean"),
        ("tls_verify", "no", "is unknown; see CONFIGURATION.md"),
        (
            "address_map",
            "a",
            "not an address map: pair 1: it has no '='",
        ),
        ("address_map", "a=b,c=d:0", "pair 2: the port is not"),
        (
            "allowed_hosts",
            "a,10.0.0.0/40",
            "not a list of hosts: entry 2: the prefix length",
        ),
        ("", "1", "option \"\" is unknown; see CONFIGURATION.md"),
        ("TIMEOUT_MS", "1", "did you mean `timeout_ms`?"),
        ("timeout-ms", "1", "did you mean `timeout_ms`?"),
        ("timeout", "1", "did you mean `timeout_ms`?"),
        ("timeot_ms", "1", "did you mean `timeout_ms`?"),
        ("tiemout_ms", "1", "did you mean `timeout_ms`?"),
        ("connect_timeout", "1", "did you mean `connect_timeout_ms`?"),
        ("username", "1", "did you mean `user`?"),
        ("pass", SECRET, "did you mean `password`?"),
        ("passwrod", SECRET, "did you mean `password`?"),
        ("read_only", "yes", "did you mean `readonly`?"),
        ("readfrom", "any", "did you mean `read_from`?"),
        ("max_redirections", "1", "did you mean `max_redirects`?"),
        (
            "max_conections_per_node",
            "1",
            "did you mean `connections_per_node`?",
        ),
        ("x", "1", "option \"x\" is unknown; see CONFIGURATION.md"),
        ("socket_buffer", "1", "is unknown; see CONFIGURATION.md"),
        (&long, "1", "x...\" is unknown; see"),
    ] {
        let error = refused(name, value);
        assert!(error.starts_with("INVALID option "), "{error}");
        assert!(error.contains(why), "{name}={value}: {error}");
    }
    let secret = SECRET.repeat(20_000);
    assert!(refused("password", &secret).contains("option password: the value has 140000 bytes"));
}

#[test]
fn reserved_options_are_rejected_by_name() {
    let error = refused("refresh_interval_ms", "yes");
    assert_eq!(
        error,
        "INVALID option refresh_interval_ms is not supported by this version"
    );
}

#[test]
fn only_per_handle_options_can_be_changed_later() {
    let per_handle: Vec<&str> = options()
        .iter()
        .filter(|r| r.per_handle)
        .map(|r| r.name)
        .collect();
    assert_eq!(
        per_handle,
        [
            "timeout_ms",
            "attempt_timeout_ms",
            "readonly",
            "read_from",
            "zone",
            "max_staleness_ms",
            "read_your_writes",
            "monotonic",
            "nil",
            "max_redirects",
            "retry_writes",
            "split_writes",
            "trust_module_flags",
            "database",
            "queue_limit",
            "subscriber_ping_ms",
            "spread_channels"
        ]
    );
    let mut config = Config::from_url("redis://h").unwrap();
    config.set_per_handle("timeout_ms", "9").unwrap();
    assert_eq!(config.timeout_ms, 9);
    for row in options().iter().filter(|row| !row.per_handle) {
        let error = config.set_per_handle(row.name, SECRET).unwrap_err();
        let start = format!(
            "INVALID option {} is fixed when the client is created;",
            row.name
        );
        assert!(error.message.starts_with(&start), "{error}");
        assert!(
            error
                .message
                .contains("timeout_ms, attempt_timeout_ms, readonly"),
            "{error}"
        );
        assert!(!error.message.contains(SECRET), "{error}");
    }
    let error = config.set_per_handle("timeout", "9").unwrap_err();
    assert!(
        error.message.contains("did you mean `timeout_ms`?"),
        "{error}"
    );
    let error = config
        .set_per_handle("refresh_interval_ms", "9")
        .unwrap_err();
    assert!(
        error.message.contains("not supported by this version"),
        "{error}"
    );
}

#[test]
fn readonly_defaults_to_read_from_any() {
    for (url, holds) in [
        ("redis://h", ReadFrom::Primary),
        ("redis://h?readonly=yes", ReadFrom::Any),
        (
            "redis://h?readonly=yes&read_from=primary",
            ReadFrom::Primary,
        ),
        (
            "redis://h?read_from=replica&readonly=yes",
            ReadFrom::Replica,
        ),
        ("redis://h?read_from=any", ReadFrom::Any),
    ] {
        assert_eq!(Config::from_url(url).unwrap().read_from(), holds, "{url}");
    }
}

#[test]
fn conflicting_options_are_rejected() {
    type Change = fn(&mut Config);
    let whole = Config::from_url("redis://h").unwrap();
    for (change, why) in [
        ((|c| c.seeds.clear()) as Change, "no url is set"),
        (
            |c| c.user = Some("bob".into()),
            "user is set without a password",
        ),
        (
            |c| c.user_file = Some("/u".into()),
            "user is set without a password",
        ),
        (
            |c| {
                c.password = Some(Secret::new("p"));
                c.password_file = Some("/p".into());
            },
            "password and password_file are both set",
        ),
        (
            |c| {
                c.password = Some(Secret::new("p"));
                c.user = Some("u".into());
                c.user_file = Some("/u".into());
            },
            "user and user_file are both set",
        ),
        (
            |c| c.read_from_option = Some(ReadFrom::Zone),
            "requires the option zone",
        ),
        (|c| c.tls_cert_file = Some("f".into()), "tls_key_file"),
        (|c| c.tls_key_file = Some("f".into()), "tls_cert_file"),
        (|c| c.tls_ca_file = Some("f".into()), "write rediss://"),
        (|c| c.tls_server_name = Some("f".into()), "write rediss://"),
        (|c| c.tls_insecure_skip_verify = true, "write rediss://"),
    ] {
        let mut config = whole.clone();
        config.check().unwrap();
        change(&mut config);
        let error = config.check().unwrap_err();
        assert_eq!(error.code, Code::Invalid);
        assert!(error.message.contains(why), "{error}");
    }
    let error = Config::from_url("redis://bob@h").unwrap_err();
    assert!(
        error.message.contains("user is set without a password"),
        "{error}"
    );
}

#[test]
fn arbitrary_url_bytes_never_panic() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    let fragments = [
        "redis://",
        "rediss://",
        ":",
        "@",
        "/",
        "?",
        "#",
        ",",
        "&",
        "=",
        "%",
        "%4",
        "%40",
        "[",
        "]",
        "::1",
        "h",
        "7000",
        "0",
        "timeout_ms",
        "password",
        SECRET,
        "address_map",
        "\0",
        "\u{e9}",
        "+",
    ];
    let mut config = Config::new();
    for round in 0..5_000 {
        let mut text = String::from(if round % 2 == 0 { "redis://" } else { "" });
        for _ in 0..random(12) {
            if random(4) == 0 {
                text.push(char::from(u8::try_from(random(256)).unwrap()));
            } else {
                text.push_str(fragments[random(fragments.len())]);
            }
        }
        let row = &options()[random(options().len())];
        for name in ["url", row.name] {
            if let Err(error) = config.set(name, &text) {
                assert!(error.message.len() < 600, "{error}");
            }
        }
        let _ = config.set(&text, "1");
        let _ = Address::parse(&text);
        // A formatted value can be set again.
        let formatted = config.value(row);
        if !formatted.is_empty() && row.kind() != "secret" {
            config.clone().set(row.name, &formatted).unwrap();
        }
    }
}

#[test]
fn seeds_and_mapped_addresses_are_always_allowed() {
    let url =
        "redis://seed.test:1?allowed_hosts=10.0.0.0/8,a.test&address_map=inner.test:5=outer.test";
    let config = Config::from_url(url).unwrap();
    for (address, expected) in [
        ("seed.test:1", Ok(Admission::Allowed)),
        ("10.9.9.9:7", Ok(Admission::Allowed)),
        ("a.test:7", Ok(Admission::Allowed)),
        ("inner.test:5", Ok(Admission::Allowed)),
        ("inner.test:6", Ok(Admission::IfResolved)),
        // The port belongs to the seed.
        ("seed.test:2", Ok(Admission::IfResolved)),
        (
            "192.0.2.1:7",
            Err("INVALID 192.0.2.1:7 is not in the option allowed_hosts".to_string()),
        ),
    ] {
        let address = Address::parse(address).unwrap();
        let found = config.admission(&address).map_err(|e| {
            let end = e.message.find(", so").unwrap();
            e.message[..end].to_string()
        });
        assert_eq!(found, expected, "{address}");
    }
}
