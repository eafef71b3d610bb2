//! CONFIGURATION.md is generated from the option table, and its example URLs are parsed.

use std::fmt::Write;
use std::path::Path;

use rediscluster::config::{Config, OptionRow, options, schemes};

/// Example URLs with their meaning.
const EXAMPLES: &[(&str, &str)] = &[
    (
        "redis://127.0.0.1:7000",
        "one seed; the other nodes are discovered from it",
    ),
    (
        "redis://node1:7000,node2:7000,node3",
        "three seeds, in case one is down; the port of the third is 6379",
    ),
    (
        "redis://:s3cret@node1:7000",
        "the password of the user `default`",
    ),
    (
        "redis://app:p%40ss@node1:7000",
        "user `app`, password `p@ss`",
    ),
    (
        "redis://[2001:db8::1]:7000,[fe80::1%eth0]:7000",
        "IPv6, in brackets",
    ),
    (
        "redis://node1:7000/?readonly=yes&timeout_ms=500",
        "with options; the `/` before the `?` may be left out",
    ),
    (
        "redis://localhost:7000?address_map=10.0.0.1=localhost,10.0.0.2:6379=localhost:7002",
        "a cluster behind NAT",
    ),
    (
        "redis://node1:7000/3",
        "database 3; [docs/databases.md](docs/databases.md)",
    ),
    (
        "unix:///run/redis/redis.sock?database=3",
        "a server's unix socket, and database 3",
    ),
    (
        "unix://app:p%40ss@/run/redis/redis.sock",
        "the same with user and password",
    ),
    (
        "rediss://node1:7000?tls_ca_file=/etc/redis/ca.pem",
        "TLS; [docs/tls.md](docs/tls.md)",
    ),
];

const LOG: &str = "\n\
## Log\n\
\n\
A program gets the messages of the library with `rdc_set_logger()`. For a program that never calls it, the environment\n\
variable `RDC_LOG` does the same:\n\
\n\
| `RDC_LOG` | Meaning |\n\
|---|---|\n\
| not set, or empty | no messages |\n\
| `error`, `warn`, `info`, `debug` | messages up to this level, on standard error |\n\
| `debug:/var/log/app-redis.log` | the same, appended to a file; a new file is readable by its owner only |\n\
\n\
A line has the time in UTC, the process id, the level and the message, which contains no password and no value. It is\n\
written in one call, so several processes may share a file. The variable is read once, when the first client is created.\n\
A wrong level, or a file that cannot be opened, is one line on standard error. A program that has more rights than its\n\
caller (setuid, setgid, capabilities) ignores the variable, so that its caller cannot choose a file that it writes.\n";

fn rendered() -> String {
    let mut page = String::from(
        "<!-- Made by `RDC_BLESS=1 cargo test --test repo configuration` from src/config/table.rs. -->\n\
         \n\
         # Configuration\n\
         \n\
         Every option has a name, and its value is given as text. There are three places to set one:\n\
         \n\
         - `rdc_options_set(options, name, value)`;\n\
         - the query of a URL;\n\
         - `rdc_with(client, name, value)`, if the option is marked *per handle*. It returns a derived handle \
         on the same\n  connections; with another `database`, on connections of its own.\n\
         \n\
         An invalid value is an error when it is set. Numbers are decimal. Booleans are `yes` or `no` (also \
         `true` or `false`,\n`1` or `0`). An empty text means that the option is not set.\n\
         \n\
         | Option | Type | Default | Range | Per handle | What it does |\n\
         |---|---|---|---|---|---|\n",
    );
    for row in options() {
        writeln!(page, "{}", line(row)).unwrap();
    }
    let schemes: Vec<String> = schemes().map(|scheme| format!("`{scheme}`")).collect();
    write!(
        page,
        "\n## URLs\n\
         \n\
         ```text\n\
         redis://[user[:password]@]host[:port][,host[:port]...][/database][?option=value[&option=value...]]\n\
         unix://[user[:password]@]/path[?option=value[&option=value...]]\n\
         ```\n\
         \n\
         - The scheme is {}. Those with an\n  additional `s` at the end use TLS. \
         `unix` is the socket of one server on this machine.\n\
         - The hosts are the seeds. They are tried until one replies. The default port is 6379. An IPv6 \
         address is written in\n  brackets, with its scope if it has one. A host that is listed twice \
         counts once.\n\
         - User and password are written once, before the first host, and apply to every node. In them, \
         `@` is written `%40`,\n  `/` `%2F`, `?` `%3F`, `#` `%23`, `%` `%25`, and a `:` in the user `%3A`.\n\
         - The path is the number of the database, `/` or empty. With `unix`, it is the absolute path of the \
         socket, in which\n  `?` is written `%3F`, `#` `%23`, `@` `%40`, `,` `%2C`, `%` `%25`; the database is an \
         option of the query.\n\
         - The query sets options, in order. If an option is repeated, the last value applies. In a value, \
         `&` is written\n  `%26`, `#` `%23`, `@` `%40`, `%` `%25`; `+` means itself.\n\
         - A URL is at most 65536 bytes of UTF-8 without control characters.\n\
         \n\
         | URL | Meaning |\n\
         |---|---|\n",
        schemes.join(" or ")
    )
    .unwrap();
    for (url, meaning) in EXAMPLES {
        writeln!(page, "| `{url}` | {meaning} |").unwrap();
    }
    page + LOG
}

fn line(row: &OptionRow) -> String {
    let code = |text: String| match text.as_str() {
        "" => String::new(),
        text => format!("`{text}`"),
    };
    let unit = match row.unit {
        "" => String::new(),
        unit => format!(" {unit}"),
    };
    format!(
        "| `{}` | {} | {} | {}{unit} | {} | {} |",
        row.name,
        row.kind(),
        code(row.default()),
        row.range(),
        if row.per_handle { "yes" } else { "" },
        row.help
    )
}

#[test]
fn configuration_page_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("CONFIGURATION.md");
    let page = rendered();
    if std::env::var_os("RDC_BLESS").is_some_and(|bless| bless == "1") {
        std::fs::write(&path, &page).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == page,
        "CONFIGURATION.md is stale; run: RDC_BLESS=1 cargo test --test repo configuration"
    );
}

#[test]
fn option_rows_fit_markdown_table() {
    for row in options() {
        let line = line(row);
        assert_eq!(line.matches('|').count(), 7, "{line}");
        assert!(line.is_ascii() && !line.contains('\n'), "{line}");
        assert!(row.help.ends_with('.') && row.help.len() < 300, "{line}");
    }
}

/// Runs with `cargo test --no-default-features --test repo configuration`, in a separate target folder.
#[cfg(not(feature = "tls"))]
#[test]
fn library_without_tls_rejects_tls_url() {
    let client = rediscluster::cluster::Client::create("rediss://127.0.0.1:1");
    let error = client.error().unwrap();
    assert_eq!(
        error.message,
        "INVALID the url enables TLS, but this library was built without TLS support"
    );
}

#[test]
fn example_urls_are_valid() {
    for (url, _) in EXAMPLES {
        Config::from_url(url).unwrap_or_else(|error| panic!("{url}: {error}"));
    }
}
