//! TLS: what it takes to begin it, and the session between a socket and its plain text.
//!
//! The session never waits: it sends what fits and receives what has come, like the socket under it. Records are
//! encrypted into a buffer of ours and sent from there, because what rustls would do with a socket itself can raise
//! SIGPIPE in the host.
//!
//! No close_notify is sent when a connection is dropped: a forked child that drops what its parent uses would end the
//! parent's session with it. Nothing is lost, since RESP says by itself what is whole.

use crate::config::{Config, Secret};
use crate::error::{Code, Error, Result};
use crate::net::sys::{self, Recv};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, ClientConnection, Resumption};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    AlertDescription, CertificateError, DigitallySignedStruct, InconsistentKeys, RootCertStore,
    SignatureScheme,
};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufRead, Read, Write as _};
use std::os::fd::RawFd;
use std::sync::Arc;
use zeroize::Zeroize;

/// Plain text that is encrypted in one go, and so the most that counts as sent before it has left.
const PLAIN: usize = 64 * 1024;
/// Encrypted bytes that are received in one go. MemoryBudget is touched only as far as bytes come.
const WIRE: usize = 64 * 1024;
/// A larger file is none of certificates.
const FILE: u64 = 16 * 1024 * 1024;
/// Sessions that are kept to be resumed: those of one node.
const SESSIONS: usize = 8;

/// Certificates, key and rules, as the options say.
#[derive(Clone, Debug)]
pub struct Tls {
    config: Arc<ClientConfig>,
    /// In place of every node's own.
    name: Option<ServerName<'static>>,
}

impl Tls {
    /// Reads the files that the options name; nothing where TLS is not asked for.
    pub fn load(config: &Config) -> Result<Option<Tls>> {
        if !config.tls {
            return Ok(None);
        }
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|e| Error::invalid(format_args!("TLS cannot be used: {e}")))?;
        let builder = if config.tls_insecure_skip_verify {
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        } else {
            builder.with_root_certificates(authorities(config)?)
        };
        let mut client = match (&config.tls_cert_file, &config.tls_key_file) {
            (Some(chain), Some(key)) => {
                builder.with_client_cert_resolver(Arc::new(identity(chain, key)?))
            }
            _ => builder.with_no_client_auth(),
        };
        // Each node has its own, see `of_peer`.
        client.resumption = Resumption::disabled();
        Ok(Some(Tls {
            config: Arc::new(client),
            name: match &config.tls_server_name {
                Some(host) => Some(name_of(host).ok_or_else(|| {
                    Error::invalid("option tls_server_name: no certificate can carry that name")
                })?),
                None => None,
            },
        }))
    }

    /// The same for one node, with sessions to be resumed that no other node and no other process knows: a forked
    /// child must not wait for a lock that its parent held.
    pub fn of_peer(&self) -> Tls {
        let mut config = ClientConfig::clone(&self.config);
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        Tls {
            config: Arc::new(config),
            name: self.name.clone(),
        }
    }

    /// A session with the node that is reached at `host`.
    pub fn begin(&self, host: &str) -> Result<Box<Session>> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => name_of(host).ok_or_else(|| {
                let why = "is no name that a certificate can carry: see tls_server_name";
                Error::new(Code::Tls, format_args!("{host:?} {why}"))
            })?,
        };
        let client = ClientConnection::new(self.config.clone(), name)
            .map_err(|e| Error::new(Code::Tls, format_args!("no session can begin: {e}")))?;
        Ok(Box::new(Session {
            client,
            out: Vec::new(),
            sent: 0,
            wire: Vec::with_capacity(WIRE),
            fed: 0,
            plain: 0,
            uncounted: false,
            ended: false,
        }))
    }
}

/// A host as certificates name it.
fn name_of(host: &str) -> Option<ServerName<'static>> {
    // The scope of an IPv6 address is a matter of this machine.
    let bare = host.split('%').next().unwrap_or(host);
    ServerName::try_from(bare.to_owned()).ok()
}

// ---- Files ---------------------------------------------------------------------------------------

/// An option's file is not what it should be. Never what is in it: that may be a key.
fn bad_file(option: &str, path: &str, why: impl std::fmt::Display) -> Error {
    Error::invalid(format_args!("option {option}: {path:?} {why}"))
}

fn read(option: &str, path: &str) -> Result<Secret> {
    let bad = |why: &dyn std::fmt::Display| bad_file(option, path, why);
    let cannot = |e: io::Error| bad(&format_args!("cannot be read: {e}"));
    // To open a pipe might wait for ever.
    let about = std::fs::metadata(path).map_err(cannot)?;
    if !about.is_file() {
        return Err(bad(&"is not a file"));
    }
    if about.len() > FILE {
        return Err(bad(&"is too long to be a file of certificates"));
    }
    let mut text = String::with_capacity(about.len() as usize + 1);
    let read = File::open(path).and_then(|f| f.take(FILE).read_to_string(&mut text));
    let text = Secret::from(text);
    match read {
        Ok(_) => Ok(text),
        Err(e) if e.kind() == io::ErrorKind::InvalidData => Err(bad(&"is no PEM file: not text")),
        Err(e) => Err(cannot(e)),
    }
}

fn certificates(option: &str, path: &str) -> Result<Vec<CertificateDer<'static>>> {
    let text = read(option, path)?;
    let found: std::result::Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(text.reveal().as_bytes()).collect();
    match found {
        Ok(found) if found.is_empty() => Err(bad_file(option, path, "holds no PEM certificate")),
        Ok(found) => Ok(found),
        Err(_) => Err(bad_file(option, path, "is a damaged PEM file")),
    }
}

/// Our own certificate and its key.
fn identity(chain_path: &str, key_path: &str) -> Result<SingleCertAndKey> {
    const OPTION: &str = "tls_key_file";
    let chain = certificates("tls_cert_file", chain_path)?;
    let text = read(OPTION, key_path)?;
    let mut key = PrivateKeyDer::from_pem_slice(text.reveal().as_bytes()).map_err(|e| {
        let why = match e {
            pem::Error::NoItemsFound => {
                "holds no PEM private key (one with a passphrase cannot be used)"
            }
            _ => "is a damaged PEM file",
        };
        bad_file(OPTION, key_path, why)
    })?;
    let signing = ring::sign::any_supported_type(&key);
    key.zeroize();
    // No word of the error: it might be about the key.
    let signing = signing.map_err(|_| {
        let why = "has a key that cannot be used (RSA from 2048 bits, P-256, P-384 or Ed25519 can)";
        bad_file(OPTION, key_path, why)
    })?;
    let ours = CertifiedKey::new(chain, signing);
    match ours.keys_match() {
        Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => Err(bad_file(
            OPTION,
            key_path,
            "is not the key of the certificate in tls_cert_file",
        )),
        // Of a kind of key that cannot be compared the node is the judge.
        Ok(()) | Err(rustls::Error::InconsistentKeys(_)) => Ok(SingleCertAndKey::from(ours)),
        Err(_) => Err(bad_file(
            "tls_cert_file",
            chain_path,
            "begins with a certificate that cannot be read",
        )),
    }
}

/// Who may sign the nodes' certificates.
fn authorities(config: &Config) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let Some(path) = &config.tls_ca_file else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err(Error::invalid(
                "this system has no certificates of authorities: set tls_ca_file",
            ));
        }
        return Ok(roots);
    };
    for (at, certificate) in certificates("tls_ca_file", path)?.into_iter().enumerate() {
        roots.add(certificate).map_err(|_| {
            let why = format!("has a certificate that cannot be read, the {}.", at + 1);
            bad_file("tls_ca_file", path, why)
        })?;
    }
    Ok(roots)
}

/// Believes every certificate; that the node has its key is still proved.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

// ---- The session ---------------------------------------------------------------------------------

/// What is between the plain text and a socket.
#[derive(Debug)]
pub struct Session {
    client: ClientConnection,
    /// Encrypted bytes, and how many of them have been sent.
    out: Vec<u8>,
    sent: usize,
    /// Encrypted bytes that were received, and how many of them rustls has taken.
    wire: Vec<u8>,
    fed: usize,
    /// Bytes of plain text that wait to be taken.
    plain: usize,
    /// The last byte that was taken over is counted when all has left.
    uncounted: bool,
    /// The node has said that it sends no more.
    ended: bool,
}

impl Session {
    /// Goes on with the handshake as far as that needs no waiting; true when it is done.
    pub fn shake(&mut self, fd: RawFd) -> io::Result<bool> {
        self.collect()?;
        loop {
            match self.flush(fd) {
                Err(e) if e.kind() != io::ErrorKind::WouldBlock => return Err(self.reason(fd, e)),
                // What is left of the last message goes before the first command.
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

    /// Whether the handshake has something to be sent.
    pub fn owes(&self) -> bool {
        self.sent < self.out.len()
    }

    /// Whether there may be plain text that no poll of the socket tells of.
    pub fn has_buffered(&self) -> bool {
        self.plain > 0 || self.fed < self.wire.len()
    }

    /// Takes over some of `bytes`, once all before them has left, and sends what fits; returns how many count as sent.
    ///
    /// They do when they are taken over, although the node cannot read one before its record has arrived as a whole:
    /// whether a command has run is only ever answered on the safe side. The last byte is the exception. It counts
    /// when everything has left, so that whoever has a byte to send knows that there is something to wait for.
    pub fn send(&mut self, fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
        if let Err(e) = self.flush(fd) {
            return Err(self.reason(fd, e));
        }
        if std::mem::take(&mut self.uncounted) {
            return Ok(1);
        }
        let most = bytes.len().min(PLAIN);
        let taken = self.client.writer().write(&bytes[..most])?;
        if taken == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.collect()?;
        match self.flush(fd) {
            Ok(()) => Ok(taken),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                self.uncounted = true;
                Ok(taken - 1)
            }
            Err(e) => Err(self.reason(fd, e)),
        }
    }

    /// Receives into the spare capacity of `buf`, `room` bytes at most; 0 is the end. The socket is asked once, and
    /// only when nothing is held; what comes may be too little to be read.
    pub fn recv(
        &mut self,
        fd: RawFd,
        buf: &mut Vec<u8>,
        room: usize,
        how: Recv,
    ) -> io::Result<usize> {
        let before = buf.len();
        let most = before + room.min(buf.capacity() - before);
        self.take(fd, buf, most)?;
        if buf.len() == before && !self.ended {
            // To wait for all of the room would be to wait for more than is on its way: a part may be here already.
            let how = if how == Recv::All { Recv::Some } else { how };
            if self.fill(fd, how)? == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "it ended without a close_notify of TLS",
                ));
            }
            self.take(fd, buf, most)?;
        }
        match buf.len() - before {
            0 if self.ended => Ok(0),
            0 => Err(io::ErrorKind::WouldBlock.into()),
            n => Ok(n),
        }
    }

    /// Moves plain text to `buf`, until that is `most` bytes long or nothing is left.
    fn take(&mut self, fd: RawFd, buf: &mut Vec<u8>, most: usize) -> io::Result<()> {
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

    /// Receives encrypted bytes, all earlier ones having been taken; returns how many.
    fn fill(&mut self, fd: RawFd, how: Recv) -> io::Result<usize> {
        sys::recv(fd, &mut self.wire, WIRE, how)
    }

    /// Gives rustls some of what was received. There must be no plain text that waits.
    fn feed(&mut self, fd: RawFd) -> io::Result<()> {
        let taken = self.client.read_tls(&mut &self.wire[self.fed..])?;
        self.fed += taken;
        // Behind the end nothing is taken any more.
        if taken == 0 || self.fed == self.wire.len() {
            self.wire.clear();
            self.fed = 0;
        }
        let outcome = self.client.process_new_packets();
        // An answer to what was received, or the alert that says what is wrong with it.
        self.collect()?;
        match outcome {
            Ok(state) => {
                self.plain = state.plaintext_bytes_to_read();
                self.ended = state.peer_has_closed();
                Ok(())
            }
            Err(error) => {
                // The node hears the reason if there is room for it. Ours is the better one.
                let _ = self.flush(fd);
                Err(io::Error::new(io::ErrorKind::InvalidData, words(&error)))
            }
        }
    }

    fn feed_all(&mut self, fd: RawFd) -> io::Result<()> {
        while self.plain == 0 && self.fed < self.wire.len() {
            self.feed(fd)?;
        }
        Ok(())
    }

    /// Takes the records that rustls has made.
    fn collect(&mut self) -> io::Result<()> {
        while self.client.wants_write() {
            self.client.write_tls(&mut self.out)?;
        }
        Ok(())
    }

    /// Sends what has been collected, as far as it fits.
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

    /// Why nothing more can be sent: a node that refuses us says so before it hangs up.
    fn reason(&mut self, fd: RawFd, error: io::Error) -> io::Error {
        if error.kind() == io::ErrorKind::WouldBlock || self.has_buffered() {
            return error;
        }
        match self.fill(fd, Recv::Now).map(|_| self.feed_all(fd)) {
            Ok(Err(reason)) => reason,
            _ => error,
        }
    }
}

/// What rustls found, as words about the node.
fn words(error: &rustls::Error) -> String {
    use rustls::Error as E;
    let certificate = |what: &str| format!("showed a certificate that {what}");
    match error {
        E::InvalidCertificate(why) => match why {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                certificate("has expired")
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                certificate("is not valid yet")
            }
            CertificateError::UnknownIssuer => {
                certificate("no authority we trust has signed (see tls_ca_file)")
            }
            CertificateError::NotValidForName => certificate("is for another name"),
            CertificateError::NotValidForNameContext {
                expected,
                presented,
            } => {
                let mut what = format!("is not for {}, but for ", expected.to_str());
                match presented.as_slice() {
                    [] => what += "nobody (it names no subjectAltName)",
                    names => {
                        // The list may be as long as the node likes.
                        let _ = write!(what, "{:.200}", names.join(", "));
                    }
                }
                certificate(&what)
            }
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                certificate("is not one for servers")
            }
            // Among them an authority's own certificate, which is none for a server.
            other => certificate(&format!("cannot be used: {other}")),
        },
        E::AlertReceived(alert) => match alert {
            AlertDescription::CertificateRequired => {
                "wants a certificate of ours (see tls_cert_file)".to_owned()
            }
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::AccessDenied => {
                format!("does not accept our certificate ({alert:?}; see tls_cert_file)")
            }
            // What OpenSSL says to TLS 1.2 without the certificate that it wants, among others.
            AlertDescription::HandshakeFailure => {
                "refused the handshake: it may want a certificate of ours (see tls_cert_file)"
                    .to_owned()
            }
            other => format!("ended the session with the alert {other:?}"),
        },
        E::InvalidMessage(_) => "sent what is no TLS (is it a port for plain text?)".to_owned(),
        E::DecryptError => "sent a record that has been damaged on its way".to_owned(),
        other => format!("and we found no common ground in TLS: {other}"),
    }
}
