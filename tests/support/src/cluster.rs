//! A real cluster, formed without redis-cli, which the Python wheels do not contain.

use crate::admin::Reply;
use crate::error::{Error, Result, fail};
use crate::find::{self, Found};
use crate::ports::Port;
use crate::process::{Home, Process, info_field};
use crate::server::{self, Launch};
use crate::slot::SLOTS;
use crate::view::View;
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The longest time that an operation of a healthy cluster may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
const TICK: Duration = Duration::from_millis(15);
/// A failover, or a greater epoch, is ordered again after this time.
const AGAIN: Duration = Duration::from_secs(3);
/// How much longer than the servers do we regard an election as recent.
const MARGIN: Duration = Duration::from_millis(200);

/// The configuration of a cluster. See [`Cluster::builder`].
#[derive(Clone, Debug)]
pub struct ClusterBuilder {
    launch: Launch,
    primaries: usize,
    replicas: usize,
    node_timeout_ms: u32,
    ports: Vec<u16>,
}

impl ClusterBuilder {
    /// The number of primaries, by default 3. A failover needs three: a majority votes.
    pub fn primaries(mut self, n: usize) -> Self {
        self.primaries = n;
        self
    }

    /// The number of replicas of each primary, by default 1.
    pub fn replicas(mut self, n: usize) -> Self {
        self.replicas = n;
        self
    }

    /// `cluster-node-timeout`, by default 1000 ms.
    pub fn node_timeout_ms(mut self, ms: u32) -> Self {
        self.node_timeout_ms = ms;
        self
    }

    /// These ports instead of free ones: one per node, primaries first.
    pub fn ports(mut self, ports: impl Into<Vec<u16>>) -> Self {
        self.ports = ports.into();
        self
    }

    /// Gives each node its own IP address, 127.0.1.1 and so on, for its connections to other nodes too, so that packet
    /// rules can distinguish the nodes; clients are 127.0.0.1. The nodes are administered over Unix sockets, which network
    /// faults do not affect.
    pub fn separate_addresses(mut self) -> Self {
        self.launch.separate_addresses = true;
        self
    }

    /// Append-only files (fsync by the kernel): nodes keep their data across a restart.
    pub fn appendonly(mut self, on: bool) -> Self {
        self.launch.appendonly = on;
        self
    }

    /// Adds a line to the configuration of every node: `.option("maxmemory", "10mb")`, `.option("user", "alice on
    /// >secret ~* +@all")`. `requirepass` also sets `masterauth`, and the nodes are administered with that password.
    pub fn option(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.launch.options.push((name.into(), value.into()));
        self
    }

    /// Administers the nodes as this ACL user, if the default user may not.
    pub fn admin(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.launch.admin = Some((user.into(), password.into()));
        self
    }

    /// Every node also listens for TLS, with this certificate and key (PEM files) and the authority `ca`, and the
    /// cluster reports TLS ports to clients. Client certificates are not required unless `.option("tls-auth-clients",
    /// "yes")` is set. See [`Node::tls_port`].
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

    /// Starts the servers, joins them, and waits until all nodes agree and all replicas have caught up. This takes two
    /// to three seconds, of which a server waits 2 s before it reports a new cluster as ok.
    pub fn start(self) -> Result<Cluster> {
        let nodes = self.primaries * (1 + self.replicas);
        if self.primaries == 0 || nodes > 100 {
            fail!("a cluster has 1 to 100 nodes, not {nodes}");
        }
        if !self.ports.is_empty() && self.ports.len() != nodes {
            let given = self.ports.len();
            fail!("{nodes} nodes need {nodes} ports, {given} were given");
        }
        let server = match &self.launch.server {
            Some(found) => found.clone(),
            None => find::server()?,
        };
        // Another process may take a free port before the server binds it.
        let mut attempts = if self.ports.is_empty() { 5 } else { 1 };
        loop {
            attempts -= 1;
            // Redis 7.0.15 may crash while a cluster forms over TLS: it asserts (cluster.c:2322) that a bus connection
            // still has the address of its peer when a packet is processed.
            let forms_in_vain = self.launch.tls.is_some();
            match self.start_on(&server, nodes) {
                Err(e) if attempts > 0 && (server::is_port_taken(&e) || forms_in_vain) => continue,
                done => return done,
            }
        }
    }

    /// The configuration lines that make a server a cluster node.
    fn extra(&self) -> String {
        format!(
            "cluster-enabled yes\ncluster-config-file nodes.conf\ncluster-node-timeout {}\n\
             repl-ping-replica-period 1\n",
            self.node_timeout_ms
        )
    }

    fn start_on(&self, server: &Found, count: usize) -> Result<Cluster> {
        let home = Home::new()?;
        let mut nodes = Vec::new();
        for index in 0..count {
            let (port, bus) = match self.ports.get(index) {
                Some(&number) => {
                    let taken =
                        || Error::new(format!("port {number} of 127.0.0.1 is taken already"));
                    let bus = match (server.is_7(), number.checked_add(10000)) {
                        (true, _) => Some(Port::free(false)?.0),
                        (false, Some(above)) => Some(Port::claim(above).ok_or_else(|| {
                            Error::new(format!("cluster bus port {above} is taken already"))
                        })?),
                        (false, None) => fail!("{server} needs ports below 55536, not {number}"),
                    };
                    (Port::claim(number).ok_or_else(taken)?, bus)
                }
                None if server.is_7() => (Port::free(false)?.0, Some(Port::free(false)?.0)),
                None => Port::free(true)?,
            };
            let name = format!("node{index}");
            let process =
                self.launch
                    .process(&home, server, &name, (index, port), bus, &self.extra())?;
            home.add(process.clone());
            nodes.push(process);
        }
        let mut cluster = Cluster {
            home,
            nodes: Vec::new(),
            builder: self.clone(),
            server: server.clone(),
            login: self.launch.login(),
            elections: Mutex::default(),
        };
        for process in &nodes {
            process.start()?;
        }
        let deadline = Instant::now() + PATIENCE;
        for process in nodes {
            process.wait_ready(deadline)?;
            let id = cluster
                .ask(&process, &["CLUSTER", "MYID"])
                .map(|r| r.text())?;
            cluster.nodes.push((id, process));
        }
        cluster.form(deadline)?;
        Ok(cluster)
    }
}

/// One node of a cluster. Its role can change, and a restart changes its process id; the rest is constant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its plaintext port, on 127.0.0.1.
    pub port: u16,
    /// Its TLS port, if the cluster was built with TLS.
    pub tls_port: Option<u16>,
    /// 40 hexadecimal digits.
    pub id: String,
    /// `127.0.0.1:7000`
    pub address: String,
    /// Its current role.
    pub role: Role,
    /// The port of its primary, if it is a replica of a known one.
    pub primary: Option<u16>,
    /// Its process id, unless it was killed.
    pub pid: Option<u32>,
}

/// The role of a node, as it reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It serves slots, or may.
    Primary,
    /// It replicates a primary.
    Replica,
    /// It is stopped by SIGSTOP and cannot report its role.
    Stopped,
    /// It has no process.
    Dead,
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Role::Primary => "primary",
            Role::Replica => "replica",
            Role::Stopped => "stopped",
            Role::Dead => "dead",
        })
    }
}

/// How a replica takes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failover {
    /// Coordinated with the primary: no write is lost.
    Plain,
    /// `FORCE`: without the primary, with the votes of the other primaries.
    Force,
    /// `TAKEOVER`: without any vote.
    Takeover,
}

/// Real servers that form a cluster; all of them stop when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    home: Arc<Home>,
    nodes: Vec<(String, Arc<Process>)>,
    builder: ClusterBuilder,
    server: Found,
    login: Option<crate::admin::Login>,
    /// When each replica was ordered to stand for election: see [`Cluster::failover`].
    elections: Mutex<HashMap<u16, Instant>>,
}

impl Cluster {
    /// Three primaries with one replica each, by default.
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder {
            launch: Launch::default(),
            primaries: 3,
            replicas: 1,
            node_timeout_ms: 1000,
            ports: Vec::new(),
        }
    }

    /// Starts [`Cluster::builder`] with its defaults.
    pub fn start() -> Result<Cluster> {
        Cluster::builder().start()
    }

    /// The program that the nodes run.
    pub fn server(&self) -> &Found {
        &self.server
    }

    /// The directory with all files of the cluster, removed at the end.
    pub fn dir(&self) -> &Path {
        &self.home.path
    }

    /// All ports, in start order: the initial primaries first.
    pub fn ports(&self) -> Vec<u16> {
        self.nodes.iter().map(|(_, p)| p.port.number).collect()
    }

    /// `127.0.0.1:7000,127.0.0.1:7001,...`
    pub fn seeds(&self) -> String {
        let names: Vec<_> = self.nodes.iter().map(|(_, p)| p.name()).collect();
        names.join(",")
    }

    /// `redis://127.0.0.1:7000,127.0.0.1:7001,...`, with user and password if set; with TLS `rediss://` and the TLS
    /// ports.
    pub fn url(&self) -> String {
        let tls = self.nodes.iter().all(|(_, p)| p.tls.is_some());
        let address = |p: &Process| match &p.tls {
            Some(port) => format!("{}:{}", p.host, port.number),
            None => p.name(),
        };
        let hosts: Vec<_> = self.nodes.iter().map(|(_, p)| address(p)).collect();
        let scheme = if tls { "rediss" } else { "redis" };
        let login = server::url_login(&self.login);
        format!("{scheme}://{login}{}", hosts.join(","))
    }

    /// The current state of every node, in the order of [`Cluster::ports`].
    pub fn nodes(&self) -> Vec<Node> {
        let port_of = |id: &str| self.nodes.iter().find(|(n, _)| n == id);
        self.nodes
            .iter()
            .map(|(id, process)| {
                let view = self.view(process).ok();
                let me = view.as_ref().and_then(|v| v.myself());
                let primary = me.and_then(|m| m.primary.as_deref());
                Node {
                    port: process.port.number,
                    tls_port: process.tls.as_ref().map(|p| p.number),
                    id: id.clone(),
                    address: process.name(),
                    role: match me {
                        Some(me) if me.is_primary() => Role::Primary,
                        Some(_) => Role::Replica,
                        None if process.exists() => Role::Stopped,
                        None => Role::Dead,
                    },
                    primary: primary.and_then(port_of).map(|(_, p)| p.port.number),
                    pid: process.pid(),
                }
            })
            .collect()
    }

    /// The node with this port.
    pub fn node(&self, port: u16) -> Result<Node> {
        let found = self.nodes().into_iter().find(|n| n.port == port);
        found.ok_or_else(|| unknown(port))
    }

    /// The primary that reports to serve a slot; of several the one with the highest epoch. A dead or stopped primary
    /// serves nothing.
    pub fn primary_of(&self, slot: u16) -> Result<u16> {
        self.owner(slot).map(|(port, _)| port)
    }

    /// The live replicas of the primary that serves a slot.
    pub fn replicas_of(&self, slot: u16) -> Result<Vec<u16>> {
        let port = self.primary_of(slot)?;
        let replicas = self.nodes().into_iter();
        Ok(replicas
            .filter(|n| n.primary == Some(port))
            .map(|n| n.port)
            .collect())
    }

    /// Sends one command to one node, on a new connection.
    pub fn command<A: AsRef<[u8]>>(&self, port: u16, args: &[A]) -> Result<Reply> {
        let mut admin = self.process(port)?.connect(Duration::from_secs(5))?;
        admin.command(args)
    }

    /// `kill -9`; returns when the process is gone.
    pub fn kill(&self, port: u16) -> Result<()> {
        match self.process(port)?.kill() {
            true => Ok(()),
            false => fail!("127.0.0.1:{port} is not running"),
        }
    }

    /// SIGSTOP: the node keeps its connections and answers nothing, until [`Cluster::cont`].
    pub fn stop(&self, port: u16) -> Result<()> {
        self.process(port)?.pause(true)
    }

    /// As [`Cluster::stop`], without a signal: freezes its control group. Fails where no control group can be frozen.
    pub fn freeze(&self, port: u16) -> Result<()> {
        self.process(port)?.freeze()
    }

    /// SIGCONT, and the end of [`Cluster::freeze`].
    pub fn cont(&self, port: u16) -> Result<()> {
        self.process(port)?.pause(false)
    }

    /// Starts a node again with its ports and directory, and kills it first if it runs. Returns when it has loaded its
    /// data; the cluster may still call it failed (see [`Cluster::wait_healthy`]).
    pub fn restart(&self, port: u16) -> Result<()> {
        let process = self.process(port)?;
        process.kill();
        process.start()?;
        process.wait_ready(Instant::now() + PATIENCE)
    }

    /// As [`Cluster::restart`], without cluster support and without data, as a node that has lost its configuration. Its
    /// files are in the directory `alone` of the node. [`Cluster::restart`] ends it.
    pub fn restart_without_cluster(&self, port: u16) -> Result<()> {
        let process = self.process(port)?;
        process.kill();
        let alone = process.dir.join("alone");
        let write = || -> std::io::Result<()> {
            std::fs::create_dir_all(&alone)?;
            // Later lines take precedence. Its former replicas must not get its data.
            let lines = format!(
                "cluster-enabled no\ndir \"{}\"\nrename-command PSYNC \"\"\nrename-command SYNC \"\"\n",
                alone.display()
            );
            let config = std::fs::read_to_string(process.dir.join("server.conf"))?;
            std::fs::write(process.dir.join("alone.conf"), config + &lines)
        };
        write().map_err(|e| Error::new(format!("{}: {e}", alone.display())))?;
        process.start_with("alone.conf")?;
        process.wait_ready(Instant::now() + PATIENCE)
    }

    /// Starts another server of the same kind, unknown to the other nodes, and returns its port.
    pub fn start_node(&mut self) -> Result<u16> {
        let index = self.nodes.len();
        let (port, bus) = match self.server.is_7() {
            true => (Port::free(false)?.0, Some(Port::free(false)?.0)),
            false => Port::free(true)?,
        };
        let (name, number) = (format!("node{index}"), port.number);
        let process = self.builder.launch.process(
            &self.home,
            &self.server,
            &name,
            (index, port),
            bus,
            &self.builder.extra(),
        )?;
        self.home.add(process.clone());
        process.start()?;
        process.wait_ready(Instant::now() + PATIENCE)?;
        let id = self.ask(&process, &["CLUSTER", "MYID"])?.text();
        self.nodes.push((id, process));
        Ok(number)
    }

    /// Adds a server of [`Cluster::start_node`] to the cluster, as a primary without slots, and waits until all nodes know it.
    pub fn meet(&self, port: u16) -> Result<()> {
        let new = self.process(port)?;
        for (_, process) in self
            .nodes
            .iter()
            .filter(|(_, process)| !Arc::ptr_eq(process, new))
        {
            self.order_meeting(process, new)?;
        }
        let all: Vec<_> = self.nodes.iter().map(|(id, _)| id.as_str()).collect();
        self.wait("the nodes do not find each other", || {
            let mut nodes = self.nodes.iter();
            nodes.all(|(_, process)| {
                let info = self.ask(process, &["CLUSTER", "INFO"]);
                info.is_ok_and(|info| info.text().contains("cluster_state:ok"))
                    && self.view(process).is_ok_and(|view| view.is_whole(&all))
            })
        })
    }

    fn order_meeting(&self, process: &Arc<Process>, other: &Process) -> Result<()> {
        // Nodes meet at the port of the cluster's own transport.
        let port = other.tls.as_ref().unwrap_or(&other.port).number.to_string();
        let mut meet = vec!["CLUSTER", "MEET", &other.host, &port];
        let bus = other.bus.as_ref().map(|bus| bus.number.to_string());
        meet.extend(bus.as_deref());
        self.ask(process, &meet).map(drop)
    }

    /// Makes a replica the primary of its shard and waits until all live nodes agree.
    pub fn failover(&self, replica: u16, mode: Failover) -> Result<()> {
        if mode != Failover::Takeover {
            self.wait_election_expired(replica);
        }
        self.order_failover(replica, mode)?;
        let mut ordered = Instant::now();
        self.wait("the replica has not become the primary", || {
            if self.node(replica).is_ok_and(|n| n.role == Role::Primary) {
                return self.agrees();
            }
            if ordered.elapsed() > AGAIN {
                // An error means that it has just become the primary, which the next check sees.
                let _ = self.order_failover(replica, mode);
                ordered = Instant::now();
            }
            false
        })
    }

    /// Waits until a replica that was elected before would ask for new votes: see [`Cluster::remembers_election`].
    fn wait_election_expired(&self, replica: u16) {
        if let Some(left) = self.time_of_votes(replica) {
            std::thread::sleep(left);
        }
        self.note_election(replica);
    }

    /// Notes that a replica is elected now, or asks for votes.
    pub fn note_election(&self, replica: u16) {
        self.elections().insert(replica, Instant::now());
    }

    /// Whether a replica that is ordered to become the primary counts the votes of its election before: it promotes itself
    /// with the old epoch, is demoted again by the primary, whose epoch is newer, and loses the writes in between, while
    /// the primary holds all writes back for seconds (seen with Redis 7.0.15; Valkey 8.1 forgets an election that was won).
    pub fn remembers_election(&self, replica: u16) -> bool {
        self.time_of_votes(replica).is_some()
    }

    /// For how long a replica still counts the votes of an election before.
    fn time_of_votes(&self, replica: u16) -> Option<Duration> {
        let expiry = 4 * Duration::from_millis(u64::from(self.builder.node_timeout_ms.max(1000)));
        let before = self.elections().get(&replica)?.elapsed();
        (expiry + MARGIN).checked_sub(before)
    }

    fn elections(&self) -> MutexGuard<'_, HashMap<u16, Instant>> {
        (self.elections.lock()).unwrap_or_else(PoisonError::into_inner)
    }

    /// Orders a replica to become the primary of its shard. Primaries that voted in another election of the shard a
    /// moment ago may not vote again, and then the failover does not happen.
    pub fn order_failover(&self, replica: u16, mode: Failover) -> Result<()> {
        let how: &[&str] = match mode {
            Failover::Plain => &["CLUSTER", "FAILOVER"],
            Failover::Force => &["CLUSTER", "FAILOVER", "FORCE"],
            Failover::Takeover => &["CLUSTER", "FAILOVER", "TAKEOVER"],
        };
        self.ask(self.process(replica)?, how).map(drop)
    }

    /// Moves a slot with its keys as redis-cli does: key by key.
    pub fn migrate_slot(&self, slot: u16, to: u16) -> Result<()> {
        self.begin_migration(slot, to)?;
        self.finish_migration(slot, to)
    }

    /// Marks a slot as MIGRATING at its primary and IMPORTING at `to`. Until [`Cluster::finish_migration`] the primary
    /// serves the keys that it still has, replies ASK for the others, and TRYAGAIN to a command with both.
    pub fn begin_migration(&self, slot: u16, to: u16) -> Result<()> {
        let (from, from_id) = self.owner(slot)?;
        let (to_id, target) = self.member(to)?;
        if from == to {
            fail!("slot {slot} is at 127.0.0.1:{to} already");
        }
        let slot = slot.to_string();
        self.ask(
            target,
            &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id],
        )?;
        let source = self.process(from)?;
        self.ask(source, &["CLUSTER", "SETSLOT", &slot, "MIGRATING", to_id])?;
        Ok(())
    }

    /// Moves these keys of a slot that [`Cluster::begin_migration`] opened.
    pub fn move_keys<K: AsRef<[u8]>>(&self, slot: u16, to: u16, keys: &[K]) -> Result<()> {
        let (from, _) = self.owner(slot)?;
        let (source, target) = (self.process(from)?, self.process(to)?);
        if keys.is_empty() {
            return Ok(());
        }
        // Between nodes MIGRATE uses the transport of the cluster bus.
        let port = target.tls.as_ref().map_or(to, |tls| tls.number).to_string();
        let mut args: Vec<&[u8]> = vec![b"MIGRATE", target.host.as_bytes(), port.as_bytes()];
        args.extend([&b""[..], b"0", b"5000"]);
        if let Some(login) = &self.login {
            match &login.user {
                Some(user) => args.extend([&b"AUTH2"[..], user.as_bytes()]),
                None => args.push(b"AUTH"),
            }
            args.push(login.password.as_bytes());
        }
        args.push(b"KEYS");
        args.extend(keys.iter().map(AsRef::as_ref));
        match self.ask(source, &args)?.text().as_str() {
            "OK" => Ok(()),
            answer => fail!("127.0.0.1:{from}: MIGRATE: {answer}: no such key in slot {slot}"),
        }
    }

    /// Moves up to `count` keys of an open slot, in the order of the server, and returns them.
    pub fn move_some_keys(&self, slot: u16, to: u16, count: usize) -> Result<Vec<Vec<u8>>> {
        let source = self.process(self.primary_of(slot)?)?;
        let (slot_text, count) = (slot.to_string(), count.to_string());
        let keys = self.ask(source, &["CLUSTER", "GETKEYSINSLOT", &slot_text, &count])?;
        let keys: Vec<_> = keys.elements().iter().filter_map(bytes).collect();
        self.move_keys(slot, to, &keys)?;
        Ok(keys)
    }

    /// Moves the remaining keys of an open slot, assigns the slot to `to`, and waits until all live nodes agree.
    pub fn finish_migration(&self, slot: u16, to: u16) -> Result<()> {
        let (from, from_id) = self.owner(slot)?;
        let (to_id, target) = self.member(to)?;
        while !self.move_some_keys(slot, to, 500)?.is_empty() {}
        // The target takes the slot with an epoch above those that it knows. If it does not know that of the source yet,
        // an older message of the source takes the slot away again, and then no node claims it.
        let source = self.process(from)?;
        self.wait(
            "the slot's new owner does not hear of the former one's epoch",
            || {
                let known = self.view(target).ok().and_then(|v| v.epoch_of(&from_id));
                let actual = self.view(source).ok().and_then(|v| v.epoch_of(&from_id));
                known.is_some() && known == actual
            },
        )?;
        let text = slot.to_string();
        let give = ["CLUSTER", "SETSLOT", &text, "NODE", to_id];
        // The target first: otherwise both nodes would redirect clients to each other for a while.
        self.ask(target, &give)?;
        self.ask(self.process(from)?, &give)?;
        for node in self.nodes() {
            if node.role == Role::Primary && node.port != from && node.port != to {
                self.ask(self.process(node.port)?, &give)?;
            }
        }
        self.wait_owner(slot, to)
    }

    /// Whether the server can move slots atomically (`CLUSTER MIGRATESLOTS`, Valkey 9).
    pub fn has_atomic_migration(&self) -> bool {
        self.server.kind == "valkey" && self.server.version.0 >= 9
    }

    /// Moves the slots `first..=last` of one owner atomically: clients get no ASK, but one MOVED.
    pub fn migrate_slots_atomically(&self, first: u16, last: u16, to: u16) -> Result<()> {
        let (from, _) = self.owner(first)?;
        let (to_id, target) = self.member(to)?;
        if !self.has_atomic_migration() {
            fail!("{} cannot move slots atomically; Valkey 9 can", self.server);
        }
        let role = self.node(to)?.role;
        if role != Role::Primary {
            fail!("{} is no primary, but {role}", target.name());
        }
        let (a, b) = (first.to_string(), last.to_string());
        let source = self.process(from)?;
        let before = self.migrations(source)?;
        let range = [
            "CLUSTER",
            "MIGRATESLOTS",
            "SLOTSRANGE",
            &a,
            &b,
            "NODE",
            to_id,
        ];
        self.ask(source, &range)?;
        let mut broken = String::new();
        self.wait("the atomic migration does not end", || {
            for job in self.migrations(source).unwrap_or_default() {
                if before.iter().any(|old| old[0] == job[0]) {
                    continue;
                }
                if job[1] == "failed" || job[1] == "cancelled" {
                    broken = format!("{}: {}", job[1], job[2]);
                }
            }
            !broken.is_empty() || self.primary_of(first).is_ok_and(|port| port == to)
        })?;
        if !broken.is_empty() {
            fail!("atomic migration of slots {first} to {last} {broken}");
        }
        self.wait_owner(last, to)
    }

    /// Name, state and message of every atomic migration in the node's log.
    fn migrations(&self, process: &Process) -> Result<Vec<[String; 3]>> {
        let jobs = self.ask(process, &["CLUSTER", "GETSLOTMIGRATIONS"])?;
        let job = |job: &Reply| {
            // A flat map of names and values.
            let field = |name: &str| {
                let pairs = job.elements().chunks(2);
                let mut named = pairs.filter(|p| p[0].text() == name);
                named.next().and_then(|p| p.get(1)).map(Reply::text)
            };
            ["name", "state", "message"].map(|name| field(name).unwrap_or_default())
        };
        Ok(jobs.elements().iter().map(job).collect())
    }

    /// Cuts a replica off from the replication stream of its primary: it keeps serving data that gets older, and
    /// reports `master_link_status:down`. Both nodes stay healthy members of the cluster.
    pub fn pause_replication(&self, replica: u16) -> Result<()> {
        let process = self.process(replica)?;
        let role = self.node(replica)?.role;
        if role != Role::Replica {
            fail!("127.0.0.1:{replica} is no replica, but {role}");
        }
        // The primary refuses this user, so that the replica cannot reconnect.
        self.ask(process, &["CONFIG", "SET", "masteruser", "nobody"])?;
        self.ask(process, &["CONFIG", "SET", "masterauth", "paused"])?;
        self.ask(process, &["CLIENT", "KILL", "TYPE", "master"])?;
        self.wait("the replica keeps its link", || {
            replication(process, "master_link_status").is_some_and(|s| s == "down")
        })
    }

    /// Ends [`Cluster::pause_replication`] and waits until the replica has caught up.
    pub fn resume_replication(&self, replica: u16) -> Result<()> {
        let process = self.process(replica)?;
        let login = self.login.as_ref();
        let user = login.and_then(|l| l.user.as_deref()).unwrap_or("");
        let password = login.map_or("", |l| &l.password);
        self.ask(process, &["CONFIG", "SET", "masteruser", user])?;
        self.ask(process, &["CONFIG", "SET", "masterauth", password])?;
        self.wait("the replica does not catch up", || self.in_sync(process))
    }

    /// Waits until every live replica has everything that its live primary has written.
    pub fn wait_replicas_in_sync(&self) -> Result<()> {
        self.wait("the replicas do not catch up", || {
            let live = self.live();
            live.iter().all(|process| match self.view(process) {
                Ok(view) => match view.myself().and_then(|m| m.primary.clone()) {
                    Some(id) if live.iter().any(|p| self.id(p) == id) => self.in_sync(process),
                    _ => true,
                },
                Err(_) => false,
            })
        })
    }

    /// Waits until all live nodes report the cluster as ok and agree on the owner of every slot and on the primary of
    /// every live node.
    pub fn wait_agreement(&self) -> Result<()> {
        self.wait("the nodes do not agree", || self.agrees())
    }

    /// Whether all live nodes have the same map, and serve it.
    pub fn agrees(&self) -> bool {
        let mut first: Option<Vec<String>> = None;
        let live = self.live();
        let ids: Vec<_> = live.iter().map(|p| self.id(p).to_string()).collect();
        live.iter().all(|process| {
            let Ok(view) = self.view(process) else {
                return false;
            };
            let sound = info_of(process, "cluster_state").is_some_and(|s| s == "ok");
            let map = view.map(&ids);
            sound && *first.get_or_insert_with(|| map.clone()) == map
        })
    }

    /// Waits until no live node suspects another one, all agree, and replicas have caught up.
    pub fn wait_healthy(&self) -> Result<()> {
        self.wait("nodes are still marked as failed", || {
            let live = self.live();
            let ids: Vec<_> = live.iter().map(|p| self.id(p)).collect();
            live.iter().all(|p| {
                self.view(p)
                    .is_ok_and(|v| ids.iter().all(|id| v.is_well(id)))
            })
        })?;
        self.wait_agreement()?;
        self.wait_replicas_in_sync()?;
        // A replica that was restarted is missing until its offset has spread again.
        let live = self.live();
        let replicas = live.iter().filter(|p| self.replicates_slots(p));
        let ids: Vec<_> = replicas.map(|p| self.id(p)).collect();
        self.wait_named(&live, &ids)
    }

    /// Whether a node is the replica of a primary with slots.
    fn replicates_slots(&self, process: &Arc<Process>) -> bool {
        self.view(process).is_ok_and(|view| {
            let primary = view.myself().and_then(|line| line.primary.as_deref());
            primary.is_some_and(|id| view.has_slots(id))
        })
    }

    /// How often a node has executed a command (`"get"`, `"cluster|slots"`) since
    /// [`Cluster::reset_stats`].
    pub fn commandstats(&self, port: u16, command: &str) -> Result<u64> {
        server::calls(self.process(port)?, command)
    }

    /// `CONFIG RESETSTAT` on every live node.
    pub fn reset_stats(&self) -> Result<()> {
        for process in self.live() {
            self.ask(process, &["CONFIG", "RESETSTAT"])?;
        }
        Ok(())
    }

    /// Stops all servers and removes their files; Drop does the same.
    pub fn end(&self) {
        self.home.end();
    }

    fn form(&self, deadline: Instant) -> Result<()> {
        let count = self.builder.primaries;
        for (index, (_, process)) in self.nodes.iter().enumerate() {
            let epoch = (index + 1).to_string();
            self.ask(process, &["CLUSTER", "SET-CONFIG-EPOCH", &epoch])?;
            if index >= count {
                continue;
            }
            let start = |i: usize| (usize::from(SLOTS) * i / count) as u16;
            let slots = start(index)..=start(index + 1) - 1;
            if self.server.is_7() {
                let (a, b) = (slots.start().to_string(), slots.end().to_string());
                self.ask(process, &["CLUSTER", "ADDSLOTSRANGE", &a, &b])?;
            } else {
                let mut args = vec!["CLUSTER".to_string(), "ADDSLOTS".to_string()];
                args.extend(slots.map(|slot| slot.to_string()));
                self.ask(process, &args)?;
            }
        }
        // Every node meets every other one: gossip would take one or two seconds longer.
        for (index, (_, process)) in self.nodes.iter().enumerate() {
            for (_, other) in &self.nodes[index + 1..] {
                self.order_meeting(process, other)?;
            }
        }
        for (index, (_, process)) in self.nodes.iter().enumerate().skip(count) {
            let (primary, _) = &self.nodes[(index - count) % count];
            // A replica must know its primary first, which takes a few cluster timer ticks.
            loop {
                match self.ask(process, &["CLUSTER", "REPLICATE", primary]) {
                    Ok(_) => break,
                    Err(e) if Instant::now() > deadline => return Err(e),
                    Err(_) => std::thread::sleep(TICK),
                }
            }
        }
        let all: Vec<_> = self.nodes.iter().map(|(id, _)| id.as_str()).collect();
        self.wait("the nodes do not find each other", || {
            self.nodes
                .iter()
                .all(|(_, p)| self.view(p).is_ok_and(|v| v.is_whole(&all)))
        })?;
        self.wait_agreement()?;
        self.wait_replicas_in_sync()?;
        self.wait_named(&self.live(), &all)
    }

    /// Waits until CLUSTER SLOTS of each of `nodes` names the nodes with these ids. Redis 7.0.15 omits a replica whose offset it
    /// believes to be 0: until its primary has replicated something, at least one of the pings that it sends every
    /// `repl-ping-replica-period`, and gossip has spread the offset.
    fn wait_named(&self, nodes: &[&Arc<Process>], ids: &[&str]) -> Result<()> {
        self.wait("not all nodes are named in CLUSTER SLOTS", || {
            nodes.iter().all(|process| {
                let slots = self.ask(process, &["CLUSTER", "SLOTS"]);
                slots.is_ok_and(|slots| ids.iter().all(|id| names(&slots, id)))
            })
        })
    }

    fn live(&self) -> Vec<&Arc<Process>> {
        let nodes = self.nodes.iter().map(|(_, p)| p);
        nodes.filter(|p| p.is_live()).collect()
    }

    fn id(&self, process: &Arc<Process>) -> &str {
        let found = self.nodes.iter().find(|(_, p)| Arc::ptr_eq(p, process));
        found.map_or("", |(id, _)| id)
    }

    fn member(&self, port: u16) -> Result<(&str, &Arc<Process>)> {
        let found = self.nodes.iter().find(|(_, p)| p.port.number == port);
        found
            .map(|(id, p)| (id.as_str(), p))
            .ok_or_else(|| unknown(port))
    }

    fn process(&self, port: u16) -> Result<&Arc<Process>> {
        self.member(port).map(|(_, process)| process)
    }

    fn view(&self, process: &Process) -> Result<View> {
        if !process.is_live() {
            fail!("{} is dead or stopped", process.name());
        }
        let mut admin = process.connect(Duration::from_secs(1))?;
        let reply = admin.command(&["CLUSTER", "NODES"])?;
        match reply.is_error() {
            true => fail!("{}: CLUSTER NODES: {}", process.name(), reply.text()),
            false => Ok(View::parse(&reply.text())),
        }
    }

    /// Port and id of the primary of a slot.
    fn owner(&self, slot: u16) -> Result<(u16, String)> {
        if slot >= SLOTS {
            fail!("slots go from 0 to 16383, not to {slot}");
        }
        let owners = self.nodes.iter().filter_map(|(id, process)| {
            let view = self.view(process).ok()?;
            let me = view.myself()?;
            let owns = me.is_primary() && me.owns(slot);
            owns.then(|| (me.epoch, (process.port.number, id.clone())))
        });
        match owners.max_by_key(|(epoch, _)| *epoch) {
            Some((_, owner)) => Ok(owner),
            None => fail!("no live node serves slot {slot}"),
        }
    }

    fn wait_owner(&self, slot: u16, port: u16) -> Result<()> {
        let (id, owner) = self.member(port)?;
        let mut asked = Instant::now();
        self.wait("the nodes do not hear of the slot's new owner", || {
            let mut live = self.live().into_iter();
            let agrees = live.all(|p| self.view(p).is_ok_and(|v| v.owner(slot) == Some(id)));
            if !agrees && asked.elapsed() > AGAIN {
                // Both owners may have got the same epoch; then replicas, which were not told, believe the former one.
                let _ = self.ask(owner, &["CLUSTER", "BUMPEPOCH"]);
                asked = Instant::now();
            }
            agrees
        })
    }

    /// Sends a command that must succeed.
    fn ask<A: AsRef<[u8]>>(&self, process: &Process, args: &[A]) -> Result<Reply> {
        server::ask(process, args)
    }

    fn in_sync(&self, replica: &Process) -> bool {
        let Ok(info) = replica.info("replication") else {
            return false;
        };
        let field = |name| info_field(&info, name);
        let number = |text: Option<&str>| text.and_then(|t| t.parse::<i64>().ok());
        if field("master_link_status") != Some("up") {
            return false;
        }
        let offset = number(field("slave_repl_offset"));
        let port: Option<u16> = field("master_port").and_then(|p| p.parse().ok());
        let primary = self
            .nodes
            .iter()
            .map(|(_, p)| p)
            .find(|p| Some(p.port.number) == port || p.tls.as_ref().map(|t| t.number) == port);
        let written = primary
            .and_then(|p| replication(p, "master_repl_offset"))
            .and_then(|text| number(Some(&text)));
        // The primary was asked last: it may have advanced since, but the replica had everything before that.
        match (offset, written) {
            (Some(offset), Some(written)) => offset >= written,
            _ => false,
        }
    }

    fn wait(&self, otherwise: &str, condition: impl FnMut() -> bool) -> Result<()> {
        match wait_until(condition, PATIENCE) {
            true => Ok(()),
            false => {
                let nodes = self.nodes();
                let state: Vec<_> = nodes
                    .iter()
                    .map(|n| format!("{} {}", n.port, n.role))
                    .collect();
                let seconds = PATIENCE.as_secs();
                fail!("after {seconds} s {otherwise} ({})", state.join(", "))
            }
        }
    }
}

/// Whether a reply is or holds this text.
fn names(reply: &Reply, text: &str) -> bool {
    reply.text() == text || reply.elements().iter().any(|element| names(element, text))
}

/// Checks the condition every 15 ms; false after `patience`.
pub fn wait_until(mut condition: impl FnMut() -> bool, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(TICK);
    }
}

fn unknown(port: u16) -> Error {
    Error::new(format!("no node of this cluster has port {port}"))
}

fn bytes(reply: &Reply) -> Option<Vec<u8>> {
    match reply {
        Reply::Bulk(bytes) => Some(bytes.clone()),
        _ => None,
    }
}

fn replication(process: &Process, name: &str) -> Option<String> {
    let info = process.info("replication").ok()?;
    info_field(&info, name).map(str::to_string)
}

fn info_of(process: &Process, name: &str) -> Option<String> {
    let mut admin = process.connect(Duration::from_secs(1)).ok()?;
    let info = admin.command(&["CLUSTER", "INFO"]).ok()?.text();
    info_field(&info, name).map(str::to_string)
}
