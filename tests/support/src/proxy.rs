//! A proxy that delays, splits and cuts connections at random, with a seed.

use crate::process::lock;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// The faults of a [`Proxy`]. Probabilities are per mille, for each part that it reads.
#[derive(Clone, Copy, Debug, Default)]
pub struct Chaos {
    /// Forwards in parts of at most this many bytes; 0 keeps parts whole.
    pub split: usize,
    /// The probability of a delay before a part is forwarded, and its maximum.
    pub delays: u32,
    pub delay: Duration,
    /// The probability of cutting both directions inside a part.
    pub cuts: u32,
    /// The probability that a part of a reply has one bit flipped, and that a part that begins with a string is sent
    /// twice.
    pub flips: u32,
    pub doubles: u32,
}

/// Forwards connections from a port of its own to another port of 127.0.0.1.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    stop: Arc<AtomicBool>,
    chaos: Arc<Mutex<Chaos>>,
    /// How often it has cut a connection, and how often it has changed data.
    cuts: Arc<AtomicUsize>,
    changes: Arc<AtomicUsize>,
    /// Both ends of every connection, by number.
    streams: Arc<Mutex<HashMap<usize, [TcpStream; 2]>>>,
    accept: Option<JoinHandle<()>>,
}

impl Proxy {
    /// A proxy to this port. The same seed makes the same choices for the same parts.
    pub fn start(to: u16, chaos: Chaos, seed: u64) -> Proxy {
        let bound = TcpListener::bind("127.0.0.1:0").unwrap_or_else(|e| panic!("no port: {e}"));
        let port = bound.local_addr().map(|a| a.port()).unwrap_or_default();
        let stop = Arc::new(AtomicBool::new(false));
        let chaos = Arc::new(Mutex::new(chaos));
        let cuts = Arc::new(AtomicUsize::new(0));
        let changes = Arc::new(AtomicUsize::new(0));
        let streams = Arc::new(Mutex::new(HashMap::new()));
        let accept = std::thread::spawn({
            let (stop, cuts, streams) = (stop.clone(), cuts.clone(), streams.clone());
            let (chaos, changes) = (chaos.clone(), changes.clone());
            move || {
                let mut threads: Vec<JoinHandle<()>> = Vec::new();
                for (number, client) in bound.incoming().enumerate() {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let pair = client.and_then(|c| Ok((c, TcpStream::connect(("127.0.0.1", to))?)));
                    // No server listens there: the client sees a closed connection.
                    let Ok((client, server)) = pair else { continue };
                    let ends = client
                        .try_clone()
                        .and_then(|c| Ok([c, server.try_clone()?]));
                    let Ok(ends) = ends else { continue };
                    lock(&streams).insert(number, ends);
                    threads.retain(|thread| !thread.is_finished());
                    for (way, (from, to)) in
                        [(&client, &server), (&server, &client)].iter().enumerate()
                    {
                        let ends = from.try_clone().and_then(|f| Ok((f, to.try_clone()?)));
                        let Ok((from, to)) = ends else { continue };
                        let dice = Dice(AtomicU64::new(
                            seed ^ (number as u64 * 2 + way as u64) << 32,
                        ));
                        let (chaos, cuts, streams) = (chaos.clone(), cuts.clone(), streams.clone());
                        // Requests are never changed, or a wrong answer would be the server's.
                        let changes = (way == 1).then(|| changes.clone());
                        threads.push(std::thread::spawn(move || {
                            carry(from, to, &chaos, &dice, &cuts, changes.as_deref());
                            // The other direction may have closed it already.
                            lock(&streams).remove(&number);
                        }));
                    }
                }
                for thread in threads {
                    let _ = thread.join();
                }
            }
        });
        Proxy {
            port,
            stop,
            chaos,
            cuts,
            changes,
            streams,
            accept: Some(accept),
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Changes the faults from now on, on open connections too.
    pub fn set(&self, chaos: Chaos) {
        *lock(&self.chaos) = chaos;
    }

    /// Cuts all open connections.
    pub fn cut(&self) {
        for stream in lock(&self.streams).values().flatten() {
            // It may have ended already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// How many connections were cut at random.
    pub fn cuts(&self) -> usize {
        self.cuts.load(Ordering::SeqCst)
    }

    /// How many bits were flipped and replies doubled.
    pub fn changes(&self) -> usize {
        self.changes.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        self.cut();
        if let Some(accept) = self.accept.take() {
            let _ = accept.join();
        }
    }
}

/// How the reply to CLUSTER MYID begins, which is part of a handshake.
const NODE_ID: &[u8] = b"$40\r\n";

/// Forwards one direction until an end closes.
fn carry(
    mut from: TcpStream,
    mut to: TcpStream,
    chaos: &Mutex<Chaos>,
    dice: &Dice,
    cuts: &AtomicUsize,
    changes: Option<&AtomicUsize>,
) {
    let _ = to.set_nodelay(true);
    let mut buffer = [0; 16384];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        let chaos = *lock(chaos);
        let mut twice = Vec::new();
        if let Some(changes) = changes {
            if dice.chance(chaos.flips) {
                buffer[dice.below(n as u64) as usize] ^= 1 << dice.below(8);
                changes.fetch_add(1, Ordering::SeqCst);
            }
            // Not a part with several replies, such as those of a handshake: the doubled one would pass for the next
            // reply.
            let is_handshake = buffer[0] != b'$' || buffer.starts_with(NODE_ID);
            if dice.chance(chaos.doubles) && !is_handshake {
                twice = buffer[..n].repeat(2);
                changes.fetch_add(1, Ordering::SeqCst);
            }
        }
        let mut piece = if twice.is_empty() {
            &buffer[..n]
        } else {
            &twice
        };
        if dice.chance(chaos.delays) {
            std::thread::sleep(chaos.delay.mul_f64(dice.below(1000) as f64 / 1000.0));
        }
        let cut = dice.chance(chaos.cuts);
        if cut {
            piece = &piece[..dice.below(piece.len() as u64 + 1) as usize];
        }
        if !twice.is_empty() && !cut {
            // In one write, or the doubled reply would pass for the reply to the next request.
            if to.write_all(&twice).is_err() {
                break;
            }
            continue;
        }
        let mut whole = true;
        while whole && !piece.is_empty() {
            let most = if chaos.split == 0 {
                piece.len()
            } else {
                chaos.split.min(piece.len())
            };
            let size = 1 + dice.below(most as u64) as usize;
            whole = to.write_all(&piece[..size]).is_ok();
            piece = &piece[size..];
        }
        if cut || !whole {
            cuts.fetch_add(usize::from(cut), Ordering::SeqCst);
            break;
        }
    }
    for stream in [&from, &to] {
        // The other direction may have closed it already.
        let _ = stream.shutdown(Shutdown::Both);
    }
}

/// Pseudo-random numbers, the same for the same seed (SplitMix64).
#[derive(Debug)]
struct Dice(AtomicU64);

impl Dice {
    fn below(&self, limit: u64) -> u64 {
        let step = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.0.fetch_add(step, Ordering::Relaxed).wrapping_add(step);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit.max(1)
    }

    fn chance(&self, of_thousand: u32) -> bool {
        self.below(1000) < u64::from(of_thousand)
    }
}
