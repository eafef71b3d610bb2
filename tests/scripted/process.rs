//! The library and its host process: signals, threads, descriptors, memory and panics.

use crate::common::process_info::is_asleep;
use crate::common::serial::{in_child_process, in_forked_child};
use crate::common::serial::{scripted_nodes, url_of};
use crate::common::{
    client, code, is_command, is_sent, key_of, run, run_all, send, show, wait_for,
};
use rediscluster::cluster::Client;
use rediscluster::error::Code;
use rediscluster::ffi::client::{rdc_close, rdc_create};
use rediscluster::ffi::command::rdc_get;
use rediscluster::ffi::reply::{rdc_reply_error, rdc_reply_free};
use std::ffi::CString;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};
use support::Action;

#[test]
fn frequent_signals_do_not_affect_calls() {
    let fake = scripted_nodes(2);
    if let Some(fake) = &fake {
        // Slow enough that signals interrupt every wait many times.
        let mut usual = fake.default_answer(0);
        fake.on(0, move |connection, command| {
            if is_command(command, "GETDEL") {
                return Some(Action::Nothing);
            }
            let answer = Action::Send(usual(connection, command));
            is_command(command, "INCR")
                .then(|| Action::Delay(Duration::from_millis(20), Box::new(answer)))
        });
    }
    in_child_process(&url_of(&fake), |url| {
        extern "C" fn nothing(_: libc::c_int) {}
        // SAFETY: the handler does nothing. Without SA_RESTART it interrupts every system call.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
            assert_eq!(
                libc::sigaction(libc::SIGALRM, &action, std::ptr::null_mut()),
                0
            );
            let every = libc::timeval {
                tv_sec: 0,
                tv_usec: 500,
            };
            let timer = libc::itimerval {
                it_interval: every,
                it_value: every,
            };
            assert_eq!(
                libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut()),
                0
            );
        }
        let client = Arc::new(client(url));
        let readonly = client.readonly();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (client, readonly) = (client.clone(), &readonly);
                scope.spawn(move || {
                    let (slow, quick) = (key_of(0, 2, thread), key_of(1, 2, thread));
                    for n in 1..=20 {
                        assert_eq!(run(&client, &format!("INCR {slow}")), n.to_string());
                        let pair = [format!("INCR {quick}"), format!("GET {slow}")];
                        assert_eq!(run_all(&client, &pair), [n.to_string(), n.to_string()]);
                        assert_eq!(run(readonly, &format!("GET {slow}")), n.to_string());
                    }
                });
            }
        });
        // The deadline is not extended.
        let short = Arc::new(client.with("timeout_ms", "100"));
        let words = format!("GETDEL {}", key_of(0, 2, 1));
        for together in [false, true] {
            let began = Instant::now();
            let silent = match together {
                true => run_all(&short, std::slice::from_ref(&words)).concat(),
                false => run(&short, &words),
            };
            let took = began.elapsed().as_millis();
            assert!(silent.contains("(TIMEOUT, sent)"), "{silent}");
            assert!((100..250).contains(&took), "{took} ms");
        }
    });
}

fn limit_descriptors(most: u64) {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: both pointers are to a live struct.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
        limit.rlim_cur = most.min(limit.rlim_max);
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
    }
}

#[test]
fn descriptor_exhaustion_is_reported_and_recovered() {
    let fake = scripted_nodes(2);
    in_child_process(&url_of(&fake), |url| {
        let client = client(&format!("{url}?timeout_ms=500"));
        let seed = key_of(0, 2, 1);
        limit_descriptors(64);
        let mut files = Vec::new();
        while let Ok(file) = std::fs::File::open("/dev/null") {
            files.push(file);
        }
        // Nodes without a connection cannot get one now.
        let fresh = Client::create(&format!("{url}?timeout_ms=500"));
        let error = fresh.error().expect("a connection without a descriptor");
        assert!(error.message.contains("no file descriptor left"), "{error}");
        assert!(!error.sent);
        for client in [&client, &client.readonly()] {
            let reply = send(client, &format!("GET {seed}"));
            assert_ne!(code(reply.view()), Code::Ok);
        }
        let reply = send(&client, &format!("INCR {seed}"));
        assert!(!is_sent(reply.view()), "{}", show(reply.view()));
        assert_ne!(code(reply.view()), Code::Ok);
        drop(files);
        let long_timeout = client.with("timeout_ms", "5000");
        assert_eq!(run(&long_timeout, &format!("INCR {seed}")), "1");
        assert_eq!(
            run(&long_timeout, &format!("INCR {}", key_of(1, 2, 1))),
            "1"
        );
    });
}

#[test]
fn open_connections_and_interrupts_work_without_descriptors() {
    let fake = scripted_nodes(2);
    if let Some(fake) = &fake {
        fake.on(0, |_, command| {
            is_command(command, "GETDEL").then_some(Action::Nothing)
        });
    }
    in_child_process(&url_of(&fake), |url| {
        let long_timeout = "timeout_ms=20000&attempt_timeout_ms=20000";
        let client = Arc::new(client(&format!("{url}?{long_timeout}")));
        let (here, there) = (key_of(0, 2, 1), key_of(1, 2, 1));
        // Each of these has one connection to the first node and none to the second.
        let pinned = client.pin(here.as_bytes());
        assert_eq!(run(&client, &format!("SET {here} 1")), "OK");
        assert_eq!(run(&pinned, &format!("GET {here}")), "1");
        let go = [Barrier::new(2), Barrier::new(2)];
        let ready = [AtomicUsize::new(0), AtomicUsize::new(0)];
        let mut files = Vec::new();
        let wait = |n: usize, client: &Client| {
            // SAFETY: returns a number.
            ready[n].store(unsafe { libc::gettid() } as usize, Ordering::SeqCst);
            go[n].wait();
            send(client, &format!("GETDEL {here}"))
        };
        std::thread::scope(|scope| {
            // The first call uses the eventfd that was made on connecting; the second has none.
            let waits = [
                scope.spawn(|| wait(0, &client)),
                scope.spawn(|| wait(1, &pinned)),
            ];
            let stats = [0, 1].map(|n| {
                wait_for("the thread has started", || {
                    ready[n].load(Ordering::SeqCst) > 0
                });
                let thread = ready[n].load(Ordering::SeqCst);
                std::fs::File::open(format!("/proc/self/task/{thread}/stat")).unwrap()
            });
            limit_descriptors(64);
            while let Ok(file) = std::fs::File::open("/dev/null") {
                files.push(file);
            }
            let short_timeout = Arc::new(client.with("timeout_ms", "300"));
            let got = run_all(
                &short_timeout,
                &[format!("INCR {here}"), format!("INCR {there}")],
            );
            assert_eq!(got[0], "2", "{got:?}");
            let refused = got[1].contains("descriptor") && !got[1].contains("sent)");
            assert!(refused, "{got:?}");
            for n in [0, 1] {
                go[n].wait();
                wait_for("the thread waits", || {
                    let mut text = [0; 512];
                    let len = stats[n].read_at(&mut text, 0).unwrap();
                    is_asleep(&String::from_utf8_lossy(&text[..len]))
                });
            }
            let began = Instant::now();
            pinned.interrupt();
            client.interrupt();
            for wait in waits {
                let ended = wait.join().unwrap();
                let words = show(ended.view());
                assert_eq!(code(ended.view()), Code::Interrupted, "{words}");
            }
            let took = began.elapsed();
            assert!(took < Duration::from_secs(5), "{took:?}");
        });
        drop(files);
        let incrs = [format!("INCR {here}"), format!("INCR {there}")];
        assert_eq!(run_all(&client, &incrs), ["3", "1"]);
    });
}

#[test]
fn descriptors_above_1024_work() {
    let fake = scripted_nodes(2);
    in_child_process(&url_of(&fake), |url| {
        limit_descriptors(4096);
        let files: Vec<_> = (0..1100)
            .map(|_| std::fs::File::open("/dev/null").unwrap())
            .collect();
        let client = Arc::new(client(url));
        let keys: Vec<String> = (0..20).map(|n| key_of(n % 2, 2, n)).collect();
        for key in &keys {
            assert_eq!(run(&client, &format!("INCR {key}")), "1");
        }
        let incrs: Vec<String> = keys.iter().map(|k| format!("INCR {k}")).collect();
        assert_eq!(run_all(&client, &incrs), vec!["2"; 20]);
        assert_eq!(show(client.refresh().view()), "OK");
        drop(files);
    });
}

/// Limits the address space to `more` bytes beyond what is mapped now.
fn limit_memory(more: usize) {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').next().unwrap().parse().unwrap();
    let most = (pages * 4096 + more) as u64;
    let limit = libc::rlimit {
        rlim_cur: most,
        rlim_max: most,
    };
    // SAFETY: the pointer is to a live struct.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) }, 0);
}

/// A failed allocation ends the process, as in any Rust program. So the library must not allocate what a peer only
/// announces, and the limits of a reply must apply before memory runs out.
#[test]
fn announced_huge_replies_do_not_exhaust_memory() {
    const MIB: usize = 1 << 20;
    let fake = scripted_nodes(1);
    if let Some(fake) = &fake {
        let endless = |what: &str, size: usize| what.repeat(size / what.len());
        let replies = [
            "$2000000000\r\nx".to_string(),
            format!("$2000000000\r\n{}", endless("x", 12 * MIB)),
            "*60000000\r\n".to_string(),
            format!("*60000000\r\n{}", endless(":1\r\n", 12 * MIB)),
            "%30000000\r\n+k\r\n".to_string(),
            format!("*60000000\r\n{}", endless("$1\r\nx\r\n", 12 * MIB)),
            format!("~60000000\r\n{}", endless("*1\r\n", 12 * MIB)),
            format!(">60000000\r\n{}", endless("_\r\n", 12 * MIB)),
            format!("+{}", endless("x", 12 * MIB)),
        ];
        fake.on(0, move |_, command| {
            let n = command.get(1).filter(|_| is_command(command, "INCR"))?;
            let n: usize = String::from_utf8_lossy(n).parse().ok()?;
            Some(Action::send(replies.get(n)?))
        });
    }
    in_child_process(&url_of(&fake), |url| {
        let limits = "max_reply_bytes=8388608&attempt_timeout_ms=500";
        let client = Arc::new(client(&format!("{url}?{limits}")));
        assert_eq!(run(&client, "SET k v"), "OK");
        limit_memory(96 * MIB);
        for n in 0..9 {
            let reply = send(&client, &format!("INCR {n}"));
            // A node that only announces a large reply times out.
            let expected = match n {
                2 | 4 => Code::Timeout,
                _ => Code::Protocol,
            };
            assert_eq!(code(reply.view()), expected, "{n}: {}", show(reply.view()));
            let got = run_all(&client, &[format!("INCR {n}"), "GET k".to_string()]);
            assert!(got[0].contains("sent)"), "{n}: {got:?}");
            assert_eq!(run(&client, "GET k"), "v", "{n}");
        }
    });
}

#[test]
fn descriptors_are_close_on_exec() {
    let fake = scripted_nodes(2);
    in_child_process(&url_of(&fake), |url| {
        let client = Arc::new(client(url));
        let keys = [key_of(0, 2, 1), key_of(1, 2, 1)];
        assert_eq!(
            run_all(&client, &keys.clone().map(|k| format!("SET {k} v"))),
            ["OK", "OK"]
        );
        let pinned = client.pin(b"k");
        assert_eq!(run(&pinned, "SET k v"), "OK");
        for file in std::fs::read_dir("/proc/self/fd").unwrap() {
            let name = file.unwrap().file_name().into_string().unwrap();
            let link = std::fs::read_link(format!("/proc/self/fd/{name}"));
            let link = link.map(|l| l.display().to_string()).unwrap_or_default();
            if link.starts_with("socket:") || link.contains("eventfd") {
                let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{name}")).unwrap();
                let flags = info.lines().find(|l| l.starts_with("flags:")).unwrap();
                let flags = i32::from_str_radix(flags[6..].trim(), 8).unwrap();
                assert!(flags & libc::O_CLOEXEC != 0, "{name} {link}: {info}");
            }
        }
    });
}

#[test]
fn panic_inside_a_call_does_not_block_other_threads() {
    let fake = scripted_nodes(2);
    if let Some(fake) = &fake {
        for node in 0..2 {
            fake.on(node, move |_, command| {
                let silent = is_command(command, "BLPOP")
                    || (node == 0 && (is_command(command, "GET") || is_command(command, "MGET")));
                silent.then_some(Action::Nothing)
            });
        }
    }
    in_child_process(&url_of(&fake), |url| {
        let client = Arc::new(client(&format!(
            "{url}?connections_per_node=1&timeout_ms=3000"
        )));
        let key = key_of(0, 2, 1);
        // The logger is the only foreign code that runs inside a call. It panics when a node is ejected.
        let panics = Arc::new(AtomicUsize::new(0));
        let counted = panics.clone();
        rediscluster::log::set(
            Some(Arc::new(move |level, words| {
                if level == rediscluster::log::WARN && words.contains("ejected") {
                    counted.fetch_add(1, Ordering::SeqCst);
                    panic!("the logger cannot go on");
                }
            })),
            rediscluster::log::DEBUG,
        );
        let broken = Arc::new(client.with("attempt_timeout_ms", "50"));
        let threads: Vec<_> = (0..6)
            .map(|_| {
                let broken = broken.clone();
                std::thread::spawn(move || run(&broken, "BLPOP silent 0"))
            })
            .collect();
        let ended: Vec<bool> = (0..6)
            .map(|_| {
                let (broken, key) = (broken.clone(), key.clone());
                std::thread::spawn(move || run(&broken, &format!("MGET {key}")))
                    .join()
                    .is_err()
            })
            .collect();
        assert!(
            panics.load(Ordering::SeqCst) > 0 && ended.contains(&true),
            "no logger call panicked"
        );
        // The same through the C ABI: an error, and nothing on the standard error of the host.
        let c_url = CString::new(format!("{url}?attempt_timeout_ms=50&timeout_ms=500")).unwrap();
        // SAFETY: the strings and the handles are live while they are used.
        unsafe {
            let handle = rdc_create(c_url.as_ptr());
            let reply = rdc_get(handle, key.as_ptr().cast(), key.len());
            assert_ne!(rdc_reply_error(reply), 0);
            rdc_reply_free(reply);
            rediscluster::log::set(None, 0);
            let other = key_of(1, 2, 2);
            let reply = rdc_get(handle, other.as_ptr().cast(), other.len());
            assert_eq!(rdc_reply_error(reply), 0, "the handle still works");
            rdc_reply_free(reply);
            rdc_close(handle);
        }
        rediscluster::log::set(None, 0);
        for n in 0..20 {
            assert_eq!(run(&client, &format!("INCR {key}")), (n + 1).to_string());
        }
        broken.close();
        for thread in threads {
            let _ = thread.join();
        }
    });
}

#[test]
fn logger_may_call_the_library() {
    let fake = scripted_nodes(2);
    in_child_process(&url_of(&fake), |url| {
        thread_local! {
            static INSIDE: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
        }
        // SAFETY: ends a test whose call never returns.
        unsafe { libc::alarm(60) };
        let shared = Arc::new(client(url));
        let told = Arc::new(Mutex::new(Vec::new()));
        let (within, lines) = (shared.clone(), told.clone());
        rediscluster::log::set(
            Some(Arc::new(move |_, words| {
                lines.lock().unwrap().push(words.to_string());
                if !INSIDE.replace(true) {
                    assert_eq!(show(within.refresh().view()), "OK");
                    assert_eq!(run(&within, "SET logged v"), "OK");
                    assert_eq!(run(&within.with("timeout_ms", "900"), "GET logged"), "v");
                    INSIDE.set(false);
                }
            })),
            rediscluster::log::DEBUG,
        );
        let fresh = client(url);
        assert_eq!(show(fresh.refresh().view()), "OK");
        drop(fresh);
        assert!(in_forked_child(|| {
            // SAFETY: as above; a child does not inherit the alarm.
            unsafe { libc::alarm(60) };
            run(&shared, "GET logged") == "v"
        }));
        let told = told.lock().unwrap().join("\n");
        for line in ["topology 1:", "the topology is unchanged"] {
            assert!(told.contains(line), "{line} is not in {told}");
        }
        rediscluster::log::set(None, 0);
    });
}
