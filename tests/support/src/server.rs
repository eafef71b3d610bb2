//! A single server without cluster mode, and the code that it shares with cluster nodes.

use crate::admin::{Login, Reply};
use crate::error::{Error, Result, fail};
use crate::find::{self, Found};
use crate::ports::Port;
use crate::process::{Home, Process, SOCKET};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How servers are started, alone or in a cluster.
#[derive(Clone, Debug, Default)]
pub(crate) struct Launch {
    pub server: Option<Found>,
    pub options: Vec<(String, String)>,
    pub admin: Option<(String, String)>,
    pub appendonly: bool,
    /// Certificate, key, authority.
    pub tls: Option<[PathBuf; 3]>,
    /// Each server has its own IP address, 127.0.1.1, 127.0.1.2, ..., for outgoing connections too.
    pub separate_addresses: bool,
}

impl Launch {
    /// The user and password to administer the started servers with.
    pub fn login(&self) -> Option<Login> {
        if let Some((user, password)) = &self.admin {
            return Some(Login {
                user: Some(user.clone()),
                password: password.clone(),
            });
        }
        Some(Login {
            user: None,
            password: self.value("requirepass")?.to_string(),
        })
    }

    fn value(&self, name: &str) -> Option<&str> {
        let named = |(n, _): &&(String, String)| n.eq_ignore_ascii_case(name);
        let found = self.options.iter().rev().find(named)?;
        Some(found.1.trim_matches('"')).filter(|v| !v.is_empty())
    }

    pub fn process(
        &self,
        home: &Home,
        server: &Found,
        name: &str,
        (number, port): (usize, Port),
        bus: Option<Port>,
        extra: &str,
    ) -> Result<Arc<Process>> {
        let host = match self.separate_addresses {
            true => format!("127.0.1.{}", number + 1),
            false => "127.0.0.1".to_string(),
        };
        let mut config = format!(
            "port {}\nbind {host}\nprotected-mode no\ndaemonize no\nlogfile \"\"\n\
             save \"\"\nappendonly {}\nappendfsync no\n\
             repl-diskless-sync yes\nrepl-diskless-sync-delay 0\n{extra}",
            port.number,
            if self.appendonly { "yes" } else { "no" },
        );
        if server.is_7() {
            config += "enable-debug-command yes\n";
            if let Some(bus) = &bus {
                config += &format!("cluster-port {}\n", bus.number);
            }
        }
        if self.separate_addresses {
            let socket = home.path.join(name).join(SOCKET);
            config += &format!("bind-source-addr {host}\nunixsocket {}\n", socket.display());
        }
        let mut tls = None;
        if let Some([certificate, key, ca]) = &self.tls {
            let port = Port::free(false)?.0;
            config += &format!(
                "tls-port {}\ntls-cert-file \"{}\"\ntls-key-file \"{}\"\ntls-ca-cert-file \"{}\"\n\
                 tls-auth-clients no\n",
                port.number,
                certificate.display(),
                key.display(),
                ca.display()
            );
            if bus.is_some() {
                // Without these two options the cluster reports plaintext ports to TLS clients too.
                config += "tls-cluster yes\ntls-replication yes\n";
            }
            tls = Some(port);
        }
        let login = self.login();
        if let Some(login) = &login {
            if let Some(user) = &login.user {
                config += &format!("masteruser {user}\n");
            }
            config += &format!("masterauth \"{}\"\n", login.password);
        }
        for (name, value) in &self.options {
            config += &format!("{name} {value}\n");
        }
        let dir = home.path.join(name);
        let process = Process::new(server, dir, &host, port, bus, tls, login, &config)?;
        Ok(Arc::new(process))
    }
}

/// Redis and Valkey use the same message.
pub(crate) fn is_port_taken(error: &Error) -> bool {
    let words = error.to_string();
    words.contains("Address already in use") || words.contains("Failed listening on")
}

/// Sends a command that must succeed.
pub(crate) fn ask<A: AsRef<[u8]>>(process: &Process, args: &[A]) -> Result<Reply> {
    let reply = process.connect(Duration::from_secs(10))?.command(args)?;
    if reply.is_error() {
        let words = args.iter().take(3);
        let words: Vec<_> = words.map(|a| String::from_utf8_lossy(a.as_ref())).collect();
        let command = words.join(" ");
        fail!("{}: {command}: {}", process.name(), reply.text());
    }
    Ok(reply)
}

/// `cmdstat_get:calls=12,usec=...`
pub(crate) fn calls(process: &Process, command: &str) -> Result<u64> {
    let info = process.info("commandstats")?;
    let name = format!("cmdstat_{}", command.to_ascii_lowercase());
    let calls = crate::process::info_field(&info, &name).and_then(|stats| {
        stats
            .strip_prefix("calls=")?
            .split(',')
            .next()?
            .parse()
            .ok()
    });
    // A command that was never called has no line.
    Ok(calls.unwrap_or(0))
}

/// `user:password@`, percent-encoded, or nothing.
pub(crate) fn url_login(login: &Option<Login>) -> String {
    let encode = |text: &str| -> String {
        text.bytes()
            .map(|b| match b {
                b if b.is_ascii_alphanumeric() || b"-._~".contains(&b) => (b as char).to_string(),
                b => format!("%{b:02X}"),
            })
            .collect()
    };
    match login {
        Some(login) => {
            let user = login.user.as_deref().unwrap_or_default();
            format!("{}:{}@", encode(user), encode(&login.password))
        }
        None => String::new(),
    }
}

/// The name of the folder of a single server.
const SERVER: &str = "server";

/// The configuration of a server. See [`Server::builder`].
#[derive(Clone, Debug, Default)]
pub struct ServerBuilder {
    launch: Launch,
    port: Option<u16>,
    has_socket: bool,
}

impl ServerBuilder {
    /// This port instead of a free one.
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Adds a line to the configuration. With `requirepass` the server is administered with that password.
    pub fn option(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.launch.options.push((name.into(), value.into()));
        self
    }

    /// It also listens at a unix socket. See [`Server::socket`].
    pub fn unix_socket(mut self) -> Self {
        self.has_socket = true;
        self
    }

    /// It also listens for TLS, with this certificate and key (PEM files) and the authority `ca`. Client certificates
    /// are not required unless `.option("tls-auth-clients", "yes")` is set. See [`Server::tls_port`].
    pub fn tls(
        mut self,
        certificate: impl AsRef<Path>,
        key: impl AsRef<Path>,
        ca: impl AsRef<Path>,
    ) -> Self {
        let files = [certificate.as_ref(), key.as_ref(), ca.as_ref()];
        self.launch.tls = Some(files.map(Path::to_path_buf));
        self
    }

    /// Uses this server program instead of the one that [`find::server`] finds.
    pub fn server(mut self, found: Found) -> Self {
        self.launch.server = Some(found);
        self
    }

    /// Starts it and waits until it answers.
    pub fn start(self) -> Result<Server> {
        let found = match &self.launch.server {
            Some(found) => found.clone(),
            None => find::server()?,
        };
        let mut attempts = if self.port.is_none() { 5 } else { 1 };
        loop {
            attempts -= 1;
            let port = match self.port {
                Some(port) => Port::claim(port).ok_or_else(|| {
                    Error::new(format!("port {port} of 127.0.0.1 is taken already"))
                })?,
                None => Port::free(false)?.0,
            };
            let home = Home::new()?;
            let socket = home.path.join(SERVER).join(SOCKET);
            let extra = match self.has_socket {
                true => format!("unixsocket {}\n", socket.display()),
                false => String::new(),
            };
            let process = self
                .launch
                .process(&home, &found, SERVER, (0, port), None, &extra)?;
            home.add(process.clone());
            process.start()?;
            match process.wait_ready(Instant::now() + Duration::from_secs(10)) {
                Err(e) if attempts > 0 && is_port_taken(&e) => continue,
                Err(e) => return Err(e),
                Ok(()) => return Ok(Server { home, process }),
            }
        }
    }
}

/// One server without cluster mode; it stops when it is dropped.
#[derive(Debug)]
pub struct Server {
    home: Arc<Home>,
    process: Arc<Process>,
}

impl Server {
    /// A server with default settings.
    pub fn builder() -> ServerBuilder {
        ServerBuilder::default()
    }

    /// Starts [`Server::builder`] with its defaults.
    pub fn start() -> Result<Server> {
        Server::builder().start()
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.process.port.number
    }

    /// Its TLS port, if it was built with TLS.
    pub fn tls_port(&self) -> Option<u16> {
        self.process.tls.as_ref().map(|port| port.number)
    }

    /// The path of its socket, if it was built with one.
    pub fn socket(&self) -> PathBuf {
        self.home.path.join(SERVER).join(SOCKET)
    }

    /// `127.0.0.1:7000`
    pub fn address(&self) -> String {
        self.process.name()
    }

    /// `redis://127.0.0.1:7000`, with the password if there is one.
    pub fn url(&self) -> String {
        let login = url_login(&self.process.login);
        format!("redis://{login}{}", self.process.name())
    }

    /// Its process id, unless it was killed.
    pub fn pid(&self) -> Option<u32> {
        self.process.pid()
    }

    /// Sends one command on a new connection.
    pub fn command<A: AsRef<[u8]>>(&self, args: &[A]) -> Result<Reply> {
        self.process.connect(Duration::from_secs(5))?.command(args)
    }

    /// The number of calls of a command since the start or `CONFIG RESETSTAT`.
    pub fn commandstats(&self, command: &str) -> Result<u64> {
        calls(&self.process, command)
    }

    /// `kill -9`.
    pub fn kill(&self) {
        self.process.kill();
    }

    /// SIGSTOP.
    pub fn stop(&self) -> Result<()> {
        self.process.pause(true)
    }

    /// SIGCONT.
    pub fn cont(&self) -> Result<()> {
        self.process.pause(false)
    }

    /// Starts it again on its port, and kills it first if it runs.
    pub fn restart(&self) -> Result<()> {
        self.process.kill();
        self.process.start()?;
        let deadline = Instant::now() + Duration::from_secs(10);
        self.process.wait_ready(deadline)
    }

    /// Stops it and removes its files; Drop does the same.
    pub fn end(&self) {
        self.home.end();
    }
}
