//! What the library asks of the operating system, answered by the simulation.

use super::network::{Direction, Phase, SimConnection};
use super::scheduler::{ThreadWait, WaitReason};
use super::{Event, MS, SimThread, State, US, node_address};
use crate::sim_hooks::{Layer, Simulator, Wait, YieldPoint};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::MutexGuard;
use std::time::Duration;

impl SimThread {
    /// Begins a system call: it costs 200 ns.
    fn begin_call(&self) -> MutexGuard<'_, State> {
        let mut state = self.simulation.lock();
        if !state.is_frozen() {
            state.now += 200;
            state.deliver_due_events();
        }
        state
    }

    /// Blocks as a system call does.
    fn block_in_call<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        reason: WaitReason,
        until: Option<u64>,
    ) -> MutexGuard<'a, State> {
        if until.is_none_or(|until| until > state.now) {
            self.check_may_wait(&mut state, &reason);
        }
        self.block(state, reason, until)
    }

    /// Lets other threads run first, if the schedule says so.
    fn give_way<'a>(&'a self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        if state.is_frozen() {
            return state;
        }
        let now = state.now;
        self.block(state, WaitReason::Timer, Some(now))
    }

    fn count_io(&self, state: &mut State) {
        state.effects[self.id].io += 1;
    }

    fn count_polling(&self, state: &mut State) {
        state.effects[self.id].polling += 1;
    }

    /// Logs what this thread does with these bytes.
    fn log_bytes(&self, state: &mut State, action: fmt::Arguments<'_>, bytes: &[u8]) {
        state.log(|| {
            let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(120)]);
            format!("thread {} {action}: {shown:?}", self.id)
        });
    }
}

fn os_error(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

impl Simulator for SimThread {
    fn now(&self) -> u64 {
        let mut state = self.simulation.lock();
        if !state.is_frozen() {
            state.now += 50;
        }
        state.now
    }

    fn random(&self) -> u64 {
        self.simulation.lock().rng.next()
    }

    fn resolve_delay(&self) -> Duration {
        let mut state = self.begin_call();
        let delay = state.network.max_delay;
        Duration::from_nanos(state.rng.below(5 * delay))
    }

    fn resolve(&self, host: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
        let mut state = self.begin_call();
        let (delay, failures) = (state.network.max_delay, state.network.stalls * 10);
        if crate::fiber::current_fiber().is_none() {
            let until = state.now + state.rng.below(5 * delay);
            state = self.block_in_call(state, WaitReason::Timer, Some(until));
        }
        let number = host
            .strip_prefix("node-")
            .and_then(|host| host.strip_suffix(".sim"));
        match number.and_then(|number| number.parse().ok()) {
            Some(node) if !state.rng.chance(failures) => Ok(vec![node_address(node)]),
            _ => Err(io::Error::other(format!("unknown host {host}"))),
        }
    }

    fn connect(&self, fd: RawFd, to: SocketAddr) -> io::Result<()> {
        let mut state = self.begin_call();
        self.count_io(&mut state);
        let Some(node) = state.cluster.node_at(to) else {
            return Err(os_error(libc::EHOSTUNREACH));
        };
        let network = state.network;
        let (now, id) = (state.now, state.connections.len());
        let mut break_after = [None, None];
        for break_after in &mut break_after {
            if state.rng.chance(network.breaks) {
                *break_after = Some(state.rng.between(1, 4000) as usize);
            }
        }
        let connection = SimConnection::new((node, self.id), now, break_after);
        state.connections.push(connection);
        state.cluster.connects.push((now, node));
        // The number of a closed descriptor is reused.
        if let Some(old) = state.connection_by_fd.insert(fd, id) {
            state.connections[old].phase = Phase::Closed;
        }
        state.signaled_events.remove(&fd);
        let reachable = now.max(state.cluster.reachable_from(node));
        let time = reachable + 20 * US + state.rng.below(network.max_delay);
        state.schedule(time, Event::Connected(id));
        Err(os_error(libc::EINPROGRESS))
    }

    fn error_of(&self, fd: RawFd) -> Option<io::Error> {
        let mut state = self.begin_call();
        let id = *state.connection_by_fd.get(&fd)?;
        state.connections[id].error.take().map(os_error)
    }

    fn send(&self, fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.begin_call();
        if state.schedule.is_some() {
            state = self.block(state, WaitReason::Preemption, None);
        } else if state.rng.chance(100) {
            state = self.give_way(state);
        }
        let Some(id) = state.connection_by_fd.get(&fd).copied() else {
            return Err(os_error(libc::EBADF));
        };
        let network = state.network;
        let is_short = state.rng.chance(network.short_sends);
        let short_size = state.rng.between(1, bytes.len() as u64) as usize;
        let connection = &mut state.connections[id];
        if let Some(number) = connection.error {
            return Err(os_error(number));
        }
        if connection.phase == Phase::Closed {
            return Err(os_error(libc::EPIPE));
        }
        let room = network
            .send_buffer
            .saturating_sub(connection.bytes_to_server);
        let size = if is_short { short_size } else { bytes.len() }.min(room);
        if size == 0 {
            return Err(os_error(libc::EAGAIN));
        }
        connection.bytes_to_server += size;
        state.effects[self.id].sends += 1;
        self.count_io(&mut state);
        let connection = &state.connections[id];
        let node = connection.node;
        let time = state.cluster.reachable_from(node);
        state.transmit(id, Direction::ToServer, &bytes[..size], time);
        let action = format_args!("sends on connection {id} to node {node}");
        self.log_bytes(&mut state, action, &bytes[..size]);
        Ok(size)
    }

    fn recv(&self, fd: RawFd, room: usize, wait: Wait) -> io::Result<Vec<u8>> {
        let mut state = self.begin_call();
        let wanted = match wait {
            Wait::No => 0,
            Wait::First => 1,
            Wait::All => room,
        };
        if wanted > 0 {
            let timer_slack = state.network.timer_slack;
            let until = state.now + MS + state.rng.below(timer_slack);
            state = self.block_in_call(state, WaitReason::Bytes(fd, wanted), Some(until));
        }
        let Some(id) = state.connection_by_fd.get(&fd).copied() else {
            return Err(os_error(libc::EBADF));
        };
        let connection = &mut state.connections[id];
        if connection.is_readable(1) {
            state.effects[self.id].io += 1;
        }
        let connection = &mut state.connections[id];
        if connection.receive_buffer.is_empty() {
            return match connection.error {
                Some(number) => Err(os_error(number)),
                None if connection.ended => Ok(Vec::new()),
                None => Err(os_error(libc::EAGAIN)),
            };
        }
        let size = room.min(connection.receive_buffer.len());
        let bytes: Vec<u8> = connection.receive_buffer.drain(..size).collect();
        let action = format_args!("receives on connection {id}");
        self.log_bytes(&mut state, action, &bytes);
        Ok(bytes)
    }

    fn has_news(&self, fd: RawFd) -> bool {
        let state = self.begin_call();
        let id = state.connection_by_fd.get(&fd);
        id.is_none_or(|id| state.connections[*id].is_readable(1))
    }

    fn closed(&self, fd: RawFd) {
        let mut state = self.begin_call();
        state.signaled_events.remove(&fd);
        state.close_in_event_loops(fd);
        let Some(id) = state.connection_by_fd.remove(&fd) else {
            return;
        };
        self.count_io(&mut state);
        state.connections[id].phase = Phase::Closed;
        state.log(|| format!("thread {} closes connection {id}", self.id));
        let last_arrival = state.connections[id].last_arrival_at_server();
        let time = state.now.max(last_arrival);
        state.schedule(time, Event::EndToServer(id));
    }

    fn poll(&self, fds: &mut [libc::pollfd], timeout: Option<Duration>) -> io::Result<usize> {
        let state = self.begin_call();
        let polled = fds.iter().filter(|entry| entry.fd >= 0);
        let reason = WaitReason::Poll(polled.map(|entry| (entry.fd, entry.events)).collect());
        // The kernel adds its timer slack of 50 us.
        let until = timeout.map(|timeout| state.now + timeout.as_nanos() as u64 + 50 * US);
        let state = self.block_in_call(state, reason, until);
        let mut count = 0;
        for entry in fds.iter_mut() {
            entry.revents = 0;
            if entry.fd >= 0 {
                entry.revents = state.poll_events(entry.fd, entry.events);
                count += usize::from(entry.revents != 0);
            }
        }
        Ok(count)
    }

    fn fire(&self, event: RawFd) {
        let mut state = self.begin_call();
        self.count_polling(&mut state);
        state.signaled_events.insert(event);
    }

    fn clear(&self, event: RawFd) {
        let mut state = self.begin_call();
        self.count_polling(&mut state);
        state.signaled_events.remove(&event);
    }

    fn change_poll_set(&self, set: RawFd, fd: RawFd, events: Option<i16>) -> io::Result<()> {
        // It takes no time: sockets that other tests close at the same time cause more of these calls.
        let mut state = self.simulation.lock();
        self.count_polling(&mut state);
        state.change_poll_set(set, fd, events);
        Ok(())
    }

    fn wait_poll_set(&self, set: RawFd, timeout: Option<Duration>) -> Vec<(RawFd, i16)> {
        let mut state = self.begin_call();
        if timeout != Some(Duration::ZERO) {
            let until = timeout.map(|timeout| state.now + timeout.as_nanos() as u64 + 50 * US);
            let reason = WaitReason::Poll(vec![(set, libc::POLLIN)]);
            state = self.block_in_call(state, reason, until);
        } else if state.rng.chance(100) {
            state = self.give_way(state);
        }
        state.ready_members(set)
    }

    fn set_timer(&self, timer: RawFd, at: Option<u64>) {
        let mut state = self.begin_call();
        self.count_polling(&mut state);
        state.set_timer(timer, at);
    }

    fn futex_wait(&self, word: usize, timeout: Option<Duration>) {
        let state = self.begin_call();
        let until = timeout.map(|timeout| state.now + timeout.as_nanos() as u64);
        drop(self.block_in_call(state, WaitReason::Futex(word), until));
    }

    fn futex_wake(&self, word: usize, count: i32) {
        let mut state = self.begin_call();
        let waits_for_word = |wait: &ThreadWait| {
            !wait.woken && matches!(wait.reason, WaitReason::Futex(other) if other == word)
        };
        for _ in 0..count {
            let waiting = state.waits.iter();
            let waiting: Vec<usize> = waiting
                .filter(|(_, wait)| wait.as_ref().is_some_and(waits_for_word))
                .map(|(id, _)| *id)
                .collect();
            if waiting.is_empty() {
                break;
            }
            // If not all are woken, the kernel chooses; the schedule tries each choice.
            let wakes_all = usize::try_from(count).is_ok_and(|count| count >= waiting.len());
            let index = match &mut state.schedule {
                Some(schedule) if !wakes_all => schedule.choose(waiting.len()),
                _ => 0,
            };
            if let Some(Some(wait)) = state.waits.get_mut(&waiting[index]) {
                wait.woken = true;
            }
        }
    }

    fn yield_now(&self) {
        let state = self.begin_call();
        if state.schedule.as_ref().is_some_and(|s| s.ignores_yields) {
            return;
        }
        drop(self.give_way(state));
    }

    fn panic_point(&self, layer: Layer) {
        let mut state = self.simulation.lock();
        let Some((wanted, at)) = state.panic_at else {
            return;
        };
        if wanted != layer {
            return;
        }
        state.panic_points_passed += 1;
        if state.panic_points_passed == at {
            state.log(|| format!("thread {} panics in {layer:?}", self.id));
            drop(state);
            // This skips the panic hook, which would print.
            std::panic::resume_unwind(Box::new("a panic injected by the simulation"));
        }
    }

    fn yield_point(&self, point: YieldPoint) {
        let mut state = self.simulation.lock();
        let executed = state.cluster.executed;
        let activity = &mut state.batch_activity[self.id];
        match point {
            YieldPoint::Between => {}
            YieldPoint::Joined => activity.executed_at_join = Some(executed),
            YieldPoint::Leads => activity.batches_led += 1,
            YieldPoint::ReadForAnother => activity.replies_read_for_others += 1,
        }
        if state.schedule.is_some() {
            state.deliver_due_events();
            drop(self.block(state, WaitReason::Preemption, None));
        }
    }
}
