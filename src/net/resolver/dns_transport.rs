//! Sockets to a name server: UDP, and TCP for answers that UDP truncates. Nothing blocks outside a deadline.

use crate::error::Error;
use crate::net::sys::{self, CountedSocket, Recv};
use crate::net::wait::Attempt;
use socket2::{Domain, Protocol, Socket};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

/// Why an exchange over TCP failed.
pub(super) enum TcpError {
    /// The server is unreachable, silent, or closed the connection early. Another may answer.
    Failed(String),
    /// The call was cancelled.
    Call(Error),
}

impl From<io::Error> for TcpError {
    fn from(error: io::Error) -> TcpError {
        TcpError::Failed(error.to_string())
    }
}

/// A non-blocking socket that receives from one peer only. Nothing is sent; without a route to the peer it fails.
pub(super) fn udp_socket(peer: SocketAddr) -> io::Result<CountedSocket<UdpSocket>> {
    let any: SocketAddr = match peer {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(peer)?;
    socket.set_nonblocking(true)?;
    Ok(CountedSocket(socket))
}

/// Sends one message over a new TCP connection and receives one (RFC 1035, 4.2.2: each after its length in two bytes).
pub(super) fn exchange_tcp(
    server: SocketAddr,
    message: &[u8],
    attempt: Attempt<'_>,
) -> Result<Vec<u8>, TcpError> {
    let connection = TcpConnection::open(server, attempt)?;
    let mut bytes = (message.len() as u16).to_be_bytes().to_vec();
    bytes.extend_from_slice(message);
    connection.send(&bytes)?;
    let mut received = Vec::new();
    loop {
        if let [high, low, answer @ ..] = &received[..] {
            let size = usize::from(u16::from_be_bytes([*high, *low]));
            if let Some(answer) = answer.get(..size) {
                return Ok(answer.to_vec());
            }
        }
        connection.receive(&mut received)?;
    }
}

struct TcpConnection<'a> {
    socket: CountedSocket<Socket>,
    attempt: Attempt<'a>,
}

impl<'a> TcpConnection<'a> {
    fn open(server: SocketAddr, attempt: Attempt<'a>) -> Result<TcpConnection<'a>, TcpError> {
        let socket = sys::new_stream_socket(Domain::for_address(server), Some(Protocol::TCP))?;
        let socket = CountedSocket(socket);
        let connection = TcpConnection { socket, attempt };
        match sys::connect(&connection.socket, server) {
            Err(e) if e.raw_os_error() == Some(libc::EINPROGRESS) => {
                connection.wait(sys::OUT)?;
                sys::connect_result(&connection.socket)?;
            }
            outcome => outcome?,
        }
        Ok(connection)
    }

    fn send(&self, mut bytes: &[u8]) -> Result<(), TcpError> {
        while !bytes.is_empty() {
            match sys::send(self.socket.as_raw_fd(), bytes) {
                Ok(sent) => bytes = bytes.get(sent..).unwrap_or_default(),
                Err(e) if is_temporary(&e) => self.wait(sys::OUT)?,
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    /// Appends what has arrived, at least one byte.
    fn receive(&self, received: &mut Vec<u8>) -> Result<(), TcpError> {
        const CHUNK: usize = 4096;
        loop {
            self.wait(sys::IN)?;
            received.reserve(CHUNK);
            match sys::recv(self.socket.as_raw_fd(), received, CHUNK, Recv::Now) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok(_) => return Ok(()),
                Err(e) if is_temporary(&e) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    fn wait(&self, events: i16) -> Result<(), TcpError> {
        let mut fds = [
            sys::interest(self.socket.as_raw_fd(), events),
            sys::interest(-1, 0),
        ];
        match self.attempt.wait(&mut fds) {
            Ok(true) => Ok(()),
            Ok(false) => Err(TcpError::Failed("no answer in time".to_string())),
            Err(error) => Err(TcpError::Call(error)),
        }
    }
}

/// Whether the socket was not ready, or a signal arrived.
pub(super) fn is_temporary(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
