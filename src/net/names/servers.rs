//! Name servers, asked for the addresses of a host like any other peer: by a deadline, and until interrupted.

use super::files::Settings;
use super::{Found, lasting, unknown};
use crate::deadline::{Deadline, now};
use crate::error::{Code, Error, Result};
use crate::net::dns::{Answer, Record, answer, question};
use crate::net::sys;
use crate::net::wait::Call;
use crate::sim_hooks::rng;
use rand::Rng;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

/// The longest answer that comes without being asked for.
const MESSAGE: usize = 512;

/// Asks the name servers, each in turn, so often as the settings say.
pub(super) fn ask(
    host: &str,
    settings: &Settings,
    call: &Call<'_>,
    until: Deadline,
) -> Result<Found> {
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
            sys::interest(socket.as_raw_fd(), sys::IN),
            sys::interest(-1, 0),
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

/// A socket for one peer; nothing is sent.
pub(super) fn socket_to(to: SocketAddr) -> io::Result<UdpSocket> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::dns::tests::said;
    use crate::net::wait::{CancelFlag, Wakers};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

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
        let (cancel_flag, wakers) = (CancelFlag::default(), Wakers::default());
        let call = Call::new(now(), ms, ms, &cancel_flag, &wakers);
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
        let (cancel_flag, wakers) = (CancelFlag::default(), Wakers::default());
        let call = Call::new(now(), 60_000, 60_000, &cancel_flag, &wakers);
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
            cancel_flag.interrupt();
            wakers.fire();
            let (code, ended) = looking.join().unwrap();
            assert_eq!(code, Code::Interrupted);
            let took = ended - fired;
            assert!(took < Duration::from_millis(50), "{took:?}");
        });
    }
}
