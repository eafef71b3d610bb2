//! A separate small RESP2 client, so that a bug of the tested library cannot hide in the test tool.

use crate::error::{Error, Result};
use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// One decoded RESP2 reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// `+OK`
    Status(String),
    /// `-ERR ...`, without the dash
    Error(String),
    /// `:1`
    Int(i64),
    /// `$3 foo`
    Bulk(Vec<u8>),
    /// `$-1` or `*-1`
    Nil,
    /// `*2 ...`
    Array(Vec<Reply>),
}

impl Reply {
    /// The text of a status, error or string; the digits of an integer; nothing for the rest.
    pub fn text(&self) -> String {
        match self {
            Reply::Status(s) | Reply::Error(s) => s.clone(),
            Reply::Int(n) => n.to_string(),
            Reply::Bulk(b) => String::from_utf8_lossy(b).into_owned(),
            Reply::Nil | Reply::Array(_) => String::new(),
        }
    }

    /// Whether it is an error.
    pub fn is_error(&self) -> bool {
        matches!(self, Reply::Error(_))
    }

    /// The elements of an array; none for the rest.
    pub fn elements(&self) -> &[Reply] {
        match self {
            Reply::Array(items) => items,
            _ => &[],
        }
    }
}

/// As redis-cli writes it, one line per element. Strings are quoted, so that no value looks like a line of the control
/// protocol.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reply::Status(s) => f.write_str(s),
            Reply::Error(s) => write!(f, "(error) {s}"),
            Reply::Int(n) => write!(f, "{n}"),
            Reply::Bulk(b) => f.write_str(&crate::words::quote(b)),
            Reply::Nil => f.write_str("(nil)"),
            Reply::Array(items) if items.is_empty() => f.write_str("(empty)"),
            Reply::Array(items) => {
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        f.write_str("\n")?;
                    }
                    write!(f, "{item}")?;
                }
                Ok(())
            }
        }
    }
}

/// Name and password of the user that administers the servers.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    pub user: Option<String>,
    pub password: String,
}

/// A blocking connection to one server.
pub struct Admin {
    address: String,
    stream: BufReader<Box<dyn Wire>>,
}

trait Wire: io::Read + io::Write + Send {}

impl Wire for TcpStream {}
impl Wire for UnixStream {}

impl Admin {
    /// Connects to `127.0.0.1:port`; `wait` limits the connect and every read.
    pub fn connect(port: u16, wait: Duration) -> Result<Admin> {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let open = || -> io::Result<TcpStream> {
            let stream = TcpStream::connect_timeout(&address, wait)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(wait))?;
            stream.set_write_timeout(Some(wait))?;
            Ok(stream)
        };
        match open() {
            Ok(stream) => Ok(Admin::over(address.to_string(), stream)),
            Err(e) => Err(Error::new(format!("{address}: cannot connect: {e}"))),
        }
    }

    /// As [`Admin::connect`], over a Unix socket, which network faults do not affect.
    pub(crate) fn connect_unix(path: &Path, wait: Duration) -> Result<Admin> {
        let open = || -> io::Result<UnixStream> {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(wait))?;
            stream.set_write_timeout(Some(wait))?;
            Ok(stream)
        };
        let name = path.display().to_string();
        match open() {
            Ok(stream) => Ok(Admin::over(name, stream)),
            Err(e) => Err(Error::new(format!("{name}: cannot connect: {e}"))),
        }
    }

    fn over(address: String, stream: impl Wire + 'static) -> Admin {
        Admin {
            address,
            stream: BufReader::new(Box::new(stream)),
        }
    }

    pub(crate) fn login(&mut self, login: &Login) -> Result<()> {
        let reply = match &login.user {
            Some(user) => self.command(&["AUTH", user, &login.password])?,
            None => self.command(&["AUTH", &login.password])?,
        };
        match reply {
            Reply::Error(e) => Err(Error::new(format!("{}: AUTH: {e}", self.address))),
            _ => Ok(()),
        }
    }

    /// Sends one command and reads its reply. An error reply is a reply; after `Err` the connection is unusable.
    pub fn command<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Result<Reply> {
        let exchange = |stream: &mut BufReader<Box<dyn Wire>>| -> io::Result<Reply> {
            stream.get_mut().write_all(&encode(args))?;
            read_reply(stream)
        };
        exchange(&mut self.stream).map_err(|e| {
            let name = args.first().map(|a| String::from_utf8_lossy(a.as_ref()));
            let why = match e.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "no answer in time".into(),
                io::ErrorKind::UnexpectedEof => "the server closed the connection".into(),
                _ => e.to_string(),
            };
            Error::new(format!(
                "{}: {}: {why}",
                self.address,
                name.unwrap_or_default()
            ))
        })
    }
}

/// A command as RESP bytes.
pub fn encode<A: AsRef<[u8]>>(args: &[A]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        let arg = arg.as_ref();
        out.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
    out
}

fn read_reply(stream: &mut impl BufRead) -> io::Result<Reply> {
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("not RESP2: {what}"));
    let mut line = Vec::new();
    stream.read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let line = String::from_utf8_lossy(&line);
    let (Some(kind), Some(rest)) = (line.get(..1), line.trim_end().get(1..)) else {
        return Err(bad(&line));
    };
    let number = || rest.parse::<i64>().map_err(|_| bad(&line));
    Ok(match kind {
        "+" => Reply::Status(rest.to_string()),
        "-" => Reply::Error(rest.to_string()),
        ":" => Reply::Int(number()?),
        "$" => match usize::try_from(number()?) {
            Ok(len) => {
                let mut bytes = vec![0; len + 2];
                stream.read_exact(&mut bytes)?;
                bytes.truncate(len);
                Reply::Bulk(bytes)
            }
            Err(_) => Reply::Nil,
        },
        "*" => match usize::try_from(number()?) {
            Ok(len) => Reply::Array(
                (0..len)
                    .map(|_| read_reply(stream))
                    .collect::<io::Result<_>>()?,
            ),
            Err(_) => Reply::Nil,
        },
        _ => return Err(bad(&line)),
    })
}
