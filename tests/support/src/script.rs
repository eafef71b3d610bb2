//! The scripted node: a server that does exactly what a test says, at the time it says.
//!
//! A script consists of lines; blank lines and lines that begin with `#` are ignored.
//!
//! ```text
//! EXPECT GET "a key"     the next command, exactly; * is any one argument, ... any rest;
//!                        quotes and escapes (\r \n \t \0 \\ \" \xNN) as redis-cli has them
//! ANY                    the next command, whatever it is
//! HANDSHAKE              answers HELLO, AUTH, READONLY, CLIENT SETNAME and their like, until a
//!                        command comes that is none of these, or that the next line expects
//! SEND +OK\r\n           these bytes, in one write; only escapes mean something
//! SENDSLOW 1 $3\r\nfoo   these bytes, 1 (or n) at a time, at intervals of 1 ms
//! WAIT 50                milliseconds
//! CLOSE                  hangs up (FIN)
//! RESET                  hangs up rudely (RST)
//! HANG                   keeps the connection and never reads or writes again
//! LOOP 3                 the lines up to END three times; LOOP alone: until the client hangs up
//! END
//! ```
//!
//! `{port}` stands for the node's own port. After its end a script keeps the connection open and expects no more
//! commands.

use crate::error::{Error, Result, fail};
use crate::wire::{self, Command};
use crate::words;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::process::lock;

/// What a closure makes a node do about a command.
#[derive(Clone, Debug)]
pub enum Action {
    /// Writes these bytes.
    Send(Vec<u8>),
    /// Writes these bytes in parts of this size, with a pause between them.
    SendSlow(Vec<u8>, usize, Duration),
    /// Writes these bytes and closes the connection. The end of the stream arrives together with the last byte.
    SendClose(Vec<u8>),
    /// Writes these bytes and resets the connection.
    SendReset(Vec<u8>),
    /// Does nothing, and reads the next command.
    Nothing,
    /// Closes the connection (FIN).
    Close,
    /// Resets the connection (RST).
    Reset,
    /// Keeps the connection and never reads or writes again.
    Hang,
    /// Waits, then does this.
    Delay(Duration, Box<Action>),
}

impl Action {
    /// Writes these bytes.
    pub fn send(bytes: impl AsRef<[u8]>) -> Action {
        Action::Send(bytes.as_ref().to_vec())
    }
}

/// A bound, listening port, for scripts that must know each other's ports.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Binds an address; port 0 stands for a free one.
    pub fn bind(ip: IpAddr, port: u16) -> io::Result<Listener> {
        let listener = TcpListener::bind((ip, port))?;
        let address = listener.local_addr()?;
        Ok(Listener { listener, address })
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Its address and port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Plays one script on every connection. Panics on an invalid line.
    pub fn play(self, script: &str) -> Script {
        let lines = Arc::new(parse(script, self.port()).unwrap_or_else(|e| panic!("script: {e}")));
        self.run(None, move |_, peer| perform(&lines, peer))
    }

    /// Plays the first script on the first connection, and so on; the number of connections must match.
    pub fn play_each(self, scripts: &[&str]) -> Script {
        let parsed = scripts.iter().map(|s| parse(s, self.port()));
        let scripts: Vec<_> = parsed
            .map(|s| s.unwrap_or_else(|e| panic!("script: {e}")))
            .collect();
        let count = scripts.len();
        self.run(Some(count), move |n, peer| match scripts.get(n) {
            Some(lines) => perform(lines, peer),
            None => Err(format!("the script has {count} connections, not one more")),
        })
    }

    /// A closure answers each command; it gets the number of the connection, from 0. It runs for one command at a
    /// time.
    pub fn serve(self, answer: impl FnMut(usize, &Command) -> Action + Send + 'static) -> Script {
        let answer = Mutex::new(answer);
        self.run(None, move |n, peer| {
            while let Some(command) = peer.command(None)? {
                let action = lock(&answer)(n, &command);
                if !peer.act(action) {
                    break;
                }
            }
            Ok(())
        })
    }

    fn run(
        self,
        connections: Option<usize>,
        play: impl Fn(usize, &mut Peer) -> std::result::Result<(), String> + Send + Sync + 'static,
    ) -> Script {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            expected: connections,
        });
        let (listener, state) = (self.listener, shared.clone());
        let play = Arc::new(play);
        let accept = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if lock(&state.state).stop {
                    break;
                }
                let Ok(stream) = stream else { continue };
                // Parts must arrive as they were sent.
                let _ = stream.set_nodelay(true);
                let stream = Arc::new(stream);
                let number = {
                    let mut state = lock(&state.state);
                    state.connections.push(Connection {
                        stream: Arc::downgrade(&stream),
                        ..Connection::default()
                    });
                    state.connections.len() - 1
                };
                let mut peer = Peer {
                    number,
                    stream: Some(stream),
                    bytes: Vec::new(),
                    next: None,
                    shared: state.clone(),
                };
                let play = play.clone();
                let thread = std::thread::spawn(move || {
                    // A panic in a test's closure fails that test.
                    let played = std::panic::AssertUnwindSafe(|| play(number, &mut peer));
                    let done = std::panic::catch_unwind(played)
                        .unwrap_or_else(|_| Err("the closure panicked".into()));
                    peer.finish(done);
                });
                lock(&state.state).threads.push(thread);
            }
        });
        Script {
            address: self.address,
            shared,
            accept: Some(accept),
            judged: false,
        }
    }
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    expected: Option<usize>,
}

#[derive(Debug, Default)]
struct State {
    stop: bool,
    connections: Vec<Connection>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Connection {
    stream: Weak<TcpStream>,
    received: Vec<Command>,
    bytes: usize,
    /// What the script waits for; a failure if it never happens.
    waiting: Option<String>,
    failure: Option<String>,
}

/// A running node. Its threads end when it is dropped; a mismatch that was not collected with [`Script::finish`]
/// panics then.
#[derive(Debug)]
pub struct Script {
    address: SocketAddr,
    shared: Arc<Shared>,
    accept: Option<JoinHandle<()>>,
    judged: bool,
}

impl Script {
    /// Binds a free port of 127.0.0.1.
    pub fn listen() -> Listener {
        let bound = Listener::bind(Ipv4Addr::LOCALHOST.into(), 0);
        bound.unwrap_or_else(|e| panic!("no port for a scripted node: {e}"))
    }

    /// The port of this listener, which may have refused connections until now.
    pub fn listen_on(listener: TcpListener) -> Listener {
        let address = listener.local_addr();
        let address = address.unwrap_or_else(|e| panic!("a scripted node without a port: {e}"));
        Listener { listener, address }
    }

    /// [`Listener::play`] on a free port.
    pub fn play(script: &str) -> Script {
        Script::listen().play(script)
    }

    /// [`Listener::play_each`] on a free port.
    pub fn play_each(scripts: &[&str]) -> Script {
        Script::listen().play_each(scripts)
    }

    /// [`Listener::serve`] on a free port.
    pub fn serve(answer: impl FnMut(usize, &Command) -> Action + Send + 'static) -> Script {
        Script::listen().serve(answer)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// `127.0.0.1:7000`
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// `redis://127.0.0.1:7000`
    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// How many connections were accepted.
    pub fn connections(&self) -> usize {
        lock(&self.shared.state).connections.len()
    }

    /// Every command, in order, of every connection.
    pub fn received(&self) -> Vec<Vec<Command>> {
        let state = lock(&self.shared.state);
        state
            .connections
            .iter()
            .map(|c| c.received.clone())
            .collect()
    }

    /// The same as text: `GET foo`, `SET k "two words"`.
    pub fn received_text(&self) -> Vec<Vec<String>> {
        let show = |commands: Vec<Command>| commands.iter().map(|c| wire::show(c)).collect();
        self.received().into_iter().map(show).collect()
    }

    /// The number of commands that begin with these words (`GET`, `CLUSTER SLOTS`), on all connections.
    pub fn calls(&self, words: &str) -> usize {
        let begins = |command: &Command| {
            let mut args = command.iter();
            words.split(' ').all(|word| {
                let arg = args.next();
                arg.is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()))
            })
        };
        let commands = self.received().into_iter().flatten();
        commands.filter(begins).count()
    }

    /// The number of bytes received, on all connections.
    pub fn bytes_received(&self) -> usize {
        lock(&self.shared.state)
            .connections
            .iter()
            .map(|c| c.bytes)
            .sum()
    }

    /// Waits until the condition holds for the received commands; false after the time limit.
    pub fn wait_for(&self, mut holds: impl FnMut(&Script) -> bool, patience: Duration) -> bool {
        crate::wait_until(|| holds(self), patience)
    }

    /// Closes all connections and keeps listening.
    pub fn close_connections(&self) {
        for connection in &lock(&self.shared.state).connections {
            if let Some(stream) = connection.stream.upgrade() {
                // It may be closed already.
                let _ = stream.shutdown(std::net::Shutdown::Both);
            }
        }
    }

    /// Closes all connections and stops listening: the next connect is refused.
    pub fn stop(&mut self) {
        lock(&self.shared.state).stop = true;
        self.shared.changed.notify_all();
        if let Some(accept) = self.accept.take() {
            // The thread waits in accept; if this connect fails, it is awake already.
            let _ = TcpStream::connect(self.address);
            let _ = accept.join();
        }
        self.close_connections();
        let threads = std::mem::take(&mut lock(&self.shared.state).threads);
        for thread in threads {
            // A panic of the thread was caught and is in the list of failures.
            let _ = thread.join();
        }
    }

    /// Stops the node; the error lists deviations from the script, one on each line. A script that still waits gets
    /// one second, because the client's last bytes may be in flight.
    pub fn finish(mut self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(1);
        let late = |shared: &Shared| {
            let state = lock(&shared.state);
            let missing = shared.expected.is_some_and(|n| state.connections.len() < n);
            missing || state.connections.iter().any(|c| c.waiting.is_some())
        };
        while late(&self.shared) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.judge(true)
    }

    fn judge(&mut self, strict: bool) -> Result<()> {
        self.judged = true;
        let mut failures = Vec::new();
        let fail_at = |n: usize, why: &str| format!("connection {n}: {why}");
        if strict {
            let state = lock(&self.shared.state);
            for (n, connection) in state.connections.iter().enumerate() {
                if let (Some(what), None) = (&connection.waiting, &connection.failure) {
                    failures.push(fail_at(n, &format!("{what}: it never came")));
                }
            }
            let made = state.connections.len();
            if let Some(expected) = self.shared.expected.filter(|&n| made < n) {
                failures.push(format!(
                    "{expected} connections are scripted, {made} were made"
                ));
            }
        }
        self.stop();
        for (n, connection) in lock(&self.shared.state).connections.iter().enumerate() {
            if let Some(why) = &connection.failure {
                failures.push(fail_at(n, why));
            }
        }
        match failures.is_empty() {
            true => Ok(()),
            false => Err(Error::new(failures.join("\n"))),
        }
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        if self.judged {
            return;
        }
        let judgement = self.judge(false);
        if let (Err(e), false) = (judgement, std::thread::panicking()) {
            panic!("scripted node {}: {e}", self.address());
        }
    }
}

/// The client at the other end of one connection.
struct Peer {
    number: usize,
    stream: Option<Arc<TcpStream>>,
    bytes: Vec<u8>,
    /// A command that was read ahead.
    next: Option<Command>,
    shared: Arc<Shared>,
}

impl Peer {
    /// The next command; `None` if the client has disconnected. `waiting` says what the script needs it for.
    fn command(&mut self, waiting: Option<String>) -> std::result::Result<Option<Command>, String> {
        if let Some(command) = self.next.take() {
            return Ok(Some(command));
        }
        self.record(|c| c.waiting = waiting);
        loop {
            if let Some(command) = wire::take_command(&mut self.bytes)? {
                self.record(|c| {
                    c.received.push(command.clone());
                    c.waiting = None;
                });
                return Ok(Some(command));
            }
            let Some(mut stream) = self.stream.as_deref() else {
                return Ok(None);
            };
            let mut chunk = [0; 16384];
            match stream.read(&mut chunk) {
                Ok(0) => return Ok(None),
                Ok(n) => {
                    self.bytes.extend_from_slice(&chunk[..n]);
                    self.record(|c| c.bytes += n);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // A reset ends the connection too.
                Err(_) => return Ok(None),
            }
        }
    }

    fn record(&self, what: impl FnOnce(&mut Connection)) {
        what(&mut lock(&self.shared.state).connections[self.number]);
    }

    /// False if the connection has ended.
    fn act(&mut self, action: Action) -> bool {
        match action {
            Action::Send(bytes) => self.write(&bytes),
            Action::SendSlow(bytes, size, pause) => {
                let mut pieces = bytes.chunks(size.max(1));
                pieces.all(|piece| self.write(piece) && self.wait(Some(pause)))
            }
            Action::SendClose(bytes) => {
                if let Some(stream) = &self.stream {
                    send_with_more(stream, &bytes);
                }
                self.act(Action::Close)
            }
            Action::SendReset(bytes) => {
                self.write(&bytes);
                self.act(Action::Reset)
            }
            Action::Nothing => true,
            Action::Close => {
                if let Some(stream) = self.stream.take() {
                    // Closing with unread input would send RST; this always sends FIN.
                    let _ = stream.shutdown(std::net::Shutdown::Write);
                    self.drain(&stream);
                }
                false
            }
            Action::Reset => {
                if let Some(stream) = self.stream.take() {
                    reset_on_close(&stream);
                }
                false
            }
            Action::Hang => {
                self.wait(None);
                false
            }
            Action::Delay(pause, action) => self.wait(Some(pause)) && self.act(*action),
        }
    }

    fn write(&self, bytes: &[u8]) -> bool {
        let stream = self.stream.as_deref();
        stream.is_some_and(|mut stream| stream.write_all(bytes).is_ok())
    }

    /// Reads pending input, so that the kernel has no reason for a reset.
    fn drain(&self, mut stream: &TcpStream) {
        let mut chunk = [0; 16384];
        if stream.set_nonblocking(true).is_ok() {
            while let Ok(n @ 1..) = stream.read(&mut chunk) {
                self.record(|c| c.bytes += n);
            }
        }
    }

    /// False if the node was stopped meanwhile.
    fn wait(&self, time: Option<Duration>) -> bool {
        let state = lock(&self.shared.state);
        let going = |state: &mut State| !state.stop;
        match time {
            Some(time) => {
                let waited = self.shared.changed.wait_timeout_while(state, time, going);
                waited.is_ok_and(|(state, _)| !state.stop)
            }
            None => {
                drop(self.shared.changed.wait_while(state, going));
                false
            }
        }
    }

    fn finish(self, done: std::result::Result<(), String>) {
        let stop = lock(&self.shared.state).stop;
        self.record(|c| {
            c.waiting = None;
            if let (Err(why), false) = (done, stop) {
                c.failure = Some(why);
            }
        });
    }
}

/// Writes these bytes; the last ones leave with what follows, which is the end of the stream.
fn send_with_more(stream: &TcpStream, bytes: &[u8]) {
    let mut left = bytes;
    while !left.is_empty() {
        let (fd, flags) = (stream.as_raw_fd(), libc::MSG_MORE | libc::MSG_NOSIGNAL);
        // SAFETY: the pointer and the length are those of a live slice.
        let sent = unsafe { libc::send(fd, left.as_ptr().cast(), left.len(), flags) };
        match usize::try_from(sent) {
            Ok(sent) => left = &left[sent..],
            // The client has closed the connection.
            Err(_) => return,
        }
    }
}

fn reset_on_close(stream: &TcpStream) {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    // SAFETY: the descriptor is open, and the option is a linger struct of its own size.
    unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of::<libc::linger>() as libc::socklen_t,
        );
    }
}

#[derive(Clone, Debug)]
struct Line {
    number: usize,
    text: String,
    step: Step,
}

#[derive(Clone, Debug)]
enum Step {
    Expect(Vec<Pattern>),
    Any,
    Handshake,
    Act(Action),
    Pause(Duration),
    Loop(Option<usize>, Vec<Line>),
}

#[derive(Clone, Debug)]
enum Pattern {
    Exactly(Vec<u8>),
    One,
    Rest,
}

fn parse(script: &str, port: u16) -> Result<Vec<Line>> {
    let script = script.replace("{port}", &port.to_string());
    let mut open: Vec<(Option<usize>, usize, String)> = Vec::new();
    let mut blocks: Vec<Vec<Line>> = vec![Vec::new()];
    for (index, line) in script.lines().enumerate() {
        let (number, text) = (index + 1, line.trim().to_string());
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let (verb, rest) = text.split_once(' ').unwrap_or((&text, ""));
        let count = |word: &str| match word.parse::<usize>() {
            Ok(n) => Ok(n),
            Err(_) => fail!("line {number}: {verb} wants a number, not {word}"),
        };
        let step = match (verb, rest) {
            ("EXPECT", rest) if !rest.is_empty() => Step::Expect(patterns(rest)?),
            ("ANY", "") => Step::Any,
            ("HANDSHAKE", "") => Step::Handshake,
            ("SEND", rest) => Step::Act(Action::Send(words::unescape(rest)?)),
            ("SENDSLOW", rest) if rest.contains(' ') => {
                let (size, bytes) = rest.split_once(' ').unwrap_or((rest, ""));
                let (size, bytes) = (count(size)?, words::unescape(bytes)?);
                Step::Act(Action::SendSlow(bytes, size, Duration::from_millis(1)))
            }
            ("WAIT", ms) => Step::Pause(Duration::from_millis(count(ms)? as u64)),
            ("CLOSE", "") => Step::Act(Action::Close),
            ("RESET", "") => Step::Act(Action::Reset),
            ("HANG", "") => Step::Act(Action::Hang),
            ("LOOP", times) => {
                let times = if times.is_empty() {
                    None
                } else {
                    Some(count(times)?)
                };
                open.push((times, number, text.clone()));
                blocks.push(Vec::new());
                continue;
            }
            ("END", "") => match (open.pop(), blocks.pop()) {
                (Some((times, at, text)), Some(block)) => {
                    if !block.iter().any(takes_input) && times.is_none() {
                        fail!("line {at}: a LOOP without end that reads nothing");
                    }
                    let step = Step::Loop(times, block);
                    if let Some(outer) = blocks.last_mut() {
                        outer.push(Line {
                            number: at,
                            text,
                            step,
                        });
                    }
                    continue;
                }
                _ => fail!("line {number}: END without LOOP"),
            },
            _ => fail!("line {number}: no such line: {text}"),
        };
        if let Some(block) = blocks.last_mut() {
            block.push(Line { number, text, step });
        }
    }
    match (open.pop(), blocks.pop()) {
        (None, Some(lines)) => Ok(lines),
        (Some((_, number, _)), _) => fail!("line {number}: LOOP without END"),
        (None, None) => Ok(Vec::new()),
    }
}

fn takes_input(line: &Line) -> bool {
    match &line.step {
        Step::Expect(_) | Step::Any | Step::Handshake => true,
        Step::Act(_) | Step::Pause(_) => false,
        Step::Loop(_, lines) => lines.iter().any(takes_input),
    }
}

fn patterns(text: &str) -> Result<Vec<Pattern>> {
    let words = words::split(text)?;
    Ok(words
        .into_iter()
        .map(|word| match word.as_slice() {
            b"*" => Pattern::One,
            b"..." => Pattern::Rest,
            _ => Pattern::Exactly(word),
        })
        .collect())
}

/// Whether a command is the expected one. The case of its name is ignored, that of its arguments is not.
fn matches(patterns: &[Pattern], command: &[Vec<u8>]) -> bool {
    let mut words = command.iter().enumerate();
    for pattern in patterns {
        let fits = match (pattern, words.next()) {
            (Pattern::Rest, _) => return true,
            (_, None) => false,
            (Pattern::One, Some(_)) => true,
            (Pattern::Exactly(want), Some((0, word))) => want.eq_ignore_ascii_case(word),
            (Pattern::Exactly(want), Some((_, word))) => want == word,
        };
        if !fits {
            return false;
        }
    }
    words.next().is_none()
}

/// How the lines of a block ended.
#[derive(PartialEq)]
enum Flow {
    On,
    /// The connection has ended.
    Over,
}

fn perform(lines: &[Line], peer: &mut Peer) -> std::result::Result<(), String> {
    if block(lines, peer)? == Flow::On
        && let Some(command) = peer.command(None)?
    {
        let shown = wire::show(&command);
        return Err(format!("the script has ended, and then came: {shown}"));
    }
    Ok(())
}

fn block(lines: &[Line], peer: &mut Peer) -> std::result::Result<Flow, String> {
    for (index, line) in lines.iter().enumerate() {
        let at = || format!("line {}: {}", line.number, line.text);
        let flow = match &line.step {
            Step::Expect(want) => match peer.command(Some(at()))? {
                Some(command) if matches(want, &command) => Flow::On,
                Some(command) => {
                    return Err(format!("{}, but came: {}", at(), wire::show(&command)));
                }
                None => return Err(format!("{}, but the client hung up", at())),
            },
            Step::Any => match peer.command(Some(at()))? {
                Some(_) => Flow::On,
                None => return Err(format!("{}, but the client hung up", at())),
            },
            Step::Handshake => greet(lines.get(index + 1), peer)?,
            Step::Act(action) => match peer.act(action.clone()) {
                true => Flow::On,
                // Either it was to end here, or the client has disconnected and the next line reports it.
                false if matches!(action, Action::Send(_) | Action::SendSlow(..)) => Flow::On,
                false => Flow::Over,
            },
            Step::Pause(time) => match peer.wait(Some(*time)) {
                true => Flow::On,
                false => Flow::Over,
            },
            Step::Loop(Some(times), lines) => {
                let mut flow = Flow::On;
                for _ in 0..*times {
                    flow = block(lines, peer)?;
                    if flow == Flow::Over {
                        break;
                    }
                }
                flow
            }
            Step::Loop(None, lines) => loop {
                // The client may disconnect only between two rounds.
                match peer.command(None)? {
                    None => break Flow::Over,
                    Some(command) => peer.next = Some(command),
                }
                if block(lines, peer)? == Flow::Over {
                    break Flow::Over;
                }
            },
        };
        if flow == Flow::Over {
            return Ok(Flow::Over);
        }
    }
    Ok(Flow::On)
}

/// Answers handshake commands. A client that disconnects before its first command is no mismatch, unless the next line
/// needs another command.
fn greet(next: Option<&Line>, peer: &mut Peer) -> std::result::Result<Flow, String> {
    let needs = |line: &&Line| takes_input(line) && !matches!(line.step, Step::Loop(None, _));
    let waiting = next.filter(needs);
    let waiting = waiting.map(|line| format!("line {}: {}", line.number, line.text));
    loop {
        let Some(command) = peer.command(waiting.clone())? else {
            return Ok(if waiting.is_some() {
                Flow::On
            } else {
                Flow::Over
            });
        };
        let wanted = next.is_some_and(|line| match &line.step {
            Step::Expect(want) => matches(want, &command),
            _ => false,
        });
        let reply = wire::handshake(&command).or_else(|| wire::refused_identity(&command));
        match reply.filter(|_| !wanted) {
            Some(reply) => {
                peer.write(&reply);
            }
            None => {
                peer.next = Some(command);
                return Ok(Flow::On);
            }
        }
    }
}
