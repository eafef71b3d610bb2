//! One stream of bytes to one node: TCP, and TLS over it where that is asked for.

use super::tls::{Session, Tls};
use crate::address::Address;
use crate::config::Config;
use crate::deadline::{Deadline, now};
use crate::error::{Code, Error, Result};
use crate::net::node::{Descriptors, Registered, register};
use crate::net::resolver::Resolver;
use crate::net::sys::{self, Dropped, Recv};
use crate::net::wait::{Call, RECV_TIMEOUT_MS};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

/// A TCP connection, with or without TLS.
#[derive(Debug)]
pub struct Stream {
    // TryAcquire off the list before the socket closes and its number can be another's.
    _registered: Registered,
    socket: Dropped<Socket>,
    tls: Option<Box<Session>>,
}

impl Stream {
    /// Connects to the first of the node's IP addresses that accepts, by `until`; with `tls`, the session is there
    /// and the node is who it should be.
    pub fn connect(
        address: &Address,
        config: &Config,
        tls: Option<&Tls>,
        call: &Call<'_>,
        until: Deadline,
        descriptors: &Arc<Descriptors>,
        resolver: &Resolver,
    ) -> Result<Stream> {
        let Address { host, port } = config.address_map.apply(address);
        let mut last = Error::new(
            Code::Connect,
            format_args!("{address} does not resolve to an address"),
        );
        let ips = resolver
            .resolve(&host, port, call, until)
            .map_err(|e| e.at(address.to_string()))?;
        for (tried, ip) in ips.iter().enumerate() {
            // One that is silent leaves the others their time.
            let began = now();
            let share = until.share(began, (ips.len() - tried) as u32);
            match Stream::connect_ip(*ip, config, call, share, descriptors) {
                Ok(mut stream) => {
                    if let Some(tls) = tls {
                        stream.secure(tls, &host, address, call, until)?;
                    }
                    return Ok(stream);
                }
                Err(Failed::Call(error)) => return Err(error),
                Err(Failed::Io(error)) => last = refused(address, &error),
                Err(Failed::Late) => {
                    last = Error::new(
                        Code::Timeout,
                        format_args!(
                            "{address} did not accept a connection within {} ms",
                            now().since(began).as_millis()
                        ),
                    );
                }
            }
        }
        resolver.invalidate();
        Err(last.at(address.to_string()))
    }

    fn connect_ip(
        ip: SocketAddr,
        config: &Config,
        call: &Call<'_>,
        until: Deadline,
        descriptors: &Arc<Descriptors>,
    ) -> std::result::Result<Stream, Failed> {
        // socket2 makes it close-on-exec.
        let kind = Type::STREAM.nonblocking();
        let socket = Socket::new(Domain::for_address(ip), kind, Some(Protocol::TCP))?;
        // A child that is forked while it connects closes it like any other.
        let registered = register(descriptors, socket.as_raw_fd());
        match sys::connect(&socket, ip) {
            Ok(()) => {}
            Err(e) if e.raw_os_error() == Some(libc::EINPROGRESS) => {
                let mut fds = [
                    sys::interest(socket.as_raw_fd(), sys::OUT),
                    sys::interest(-1, 0),
                ];
                let answered = call.wait(&mut fds, until).map_err(Failed::Call)?;
                // Also where the time is up: a refusal may have come at once, and the thread only now.
                sys::connected(&socket)?;
                if !answered {
                    return Err(Failed::Late);
                }
            }
            Err(e) => return Err(Failed::Io(e)),
        }
        socket.set_tcp_nodelay(true)?;
        if config.keepalive_ms > 0 {
            let idle = Duration::from_millis(config.keepalive_ms).max(Duration::from_secs(1));
            let probe = (idle / 3).max(Duration::from_secs(1));
            socket.set_tcp_keepalive(
                &TcpKeepalive::new()
                    .with_time(idle)
                    .with_interval(probe)
                    .with_retries(3),
            )?;
        }
        // From now on a receive may wait, for a moment; a send never does.
        sys::let_wait(socket.as_raw_fd())?;
        sys::set_receive_timeout(socket.as_raw_fd(), Duration::from_millis(RECV_TIMEOUT_MS))?;
        Ok(Stream {
            _registered: registered,
            socket: Dropped::whole(socket),
            tls: None,
        })
    }

    /// Begins TLS. The node must be the one that is reached at `host`.
    fn secure(
        &mut self,
        tls: &Tls,
        host: &str,
        node: &Address,
        call: &Call<'_>,
        until: Deadline,
    ) -> Result<()> {
        let fail = |code, words: &dyn std::fmt::Display| {
            Error::new(code, format_args!("{node} {words}")).at(node.to_string())
        };
        let mut session = tls.begin(host).map_err(|e| e.at(node.to_string()))?;
        loop {
            match session.shake(self.fd()) {
                Ok(true) => break,
                Ok(false) => {}
                Err(e) if e.kind() == io::ErrorKind::InvalidData => {
                    return Err(fail(Code::Tls, &e));
                }
                Err(e) => {
                    let words = format!("closed the connection during the handshake of TLS ({e})");
                    return Err(fail(Code::Connect, &words));
                }
            }
            let owed = if session.owes() { sys::OUT } else { 0 };
            let mut fds = [
                sys::interest(self.fd(), sys::IN | owed),
                sys::interest(-1, 0),
            ];
            if !call.wait(&mut fds, until)? {
                let words = "did not end the handshake of TLS in time (is it a port for TLS?)";
                return Err(fail(Code::Timeout, &words));
            }
        }
        self.tls = Some(session);
        Ok(())
    }

    pub fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Whether it is TCP alone.
    #[inline]
    pub fn is_plain(&self) -> bool {
        self.tls.is_none()
    }

    /// Sends what fits without waiting.
    #[inline]
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        sys::send(self.fd(), bytes)
    }

    /// The same over TLS; returns how many bytes count as sent.
    pub fn send_tls(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let fd = self.fd();
        match &mut self.tls {
            Some(session) => session.send(fd, bytes),
            None => self.send(bytes),
        }
    }

    /// Whether something has been received that a poll does not tell of.
    #[inline]
    pub fn has_buffered(&self) -> bool {
        self.tls
            .as_ref()
            .is_some_and(|session| session.has_buffered())
    }

    /// Receives into the spare capacity of `buf`, `room` bytes at most; 0 is the end.
    #[inline]
    pub fn recv(&mut self, buf: &mut Vec<u8>, room: usize, how: Recv) -> io::Result<usize> {
        sys::recv(self.fd(), buf, room, how)
    }

    /// The same over TLS; an error of the kind `InvalidData` is one of TLS.
    pub fn recv_tls(&mut self, buf: &mut Vec<u8>, room: usize, how: Recv) -> io::Result<usize> {
        let fd = self.fd();
        match &mut self.tls {
            Some(session) => session.recv(fd, buf, room, how),
            None => self.recv(buf, room, how),
        }
    }

    /// Whether there is something to read, or the end, when nothing is owed to us.
    pub fn has_news(&self) -> bool {
        sys::has_news(self.fd())
    }
}

enum Failed {
    /// This address did not answer; another may.
    Io(io::Error),
    Late,
    /// The call was interrupted.
    Call(Error),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Failed {
        Failed::Io(error)
    }
}

fn refused(node: &Address, error: &io::Error) -> Error {
    let words = match error.raw_os_error() {
        Some(libc::ECONNREFUSED) => format!("{node} refused the connection"),
        Some(libc::EMFILE | libc::ENFILE) => {
            format!("{node} was not tried: this process has no file descriptor left (ulimit -n)")
        }
        _ => format!("{node} cannot be reached: {error}"),
    };
    Error::new(Code::Connect, words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{CancelFlag, Wakers};
    use std::net::TcpListener;

    /// What becomes of a connection that nobody has time to wait for.
    fn hurried(port: u16) -> Error {
        let (cancel_flag, wakers) = (CancelFlag::default(), Wakers::default());
        let began = now();
        let call = Call::new(began, 0, 0, &cancel_flag, &wakers);
        let outcome = Stream::connect(
            &Address::new("127.0.0.1", port).unwrap(),
            &Config::new(),
            None,
            &call,
            Deadline::after(began, 0),
            &Arc::default(),
            &Resolver::default(),
        );
        outcome.unwrap_err()
    }

    #[test]
    fn a_refusal_that_has_come_is_told_although_the_time_is_up() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let late = hurried(port);
        assert_eq!(late.code, Code::Timeout, "{late}");
        let words = format!("127.0.0.1:{port} did not accept a connection within ");
        assert!(late.message.contains(&words), "{late}");
        drop(listener);
        // Where the machine is so busy that the kernel puts off even what stays inside it, the next has better luck.
        let refused = (0..100).map(|_| hurried(port));
        let refused = refused.map(|error| error.code);
        assert!(refused.into_iter().any(|code| code == Code::Connect));
    }
}
