//! Compares key positions with every available server: COMMAND GETKEYSANDFLAGS with many argument lists for every
//! command.

use crate::common;
use crate::common::serial::serial;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Command;

use support::find::Found;

use rediscluster::route::{
    Access, Flag, KeyAccess, Request, Row, access, check, each_key, find, table,
};

/// Accepted differences from a server, with the reason.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Difference {
    /// The library rejects the arguments; the server finds keys.
    Refused,
    /// The library finds keys; the server finds none.
    Found,
    /// The same keys with other access flags.
    Use,
    /// Another number of arguments.
    Arity,
    /// Other keys.
    Keys,
}
use Difference::*;

const ACCEPTED: &[(&str, Difference, &str)] = &[
    (
        "SET",
        Use,
        "RW or OW by whether GET is among its options; we say RW for both, a write is a write",
    ),
    (
        "BITFIELD",
        Use,
        "RO with only GET, and yet replicas move it; we say RW",
    ),
    ("SINTERSTORE", Use, "Redis 7.0 says RW, later ones OW"),
    ("ZRANK", Arity, "Redis 7.0 had no WITHSCORE"),
    ("ZREVRANK", Arity, "Redis 7.0 had no WITHSCORE"),
    (
        "MSET",
        Refused,
        "a key without a value is found by GETKEYS, but refused by MSET",
    ),
    ("MSETNX", Refused, "as MSET"),
    ("MSETEX", Refused, "as MSET"),
    (
        "XREAD",
        Refused,
        "keys without ids are rounded by GETKEYS, but refused by XREAD",
    ),
    ("XREADGROUP", Refused, "as XREAD"),
    (
        "GEORADIUS",
        Keys,
        "with several STORE, servers before Valkey 9.1 find other keys than the one stored to",
    ),
    ("GEORADIUSBYMEMBER", Keys, "as GEORADIUS"),
    (
        "MIGRATE",
        Found,
        "KEYS after a key that is not empty: refused by MIGRATE, wherever it goes",
    ),
    (
        "PFMERGE",
        Found,
        "GETKEYS finds no sources and gives up; PFMERGE needs none",
    ),
    (
        "VCARD",
        Use,
        "modules' commands are RW, even those that are flagged readonly",
    ),
    ("VDIM", Use, "as VCARD"),
    ("VEMB", Use, "as VCARD"),
    ("VGETATTR", Use, "as VCARD"),
    ("VINFO", Use, "as VCARD"),
    ("VISMEMBER", Use, "as VCARD"),
    ("VLINKS", Use, "as VCARD"),
    ("VRANDMEMBER", Use, "as VCARD"),
    ("VSIM", Use, "as VCARD"),
    (
        "DEBUG DIGEST-VALUE",
        Found,
        "servers declare no key, and look it up in their own data",
    ),
    ("DEBUG HTSTATS-KEY", Found, "as DEBUG DIGEST-VALUE"),
    ("DEBUG LISTPACK", Found, "as DEBUG DIGEST-VALUE"),
    ("DEBUG OBJECT", Found, "as DEBUG DIGEST-VALUE"),
    ("DEBUG QUICKLIST", Found, "as DEBUG DIGEST-VALUE"),
    ("DEBUG SDSLEN", Found, "as DEBUG DIGEST-VALUE"),
    ("DEBUG ZIPLIST", Found, "as DEBUG DIGEST-VALUE"),
];

#[test]
fn key_positions_match_every_server() {
    let _serial = serial();
    let mut wrong = Vec::new();
    for binary in common::servers() {
        let mut server = Server::start(&binary);
        let mut asked = 0;
        for row in &table::ROWS {
            let mut rng = Rng(row.id.into());
            let times = if row.flags.has(Flag::KeysMovable) {
                3000
            } else {
                100
            };
            let shapes: Vec<_> = (0..times).map(|_| rng.arguments(row)).collect();
            let Some(answers) = server.keys_of(&shapes) else {
                continue;
            };
            for (shape, theirs) in shapes.iter().zip(answers) {
                asked += 1;
                let Some(difference) = compare(row, shape, &theirs) else {
                    continue;
                };
                let accepted = ACCEPTED
                    .iter()
                    .any(|&(name, kind, _)| name == row.name && kind == difference);
                if !accepted && wrong.iter().filter(|(name, _)| *name == row.name).count() < 3 {
                    wrong.push((
                        row.name,
                        format!(
                            "{binary}: {difference:?} {shape:?}: it says {theirs:?}, we {:?}",
                            library_keys(row, shape)
                        ),
                    ));
                }
            }
        }
        assert!(
            asked > 10_000,
            "{binary} knew too few commands: {asked} lookups"
        );
    }
    let wrong: Vec<_> = wrong.into_iter().map(|(_, words)| words).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn table_reads_are_allowed_in_read_only_scripts() {
    let _serial = serial();
    // Stricter than the flags of COMMAND: a command that may replicate is refused too.
    const SCRIPT: &str = "local reply = redis.pcall(unpack(ARGV))
        return type(reply) == 'table' and reply.err or ''";
    for binary in common::servers() {
        let mut server = Server::start(&binary);
        let mut refused = |row: &Row| {
            let mut words: Vec<&str> = ["EVAL_RO", SCRIPT, "0"]
                .into_iter()
                .chain(row.name.split(' '))
                .collect();
            // Numbers are valid as keys, as numkeys and for the rest.
            words.resize(
                words.len().max(3 + usize::from(row.arity.unsigned_abs())),
                "1",
            );
            let mut asked = Vec::new();
            encode(&mut asked, &words);
            server.stream.get_mut().write_all(&asked).unwrap();
            server.text().contains("Write commands are not allowed")
        };
        assert!(
            refused(table::SET) && refused(table::PUBLISH) && refused(table::PFCOUNT),
            "{binary}"
        );
        for row in &table::ROWS {
            let args: Vec<&[u8]> = row.name.split(' ').map(str::as_bytes).collect();
            // PFCOUNT may store the count that it computed, which changes no reply.
            assert!(
                access(row, &args) == Access::Write || row == table::PFCOUNT || !refused(row),
                "{binary}: {row:?} is not a read"
            );
        }
    }
}

/// Tips of some servers that the table does not follow, with the reason.
const OTHER_TIPS: &[(&str, &str)] = &[
    (
        "MSETNX",
        "Redis 7.0 says multi_shard, though in pieces it cannot be all or nothing; later ones say nothing",
    ),
    (
        "LATENCY RESET",
        "Redis 7.0 says all_succeeded of a number; later ones agg_sum",
    ),
    (
        "RANDOMKEY",
        "Redis 7.0 has no response policy; later ones say special",
    ),
    ("SCAN", "as RANDOMKEY"),
    (
        "CLIENT SETNAME",
        "Redis 7.0 has no policy; later ones say all nodes",
    ),
    ("CONFIG RESETSTAT", "as CLIENT SETNAME"),
    ("CONFIG REWRITE", "as CLIENT SETNAME"),
    ("ACL DELUSER", "as CLIENT SETNAME"),
    ("ACL SAVE", "as CLIENT SETNAME"),
    ("ACL SETUSER", "as CLIENT SETNAME"),
    ("ACL LOAD", "each node has its own file, as with ACL SAVE"),
    ("ACL LOG", "each node has its own log, as with SLOWLOG GET"),
    (
        "CLUSTER GETSLOTMIGRATIONS",
        "each node lists its own migrations",
    ),
    ("PUBSUB CHANNELS", "each node knows its own subscribers"),
    ("PUBSUB NUMPAT", "as PUBSUB CHANNELS"),
    ("PUBSUB NUMSUB", "as PUBSUB CHANNELS"),
    ("PUBSUB SHARDCHANNELS", "as PUBSUB CHANNELS"),
    ("PUBSUB SHARDNUMSUB", "as PUBSUB CHANNELS"),
];

/// Destinations that servers' tips cannot express.
const OTHER_REQUESTS: &[Request] = &[
    Request::SlotNumber,
    Request::Selected,
    Request::Writes,
    Request::Channel,
];

#[test]
fn command_table_covers_every_server_and_follows_its_tips() {
    let _serial = serial();
    let mut wrong = Vec::new();
    for binary in common::servers() {
        let server = support::Server::builder().server(binary.clone()).start();
        let all = server.unwrap().command(&["COMMAND"]).unwrap();
        let subs = all
            .elements()
            .iter()
            .flat_map(|c| c.elements()[9].elements());
        let mut known = 0;
        for command in all.elements().iter().chain(subs) {
            let field = |n: usize| &command.elements()[n];
            let name = field(0).text().to_uppercase().replace('|', " ");
            let args: Vec<&[u8]> = name.split(' ').map(str::as_bytes).collect();
            let Some(row) = find(&args).filter(|row| row.name == name) else {
                wrong.push(format!("{binary}: {name} has no row"));
                continue;
            };
            known += 1;
            let tips: Vec<String> = field(7).elements().iter().map(|tip| tip.text()).collect();
            let policy = |kind: &str, library_keys: String| {
                let theirs = tips.iter().find_map(|tip| tip.strip_prefix(kind));
                let library_keys = library_keys.to_lowercase();
                let theirs = theirs.unwrap_or(":default")[1..].replace('_', "");
                (library_keys != theirs)
                    .then(|| format!("{binary}: {name}: {kind} {theirs}, ours is {library_keys}"))
            };
            let is_other = OTHER_TIPS.iter().any(|(other, _)| *other == row.name);
            if !is_other && !OTHER_REQUESTS.contains(&row.request) {
                wrong.extend(policy("request_policy", format!("{:?}", row.request)));
                wrong.extend(policy("response_policy", format!("{:?}", row.response)));
            }
        }
        assert!(known > 350, "{binary}: only {known} commands");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn committed_command_table_is_current() {
    let tool = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/commands/generate.py");
    let output = Command::new("python3")
        .args([tool, "--check"])
        .output()
        .expect("python3 is needed to check the table");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn encode(out: &mut Vec<u8>, words: &[&str]) {
    write!(out, "*{}\r\n", words.len()).unwrap();
    for word in words {
        write!(out, "${}\r\n{word}\r\n", word.len()).unwrap();
    }
}

type Keys = Vec<(String, String)>;

fn library_keys(row: &Row, shape: &[String]) -> Result<Keys, String> {
    let args: Vec<&[u8]> = shape.iter().map(String::as_bytes).collect();
    assert_eq!(find(&args), Some(row), "{shape:?}");
    let mut keys = Vec::new();
    check(row, &args).map_err(|error| error.message.clone())?;
    each_key(row, &args, &mut |index, access| {
        let access = match access {
            KeyAccess::Read => "RO",
            KeyAccess::Update => "RW",
            KeyAccess::Overwrite => "OW",
            KeyAccess::Remove => "RM",
            // GETKEYS omits channels, although their slot sets the route.
            KeyAccess::Channel => return,
        };
        keys.push((shape[index].clone(), access.to_owned()));
    })
    .map_err(|error| error.message.clone())?;
    keys.sort();
    Ok(keys)
}

fn compare(row: &Row, shape: &[String], theirs: &Result<Keys, String>) -> Option<Difference> {
    let names = |keys: &Keys| keys.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>();
    match (library_keys(row, shape), theirs) {
        (Ok(library_keys), Ok(theirs)) if library_keys == *theirs => None,
        (Ok(library_keys), Ok(theirs)) if names(&library_keys) == names(theirs) => Some(Use),
        (Ok(_), Ok(_)) => Some(Keys),
        // For an invalid numkeys the server reports that EVAL has no keys.
        (Err(_), Ok(theirs)) => (!theirs.is_empty()).then_some(Refused),
        (Err(_), Err(_)) => None,
        (Ok(_), Err(error)) if error.contains("Invalid number of arguments") => Some(Arity),
        (Ok(library_keys), Err(_)) => (!library_keys.is_empty()).then_some(Found),
    }
}

/// Pseudo-random numbers, the same in every run.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }

    /// The command with random arguments: keys, numbers, and keywords of some commands.
    fn arguments(&mut self, row: &Row) -> Vec<String> {
        const WORDS: &[&str] = &[
            "STREAMS",
            "streams",
            "STORE",
            "storeDist",
            "KEYS",
            "keys",
            "AUTH",
            "AUTH2",
            "LIMIT",
            "GET",
            "BY",
            "COUNT",
            "BLOCK",
            "GROUP",
            "",
        ];
        // Not "+1" or "1x": GETKEYS parses them as 1, but the commands and the library reject them.
        const NUMBERS: &[&str] = &["0", "1", "1", "2", "2", "2", "3", "4", "5", "-1"];
        let mut shape: Vec<String> = row.name.split(' ').map(str::to_lowercase).collect();
        if row.flags.has(Flag::Container) && self.below(2) == 0 {
            return shape;
        }
        let count =
            usize::from(row.arity.unsigned_abs()).saturating_sub(shape.len()) + self.below(10);
        for i in 0..count.saturating_sub(1) {
            shape.push(match self.below(6) {
                0 => WORDS[self.below(WORDS.len())].to_owned(),
                1 => NUMBERS[self.below(NUMBERS.len())].to_owned(),
                _ => format!("k{i}"),
            });
        }
        shape
    }
}

/// A server of this program and a connection to it.
struct Server {
    stream: BufReader<TcpStream>,
    _server: support::Server,
}

impl Server {
    fn start(binary: &Found) -> Server {
        let server = support::Server::builder().server(binary.clone()).start();
        let server = server.unwrap_or_else(|error| panic!("{binary}: {error}"));
        let stream = TcpStream::connect(server.address()).expect("a connection");
        Server {
            stream: BufReader::new(stream),
            _server: server,
        }
    }

    /// The keys that the server finds in each, or `None` if it does not know the command.
    fn keys_of(&mut self, shapes: &[Vec<String>]) -> Option<Vec<Result<Keys, String>>> {
        let mut known = true;
        let mut answers = Vec::new();
        // A few at a time, so that no buffer fills up while neither side reads.
        for shapes in shapes.chunks(50) {
            let mut asked = Vec::new();
            for shape in shapes {
                let words = ["COMMAND", "GETKEYSANDFLAGS"]
                    .into_iter()
                    .chain(shape.iter().map(String::as_str));
                encode(&mut asked, &words.collect::<Vec<_>>());
            }
            self.stream.get_mut().write_all(&asked).unwrap();
            for _ in shapes {
                let answer = self.answer();
                known &=
                    !matches!(&answer, Err(error) if error.contains("Invalid command specified"));
                answers.push(answer);
            }
        }
        known.then_some(answers)
    }

    fn answer(&mut self) -> Result<Keys, String> {
        let count = self.header()?;
        let mut keys = Vec::new();
        for _ in 0..count {
            assert_eq!(self.header(), Ok(2));
            let key = self.text();
            let flags: Vec<String> = (0..self.header()?).map(|_| self.text()).collect();
            let access = flags
                .into_iter()
                .find(|flag| ["RO", "RW", "OW", "RM"].contains(&flag.as_str()));
            keys.push((key, access.unwrap_or_default()));
        }
        keys.sort();
        Ok(keys)
    }

    /// The number after a type byte, or the text of an error.
    fn header(&mut self) -> Result<usize, String> {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        match line.strip_prefix('-') {
            Some(error) => Err(error.trim().to_owned()),
            None => Ok(line[1..].trim().parse().unwrap()),
        }
    }

    fn text(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        if let Some(simple) = line.strip_prefix('+') {
            return simple.trim().to_owned();
        }
        let mut text = vec![0; line[1..].trim().parse::<usize>().unwrap() + 2];
        self.stream.read_exact(&mut text).unwrap();
        text.truncate(text.len() - 2);
        String::from_utf8(text).unwrap()
    }
}
