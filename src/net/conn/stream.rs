//! A stream of bytes to a node: TCP, with or without TLS, or a unix socket.

use super::endpoint::Endpoint;
use super::tls::TlsSession;
use crate::address::Address;
use crate::config::Admission;
use crate::deadline::{Deadline, now};
use crate::error::{Code, Error, Result};
use crate::net::sys::{self, Recv, RegisteredSocket};
use crate::net::wait::Attempt;
use socket2::{Domain, Protocol, TcpKeepalive};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::FileTypeExt;
use std::time::Duration;

/// The time between two attempts to connect to a unix socket whose backlog is full. No event says when it is not.
const BACKLOG_RETRY_MS: u64 = 5;

/// A connection by TCP, with or without TLS, or to a unix socket.
#[derive(Debug)]
pub struct Stream {
    socket: RegisteredSocket,
    tls: Option<Box<TlsSession>>,
}

impl Stream {
    /// Connects to the first of the node's addresses that accepts. With TLS, the session is established and the node's
    /// certificate verified.
    pub fn connect(endpoint: &Endpoint, attempt: Attempt<'_>) -> Result<Stream> {
        let Endpoint {
            address,
            config,
            resolver,
            ..
        } = endpoint;
        if address.is_unix() {
            return Stream::connect_unix(endpoint, attempt);
        }
        let admission = config.admission(address)?;
        let Address { host, port } = config.address_map.apply(address);
        let mut ips = resolver
            .resolve(&host, port, attempt)
            .map_err(|e| e.at(address.to_string()))?;
        if admission == Admission::IfResolved {
            ips.retain(|ip| config.allowed_hosts.has_ip(ip.ip()));
        }
        let mut last = None;
        for (tried, ip) in ips.iter().enumerate() {
            // Each address gets a share of the time, so that one that does not answer leaves time for the others.
            let began = now();
            let share = attempt.share(began, (ips.len() - tried) as u32);
            match Stream::connect_ip(*ip, endpoint, share) {
                Ok(mut stream) => {
                    resolver.record_connection(ip.ip());
                    if let Some(tls) = &endpoint.security.tls {
                        let attempt = match resolver.has_other() {
                            // Some time is left for the other addresses.
                            true => attempt.share(now(), 2),
                            false => attempt,
                        };
                        let session = tls.begin(&endpoint.sessions, &host);
                        stream.start_tls(session, address, attempt)?;
                    }
                    return Ok(stream);
                }
                Err(ConnectError::Cancelled(error)) => return Err(error),
                Err(ConnectError::Io(error)) => last = Some(connect_error(address, &error)),
                Err(ConnectError::Timeout) => {
                    let ms = now().since(began).as_millis();
                    let problem =
                        format_args!("{address} did not accept a connection within {ms} ms");
                    last = Some(Error::new(Code::Timeout, problem));
                }
            }
            resolver.record_failure(ip.ip());
            if let (Some(error), 2..) = (&mut last, ips.len()) {
                let (ip, of) = (ip.ip(), ips.len());
                error.message += &format!(" (at {ip}, the last of its {of} addresses)");
            }
        }
        resolver.invalidate();
        let error = last.unwrap_or_else(|| {
            let problem = match admission {
                Admission::IfResolved => "resolves to no address in the option allowed_hosts",
                _ => "does not resolve to an address",
            };
            Error::new(Code::Connect, format_args!("{address} {problem}"))
        });
        Err(error.at(address.to_string()))
    }

    fn connect_ip(
        ip: SocketAddr,
        endpoint: &Endpoint,
        attempt: Attempt<'_>,
    ) -> std::result::Result<Stream, ConnectError> {
        let socket = sys::new_stream_socket(Domain::for_address(ip), Some(Protocol::TCP))?;
        // Registered before the connect, so that a child that is forked meanwhile closes it too.
        let socket = endpoint.descriptors.register(socket);
        match sys::connect(&socket, ip) {
            Ok(()) => {}
            Err(e) if e.raw_os_error() == Some(libc::EINPROGRESS) => {
                let mut fds = [
                    sys::interest(socket.as_raw_fd(), sys::OUT),
                    sys::interest(-1, 0),
                ];
                let is_ready = attempt.wait(&mut fds).map_err(ConnectError::Cancelled)?;
                // Even after a timeout: the refusal may have arrived in time, but the thread was scheduled too late.
                sys::connect_result(&socket)?;
                if !is_ready {
                    return Err(ConnectError::Timeout);
                }
            }
            Err(e) => return Err(ConnectError::Io(e)),
        }
        socket.set_tcp_nodelay(true)?;
        let keepalive_ms = endpoint.config.keepalive_ms;
        if keepalive_ms > 0 {
            let idle = Duration::from_millis(keepalive_ms).max(Duration::from_secs(1));
            let probe = (idle / 3).max(Duration::from_secs(1));
            socket.set_tcp_keepalive(
                &TcpKeepalive::new()
                    .with_time(idle)
                    .with_interval(probe)
                    .with_retries(3),
            )?;
        }
        Ok(Stream::connected(socket)?)
    }

    /// Connects to a unix socket. Unlike that of TCP, such a connect ends at once.
    fn connect_unix(endpoint: &Endpoint, attempt: Attempt<'_>) -> Result<Stream> {
        let (address, began) = (&endpoint.address, now());
        let fail = |error: io::Error| unix_error(address, &error).at(address.to_string());
        let socket = sys::new_stream_socket(Domain::UNIX, None).map_err(fail)?;
        let socket = endpoint.descriptors.register(socket);
        loop {
            match sys::connect_unix(&socket, &address.host) {
                Ok(()) => return Stream::connected(socket).map_err(fail),
                Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {}
                Err(error) => return Err(fail(error)),
            }
            let time = now();
            if attempt.until.passed(time) {
                let ms = time.since(began).as_millis();
                let problem = format_args!("{address} did not accept a connection within {ms} ms");
                return Err(Error::new(Code::Timeout, problem).at(address.to_string()));
            }
            let retry = Deadline::after(time, BACKLOG_RETRY_MS);
            attempt.call.sleep(retry.min(attempt.until))?;
        }
    }

    /// From now on a receive may block, for a short time. A send never does: see `sys::send`.
    fn connected(socket: RegisteredSocket) -> io::Result<Stream> {
        sys::wait_in_receive(socket.as_raw_fd())?;
        Ok(Stream { socket, tls: None })
    }

    /// Establishes a TLS session. The certificate must be valid for `host`.
    fn start_tls(
        &mut self,
        session: Result<Box<TlsSession>>,
        node: &Address,
        attempt: Attempt<'_>,
    ) -> Result<()> {
        let fail = |code, problem: &dyn std::fmt::Display| {
            Error::new(code, format_args!("{node} {problem}")).at(node.to_string())
        };
        let began = now();
        let mut session = session.map_err(|e| e.at(node.to_string()))?;
        loop {
            match session.handshake(self.fd()) {
                Ok(true) => break,
                Ok(false) => {}
                Err(e) if e.kind() == io::ErrorKind::InvalidData => {
                    return Err(fail(Code::Tls, &e));
                }
                Err(e) => {
                    let problem = format!(
                        "closed the connection during the TLS handshake ({e}); is it a TLS port?"
                    );
                    return Err(fail(Code::Connect, &problem));
                }
            }
            let out = if session.wants_write() { sys::OUT } else { 0 };
            let mut fds = [
                sys::interest(self.fd(), sys::IN | out),
                sys::interest(-1, 0),
            ];
            if !attempt.wait(&mut fds)? {
                let ms = now().since(began).as_millis();
                let problem = format!(
                    "did not complete the TLS handshake within {ms} ms (is it a TLS port?)"
                );
                return Err(fail(Code::Timeout, &problem));
            }
        }
        self.tls = Some(session);
        Ok(())
    }

    pub fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// The IP address at the other end.
    pub fn remote_ip(&self) -> Option<IpAddr> {
        let address = self.socket.peer_addr().ok()?;
        address.as_socket().map(|address| address.ip())
    }

    /// Whether the stream has no TLS.
    #[inline]
    pub fn is_plain(&self) -> bool {
        self.tls.is_none()
    }

    /// Sends as much as possible without blocking.
    #[inline]
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        sys::send(self.fd(), bytes)
    }

    /// The same over TLS. Returns how many bytes count as sent.
    pub fn send_tls(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let fd = self.fd();
        match &mut self.tls {
            Some(session) => session.send(fd, bytes),
            None => self.send(bytes),
        }
    }

    /// Whether the TLS session holds received bytes or the end of the stream, which a poll does not report.
    #[inline]
    pub fn has_buffered(&self) -> bool {
        self.tls
            .as_ref()
            .is_some_and(|session| session.has_buffered())
    }

    /// Receives at most `room` bytes into the spare capacity of `buf`. Returns 0 at the end of the stream.
    #[inline]
    pub fn recv(&mut self, buf: &mut Vec<u8>, room: usize, how: Recv) -> io::Result<usize> {
        sys::recv(self.fd(), buf, room, how)
    }

    /// The same over TLS. An error of the kind `InvalidData` is a TLS error.
    pub fn recv_tls(&mut self, buf: &mut Vec<u8>, room: usize, how: Recv) -> io::Result<usize> {
        let fd = self.fd();
        match &mut self.tls {
            Some(session) => session.recv(fd, buf, room, how),
            None => self.recv(buf, room, how),
        }
    }

    /// Whether a receive would return bytes, the end of the stream or an error.
    pub fn is_readable(&self) -> bool {
        sys::is_readable(self.fd())
    }
}

/// Why a connection to one address failed.
enum ConnectError {
    Io(io::Error),
    Timeout,
    /// The call was cancelled, so that no other address is tried.
    Cancelled(Error),
}

impl From<io::Error> for ConnectError {
    fn from(error: io::Error) -> ConnectError {
        ConnectError::Io(error)
    }
}

fn connect_error(node: &Address, error: &io::Error) -> Error {
    let message = match error.raw_os_error() {
        Some(libc::ECONNREFUSED) => format!("{node} refused the connection"),
        Some(libc::EMFILE | libc::ENFILE) => {
            format!(
                "cannot connect to {node}: this process has no file descriptor left (ulimit -n)"
            )
        }
        _ => format!("cannot connect to {node}: {error}"),
    };
    Error::new(Code::Connect, message)
}

fn unix_error(path: &Address, error: &io::Error) -> Error {
    let is_socket = || {
        let file = std::fs::metadata(&path.host);
        file.is_ok_and(|file| file.file_type().is_socket())
    };
    let message = match error.raw_os_error() {
        Some(libc::ENOENT) => format!(
            "{path} does not exist; is the server running, and does its setting unixsocket name this path?"
        ),
        Some(libc::ECONNREFUSED) if is_socket() => {
            format!("{path} refused the connection; no server listens on this socket, so start it")
        }
        Some(libc::ECONNREFUSED) => format!(
            "{path} is not a socket; write the path that the server's setting unixsocket names"
        ),
        Some(libc::EACCES) => format!(
            "{path} may not be used by this process; it needs write permission for the socket (the server's setting \
             unixsocketperm) and access to its directories"
        ),
        _ => return connect_error(path, error),
    };
    Error::new(Code::Connect, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::net::conn::Security;
    use crate::net::wait::{Call, CancelFlag, Wakers};
    use std::net::TcpListener;
    use std::sync::Arc;

    /// The error of a connect with a deadline that has passed.
    fn connect_without_time(port: u16) -> Error {
        let (cancel_flag, wakers) = (CancelFlag::default(), Wakers::default());
        let began = now();
        let call = Call::new(began, 0, 0, &cancel_flag, &wakers);
        let address = Address::new("127.0.0.1", port).unwrap();
        let config = Arc::new(Config::new());
        let security = Security::new(&config, Arc::default()).unwrap();
        let endpoint = Endpoint::new(address, config, security, Arc::default());
        let attempt = call.attempt_until(Deadline::after(began, 0));
        Stream::connect(&endpoint, attempt).unwrap_err()
    }

    #[test]
    fn received_refusal_is_reported_after_deadline() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let late = connect_without_time(port);
        assert_eq!(late.code, Code::Timeout, "{late}");
        let message = format!("127.0.0.1:{port} did not accept a connection within ");
        assert!(late.message.contains(&message), "{late}");
        drop(listener);
        // On a busy machine the kernel may delay even a local refusal. Then another try succeeds.
        let refused = (0..100).map(|_| connect_without_time(port));
        let refused = refused.map(|error| error.code);
        assert!(refused.into_iter().any(|code| code == Code::Connect));
    }
}
