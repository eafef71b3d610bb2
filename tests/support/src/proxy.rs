//! A wire that delays, splits and cuts, by dice with a seed.

use crate::process::lock;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// What a [`Proxy`] does to what it carries. Chances are of 1000, for each piece it reads.
#[derive(Clone, Copy, Debug, Default)]
pub struct Chaos {
    /// Each piece is passed on in pieces of at most so many bytes; 0 leaves it whole.
    pub split: usize,
    /// How often it waits before it passes a piece on, and for how long at most.
    pub delays: u32,
    pub delay: Duration,
    /// How often it cuts both ways, in the middle of a piece.
    pub cuts: u32,
    /// How often a piece on its way back has one of its bits turned, and how often one that begins with a string comes
    /// twice.
    pub flips: u32,
    pub doubles: u32,
}

/// Carries what comes to a port of its own to another one of 127.0.0.1, and back.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    stop: Arc<AtomicBool>,
    chaos: Arc<Mutex<Chaos>>,
    /// How often it has cut, and how often it has changed what it carried.
    cuts: Arc<AtomicUsize>,
    changes: Arc<AtomicUsize>,
    /// Both ends of every connection, by its number.
    streams: Arc<Mutex<HashMap<usize, [TcpStream; 2]>>>,
    accept: Option<JoinHandle<()>>,
}

impl Proxy {
    /// A wire to this port. The same seed makes the same choices, as far as the pieces that come
    /// are the same.
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
                    // Nobody listens there: what the client sees is a connection that ends.
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
                        // What a client has said is left as it is, or nobody could tell whose fault an answer is.
                        let changes = (way == 1).then(|| changes.clone());
                        threads.push(std::thread::spawn(move || {
                            carry(from, to, &chaos, &dice, &cuts, changes.as_deref());
                            // The other way may have done so already.
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

    /// Does otherwise from now on, also on connections that there are.
    pub fn set(&self, chaos: Chaos) {
        *lock(&self.chaos) = chaos;
    }

    /// Cuts all connections that there are.
    pub fn cut(&self) {
        for stream in lock(&self.streams).values().flatten() {
            // It may have ended already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// How often dice have cut a connection.
    pub fn cuts(&self) -> usize {
        self.cuts.load(Ordering::SeqCst)
    }

    /// How often it has turned a bit, or said something twice.
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

/// One way, until an end hangs up.
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
            // Not what answers several at once, as a handshake's: nobody could tell the second from an answer to the next.
            if dice.chance(chaos.doubles) && buffer[0] == b'$' {
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
            // In one, or what comes second could not be told from an answer to what is asked next.
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
        // The other way may have done so already.
        let _ = stream.shutdown(Shutdown::Both);
    }
}

/// Numbers that look random, the same for the same seed (SplitMix64).
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
