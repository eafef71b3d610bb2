//! A TLS session between a socket and its plain text.

use super::error_message::error_message;
use crate::net::sys::{self, Recv};
use rustls::client::ClientConnection;
use std::io::{self, BufRead, Write};
use std::os::fd::RawFd;

/// The number of bytes that are encrypted at once, and so the most that counts as sent before it has been sent.
const MAX_ENCRYPTED: usize = 64 * 1024;
/// The number of encrypted bytes that are received at once. Memory is only touched as far as bytes arrive.
const MAX_RECEIVED: usize = 64 * 1024;

/// A TLS session on a socket.
#[derive(Debug)]
pub struct TlsSession {
    client: ClientConnection,
    /// Encrypted bytes to send, and the number of them that have been sent.
    out: Vec<u8>,
    sent: usize,
    /// Received encrypted bytes, and the number of them that rustls has consumed.
    wire: Vec<u8>,
    fed: usize,
    /// The number of decrypted bytes that rustls holds.
    plain: usize,
    /// The last byte that was encrypted is reported as sent only when everything has been sent.
    is_last_byte_unreported: bool,
    /// The node has sent a close_notify.
    ended: bool,
}

impl TlsSession {
    pub(super) fn new(client: ClientConnection) -> TlsSession {
        TlsSession {
            client,
            out: Vec::new(),
            sent: 0,
            wire: Vec::with_capacity(MAX_RECEIVED),
            fed: 0,
            plain: 0,
            is_last_byte_unreported: false,
            ended: false,
        }
    }

    /// Continues the handshake as far as possible without blocking. True when it is complete.
    pub fn handshake(&mut self, fd: RawFd) -> io::Result<bool> {
        self.collect()?;
        loop {
            match self.flush(fd) {
                Err(e) if e.kind() != io::ErrorKind::WouldBlock => return Err(self.alert_or(fd, e)),
                // The rest of the last message is sent before the first command.
                _ if !self.client.is_handshaking() => return Ok(true),
                _ => {}
            }
            match self.fill(fd, Recv::Now) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => self.feed_all(fd)?,
                Err(e)
                    if matches!(
                        e.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                    ) =>
                {
                    return Ok(false);
                }
                Err(e) => return Err(e),
            }
        }
    }

    /// Whether there are encrypted bytes to send.
    pub fn wants_write(&self) -> bool {
        self.sent < self.out.len()
    }

    /// Whether received bytes, or the end of the stream, are buffered. A poll of the socket does not report them.
    pub fn has_buffered(&self) -> bool {
        self.plain > 0 || self.fed < self.wire.len() || self.ended
    }

    /// Encrypts a part of `bytes`, once all earlier records have been sent, and sends as much as possible without
    /// blocking. Returns how many bytes count as sent.
    ///
    /// A byte counts as sent when it is encrypted, although the node can read it only after its whole record has
    /// arrived: a command that may have run must not be reported as not sent. The last byte is the exception. It counts
    /// when everything has been sent, so that a caller with a byte left knows that it has to wait for the socket.
    pub fn send(&mut self, fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
        if let Err(e) = self.flush(fd) {
            return Err(self.alert_or(fd, e));
        }
        if std::mem::take(&mut self.is_last_byte_unreported) {
            return Ok(1);
        }
        let most = bytes.len().min(MAX_ENCRYPTED);
        let taken = self.client.writer().write(&bytes[..most])?;
        if taken == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.collect()?;
        match self.flush(fd) {
            Ok(()) => Ok(taken),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                self.is_last_byte_unreported = true;
                Ok(taken - 1)
            }
            Err(e) => Err(self.alert_or(fd, e)),
        }
    }

    /// Receives at most `room` bytes into the spare capacity of `buf`. Returns 0 at the end of the stream. Makes one
    /// receive on the socket, and only if nothing is buffered. That may not complete a record: then this fails with
    /// `WouldBlock`.
    pub fn recv(
        &mut self,
        fd: RawFd,
        buf: &mut Vec<u8>,
        room: usize,
        how: Recv,
    ) -> io::Result<usize> {
        let before = buf.len();
        let most = before + room.min(buf.capacity() - before);
        self.take_plain(fd, buf, most)?;
        if buf.len() == before && !self.ended {
            // Not `All`: a part of the room's bytes may have been received already.
            let how = if how == Recv::All { Recv::Some } else { how };
            if self.fill(fd, how)? == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the stream ended without a TLS close_notify",
                ));
            }
            self.take_plain(fd, buf, most)?;
        }
        match buf.len() - before {
            0 if self.ended => Ok(0),
            0 => Err(io::ErrorKind::WouldBlock.into()),
            n => Ok(n),
        }
    }

    /// Moves decrypted bytes to `buf`, until that is `most` bytes long or nothing is left.
    fn take_plain(&mut self, fd: RawFd, buf: &mut Vec<u8>, most: usize) -> io::Result<()> {
        while buf.len() < most {
            if self.plain > 0 {
                let mut reader = self.client.reader();
                let chunk = reader.fill_buf()?;
                let n = chunk.len().min(most - buf.len());
                buf.extend_from_slice(&chunk[..n]);
                reader.consume(n);
                self.plain -= n;
            } else if self.fed < self.wire.len() {
                self.feed(fd)?;
            } else {
                break;
            }
        }
        Ok(())
    }

    /// Receives encrypted bytes, after all earlier ones have been consumed. Returns their number.
    fn fill(&mut self, fd: RawFd, how: Recv) -> io::Result<usize> {
        sys::recv(fd, &mut self.wire, MAX_RECEIVED, how)
    }

    /// Gives received bytes to rustls. It must not hold decrypted bytes.
    fn feed(&mut self, fd: RawFd) -> io::Result<()> {
        let taken = self.client.read_tls(&mut &self.wire[self.fed..])?;
        self.fed += taken;
        // After a close_notify nothing is consumed any more.
        if taken == 0 || self.fed == self.wire.len() {
            self.wire.clear();
            self.fed = 0;
        }
        let outcome = self.client.process_new_packets();
        // An answer to the received messages, or an alert.
        self.collect()?;
        match outcome {
            Ok(state) => {
                self.plain = state.plaintext_bytes_to_read();
                self.ended = state.peer_has_closed();
                Ok(())
            }
            Err(error) => {
                // The alert for the node is sent if it fits. Its failure is less useful than the error itself.
                let _ = self.flush(fd);
                Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    error_message(&error),
                ))
            }
        }
    }

    /// Gives received bytes to rustls until it holds decrypted bytes.
    fn feed_all(&mut self, fd: RawFd) -> io::Result<()> {
        while self.plain == 0 && self.fed < self.wire.len() {
            self.feed(fd)?;
        }
        Ok(())
    }

    /// Takes the records that rustls has encrypted.
    fn collect(&mut self) -> io::Result<()> {
        while self.client.wants_write() {
            self.client.write_tls(&mut self.out)?;
        }
        Ok(())
    }

    /// Sends collected records without blocking.
    fn flush(&mut self, fd: RawFd) -> io::Result<()> {
        while self.sent < self.out.len() {
            match sys::send(fd, &self.out[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        self.out.clear();
        self.sent = 0;
        Ok(())
    }

    /// The alert that the node sent before it closed the connection, or else the error of the send.
    fn alert_or(&mut self, fd: RawFd, error: io::Error) -> io::Error {
        if error.kind() == io::ErrorKind::WouldBlock || self.has_buffered() {
            return error;
        }
        match self.fill(fd, Recv::Now).map(|_| self.feed_all(fd)) {
            Ok(Err(alert)) => alert,
            _ => error,
        }
    }
}
