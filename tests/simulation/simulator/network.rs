//! The simulated network: connections, and the events that reach their ends.

use super::{MS, State, US};
use crate::simulation::cluster_model::{self, Fault};
use std::cmp::Reverse;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::RawFd;

/// The conditions of the network. Probabilities are per mille, times in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct NetworkConditions {
    /// Bytes arrive in fragments.
    pub fragments: bool,
    /// Probability that a send accepts only a part of its bytes.
    pub short_sends: u64,
    /// The longest delay of a fragment that does not stall.
    pub max_delay: u64,
    /// Probability that a fragment stalls: for up to 20 times `max_delay` and 20 ms more.
    pub stalls: u64,
    /// Probability that a direction of a new connection breaks after a random number of bytes.
    pub breaks: u64,
    /// How many bytes a connection buffers on their way to a server.
    pub send_buffer: usize,
    /// How long a receive may wait beyond its timeout of 1 ms.
    pub timer_slack: u64,
}

/// An event at a connection, given by its number, or in the cluster.
pub enum Event {
    Connected(usize),
    DataToServer(usize, Vec<u8>),
    EndToServer(usize),
    DataToClient(usize, Vec<u8>),
    EndToClient(usize),
    /// The client's end is reset.
    ResetToClient(usize),
    Fault(Fault),
    /// A timer is due.
    Timer,
}

/// An event with its time. The sequence number orders events of the same time.
pub(super) struct ScheduledEvent {
    pub(super) time: u64,
    sequence: u64,
    event: Event,
}

impl ScheduledEvent {
    fn order(&self) -> (u64, u64) {
        (self.time, self.sequence)
    }
}

impl PartialEq for ScheduledEvent {
    fn eq(&self, other: &ScheduledEvent) -> bool {
        self.order() == other.order()
    }
}
impl Eq for ScheduledEvent {}
impl PartialOrd for ScheduledEvent {
    fn partial_cmp(&self, other: &ScheduledEvent) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for ScheduledEvent {
    fn cmp(&self, other: &ScheduledEvent) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Phase {
    Connecting,
    Open,
    /// Closed by the library.
    Closed,
}

#[derive(Clone, Copy)]
pub(super) enum Direction {
    ToServer = 0,
    ToClient = 1,
}

/// A connection. Where a field has two elements, they are for the two values of `Direction`.
pub struct SimConnection {
    pub node: usize,
    pub(super) phase: Phase,
    pub(super) error: Option<i32>,
    /// How many bytes the client has sent and the server has not received.
    pub(super) bytes_to_server: usize,
    pub(super) receive_buffer: VecDeque<u8>,
    /// The server has closed its end.
    pub(super) ended: bool,
    /// When the last fragment arrives; a later one does not arrive earlier.
    last_arrival: [u64; 2],
    /// The connection breaks after this number of bytes.
    pub break_after: [Option<usize>; 2],
    pub broken: bool,
    /// The thread that opened it.
    pub thread: usize,
    /// What either end sends is lost.
    pub is_silent: bool,
}

impl SimConnection {
    pub(super) fn new(
        (node, thread): (usize, usize),
        now: u64,
        break_after: [Option<usize>; 2],
    ) -> SimConnection {
        SimConnection {
            node,
            phase: Phase::Connecting,
            error: None,
            bytes_to_server: 0,
            receive_buffer: VecDeque::new(),
            ended: false,
            last_arrival: [now, now],
            break_after,
            broken: false,
            thread,
            is_silent: false,
        }
    }

    pub(super) fn last_arrival_at_server(&self) -> u64 {
        self.last_arrival[Direction::ToServer as usize]
    }

    /// Whether a receive returns at once if `bytes` are wanted.
    pub(super) fn is_readable(&self, bytes: usize) -> bool {
        self.receive_buffer.len() >= bytes || self.ended || self.error.is_some()
    }

    /// Takes those of `bytes` that pass in this direction before the connection breaks, and whether it does.
    fn take_until_break<'b>(&mut self, direction: Direction, bytes: &'b [u8]) -> (&'b [u8], bool) {
        let Some(left) = &mut self.break_after[direction as usize] else {
            return (bytes, false);
        };
        let breaks = *left <= bytes.len();
        let passed = &bytes[..(*left).min(bytes.len())];
        *left -= passed.len();
        (passed, breaks)
    }
}

impl State {
    pub fn schedule(&mut self, time: u64, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse(ScheduledEvent {
            time,
            sequence: self.sequence,
            event,
        }));
    }

    pub(super) fn next_event_time(&self) -> Option<u64> {
        self.events.peek().map(|event| event.0.time)
    }

    pub(super) fn deliver_due_events(&mut self) {
        while self.next_event_time().is_some_and(|time| time <= self.now) {
            if let Some(Reverse(due)) = self.events.pop() {
                self.deliver(due.event);
            }
        }
    }

    /// Delivers all events, whatever their time: for when all threads have ended.
    pub fn deliver_remaining_events(&mut self) {
        while let Some(Reverse(due)) = self.events.pop() {
            self.now = self.now.max(due.time);
            self.deliver(due.event);
        }
    }

    fn deliver(&mut self, event: Event) {
        match event {
            Event::Connected(id) => self.deliver_connected(id),
            Event::DataToServer(id, bytes) => self.deliver_to_server(id, &bytes),
            Event::EndToServer(id) => cluster_model::on_disconnect(self, id),
            Event::DataToClient(id, bytes) => {
                let connection = &mut self.connections[id];
                let receives =
                    connection.error.is_none() && !connection.ended && !connection.is_silent;
                if connection.phase == Phase::Open && receives {
                    connection.receive_buffer.extend(bytes);
                }
            }
            Event::EndToClient(id) => self.connections[id].ended = true,
            Event::ResetToClient(id) => self.set_connection_error(id, libc::ECONNRESET),
            Event::Fault(fault) => cluster_model::apply_fault(self, fault),
            Event::Timer => {}
        }
    }

    fn deliver_connected(&mut self, id: usize) {
        let node = self.connections[id].node;
        if self.connections[id].phase != Phase::Connecting {
            return;
        }
        self.connections[id].phase = Phase::Open;
        if self.cluster.nodes[node].alive {
            self.log(|| format!("connection {id} to node {node} is open"));
            cluster_model::on_connect(self, id);
        } else {
            self.set_connection_error(id, libc::ECONNREFUSED);
        }
    }

    fn deliver_to_server(&mut self, id: usize, bytes: &[u8]) {
        let connection = &mut self.connections[id];
        connection.bytes_to_server -= bytes.len();
        if connection.broken || connection.is_silent {
            return;
        }
        let (bytes, breaks) = connection.take_until_break(Direction::ToServer, bytes);
        cluster_model::on_data(self, id, bytes);
        if breaks {
            self.log(|| format!("connection {id} breaks towards the server"));
            self.break_connection(id);
        }
    }

    fn set_connection_error(&mut self, id: usize, error: i32) {
        let loses_received_bytes = self.rng.chance(500);
        let connection = &mut self.connections[id];
        connection.broken = true;
        connection.error = Some(error);
        if loses_received_bytes {
            connection.receive_buffer.clear();
        }
    }

    /// Breaks a connection: the server learns of it now, the client a moment later.
    pub fn break_connection(&mut self, id: usize) {
        if self.connections[id].broken {
            return;
        }
        let is_silent = self.connections[id].is_silent;
        self.connections[id].broken = true;
        cluster_model::on_disconnect(self, id);
        let (resets, delay) = (self.rng.chance(500), self.rng.below(2 * MS));
        if is_silent {
            return;
        }
        if resets {
            self.schedule(self.now + delay, Event::ResetToClient(id));
        } else {
            let last = self.connections[id].last_arrival[Direction::ToClient as usize];
            self.schedule(last.max(self.now) + delay, Event::EndToClient(id));
        }
    }

    /// The numbers of the connections to a node that the library has not closed.
    pub fn connections_to(&self, node: usize) -> Vec<usize> {
        let open = |id: &usize| {
            let connection = &self.connections[*id];
            connection.node == node && connection.phase != Phase::Closed
        };
        (0..self.connections.len()).filter(open).collect()
    }

    /// How many connections the library has not closed.
    pub fn open_connections(&self) -> usize {
        let open = |connection: &&SimConnection| connection.phase != Phase::Closed;
        self.connections.iter().filter(open).count()
    }

    /// Schedules the arrival of bytes, in fragments and in order, none before `time`.
    pub(super) fn transmit(
        &mut self,
        id: usize,
        direction: Direction,
        bytes: &[u8],
        mut time: u64,
    ) {
        let network = self.network;
        let mut rest = bytes;
        while !rest.is_empty() {
            let size = if network.fragments && self.rng.chance(400) {
                self.rng.between(1, rest.len().min(64) as u64) as usize
            } else {
                rest.len()
            };
            let mut delay = 10 * US + self.rng.below(network.max_delay);
            if self.rng.chance(network.stalls) {
                delay += self.rng.below(network.max_delay * 20 + 20 * MS);
            }
            time = time.max(self.now) + delay;
            let last_arrival = &mut self.connections[id].last_arrival[direction as usize];
            time = time.max(*last_arrival);
            *last_arrival = time;
            let fragment = rest[..size].to_vec();
            rest = &rest[size..];
            let event = match direction {
                Direction::ToServer => Event::DataToServer(id, fragment),
                Direction::ToClient => Event::DataToClient(id, fragment),
            };
            self.schedule(time, event);
        }
    }

    /// Sends bytes of a server to the client.
    pub fn send_to_client(&mut self, id: usize, bytes: &[u8], time: u64) {
        if self.connections[id].broken || bytes.is_empty() {
            return;
        }
        let connection = &mut self.connections[id];
        // Bytes of a partitioned node arrive when the partition ends.
        let time = time.max(self.cluster.reachable_from(connection.node));
        let (bytes, breaks) = connection.take_until_break(Direction::ToClient, bytes);
        self.transmit(id, Direction::ToClient, bytes, time);
        if breaks {
            self.log(|| format!("connection {id} breaks towards the client"));
            self.break_connection(id);
        }
    }

    /// Closes the server's end of a connection.
    pub fn close_from_server(&mut self, id: usize, time: u64) {
        let connection = &mut self.connections[id];
        connection.broken = true;
        let last = connection.last_arrival[Direction::ToClient as usize];
        self.schedule(time.max(last) + 20 * US, Event::EndToClient(id));
    }

    /// What poll(2) reports of a descriptor.
    pub(super) fn poll_events(&self, fd: RawFd, events: i16) -> i16 {
        if self.signaled_events.contains(&fd) {
            return libc::POLLIN & events;
        }
        if let Some(revents) = self.event_loop_events(fd, events) {
            return revents;
        }
        let Some(id) = self.connection_by_fd.get(&fd) else {
            return 0;
        };
        let connection = &self.connections[*id];
        let mut revents = 0;
        if connection.error.is_some() {
            revents |= libc::POLLERR | libc::POLLHUP | (events & (libc::POLLIN | libc::POLLOUT));
        }
        if connection.phase != Phase::Open {
            return revents;
        }
        if !connection.receive_buffer.is_empty() || connection.ended {
            revents |= libc::POLLIN;
        }
        if connection.bytes_to_server < self.network.send_buffer {
            revents |= libc::POLLOUT;
        }
        revents & (events | libc::POLLERR | libc::POLLHUP)
    }
}

/// The address of a node.
pub fn node_address(node: usize) -> SocketAddr {
    SocketAddr::new(
        IpAddr::V4(Ipv4Addr::new(
            10,
            0,
            (node / 250) as u8,
            (node % 250) as u8 + 1,
        )),
        7000,
    )
}
