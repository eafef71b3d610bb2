//! The IP addresses of a host, by a deadline.
//!
//! The system's own resolver cannot be told how long it may take, nor be interrupted, and its
//! asynchronous form starts threads. So what nearly every system is set up for is done here: the
//! hosts file, then the name servers of resolv.conf, asked like any other peer. Only where the
//! system knows other sources and these two know nothing is it asked itself.

use super::dns::{Answer, Record, answer, question};
use super::poll;
use super::wake::Call;
use crate::deadline::{Deadline, Time, now};
use crate::error::{Code, Error, Result};
use crate::sync::{Mutex, lock};
use crate::world::rng;
use rand::Rng;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

const HOSTS: &str = "/etc/hosts";
const SERVERS: &str = "/etc/resolv.conf";
const SOURCES: &str = "/etc/nsswitch.conf";

/// How long what was found holds, whatever the servers say: not asked at every connection, and not
/// believed for long after a change.
const LEAST: Duration = Duration::from_secs(1);
const MOST: Duration = Duration::from_secs(60);

/// The longest answer that comes without being asked for.
const MESSAGE: usize = 512;

/// For how long what was known before has to do where nobody can say what holds now.
const STALE: Duration = Duration::from_secs(5);

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub addresses: Vec<IpAddr>,
    pub holds: Duration,
}

/// What is known of the name of one node.
#[derive(Debug, Default)]
pub struct Names {
    known: Mutex<Option<Known>>,
}

#[derive(Clone, Debug)]
struct Known {
    addresses: Vec<IpAddr>,
    until: Time,
}

impl Names {
    /// Where a host can be reached, by `until`. What was known before serves where it cannot be
    /// looked up again in half of that time.
    pub fn of(
        &self,
        host: &str,
        port: u16,
        call: &Call<'_>,
        until: Deadline,
    ) -> Result<Vec<SocketAddr>> {
        if let Ok(ip) = host.parse() {
            return Ok(vec![SocketAddr::new(ip, port)]);
        }
        if is_numeric(host) {
            // The system reads them without asking anybody.
            return poll::resolve(host, port).map_err(|e| unknown(host, e));
        }
        let time = now();
        let known = lock(&self.known).clone();
        let with_port = |addresses: Vec<IpAddr>| {
            let ips = addresses.into_iter();
            ips.map(|ip| SocketAddr::new(ip, port)).collect()
        };
        let (until, known) = match known {
            Some(known) if time < known.until => return Ok(with_port(known.addresses)),
            Some(known) => (until.share(time, 2), Some(known.addresses)),
            None => (until, None),
        };
        let (addresses, holds) = match (look_up(host, call, until), known) {
            (Ok(found), _) => (found.addresses, found.holds),
            (Err(e), _) if matches!(e.code, Code::Interrupted | Code::Closed) => return Err(e),
            (Err(_), Some(known)) => (known, STALE),
            (Err(e), None) => return Err(e),
        };
        let until = now().plus(holds);
        *lock(&self.known) = Some(Known {
            addresses: addresses.clone(),
            until,
        });
        Ok(with_port(addresses))
    }

    /// At none of its addresses was anybody: they may have changed.
    pub fn doubt(&self) {
        if let Some(known) = &mut *lock(&self.known) {
            known.until = now();
        }
    }
}

/// An address of a form that only the system reads: with a zone, or of fewer than four numbers.
fn is_numeric(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or_default();
    host.contains('%') || (!last.is_empty() && last.bytes().all(|b| b.is_ascii_digit()))
}

/// What resolv.conf says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub servers: Vec<SocketAddr>,
    pub search: Vec<String>,
    /// A name with fewer dots is first tried with the endings of `search`.
    pub dots: usize,
    pub patience: Duration,
    pub rounds: u32,
}

impl Settings {
    /// As the system's resolver reads it: no more than three servers, and the last of several lists.
    pub fn parse(text: &str) -> Settings {
        let mut settings = Settings {
            servers: Vec::new(),
            search: Vec::new(),
            dots: 1,
            patience: Duration::from_secs(5),
            rounds: 2,
        };
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let ip = words.next().and_then(|ip| ip.parse().ok());
                    if let (Some(ip), 0..3) = (ip, settings.servers.len()) {
                        settings.servers.push(SocketAddr::new(ip, 53));
                    }
                }
                Some("search" | "domain") => {
                    settings.search = words.map(str::to_string).collect();
                }
                Some("options") => {
                    for option in words {
                        let number = |name: &str| {
                            let value = option.strip_prefix(name)?;
                            value.parse::<u32>().ok()
                        };
                        if let Some(dots) = number("ndots:") {
                            settings.dots = dots.min(15) as usize;
                        } else if let Some(seconds) = number("timeout:") {
                            settings.patience =
                                Duration::from_secs(u64::from(seconds.clamp(1, 30)));
                        } else if let Some(rounds) = number("attempts:") {
                            settings.rounds = rounds.clamp(1, 5);
                        }
                    }
                }
                _ => {}
            }
        }
        if settings.servers.is_empty() {
            let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
            settings.servers.push(SocketAddr::new(local, 53));
        }
        settings
    }

    /// The names to ask for, in order.
    fn candidates(&self, host: &str) -> Vec<String> {
        if host.ends_with('.') {
            return vec![host.to_string()];
        }
        let longer = self.search.iter().map(|end| format!("{host}.{end}"));
        let mut names: Vec<String> = longer.collect();
        let first = host.matches('.').count() >= self.dots;
        names.insert(if first { 0 } else { names.len() }, host.to_string());
        names
    }
}

/// What the hosts file says of a host.
fn listed(text: &str, host: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for line in text.lines() {
        let mut words = line
            .split('#')
            .next()
            .unwrap_or_default()
            .split_whitespace();
        let ip = words.next().and_then(|ip| ip.parse().ok());
        if let Some(ip) = ip
            && words.any(|name| name.eq_ignore_ascii_case(host))
            && !found.contains(&ip)
        {
            found.push(ip);
        }
    }
    found
}

/// Whether the system knows sources of host names that are not known here.
fn has_other_sources(text: &str) -> bool {
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("hosts:"));
    let known = ["files", "dns", "resolve", "myhostname", "mymachines"];
    line.is_some_and(|line| {
        line.split('#')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            // What stands in brackets says what to do about the source before it.
            .any(|word| !word.contains(['[', ']', '=']) && !known.contains(&word))
    })
}

fn read(path: &str) -> String {
    // What cannot be read says nothing: a system without the file works as if it were empty.
    let bytes = std::fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Looks a host up, by `until`.
pub fn look_up(host: &str, call: &Call<'_>, until: Deadline) -> Result<Found> {
    #[cfg(test)]
    if let Some(world) = crate::world::here() {
        return match world.resolve(host, 0) {
            Ok(found) => Ok(lasting(
                found.iter().map(SocketAddr::ip).collect(),
                u32::MAX,
            )),
            Err(e) => Err(unknown(host, e)),
        };
    }
    let mut addresses = listed(&read(HOSTS), host);
    let plain = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    if addresses.is_empty() && (plain == "localhost" || plain.ends_with(".localhost")) {
        addresses = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    }
    if !addresses.is_empty() {
        // A file is quickly read again.
        return Ok(lasting(addresses, 0));
    }
    let asked = ask(host, &Settings::parse(&read(SERVERS)), call, until);
    match asked {
        Err(error) if error.code == Code::Connect && has_other_sources(&read(SOURCES)) => {
            match poll::resolve(host, 0) {
                Ok(found) => Ok(lasting(found.iter().map(SocketAddr::ip).collect(), 0)),
                Err(e) => Err(unknown(host, e)),
            }
        }
        asked => asked,
    }
}

fn lasting(mut addresses: Vec<IpAddr>, seconds: u32) -> Found {
    // Those that there is a way to come first, and IPv6 before IPv4 where there is a way to both.
    addresses.sort_by_cached_key(|ip| (!has_route(*ip), ip.is_ipv4()));
    Found {
        addresses,
        holds: Duration::from_secs(seconds.into()).clamp(LEAST, MOST),
    }
}

/// Whether the system would know where to send something for this address; nothing is sent.
fn has_route(ip: IpAddr) -> bool {
    socket_to(SocketAddr::new(ip, 9)).is_ok()
}

fn socket_to(to: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match to {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    // Of what others send, nothing comes.
    socket.connect(to)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn unknown(host: &str, why: impl std::fmt::Display) -> Error {
    Error::new(
        Code::Connect,
        format_args!("{host} cannot be resolved: {why}"),
    )
}

/// Asks the name servers, each in turn, so often as the settings say.
pub fn ask(host: &str, settings: &Settings, call: &Call<'_>, until: Deadline) -> Result<Found> {
    let mut why = "no name server knows it".to_string();
    for name in settings.candidates(host) {
        let servers = settings.servers.len() as u32 * settings.rounds;
        for turn in 0..servers {
            let server = settings.servers[turn as usize % settings.servers.len()];
            let time = now();
            if until.passed(time) {
                return Err(Error::new(
                    Code::Timeout,
                    format_args!("{host} could not be resolved in time: {why}"),
                ));
            }
            let patience = Deadline::after(time, settings.patience.as_millis() as u64)
                .min(until.share(time, servers - turn));
            match ask_one(&name, server, call, patience)? {
                Said::Addresses(addresses, seconds) => return Ok(lasting(addresses, seconds)),
                Said::Unknown => break,
                Said::Nothing(words) => why = format!("name server {server} {words}"),
            }
        }
    }
    if until.passed(now()) {
        return Err(Error::new(
            Code::Timeout,
            format_args!("{host} could not be resolved in time: {why}"),
        ));
    }
    Err(unknown(host, why))
}

enum Said {
    Addresses(Vec<IpAddr>, u32),
    /// The name does not exist, or has no address.
    Unknown,
    Nothing(String),
}

/// Asks one server for the addresses of both kinds at once.
fn ask_one(name: &str, server: SocketAddr, call: &Call<'_>, until: Deadline) -> Result<Said> {
    let mut questions = Vec::new();
    for record in [Record::A, Record::Aaaa] {
        match question(rng().random(), name, record) {
            Some(question) => questions.push((question, None)),
            None => return Ok(Said::Unknown),
        }
    }
    let exchange = |questions: &[(Vec<u8>, Option<Answer>)]| -> io::Result<UdpSocket> {
        let socket = socket_to(server)?;
        for (question, _) in questions {
            socket.send(question)?;
        }
        Ok(socket)
    };
    let socket = match exchange(&questions) {
        Ok(socket) => socket,
        Err(e) => return Ok(Said::Nothing(format!("cannot be reached: {e}"))),
    };
    let mut buffer = [0; MESSAGE];
    while questions.iter().any(|(_, said)| said.is_none()) {
        let mut fds = [
            poll::interest(socket.as_raw_fd(), poll::IN),
            poll::interest(-1, 0),
        ];
        if !call.wait(&mut fds, until)? {
            // Half an answer is better than none.
            break;
        }
        match socket.recv(&mut buffer) {
            Ok(size) => {
                let message = &buffer[..size];
                for (question, said) in questions.iter_mut().filter(|(_, said)| said.is_none()) {
                    *said = answer(message, question);
                }
            }
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) => {}
            Err(e) => return Ok(Said::Nothing(format!("cannot be reached: {e}"))),
        }
    }
    let (mut found, mut lives, mut failed, mut silent) = (Vec::new(), u32::MAX, false, false);
    for (_, said) in questions {
        match said {
            Some(Answer::Addresses(addresses, seconds)) => {
                found.extend(addresses);
                lives = lives.min(seconds);
            }
            Some(Answer::Unknown) => {}
            Some(Answer::Failed) => failed = true,
            None => silent = true,
        }
    }
    Ok(if !found.is_empty() {
        Said::Addresses(found, lives)
    } else if failed {
        Said::Nothing("cannot say".to_string())
    } else if silent {
        Said::Nothing("does not answer".to_string())
    } else {
        Said::Unknown
    })
}

#[cfg(test)]
mod tests {
    use super::super::dns::tests::said;
    use super::super::wake::{Alert, Wakers};
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Instant;

    /// A name server that answers as told, or not at all; and how often it was asked.
    fn server(
        says: impl Fn(&str, u8) -> Option<(u8, Vec<IpAddr>)> + Send + 'static,
    ) -> (SocketAddr, Arc<AtomicUsize>) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (address, asked) = (socket.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let count = asked.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 512];
            // Ends with the process: nothing tells it that a test is over.
            while let Ok((size, from)) = socket.recv_from(&mut buffer) {
                count.fetch_add(1, Ordering::SeqCst);
                let question = &buffer[..size];
                let (mut name, mut at) = (String::new(), 12);
                while question[at] > 0 {
                    let end = at + 1 + usize::from(question[at]);
                    name += &String::from_utf8_lossy(&question[at + 1..end]);
                    name.push('.');
                    at = end;
                }
                if let Some((code, ips)) = says(&name, question[size - 3]) {
                    // A forgery comes first, with another number.
                    let mut other = said(question, 0, &["6.6.6.6".parse().unwrap()]);
                    other[0] ^= 1;
                    socket.send_to(&other, from).unwrap();
                    socket.send_to(&said(question, code, &ips), from).unwrap();
                }
            }
        });
        (address, asked)
    }

    fn settings(servers: &[SocketAddr], search: &[&str]) -> Settings {
        Settings {
            servers: servers.to_vec(),
            search: search.iter().map(|s| s.to_string()).collect(),
            dots: 2,
            patience: Duration::from_millis(200),
            rounds: 2,
        }
    }

    /// Asks for this host within so many milliseconds.
    fn asks(host: &str, settings: &Settings, ms: u64) -> Result<Vec<IpAddr>> {
        let (alert, wakers) = (Alert::default(), Wakers::default());
        let call = Call::new(now(), ms, ms, &alert, &wakers);
        ask(host, settings, &call, call.deadline).map(|found| found.addresses)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_name_has_the_addresses_of_both_kinds_that_its_server_says() {
        let (one, _) = server(|name, kind| match (name, kind) {
            ("both.example.", 1) => Some((0, vec![ip("127.0.0.7")])),
            ("both.example.", 28) => Some((0, vec![ip("::1")])),
            ("four.example.", 1) => Some((0, vec![ip("127.0.0.8"), ip("127.0.0.9")])),
            ("short.inner.example.", 1) => Some((0, vec![ip("127.0.0.10")])),
            ("short.inner.example." | "four.example.", _) => Some((0, vec![])),
            _ => Some((3, vec![])),
        });
        let all = settings(&[one], &["outer.example", "inner.example"]);
        let mut both = asks("both.example", &all, 2000).unwrap();
        both.sort();
        assert_eq!(both, [ip("127.0.0.7"), ip("::1")]);
        let four = [ip("127.0.0.8"), ip("127.0.0.9")];
        assert_eq!(asks("four.example.", &all, 2000).unwrap(), four);
        assert_eq!(asks("short", &all, 2000).unwrap(), [ip("127.0.0.10")]);
        for name in [
            "none.example",
            "none.example.",
            "a..b",
            ".",
            "inner.example",
        ] {
            let error = asks(name, &all, 2000).unwrap_err();
            assert_eq!(error.code, Code::Connect, "{name}: {error}");
        }
    }

    #[test]
    fn a_name_server_that_fails_or_is_silent_is_not_the_last_word() {
        let (silent, asked) = server(|_, _| None);
        let (failing, _) = server(|_, _| Some((2, vec![])));
        let (good, _) = server(|_, kind| (kind == 1).then(|| (0, vec![ip("127.0.0.7")])));
        // Nobody is there, and the system says so.
        let nobody = UdpSocket::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let all = settings(&[nobody, failing, silent, good], &[]);
        // The good one never says anything of the other kind of address: one is enough.
        assert_eq!(asks("h.example", &all, 5000).unwrap(), [ip("127.0.0.7")]);
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn looking_a_name_up_ends_by_the_deadline_and_with_an_interrupt() {
        let (silent, _) = server(|_, _| None);
        let all = settings(&[silent; 3], &["a.example", "b.example"]);
        let began = Instant::now();
        let error = asks("h", &all, 300).unwrap_err();
        let took = began.elapsed();
        assert_eq!(error.code, Code::Timeout, "{error}");
        assert!(took < Duration::from_millis(350), "{took:?}");
        let (alert, wakers) = (Alert::default(), Wakers::default());
        let call = Call::new(now(), 60_000, 60_000, &alert, &wakers);
        let (asked_of, asked) = server(|_, _| None);
        let mut patient = settings(&[asked_of], &[]);
        patient.patience = Duration::from_secs(30);
        std::thread::scope(|scope| {
            let looking = scope.spawn(|| {
                let error = ask("h", &patient, &call, call.deadline).unwrap_err();
                (error.code, Instant::now())
            });
            while asked.load(Ordering::SeqCst) < 2 {
                std::thread::yield_now();
            }
            let fired = Instant::now();
            alert.interrupt();
            wakers.fire();
            let (code, ended) = looking.join().unwrap();
            assert_eq!(code, Code::Interrupted);
            let took = ended - fired;
            assert!(took < Duration::from_millis(50), "{took:?}");
        });
    }

    #[test]
    fn files_as_systems_have_them() {
        let hosts = "127.0.0.1 localhost\n# 1.1.1.1 h\n10.0.0.1\tnode-1.Example node-1 # node-2\n\
                     ::1 localhost\n10.0.0.2 node-1\nnonsense node-1\n10.0.0.1 node-1\n";
        assert_eq!(listed(hosts, "NODE-1"), [ip("10.0.0.1"), ip("10.0.0.2")]);
        assert_eq!(listed(hosts, "localhost"), [ip("127.0.0.1"), ip("::1")]);
        assert_eq!(listed(hosts, "node-2"), [] as [IpAddr; 0]);
        let text = "# a comment\nnameserver 10.0.0.1 ; another\nnameserver fd00::1\nnameserver nonsense\n\
                    nameserver 10.0.0.3\nnameserver 10.0.0.4\ndomain a\nsearch b c\n\
                    options ndots:5 timeout:2 attempts:9 rotate\n";
        let servers = ["10.0.0.1:53", "[fd00::1]:53", "10.0.0.3:53"];
        let expected = Settings {
            servers: servers.iter().map(|s| s.parse().unwrap()).collect(),
            search: vec!["b".to_string(), "c".to_string()],
            dots: 5,
            patience: Duration::from_secs(2),
            rounds: 5,
        };
        assert_eq!(Settings::parse(text), expected);
        assert_eq!(expected.candidates("h.d"), ["h.d.b", "h.d.c", "h.d"]);
        assert_eq!(expected.candidates("h.d."), ["h.d."]);
        let nothing = Settings::parse("");
        assert_eq!(nothing.servers, ["127.0.0.1:53".parse().unwrap()]);
        assert_eq!(nothing.candidates("h.d"), ["h.d"]);
        for (line, others) in [
            ("hosts: files dns", false),
            (
                "passwd: files ldap\nhosts:\tfiles resolve [!UNAVAIL=return] myhostname dns # mdns",
                false,
            ),
            ("hosts: files mdns4_minimal [NOTFOUND=return] dns", true),
            ("hosts: files ldap dns", true),
            ("", false),
        ] {
            assert_eq!(has_other_sources(line), others, "{line}");
        }
        for (host, numeric) in [
            ("fe80::1%eth0", true),
            ("127.1", true),
            ("node-1", false),
            ("h.example.", false),
        ] {
            assert_eq!(is_numeric(host), numeric, "{host}");
        }
    }
}
