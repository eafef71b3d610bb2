//! A stub resolver: queries the name servers of resolv.conf within a deadline, and until cancelled.

use super::dns_config::DnsConfig;
use super::dns_message::{Addresses, Answer, Query, RecordType, UDP_PAYLOAD};
use super::dns_transport::{TcpError, exchange_tcp, is_temporary, udp_socket};
use crate::deadline::{Deadline, now};
use crate::error::{Code, Error, Result};
use crate::net::sys::{self, CountedSocket, Recv};
use crate::net::wait::Attempt;
use crate::sim_hooks::rng;
use rand::Rng;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

/// Queries the name servers in turn, for each candidate name, for the number of rounds in resolv.conf.
pub(super) fn query_servers(
    host: &str,
    config: &DnsConfig,
    attempt: Attempt<'_>,
) -> Result<Addresses> {
    let mut why = "no name server has an address for it".to_string();
    for name in config.candidates(host) {
        let servers = config.servers.len();
        let queries = servers as u32 * config.attempts;
        for number in 0..queries {
            let server = config.servers[number as usize % servers];
            let time = now();
            if attempt.until.passed(time) {
                return Err(late(host, &why));
            }
            let timeout_ms = config.timeout.as_millis() as u64;
            let query_attempt = attempt
                .share(time, queries - number)
                .limited_to(Deadline::after(time, timeout_ms));
            // Some firewalls drop queries with EDNS: only the first round uses it.
            let edns = (number as usize) < servers;
            let exchange = Exchange {
                name: &name,
                server,
                attempt: query_attempt,
            };
            match exchange.run(edns)? {
                Outcome::Addresses(addresses) => return Ok(addresses),
                Outcome::NoAddress => break,
                Outcome::Failed(reason) => why = format!("name server {server} {reason}"),
            }
        }
    }
    if attempt.until.passed(now()) {
        return Err(late(host, &why));
    }
    Err(unresolved(host, why))
}

pub(super) fn unresolved(host: &str, why: impl std::fmt::Display) -> Error {
    Error::new(
        Code::Connect,
        format_args!("{host} does not resolve to an address: {why}"),
    )
}

fn late(host: &str, why: &str) -> Error {
    Error::new(
        Code::Timeout,
        format_args!("resolving {host} timed out: {why}"),
    )
}

/// The answer of one name server about one name.
enum Outcome {
    Addresses(Addresses),
    /// The name does not exist, or has no address.
    NoAddress,
    /// This server failed, for this reason. Another server may answer.
    Failed(String),
}

/// One attempt to look one name up at one name server.
struct Exchange<'a> {
    name: &'a str,
    server: SocketAddr,
    attempt: Attempt<'a>,
}

/// A query and its answer.
struct Pending {
    query: Query,
    answer: Option<Answer>,
    /// Why a truncated answer was not completed over TCP.
    tcp_failure: Option<String>,
}

impl Exchange<'_> {
    /// Queries both record types at once.
    fn run(&self, edns: bool) -> Result<Outcome> {
        let records = [RecordType::A, RecordType::Aaaa];
        let queries: Option<Vec<Pending>> = records
            .into_iter()
            .map(|record| self.query(record, edns))
            .collect();
        let Some(mut queries) = queries else {
            return Ok(Outcome::NoAddress);
        };
        let socket = match self.send_all(&queries) {
            Ok(socket) => socket,
            Err(e) => return Ok(unreachable(&e)),
        };
        let mut datagram = Vec::with_capacity(usize::from(UDP_PAYLOAD));
        while queries.iter().any(|pending| pending.answer.is_none()) {
            let mut fds = [
                sys::interest(socket.as_raw_fd(), sys::IN),
                sys::interest(-1, 0),
            ];
            if !self.attempt.wait(&mut fds)? {
                // The addresses of one type are enough.
                break;
            }
            datagram.clear();
            let room = datagram.capacity();
            match sys::recv(socket.as_raw_fd(), &mut datagram, room, Recv::Now) {
                Ok(_) => self.accept(&datagram, &mut queries, &socket)?,
                Err(e) if is_temporary(&e) => {}
                Err(e) => return Ok(unreachable(&e)),
            }
        }
        Ok(combine(queries))
    }

    /// `None` if no DNS message can carry the name.
    fn query(&self, record: RecordType, edns: bool) -> Option<Pending> {
        Some(Pending {
            query: Query::new(rng().random(), self.name, record, edns)?,
            answer: None,
            tcp_failure: None,
        })
    }

    fn send_all(&self, queries: &[Pending]) -> io::Result<CountedSocket<UdpSocket>> {
        let socket = udp_socket(self.server)?;
        for pending in queries {
            sys::send(socket.as_raw_fd(), pending.query.as_bytes())?;
        }
        Ok(socket)
    }

    /// Takes a datagram as the answer to a query, if it is one. A query that the server does not understand is sent
    /// again without EDNS; one with a truncated answer is sent again over TCP.
    fn accept(&self, datagram: &[u8], queries: &mut [Pending], socket: &UdpSocket) -> Result<()> {
        let unanswered = queries.iter().filter(|p| p.answer.is_none()).count();
        for pending in queries.iter_mut().filter(|p| p.answer.is_none()) {
            match pending.query.parse_answer(datagram) {
                Some(Answer::NotUnderstood) if pending.query.has_edns() => {
                    if let Some(plain) = self.query(pending.query.record(), false) {
                        // A failed send appears as a missing answer.
                        let _ = sys::send(socket.as_raw_fd(), plain.query.as_bytes());
                        *pending = plain;
                    }
                }
                Some(Answer::Truncated(addresses)) => {
                    // The other query needs a part of the time.
                    let attempt = self.attempt.share(now(), unanswered as u32);
                    match self.query_tcp(&pending.query, attempt) {
                        Ok(answer) => pending.answer = Some(answer),
                        Err(TcpError::Call(error)) => return Err(error),
                        Err(TcpError::Failed(reason)) => {
                            pending.answer = Some(Answer::Truncated(addresses));
                            pending.tcp_failure = Some(reason);
                        }
                    }
                }
                answer => pending.answer = answer,
            }
        }
        Ok(())
    }

    fn query_tcp(
        &self,
        query: &Query,
        attempt: Attempt<'_>,
    ) -> std::result::Result<Answer, TcpError> {
        let message = exchange_tcp(self.server, query.as_bytes(), attempt)?;
        match query.parse_answer(&message) {
            Some(answer @ (Answer::Addresses(_) | Answer::Truncated(_) | Answer::NoSuchName)) => {
                Ok(answer)
            }
            _ => Err(TcpError::Failed("no usable answer".to_string())),
        }
    }
}

fn unreachable(error: &io::Error) -> Outcome {
    Outcome::Failed(format!("is unreachable: {error}"))
}

/// The addresses of both record types; without any, the most specific reason.
fn combine(queries: Vec<Pending>) -> Outcome {
    let mut found = Addresses::default();
    let (mut failed, mut silent) = (None, false);
    for pending in queries {
        match pending.answer {
            Some(Answer::Addresses(addresses)) => found.extend(addresses),
            Some(Answer::Truncated(addresses)) => {
                if addresses.ips.is_empty() {
                    let reason = pending.tcp_failure.as_deref().unwrap_or("truncated too");
                    failed = Some(format!("truncated its answer; over TCP: {reason}"));
                }
                found.extend(addresses);
            }
            Some(Answer::NoSuchName) => {}
            Some(Answer::NotUnderstood) => failed = Some("does not understand queries".to_string()),
            Some(Answer::Failed(code)) => failed = Some(format!("answered {code}")),
            Some(Answer::Malformed) => failed = Some("sent a malformed answer".to_string()),
            None => silent = true,
        }
    }
    match failed {
        _ if !found.ips.is_empty() => Outcome::Addresses(found),
        Some(reason) => Outcome::Failed(reason),
        None if silent => Outcome::Failed("did not answer".to_string()),
        None => Outcome::NoAddress,
    }
}

#[cfg(test)]
mod tests {
    use super::super::dns_message::tests::{
        ASKED, address_record, question_of, record, reply, truncated,
    };
    use super::*;
    use crate::net::wait::{Call, CancelFlag, Wakers};
    use std::io::{Read, Write};
    use std::net::{IpAddr, TcpListener};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    /// One query as a scripted name server sees it.
    struct Received<'a> {
        name: String,
        record: RecordType,
        edns: bool,
        tcp: bool,
        bytes: &'a [u8],
    }

    impl Received<'_> {
        fn parse(bytes: &[u8], tcp: bool) -> Received<'_> {
            let question = question_of(bytes);
            let (mut name, mut at) = (String::new(), 12);
            while question[at] > 0 {
                let end = at + 1 + usize::from(question[at]);
                name += &String::from_utf8_lossy(&question[at + 1..end]);
                name.push('.');
                at = end;
            }
            let record = match question[at + 2] {
                1 => RecordType::A,
                28 => RecordType::Aaaa,
                other => panic!("record type {other}"),
            };
            let edns = bytes.len() > question.len();
            Received {
                name,
                record,
                edns,
                tcp,
                bytes,
            }
        }

        fn reply(&self, code: u8, ips: &[IpAddr]) -> Vec<u8> {
            let records = ips.iter().map(|ip| address_record(ASKED, *ip));
            reply(self.bytes, code, &records.collect::<Vec<_>>())
        }
    }

    /// A name server with its count of UDP queries. It listens on TCP too, and ends with the process.
    fn scripted_server(
        script: impl Fn(&Received<'_>) -> Option<Vec<u8>> + Send + Sync + 'static,
    ) -> (SocketAddr, Arc<AtomicUsize>) {
        // A port that is free for TCP can be in use for UDP: then the next port is tried.
        let (listener, socket) = loop {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            if let Ok(socket) = UdpSocket::bind(listener.local_addr().unwrap()) {
                break (listener, socket);
            }
        };
        let address = socket.local_addr().unwrap();
        let queries = Arc::new(AtomicUsize::new(0));
        let (count, script) = (queries.clone(), Arc::new(script));
        let udp_script = script.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok((size, from)) = socket.recv_from(&mut buffer) {
                count.fetch_add(1, Ordering::SeqCst);
                let received = Received::parse(&buffer[..size], false);
                if let Some(answer) = udp_script(&received) {
                    // A forged answer comes first, with another id.
                    let mut forged = received.reply(0, &[ip("6.6.6.6")]);
                    forged[0] ^= 1;
                    socket.send_to(&forged, from).unwrap();
                    socket.send_to(&answer, from).unwrap();
                }
            }
        });
        std::thread::spawn(move || {
            let mut held = Vec::new();
            for mut stream in listener.incoming().map_while(|stream| stream.ok()) {
                let mut size = [0; 2];
                stream.read_exact(&mut size).unwrap();
                let mut query = vec![0; usize::from(u16::from_be_bytes(size))];
                stream.read_exact(&mut query).unwrap();
                if let Some(answer) = script(&Received::parse(&query, true)) {
                    // In small parts: a stream has no message boundaries.
                    let size = (answer.len() as u16).to_be_bytes();
                    for part in [&size[..], &answer].concat().chunks(700) {
                        stream.write_all(part).unwrap();
                    }
                }
                held.push(stream);
            }
        });
        (address, queries)
    }

    fn config(servers: &[SocketAddr], search: &[&str]) -> DnsConfig {
        DnsConfig {
            servers: servers.to_vec(),
            search: search.iter().map(|s| s.to_string()).collect(),
            ndots: 2,
            timeout: Duration::from_millis(200),
            attempts: 2,
        }
    }

    fn patient(server: SocketAddr) -> DnsConfig {
        DnsConfig {
            timeout: Duration::from_secs(30),
            ..config(&[server], &[])
        }
    }

    /// Looks a host up within `ms` milliseconds.
    fn look_up(host: &str, config: &DnsConfig, ms: u64) -> Result<Vec<IpAddr>> {
        let (cancel_flag, wakers) = (CancelFlag::default(), Wakers::default());
        let call = Call::new(now(), ms, ms, &cancel_flag, &wakers);
        query_servers(host, config, call.attempt_until(call.deadline)).map(|found| found.ips)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// `count` IPv4 addresses of 10.9.0.0/16.
    fn many(count: u16) -> Vec<IpAddr> {
        let numbers = (0..count).map(u16::to_be_bytes);
        numbers
            .map(|[high, low]| IpAddr::from([10, 9, high, low]))
            .collect()
    }

    #[test]
    fn name_resolves_to_the_addresses_of_both_record_types() {
        let (server, _) = scripted_server(|query| {
            let (code, ips) = match (query.name.as_str(), query.record) {
                ("both.example.", RecordType::A) => (0, vec![ip("127.0.0.7")]),
                ("both.example.", RecordType::Aaaa) => (0, vec![ip("::1")]),
                ("four.example.", RecordType::A) => (0, vec![ip("127.0.0.8"), ip("127.0.0.9")]),
                ("short.inner.example.", RecordType::A) => (0, vec![ip("127.0.0.10")]),
                ("short.inner.example." | "four.example.", _) => (0, vec![]),
                _ => (3, vec![]),
            };
            Some(query.reply(code, &ips))
        });
        let config = config(&[server], &["outer.example", "inner.example"]);
        let mut both = look_up("both.example", &config, 2000).unwrap();
        both.sort();
        assert_eq!(both, [ip("127.0.0.7"), ip("::1")]);
        let four = [ip("127.0.0.8"), ip("127.0.0.9")];
        assert_eq!(look_up("four.example.", &config, 2000).unwrap(), four);
        let short = look_up("short", &config, 2000).unwrap();
        assert_eq!(short, [ip("127.0.0.10")]);
        for name in [
            "none.example",
            "none.example.",
            "a..b",
            ".",
            "inner.example",
        ] {
            let error = look_up(name, &config, 2000).unwrap_err();
            assert_eq!(error.code, Code::Connect, "{name}: {error}");
        }
    }

    #[test]
    fn failing_malformed_and_silent_servers_are_passed_over() {
        let (silent, queries) = scripted_server(|_| None);
        let (failing, _) = scripted_server(|query| Some(query.reply(2, &[])));
        let (malformed, _) = scripted_server(|query| {
            let records = [record(ASKED, 1, &[10, 0, 0]), record(ASKED, 28, &[0])];
            Some(reply(query.bytes, 0, &records))
        });
        let (good, _) = scripted_server(|query| {
            (query.record == RecordType::A).then(|| query.reply(0, &[ip("127.0.0.7")]))
        });
        // No process listens on this port, which the kernel reports.
        let unbound = UdpSocket::bind("127.0.0.1:0").unwrap();
        let unbound = unbound.local_addr().unwrap();
        let config = config(&[unbound, failing, malformed, silent, good], &[]);
        // The last server never answers the AAAA query: one record type is enough.
        let found = look_up("h.example", &config, 5000).unwrap();
        assert_eq!(found, [ip("127.0.0.7")]);
        assert_eq!(queries.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn truncated_answer_is_completed_over_tcp() {
        let (server, _) = scripted_server(|query| match (query.tcp, query.record) {
            // Some servers send only the flag.
            (false, RecordType::A) => Some(truncated(query.reply(0, &[]))),
            (true, RecordType::A) => {
                let records = many(1000).into_iter().map(|ip| address_record(ASKED, ip));
                let mut answer = reply(query.bytes, 0, &records.collect::<Vec<_>>());
                answer[6..8].copy_from_slice(&1000u16.to_be_bytes());
                Some(answer)
            }
            (_, RecordType::Aaaa) => Some(query.reply(0, &[])),
        });
        let began = Instant::now();
        let found = look_up("h.example", &patient(server), 10_000).unwrap();
        assert_eq!(found, many(1000));
        assert!(began.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn truncated_answer_stands_where_tcp_gives_none() {
        let (server, _) = scripted_server(|query| match (query.tcp, query.record) {
            (false, RecordType::A) => Some(truncated(query.reply(0, &many(2)))),
            (true, _) => None,
            (false, RecordType::Aaaa) => Some(query.reply(0, &[ip("::1")])),
        });
        let mut found = look_up("h.example", &config(&[server], &[]), 5000).unwrap();
        found.sort();
        assert_eq!(found, [ip("10.9.0.0"), ip("10.9.0.1"), ip("::1")]);
        let (server, _) = scripted_server(|query| match query.tcp {
            true => Some(query.reply(2, &[])),
            false => Some(truncated(query.reply(0, &[]))),
        });
        let error = look_up("h.example", &config(&[server], &[]), 5000).unwrap_err();
        assert_eq!(error.code, Code::Connect);
        let text = error.to_string();
        assert!(text.contains("truncated its answer; over TCP: "), "{text}");
    }

    #[test]
    fn query_refused_with_edns_is_repeated_without_it() {
        for code in [1, 4] {
            let (server, queries) = scripted_server(move |query| match query.edns {
                // A server that cannot parse the query does not repeat the question.
                true if code == 1 => {
                    let mut bare = query.reply(code, &[])[..12].to_vec();
                    bare[5] = 0;
                    Some(bare)
                }
                true => Some(query.reply(code, &[])),
                false if query.record == RecordType::A => Some(query.reply(0, &many(1))),
                false => Some(query.reply(0, &[])),
            });
            let found = look_up("h.example", &patient(server), 10_000).unwrap();
            assert_eq!(found, many(1));
            assert_eq!(queries.load(Ordering::SeqCst), 4);
        }
        let (server, _) = scripted_server(|query| Some(query.reply(1, &[])));
        let error = look_up("h.example", &config(&[server], &[]), 5000).unwrap_err();
        assert!(error.to_string().contains("does not understand"), "{error}");
    }

    #[test]
    fn dropped_edns_query_is_repeated_without_edns() {
        let (server, _) = scripted_server(|query| (!query.edns).then(|| query.reply(0, &many(1))));
        let found = look_up("h.example", &config(&[server], &[]), 5000).unwrap();
        assert_eq!(found, many(1));
    }

    #[test]
    fn only_addresses_on_the_cname_chain_are_used() {
        let (server, _) = scripted_server(|query| {
            let records = [
                address_record(b"\x04evil\xc0\x0e", ip("6.6.6.1")),
                record(ASKED, 5, b"\x01o\xc0\x0e"),
                address_record(b"\x01o\xc0\x0e", ip("10.0.0.9")),
            ];
            Some(reply(query.bytes, 0, &records))
        });
        let found = look_up("h.example", &config(&[server], &[]), 5000).unwrap();
        assert_eq!(found, [ip("10.0.0.9")]);
    }

    /// How long a lookup takes to notice an interrupt, which comes once `begun` is true.
    fn interrupted(config: &DnsConfig, begun: impl Fn() -> bool) -> Duration {
        let (cancel_flag, wakers) = (CancelFlag::default(), Wakers::default());
        let call = Call::new(now(), 60_000, 60_000, &cancel_flag, &wakers);
        std::thread::scope(|scope| {
            let lookup = scope.spawn(|| {
                let error =
                    query_servers("h", config, call.attempt_until(call.deadline)).unwrap_err();
                (error.code, Instant::now())
            });
            while !begun() {
                std::thread::yield_now();
            }
            let fired = Instant::now();
            cancel_flag.interrupt();
            wakers.fire();
            let (code, ended) = lookup.join().unwrap();
            assert_eq!(code, Code::Interrupted);
            ended - fired
        })
    }

    #[test]
    fn lookup_ends_by_the_deadline_and_on_interrupt() {
        let (silent, queries) = scripted_server(|_| None);
        let config = config(&[silent; 3], &["a.example", "b.example"]);
        let began = Instant::now();
        let error = look_up("h", &config, 300).unwrap_err();
        let took = began.elapsed();
        assert_eq!(error.code, Code::Timeout, "{error}");
        assert!(took < Duration::from_millis(350), "{took:?}");
        let seen = queries.load(Ordering::SeqCst);
        let took = interrupted(&patient(silent), || {
            queries.load(Ordering::SeqCst) > seen + 1
        });
        assert!(took < Duration::from_millis(50), "{took:?}");
    }

    #[test]
    fn tcp_query_ends_by_the_deadline_and_on_interrupt() {
        let over_tcp = Arc::new(AtomicUsize::new(0));
        let count = over_tcp.clone();
        let (server, _) = scripted_server(move |query| {
            count.fetch_add(usize::from(query.tcp), Ordering::SeqCst);
            (!query.tcp).then(|| truncated(query.reply(0, &[])))
        });
        let began = Instant::now();
        let error = look_up("h", &patient(server), 300).unwrap_err();
        let took = began.elapsed();
        assert_eq!(error.code, Code::Timeout, "{error}");
        assert!(took < Duration::from_millis(350), "{took:?}");
        let seen = over_tcp.load(Ordering::SeqCst);
        assert!(seen > 0);
        let took = interrupted(&patient(server), || over_tcp.load(Ordering::SeqCst) > seen);
        assert!(took < Duration::from_millis(50), "{took:?}");
    }
}
