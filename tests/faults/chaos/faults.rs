//! Faults that run at once: each kind in a thread of its own, which breaks and repairs, and records when.

use super::{MOVING, SHARDS, USER, now};
use crate::common::set_on_drop::SetOnDrop;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::{Chaos, Cluster, Failover, Proxy, Role, slot_of, wait_until};

const MS: Duration = Duration::from_millis(1);

/// When a fault was, and what it explains. The times are microseconds since 1970.
#[derive(Clone, Debug)]
pub struct Window {
    pub name: String,
    /// The shards that it concerns.
    pub shards: Vec<usize>,
    /// The slot that it moves.
    pub slot: Option<u16>,
    pub effect: Effect,
    pub began: i64,
    pub ended: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Calls may fail.
    Delay,
    /// A replica falls behind.
    Lag,
    /// A replica may be promoted that lacks acknowledged writes.
    Loss,
    /// Commands may be refused for lack of permission.
    Refusal,
}

/// A cluster whose nodes are reached partly through proxies.
pub struct Target {
    pub cluster: Cluster,
    /// To half of the nodes.
    pub proxies: Vec<Proxy>,
    pub windows: Mutex<Vec<Window>>,
    /// By index of the node: held while a fault breaks or promotes it.
    pub busy: Vec<Mutex<()>>,
    /// The slots whose move was interrupted.
    pub unsettled: Mutex<HashSet<u16>>,
    pub finished: AtomicBool,
}

/// A kind of fault: one at a time, for ever.
type Kind = fn(&Target, &mut StdRng);

const KINDS: &[Kind] = &[
    |t, rng| t.break_process(rng, Role::Primary),
    |t, rng| t.break_process(rng, Role::Replica),
    Target::move_slot,
    Target::fail_over,
    Target::break_connections,
    Target::change_permissions,
];

impl Target {
    /// Runs all kinds of faults for this time, and returns when each has repaired what it broke.
    pub fn run(&self, seed: u64, time: Duration) {
        std::thread::scope(|scope| {
            let _finish = SetOnDrop(&self.finished);
            for (n, kind) in KINDS.iter().enumerate() {
                scope.spawn(move || {
                    let mut rng = StdRng::seed_from_u64(seed * 100 + n as u64);
                    while !self.finished.load(Ordering::SeqCst) {
                        kind(self, &mut rng);
                        self.rest(rng.random_range(50..800) * MS);
                    }
                });
            }
            self.rest(time);
            self.finished.store(true, Ordering::SeqCst);
        });
    }

    /// Records when each replica is behind its primary and when it is promoted, also where no fault was meant to do
    /// this: on a busy machine nodes may call each other failed.
    pub fn watch_replicas(&self, until: &AtomicBool) {
        std::thread::scope(|scope| {
            for port in self.cluster.ports() {
                scope.spawn(move || self.watch_replica(port, until));
            }
        });
    }

    fn watch_replica(&self, port: u16, until: &AtomicBool) {
        let (mut seen, mut behind) = (None, None);
        while !until.load(Ordering::SeqCst) {
            let at = now();
            let info = self.cluster.command(port, &["INFO"]);
            let info = info.map_or_else(|_| String::new(), |reply| reply.text());
            let is_member = info.contains("cluster_enabled:1");
            let is_primary = is_member && info.contains("role:master");
            if is_primary && let Some(seen) = seen.take() {
                self.cluster.note_election(port);
                self.ended("is promoted:".to_string(), port, Effect::Loss, seen);
            }
            if is_member && !is_primary {
                seen = Some(at);
            }
            if is_primary || (is_member && info.contains("master_link_status:up")) {
                if let Some(since) = behind.take() {
                    self.ended("is behind:".to_string(), port, Effect::Lag, since);
                }
            } else {
                behind.get_or_insert(at);
            }
            std::thread::sleep(100 * MS);
        }
        if let Some(since) = behind {
            self.ended("is behind:".to_string(), port, Effect::Lag, since);
        }
    }

    /// Waits for this time or until the faults end.
    fn rest(&self, time: Duration) {
        wait_until(|| self.finished.load(Ordering::SeqCst), time);
    }

    /// The shard of a node: a replica replicates no other one.
    pub fn shard(&self, port: u16) -> usize {
        self.index(port) % SHARDS
    }

    pub fn index(&self, port: u16) -> usize {
        let ports = self.cluster.ports();
        ports.iter().position(|p| *p == port).expect("its port")
    }

    fn record(&self, window: Window) {
        let (began, ended) = (window.began, window.ended);
        let ms = (ended - began) / 1000;
        println!("  {began} {ms:>5} ms {} {:?}", window.name, window.shards);
        self.windows.lock().unwrap().push(window);
    }

    /// Records a fault of a shard that ends now.
    fn ended(&self, name: String, port: u16, effect: Effect, began: i64) {
        let window = Window {
            name: format!("{name} {port}"),
            shards: vec![self.shard(port)],
            slot: None,
            effect,
            began,
            ended: now(),
        };
        self.record(window);
    }

    fn random_node(&self, rng: &mut StdRng, role: Role) -> Option<u16> {
        let nodes = self.cluster.nodes();
        let ports = nodes.iter().filter(|n| n.role == role).map(|n| n.port);
        ports.collect::<Vec<_>>().choose(rng).copied()
    }

    /// Kills or stops a node for a while, or replaces it by a server without cluster support.
    fn break_process(&self, rng: &mut StdRng, role: Role) {
        let Some(port) = self.random_node(rng, role) else {
            return;
        };
        let Ok(_alone) = self.busy[self.index(port)].try_lock() else {
            return;
        };
        let effect = match role {
            Role::Primary => Effect::Loss,
            _ => Effect::Lag,
        };
        let began = now();
        let time = match rng.random_range(0..3) {
            0 => rng.random_range(0..300),
            1 => rng.random_range(300..2000),
            _ => rng.random_range(2000..5000),
        };
        let name = match rng.random_range(0..5) {
            0 | 1 => {
                self.cluster.stop(port).unwrap();
                self.rest(time * MS);
                self.cluster.cont(port).unwrap();
                format!("{role} is stopped")
            }
            2 => {
                self.kill(port);
                self.cluster.restart_without_cluster(port).unwrap();
                self.rest(time * MS);
                self.cluster.restart(port).unwrap();
                format!("{role} comes back without cluster support")
            }
            _ => {
                self.kill(port);
                self.rest(time * MS);
                self.cluster.restart(port).unwrap();
                format!("{role} is killed")
            }
        };
        self.ended(name, port, effect, began);
    }

    /// A node that is killed while it rewrites its file has new commands in a temporary file, which the next start
    /// would truncate.
    fn kill(&self, port: u16) {
        self.cluster.kill(port).unwrap();
        let dir = self.appendonly_dir(port);
        let temporary = dir.join("temp-appendonly.aof.incr");
        if temporary.exists() {
            std::fs::rename(temporary, dir.join(format!("kept-{}.aof", now()))).unwrap();
        }
    }

    fn appendonly_dir(&self, port: u16) -> PathBuf {
        let node = format!("node{}", self.index(port));
        self.cluster.dir().join(node).join("appendonlydir")
    }

    /// Moves a slot; a fault of a node may interrupt it at any step.
    fn move_slot(&self, rng: &mut StdRng) {
        self.unsettled
            .lock()
            .unwrap()
            .retain(|slot| !self.settle(*slot));
        let slot = slot_of(MOVING.choose(rng).expect("a tag").as_bytes());
        let (Some(to), Ok(from)) = (
            self.random_node(rng, Role::Primary),
            self.cluster.primary_of(slot),
        ) else {
            return;
        };
        if to == from {
            return;
        }
        let began = now();
        let moved = match self.cluster.has_atomic_migration() && rng.random_bool(0.5) {
            true => self.cluster.migrate_slots_atomically(slot, slot, to),
            false => self.move_keys(slot, to, rng),
        };
        if moved.is_err() && !self.settle(slot) {
            self.unsettled.lock().unwrap().insert(slot);
        }
        let how = moved.map_or_else(|e| e.to_string(), |()| "done".to_string());
        self.record(Window {
            name: format!("slot {slot} moves from {from} to {to}: {how}"),
            shards: vec![self.shard(from), self.shard(to)],
            slot: Some(slot),
            effect: Effect::Delay,
            began,
            ended: now(),
        });
    }

    /// Key by key, with time for commands between two keys. Only the last step is not interrupted: a node that is
    /// deposed before its replica knows of the slot stays a primary, of this slot alone.
    fn move_keys(&self, slot: u16, to: u16, rng: &mut StdRng) -> support::Result<()> {
        let from = self.cluster.primary_of(slot)?;
        self.cluster.begin_migration(slot, to)?;
        self.rest(rng.random_range(0..300) * MS);
        while self.move_some_keys(slot, from, to, 1)? > 0 {
            self.rest(rng.random_range(0..300) * MS);
        }
        let shards = [self.shard(from), self.shard(to)];
        let nodes = self.busy.iter().enumerate();
        let nodes = nodes.filter(|(node, _)| shards.contains(&(node % SHARDS)));
        let _alone: Vec<_> = nodes.map(|(_, node)| node.lock().unwrap()).collect();
        while self.move_some_keys(slot, from, to, 100)? > 0 {}
        self.cluster.finish_migration(slot, to)
    }

    /// Moves up to this number of keys and returns how many. What an interrupted move has left at the target is
    /// replaced.
    fn move_some_keys(&self, slot: u16, from: u16, to: u16, most: usize) -> support::Result<usize> {
        let (slot, most, to) = (slot.to_string(), most.to_string(), to.to_string());
        let keys = ["CLUSTER", "GETKEYSINSLOT", &slot, &most];
        let keys = self.cluster.command(from, &keys)?;
        for key in keys.elements() {
            let key = key.text();
            let migrate = ["MIGRATE", "127.0.0.1", &to, &key, "0", "2000", "REPLACE"];
            let reply = self.cluster.command(from, &migrate)?;
            if reply.is_error() {
                return Err(support::Error::new(format!("MIGRATE: {}", reply.text())));
            }
        }
        Ok(keys.elements().len())
    }

    /// Ends the interrupted move of a slot: its owner gets the keys that it lacks. Returns whether all nodes took part.
    pub fn settle(&self, slot: u16) -> bool {
        let nodes = self.cluster.nodes();
        let primaries = nodes.iter().filter(|n| n.role == Role::Primary);
        let owner = self.cluster.primary_of(slot);
        let owner = owner.and_then(|port| self.cluster.node(port));
        let mut ports: Vec<u16> = primaries.map(|n| n.port).collect();
        let Ok(owner) = owner else {
            return false;
        };
        // The owner last.
        ports.sort_by_key(|port| *port == owner.port);
        let slot = slot.to_string();
        let ask = |port: u16, args: &[&str]| {
            let reply = self.cluster.command(port, args);
            reply.ok().filter(|reply| !reply.is_error())
        };
        let settle_at = |port: u16| {
            if port != owner.port {
                // MIGRATE is allowed in a slot that is marked in any way.
                ask(port, &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &owner.id])?;
                let keys = ask(port, &["CLUSTER", "GETKEYSINSLOT", &slot, "1000"])?;
                let to = owner.port.to_string();
                for key in keys.elements() {
                    // The owner keeps its own value.
                    ask(
                        port,
                        &["MIGRATE", "127.0.0.1", &to, &key.text(), "0", "2000"],
                    );
                }
            }
            ask(port, &["CLUSTER", "SETSLOT", &slot, "STABLE"])
        };
        let is_whole = !nodes
            .iter()
            .any(|n| matches!(n.role, Role::Dead | Role::Stopped));
        ports.iter().all(|port| settle_at(*port).is_some()) && is_whole
    }

    fn fail_over(&self, rng: &mut StdRng) {
        let Some(replica) = self.random_node(rng, Role::Replica) else {
            return;
        };
        let Ok(_alone) = self.busy[self.index(replica)].try_lock() else {
            return;
        };
        let modes = [Failover::Plain, Failover::Force, Failover::Takeover];
        let mode = *modes.choose(rng).expect("a mode");
        let began = now();
        let remembers_election = self.cluster.remembers_election(replica);
        self.cluster.note_election(replica);
        // It fails if the node has just been broken.
        let _ = self.cluster.order_failover(replica, mode);
        self.rest(rng.random_range(100..1500) * MS);
        let effect = match mode {
            // The server gives writes up that it has acknowledged, and is the primary for less time than is noticed.
            Failover::Plain if remembers_election => Effect::Loss,
            Failover::Plain => Effect::Delay,
            _ => Effect::Loss,
        };
        self.ended(format!("failover {mode:?}"), replica, effect, began);
    }

    fn break_connections(&self, rng: &mut StdRng) {
        let proxy = self.proxies.choose(rng).expect("a proxy");
        match rng.random_range(0..3) {
            0 => proxy.cut(),
            1 => {
                proxy.set(Chaos {
                    split: 3000,
                    delays: 30,
                    delay: 30 * MS,
                    cuts: 10,
                    ..Chaos::default()
                });
                self.rest(rng.random_range(100..700) * MS);
                proxy.set(Chaos::default());
            }
            _ => {
                let ports = self.cluster.ports();
                let port = *ports.choose(rng).expect("a port");
                // It fails if the node has just been broken.
                let _ = self
                    .cluster
                    .command(port, &["CLIENT", "KILL", "TYPE", "normal"]);
            }
        }
    }

    /// Takes permissions from the user of the program, at one node or at all, and gives them back.
    fn change_permissions(&self, rng: &mut StdRng) {
        const CHANGES: &[&[&str]] = &[
            &["-multi", "-exec"],
            &["-@transaction"],
            &["-xadd"],
            &["-asking"],
            &["-readonly"],
            &["-cluster"],
            &["-client"],
            &["resetpass", ">another"],
            &["reset"],
            &["off"],
        ];
        let change = CHANGES.choose(rng).expect("a change");
        let mut ports = self.cluster.ports();
        if rng.random_bool(0.7) {
            ports = vec![*ports.choose(rng).expect("a port")];
        }
        let began = now();
        for port in &ports {
            let mut words = vec!["ACL", "SETUSER", USER.0];
            words.extend(*change);
            // It fails if the node has just been broken.
            let _ = self.cluster.command(*port, &words);
        }
        self.rest(rng.random_range(50..700) * MS);
        self.restore_permissions(&ports);
        self.record(Window {
            name: format!("permissions {change:?} {ports:?}"),
            shards: Vec::new(),
            slot: None,
            effect: Effect::Refusal,
            began,
            ended: now(),
        });
    }

    /// Gives the user of the program all permissions; a node that starts later has them by its configuration.
    pub fn restore_permissions(&self, ports: &[u16]) {
        let password = format!(">{}", USER.1);
        let restore = ["ACL", "SETUSER", USER.0, "reset", "on", &password];
        for port in ports {
            let is_restored = || {
                let words = [&restore[..], &["~*", "&*", "+@all"]].concat();
                self.cluster.command(*port, &words).is_ok_and(|reply| !reply.is_error())
                    // A dead node refuses the connection.
                    || self.cluster.node(*port).is_ok_and(|node| node.role == Role::Dead)
            };
            wait_until(is_restored, Duration::from_secs(30));
        }
    }
}
