//! What becomes of the process that uses the library, and what the library makes of what becomes of the process: forks,
//! signals, threads, descriptors, memory, panics.

mod say;

use rediscluster::cluster::Client;
use rediscluster::error::Code;
use rediscluster::ffi::client::{rdc_close, rdc_create};
use rediscluster::ffi::command::rdc_get;
use rediscluster::ffi::reply::{rdc_reply_error, rdc_reply_free};
use say::alone::{forked, in_a_process, is_inside};
use say::{ask, client, code, is, is_sent, key_of, say, say_all, show, until};
use std::collections::HashSet;
use std::ffi::CString;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};
use support::{Action, FakeCluster, Server};

/// A server's answers while a test of its own process runs; nothing inside of that.
fn fake(primaries: usize) -> Option<FakeCluster> {
    (!is_inside()).then(|| FakeCluster::new(primaries))
}

fn url(fake: &Option<FakeCluster>) -> String {
    fake.as_ref().map(FakeCluster::url).unwrap_or_default()
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Resident memory, in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

// ---- Forks ---------------------------------------------------------------------------------------

#[test]
fn a_child_forked_in_the_middle_of_other_threads_calls_goes_on_by_itself() {
    let fake = fake(2);
    in_a_process(
        "a_child_forked_in_the_middle_of_other_threads_calls_goes_on_by_itself",
        &url(&fake),
        |url| {
            let client = Arc::new(client(&format!("{url}?connections_per_node=2")));
            let over = AtomicBool::new(false);
            let calls = AtomicUsize::new(0);
            std::thread::scope(|scope| {
                for thread in 0..8 {
                    let (client, over, calls) = (&client, &over, &calls);
                    scope.spawn(move || {
                        let mut n = 0;
                        while !over.load(Ordering::SeqCst) {
                            n += 1;
                            let key = format!("parent{thread}:{}", n % 10);
                            let set = format!("SET {key} {n}");
                            let got = match n % 3 {
                                0 => say_all(client, &[set, format!("GET {key}")]),
                                _ => vec![say(client, &set), say(client, &format!("GET {key}"))],
                            };
                            assert_eq!(got, ["OK", &n.to_string()], "the parent is harmed");
                            calls.fetch_add(1, Ordering::SeqCst);
                        }
                    });
                }
                for round in 0..30 {
                    let before = calls.load(Ordering::SeqCst);
                    until("the threads are busy", || {
                        calls.load(Ordering::SeqCst) > before + 20
                    });
                    let well = forked(|| {
                        (0..20).all(|n| {
                            let (key, value) = (format!("child{round}:{n}"), format!("c{n}"));
                            say(&client, &format!("SET {key} {value}")) == "OK"
                                && say_all(&client, &[format!("GET {key}")]) == [value]
                        })
                    });
                    assert!(well, "the child of round {round}");
                }
                over.store(true, Ordering::SeqCst);
            });
        },
    );
    let Some(fake) = fake else { return };
    let mut children = 0;
    for node in 0..2 {
        for commands in fake.node(node).received_text() {
            let of = |who: &str| {
                commands
                    .iter()
                    .filter(|c| c.contains(&format!(" {who}")))
                    .count()
            };
            let (parent, child) = (of("parent"), of("child"));
            assert!(
                parent == 0 || child == 0,
                "a connection that both used: {commands:?}"
            );
            children += usize::from(child > 0);
        }
    }
    assert!(children >= 30, "{children} connections of children");
}

#[test]
fn a_child_does_not_use_the_pinned_connection_of_its_parent() {
    let fake = fake(1);
    in_a_process(
        "a_child_does_not_use_the_pinned_connection_of_its_parent",
        &url(&fake),
        |url| {
            let client = client(url);
            let pinned = client.pin(b"k");
            assert_eq!(say(&pinned, "SET parent 1"), "OK");
            assert!(forked(
                || say(&pinned, "SET child 1") == "OK" && say(&pinned, "GET child") == "1"
            ));
            assert_eq!(say(&pinned, "SET parent 2"), "OK");
        },
    );
    let Some(fake) = fake else { return };
    for commands in fake.node(0).received_text() {
        let of = |who: &str| commands.iter().any(|c| c.contains(&format!(" {who}")));
        assert!(!(of("parent") && of("child")), "{commands:?}");
    }
}

#[test]
fn children_of_children_and_many_of_them_go_on() {
    let fake = fake(2);
    in_a_process(
        "children_of_children_and_many_of_them_go_on",
        &url(&fake),
        |url| {
            let client = client(url);
            let readonly = client.readonly();
            assert_eq!(say(&client, "SET k v"), "OK");
            assert_eq!(say(&readonly, "GET k"), "v");
            let both = || [&client, &readonly].map(|c| say(c, "GET k")) == ["v", "v"];
            for _ in 0..50 {
                assert!(forked(|| both() && forked(both)));
            }
            assert_eq!(say(&client, "GET k"), "v");
            drop(client);
        },
    );
}

#[test]
fn a_child_may_log_though_another_thread_was_just_setting_the_logger() {
    let fake = fake(1);
    in_a_process(
        "a_child_may_log_though_another_thread_was_just_setting_the_logger",
        &url(&fake),
        |url| {
            let client = client(url);
            let over = AtomicBool::new(false);
            let logger: rediscluster::log::Logger = Arc::new(|_, words: &str| {
                std::hint::black_box(words.len());
            });
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    while !over.load(Ordering::SeqCst) {
                        rediscluster::log::set(Some(logger.clone()), rediscluster::log::DEBUG);
                    }
                });
                let well = (0..100).all(|_| {
                    forked(|| {
                        // SAFETY: a call that never ends is to end the child.
                        unsafe { libc::alarm(20) };
                        say(&client, "SET k v") == "OK"
                    })
                });
                over.store(true, Ordering::SeqCst);
                assert!(well, "a child waits for what its parent had locked");
            });
        },
    );
}

// ---- Signals -------------------------------------------------------------------------------------

#[test]
fn a_storm_of_signals_is_not_noticed() {
    let fake = fake(2);
    if let Some(fake) = &fake {
        // Slow enough that every wait is interrupted many times.
        let mut usual = fake.default_answer(0);
        fake.on(0, move |connection, command| {
            if is(command, "GETDEL") {
                return Some(Action::Nothing);
            }
            let answer = Action::Send(usual(connection, command));
            is(command, "INCR").then(|| Action::Delay(Duration::from_millis(20), Box::new(answer)))
        });
    }
    in_a_process("a_storm_of_signals_is_not_noticed", &url(&fake), |url| {
        extern "C" fn nothing(_: libc::c_int) {}
        // SAFETY: a handler that does nothing, without SA_RESTART, so that every call of the system is cut short.
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
                        assert_eq!(say(&client, &format!("INCR {slow}")), n.to_string());
                        let pair = [format!("INCR {quick}"), format!("GET {slow}")];
                        assert_eq!(say_all(&client, &pair), [n.to_string(), n.to_string()]);
                        assert_eq!(say(readonly, &format!("GET {slow}")), n.to_string());
                    }
                });
            }
        });
        // And the deadline stays where it is.
        let short = Arc::new(client.with("timeout_ms", "100"));
        let words = format!("GETDEL {}", key_of(0, 2, 1));
        for together in [false, true] {
            let began = Instant::now();
            let silent = match together {
                true => say_all(&short, std::slice::from_ref(&words)).concat(),
                false => say(&short, &words),
            };
            let took = began.elapsed().as_millis();
            assert!(silent.contains("(TIMEOUT, sent)"), "{silent}");
            assert!((100..250).contains(&took), "{took} ms");
        }
    });
}

// ---- Descriptors and memory ----------------------------------------------------------------------

fn limit_descriptors(most: u64) {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: both pointers are those of a live struct.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
        limit.rlim_cur = most.min(limit.rlim_max);
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
    }
}

#[test]
fn a_process_without_descriptors_is_told_so_and_recovers() {
    let fake = fake(2);
    in_a_process(
        "a_process_without_descriptors_is_told_so_and_recovers",
        &url(&fake),
        |url| {
            let client = client(&format!("{url}?timeout_ms=500"));
            let seed = key_of(0, 2, 1);
            limit_descriptors(64);
            let mut files = Vec::new();
            while let Ok(file) = std::fs::File::open("/dev/null") {
                files.push(file);
            }
            // Whichever nodes have no connection yet cannot get one.
            let fresh = Client::create(&format!("{url}?timeout_ms=500"));
            let error = fresh.error().expect("a connection without a descriptor");
            assert!(error.message.contains("no file descriptor left"), "{error}");
            assert!(!error.sent);
            for client in [&client, &client.readonly()] {
                let reply = ask(client, &format!("GET {seed}"));
                assert_ne!(code(reply.view()), Code::Ok);
            }
            let reply = ask(&client, &format!("INCR {seed}"));
            assert!(!is_sent(reply.view()), "{}", show(reply.view()));
            assert_ne!(code(reply.view()), Code::Ok);
            drop(files);
            let patient = client.with("timeout_ms", "5000");
            assert_eq!(say(&patient, &format!("INCR {seed}")), "1");
            assert_eq!(say(&patient, &format!("INCR {}", key_of(1, 2, 1))), "1");
        },
    );
}

#[test]
fn without_descriptors_connections_that_are_open_serve_and_calls_end_when_told_to() {
    let fake = fake(2);
    if let Some(fake) = &fake {
        fake.on(0, |_, command| {
            is(command, "GETDEL").then_some(Action::Nothing)
        });
    }
    in_a_process(
        "without_descriptors_connections_that_are_open_serve_and_calls_end_when_told_to",
        &url(&fake),
        |url| {
            let patient = "timeout_ms=20000&attempt_timeout_ms=20000";
            let client = Arc::new(client(&format!("{url}?{patient}")));
            let (here, there) = (key_of(0, 2, 1), key_of(1, 2, 1));
            // One connection to the first node for each of these, and none to the second.
            let pinned = client.pin(here.as_bytes());
            assert_eq!(say(&client, &format!("SET {here} 1")), "OK");
            assert_eq!(say(&pinned, &format!("GET {here}")), "1");
            let go = [Barrier::new(2), Barrier::new(2)];
            let ready = [AtomicUsize::new(0), AtomicUsize::new(0)];
            let mut files = Vec::new();
            let wait = |n: usize, client: &Client| {
                // SAFETY: asks for a number.
                ready[n].store(unsafe { libc::gettid() } as usize, Ordering::SeqCst);
                go[n].wait();
                ask(client, &format!("GETDEL {here}"))
            };
            std::thread::scope(|scope| {
                // The first has the event that was made when the client connected; for the second there is none.
                let waits = [
                    scope.spawn(|| wait(0, &client)),
                    scope.spawn(|| wait(1, &pinned)),
                ];
                let stats = [0, 1].map(|n| {
                    until("the thread is there", || {
                        ready[n].load(Ordering::SeqCst) > 0
                    });
                    let thread = ready[n].load(Ordering::SeqCst);
                    std::fs::File::open(format!("/proc/self/task/{thread}/stat")).unwrap()
                });
                limit_descriptors(64);
                while let Ok(file) = std::fs::File::open("/dev/null") {
                    files.push(file);
                }
                let hasty = Arc::new(client.with("timeout_ms", "300"));
                let got = say_all(&hasty, &[format!("INCR {here}"), format!("INCR {there}")]);
                assert_eq!(got[0], "2", "{got:?}");
                let refused = got[1].contains("descriptor") && !got[1].contains("sent)");
                assert!(refused, "{got:?}");
                for n in [0, 1] {
                    go[n].wait();
                    until("it waits", || {
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
            assert_eq!(say_all(&client, &incrs), ["3", "1"]);
        },
    );
}

#[test]
fn descriptors_beyond_1024_are_as_good_as_others() {
    let fake = fake(2);
    in_a_process(
        "descriptors_beyond_1024_are_as_good_as_others",
        &url(&fake),
        |url| {
            limit_descriptors(4096);
            let files: Vec<_> = (0..1100)
                .map(|_| std::fs::File::open("/dev/null").unwrap())
                .collect();
            let client = Arc::new(client(url));
            let keys: Vec<String> = (0..20).map(|n| key_of(n % 2, 2, n)).collect();
            for key in &keys {
                assert_eq!(say(&client, &format!("INCR {key}")), "1");
            }
            let incrs: Vec<String> = keys.iter().map(|k| format!("INCR {k}")).collect();
            assert_eq!(say_all(&client, &incrs), vec!["2"; 20]);
            assert_eq!(show(client.refresh().view()), "OK");
            drop(files);
        },
    );
}

#[test]
fn ten_thousand_clients_leave_nothing_behind() {
    let server = (!is_inside()).then(|| Server::start().unwrap());
    let url = server.as_ref().map(Server::url).unwrap_or_default();
    in_a_process("ten_thousand_clients_leave_nothing_behind", &url, |url| {
        let c_url = CString::new(url).unwrap();
        let round = |times: usize| {
            for n in 0..times {
                if n % 2 == 1 {
                    // SAFETY: a C string that lives; handles and replies are used until they are freed, once.
                    unsafe {
                        let handle = rdc_create(c_url.as_ptr());
                        let reply = rdc_get(handle, c"k".as_ptr(), 1);
                        assert_eq!(rdc_reply_free(reply), 0);
                        rdc_close(handle);
                    }
                    continue;
                }
                let client = Arc::new(client(url));
                if n % 10 == 0 {
                    assert_eq!(say_all(&client, &["SET k v", "GET k"]), ["OK", "v"]);
                    assert_eq!(say(&client.readonly(), "GET k"), "v");
                    assert_eq!(say(&client.pin(b"k"), "GET k"), "v");
                }
            }
        };
        round(1000);
        let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
        let (files, memory, tasks) = (descriptors(), resident(), threads());
        round(9000);
        assert_eq!(descriptors(), files);
        assert_eq!(threads(), tasks);
        let grown = resident().saturating_sub(memory);
        assert!(grown < 1 << 20, "{grown} bytes for 9000 clients");
    });
}

/// Lets this process map so many bytes more than it has.
fn limit_memory(more: usize) {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').next().unwrap().parse().unwrap();
    let most = (pages * 4096 + more) as u64;
    let limit = libc::rlimit {
        rlim_cur: most,
        rlim_max: most,
    };
    // SAFETY: the pointer is that of a live struct.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) }, 0);
}

/// An allocation that fails ends the process, as it does in any program of Rust. So nothing may ask for what a
/// peer has only announced, and the limits of a reply hold before there is no memory left.
#[test]
fn a_process_with_little_memory_survives_replies_that_announce_much() {
    const MIB: usize = 1 << 20;
    let fake = fake(1);
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
            let n = command.get(1).filter(|_| is(command, "INCR"))?;
            let n: usize = String::from_utf8_lossy(n).parse().ok()?;
            Some(Action::send(replies.get(n)?))
        });
    }
    in_a_process(
        "a_process_with_little_memory_survives_replies_that_announce_much",
        &url(&fake),
        |url| {
            let limits = "max_reply_bytes=8388608&attempt_timeout_ms=500";
            let client = Arc::new(client(&format!("{url}?{limits}")));
            assert_eq!(say(&client, "SET k v"), "OK");
            limit_memory(96 * MIB);
            for n in 0..9 {
                let reply = ask(&client, &format!("INCR {n}"));
                // What only announces much is a node that falls silent.
                let expected = match n {
                    2 | 4 => Code::Timeout,
                    _ => Code::Protocol,
                };
                assert_eq!(code(reply.view()), expected, "{n}: {}", show(reply.view()));
                let got = say_all(&client, &[format!("INCR {n}"), "GET k".to_string()]);
                assert!(got[0].contains("sent)"), "{n}: {got:?}");
                assert_eq!(say(&client, "GET k"), "v", "{n}");
            }
        },
    );
}

#[test]
fn descriptors_of_the_library_do_not_reach_programs_that_are_started() {
    let fake = fake(2);
    in_a_process(
        "descriptors_of_the_library_do_not_reach_programs_that_are_started",
        &url(&fake),
        |url| {
            let client = Arc::new(client(url));
            let keys = [key_of(0, 2, 1), key_of(1, 2, 1)];
            assert_eq!(
                say_all(&client, &keys.clone().map(|k| format!("SET {k} v"))),
                ["OK", "OK"]
            );
            let pinned = client.pin(b"k");
            assert_eq!(say(&pinned, "SET k v"), "OK");
            for file in std::fs::read_dir("/proc/self/fd").unwrap() {
                let name = file.unwrap().file_name().into_string().unwrap();
                let link = std::fs::read_link(format!("/proc/self/fd/{name}"));
                let link = link.map(|l| l.display().to_string()).unwrap_or_default();
                if link.starts_with("socket:") || link.contains("eventfd") {
                    let info =
                        std::fs::read_to_string(format!("/proc/self/fdinfo/{name}")).unwrap();
                    let flags = info.lines().find(|l| l.starts_with("flags:")).unwrap();
                    let flags = i32::from_str_radix(flags[6..].trim(), 8).unwrap();
                    assert!(flags & libc::O_CLOEXEC != 0, "{name} {link}: {info}");
                }
            }
        },
    );
}

// ---- Threads -------------------------------------------------------------------------------------

#[test]
fn many_threads_on_one_handle_each_read_what_they_wrote() {
    let fake = FakeCluster::new(3);
    let client = Arc::new(client(
        &(fake.url() + "?connections_per_node=2&timeout_ms=20000"),
    ));
    std::thread::scope(|scope| {
        for thread in 0..48 {
            let client = client.clone();
            scope.spawn(move || {
                for n in 0..60 {
                    let key = format!("own{thread}:{}", n % 7);
                    assert_eq!(say(&client, &format!("SET {key} {thread}/{n}")), "OK");
                    assert_eq!(say(&client, &format!("GET {key}")), format!("{thread}/{n}"));
                    if n % 10 == 0 {
                        let pair = [format!("SET {key} p{n}"), format!("GET {key}")];
                        assert_eq!(say_all(&client, &pair), ["OK", &format!("p{n}")]);
                    }
                }
            });
        }
    });
}

#[test]
fn no_more_connections_than_allowed_are_open_to_a_node() {
    let fake = FakeCluster::new(1);
    let mut usual = fake.default_answer(0);
    let using: Arc<Mutex<HashSet<usize>>> = Arc::default();
    let used = using.clone();
    fake.on(0, move |connection, command| {
        is(command, "INCR").then(|| {
            used.lock().unwrap().insert(connection);
            let answer = Action::Send(usual(connection, command));
            Action::Delay(Duration::from_millis(3), Box::new(answer))
        })
    });
    let client = Arc::new(client(
        &(fake.url() + "?connections_per_node=3&timeout_ms=30000&attempt_timeout_ms=30000"),
    ));
    std::thread::scope(|scope| {
        for _ in 0..24 {
            let client = client.clone();
            scope.spawn(move || {
                for n in 0..20 {
                    let got = match n % 4 {
                        0 => say_all(&client, &["INCR n"]).concat(),
                        _ => say(&client, "INCR n"),
                    };
                    assert!(got.parse::<u64>().is_ok(), "{got}");
                }
            });
        }
    });
    assert_eq!(fake.value("n").unwrap(), b"480");
    let used = using.lock().unwrap().len();
    assert!(used <= 3, "{used} connections carried commands");
    // One more learned the topology, and has gone.
    assert!(
        fake.node(0).connections() <= 4 + 1,
        "{}",
        fake.node(0).connections()
    );
}

#[test]
fn a_thread_that_ends_inside_a_call_takes_nobody_with_it() {
    let fake = fake(2);
    if let Some(fake) = &fake {
        for node in 0..2 {
            fake.on(node, move |_, command| {
                let silent = is(command, "BLPOP")
                    || (node == 0 && (is(command, "GET") || is(command, "MGET")));
                silent.then_some(Action::Nothing)
            });
        }
    }
    in_a_process(
        "a_thread_that_ends_inside_a_call_takes_nobody_with_it",
        &url(&fake),
        |url| {
            let client = Arc::new(client(&format!(
                "{url}?connections_per_node=1&timeout_ms=3000"
            )));
            let key = key_of(0, 2, 1);
            // The only code of others that runs inside a call is the logger's: it panics when a node is left alone.
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
                    std::thread::spawn(move || say(&broken, "BLPOP silent 0"))
                })
                .collect();
            let ended: Vec<bool> = (0..6)
                .map(|_| {
                    let (broken, key) = (broken.clone(), key.clone());
                    std::thread::spawn(move || say(&broken, &format!("MGET {key}")))
                        .join()
                        .is_err()
                })
                .collect();
            assert!(
                panics.load(Ordering::SeqCst) > 0 && ended.contains(&true),
                "nobody panicked"
            );
            // The same through the C boundary: an error, and no word on the standard error of the host.
            let c_url =
                CString::new(format!("{url}?attempt_timeout_ms=50&timeout_ms=500")).unwrap();
            // SAFETY: the strings and the handles are live for as long as they are used.
            unsafe {
                let handle = rdc_create(c_url.as_ptr());
                let reply = rdc_get(handle, key.as_ptr().cast(), key.len());
                assert_ne!(rdc_reply_error(reply), 0);
                rdc_reply_free(reply);
                rediscluster::log::set(None, 0);
                let other = key_of(1, 2, 2);
                let reply = rdc_get(handle, other.as_ptr().cast(), other.len());
                assert_eq!(rdc_reply_error(reply), 0, "the handle is as good as before");
                rdc_reply_free(reply);
                rdc_close(handle);
            }
            rediscluster::log::set(None, 0);
            for n in 0..20 {
                assert_eq!(say(&client, &format!("INCR {key}")), (n + 1).to_string());
            }
            broken.close();
            for thread in threads {
                let _ = thread.join();
            }
        },
    );
}

/// Whether a thread of this process sleeps.
fn sleeps(thread: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat"));
    stat.is_ok_and(|stat| is_asleep(&stat))
}

fn is_asleep(stat: &str) -> bool {
    let rest = stat.rsplit(')').next();
    rest.is_some_and(|rest| rest.starts_with(" S"))
}

#[test]
fn who_opens_a_connection_for_others_may_go_without_taking_them_along() {
    for round in 0..6 {
        let fake = FakeCluster::new(1);
        let silent = Arc::new(AtomicBool::new(false));
        let (greeted, busy) = (
            Arc::new(AtomicUsize::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let (is_silent, greetings, is_busy) = (silent.clone(), greeted.clone(), busy.clone());
        fake.on(0, move |_, command| {
            if is(command, "INCR") {
                // The one connection is in use, and then it is lost to all who wait for it.
                is_busy.store(true, Ordering::SeqCst);
                support::wait_until(|| is_silent.load(Ordering::SeqCst), say::SOON);
                return Some(Action::Close);
            }
            let unheard = is(command, "HELLO") && is_silent.load(Ordering::SeqCst);
            unheard.then(|| {
                greetings.fetch_add(1, Ordering::SeqCst);
                Action::Nothing
            })
        });
        fake.put("k", "v");
        let patient = "timeout_ms=20000&connect_timeout_ms=20000&attempt_timeout_ms=20000";
        let client = Arc::new(client(&format!(
            "{}?connections_per_node=1&{patient}",
            fake.url()
        )));
        let leaver = client.with("timeout_ms", "20000");
        let waiting: Mutex<Vec<i32>> = Mutex::default();
        let wait = |client: &Client| {
            // SAFETY: asks for a number.
            waiting.lock().unwrap().push(unsafe { libc::gettid() });
            ask(client, "GET k")
        };
        std::thread::scope(|scope| {
            let loses = scope.spawn(|| say(&client, "INCR n"));
            until("the connection is busy", || busy.load(Ordering::SeqCst));
            let leave: Vec<_> = (0..5).map(|_| scope.spawn(|| wait(&leaver))).collect();
            let stays = scope.spawn(|| wait(&client));
            until("all wait for it", || {
                let waiting = waiting.lock().unwrap();
                waiting.len() == 6 && waiting.iter().all(|thread| sleeps(*thread))
            });
            silent.store(true, Ordering::SeqCst);
            assert!(loses.join().unwrap().ends_with("(IO, sent)"));
            until("one of them opens another", || {
                greeted.load(Ordering::SeqCst) > 0
            });
            match round % 2 {
                0 => leaver.interrupt(),
                _ => leaver.close(),
            }
            for leave in leave {
                let left = leave.join().unwrap();
                let ended = [Code::Interrupted, Code::Closed][round % 2];
                assert_eq!(code(left.view()), ended, "{}", show(left.view()));
                assert!(!is_sent(left.view()), "{}", show(left.view()));
            }
            silent.store(false, Ordering::SeqCst);
            // Nobody answers on those, should it have been the one who stays.
            fake.node(0).close_connections();
            assert_eq!(show(stays.join().unwrap().view()), "v");
        });
    }
}

#[test]
fn a_logger_may_call_the_library_whatever_it_is_told() {
    let fake = fake(2);
    in_a_process(
        "a_logger_may_call_the_library_whatever_it_is_told",
        &url(&fake),
        |url| {
            thread_local! {
                static INSIDE: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
            }
            // SAFETY: a call that never ends is to end the test.
            unsafe { libc::alarm(60) };
            let shared = Arc::new(client(url));
            let told = Arc::new(Mutex::new(Vec::new()));
            let (within, lines) = (shared.clone(), told.clone());
            rediscluster::log::set(
                Some(Arc::new(move |_, words| {
                    lines.lock().unwrap().push(words.to_string());
                    if !INSIDE.replace(true) {
                        assert_eq!(show(within.refresh().view()), "OK");
                        assert_eq!(say(&within, "SET logged v"), "OK");
                        assert_eq!(say(&within.with("timeout_ms", "900"), "GET logged"), "v");
                        INSIDE.set(false);
                    }
                })),
                rediscluster::log::DEBUG,
            );
            let fresh = client(url);
            assert_eq!(show(fresh.refresh().view()), "OK");
            drop(fresh);
            assert!(forked(|| {
                // SAFETY: as above; a child does not inherit it.
                unsafe { libc::alarm(60) };
                say(&shared, "GET logged") == "v"
            }));
            let told = told.lock().unwrap().join("\n");
            for line in ["topology 1:", "the topology is what it was"] {
                assert!(told.contains(line), "{line} is not in {told}");
            }
            rediscluster::log::set(None, 0);
        },
    );
}

// ---- Connections ---------------------------------------------------------------------------------

#[test]
fn passwords_and_users_open_the_door_and_wrong_ones_do_not() {
    let server = Server::builder()
        .option("requirepass", "s3cret@word")
        .start()
        .unwrap();
    let user = ["ACL", "SETUSER", "app", "on", ">p@ss/:?", "~app:*", "+@all"];
    assert_eq!(server.command(&user).unwrap().text(), "OK");
    let address = server.address();
    for (url, words, expected) in [
        (
            format!("redis://:s3cret%40word@{address}"),
            "SET any v",
            "OK",
        ),
        (
            format!("redis://{address}?password=s3cret%40word"),
            "SET any v",
            "OK",
        ),
        (
            format!("redis://app:p%40ss%2F%3A%3F@{address}"),
            "SET app:1 v",
            "OK",
        ),
        (
            format!("redis://{address}?user=app&password=p%40ss%2F%3A%3F&protocol=2"),
            "SET app:1 v",
            "OK",
        ),
        (
            format!("redis://:s3cret%40word@{address}?protocol=2"),
            "ACL WHOAMI",
            "default",
        ),
        (
            format!("redis://app:p%40ss%2F%3A%3F@{address}"),
            "ACL WHOAMI",
            "app",
        ),
    ] {
        let client = client(&url);
        assert_eq!(say(&client, words), expected, "{url}");
    }
    let app = client(&format!("redis://app:p%40ss%2F%3A%3F@{address}"));
    let refused = ask(&app, "SET other v");
    assert_eq!(code(refused.view()), Code::Auth, "{}", show(refused.view()));
    for url in [
        format!("redis://{address}"),
        format!("redis://{address}?protocol=2"),
        format!("redis://:WRONG-SECRET@{address}"),
        format!("redis://:WRONG-SECRET@{address}?protocol=2"),
        format!("redis://nobody:WRONG-SECRET@{address}"),
    ] {
        let began = Instant::now();
        let client = Client::create(&url);
        let error = client.error().unwrap_or_else(|| panic!("{url} got in"));
        assert_eq!(error.code, Code::Auth, "{url}: {error}");
        assert!(!error.message.contains("SECRET"), "{error}");
        assert!(
            began.elapsed() < Duration::from_secs(1),
            "{url}: a wrong password is not tried again"
        );
    }
}

#[test]
fn a_server_that_does_not_know_hello_is_spoken_to_in_resp2() {
    let fake = FakeCluster::new(2);
    for node in 0..2 {
        fake.on(node, |_, command| {
            is(command, "HELLO").then(|| {
                Action::send("-ERR unknown command `HELLO`, with args beginning with: `3`, \r\n")
            })
        });
    }
    let auth = fake.url().replace("redis://", "redis://app:secret@");
    for url in [fake.url(), auth] {
        let client = Arc::new(client(&url));
        assert_eq!(say(&client, "GET nothing"), "nil");
        assert_eq!(
            say_all(&client, &["SET k v", "GET k", "GET nothing"]),
            ["OK", "v", "nil"]
        );
    }
    let said = [0, 1]
        .map(|n| fake.node(n).received_text().concat())
        .concat();
    assert!(said.contains(&"AUTH app secret".to_string()), "{said:?}");
    // AUTH goes alone: behind a closed door there may be no answer to what follows it.
    let asked = FakeCluster::new(1);
    let old = client(&(asked.url() + "?protocol=2"));
    assert_eq!(say(&old, "GET nothing"), "nil");
    assert_eq!(asked.calls("HELLO"), 0, "protocol=2 asks for nothing else");
}

#[test]
fn what_a_server_refuses_while_a_connection_is_set_up_is_a_reason_not_to_use_it() {
    let fake = FakeCluster::new(1);
    for refused in ["CLIENT SETNAME", "HELLO"] {
        fake.on(0, move |_, command| {
            is(command, refused).then(|| Action::send("-DENIED by the test\r\n"))
        });
        let client = Client::create(&(fake.url() + "?client_name=me&timeout_ms=500"));
        let error = client
            .error()
            .unwrap_or_else(|| panic!("{refused} was refused"));
        assert!(error.message.contains("DENIED"), "{error}");
    }
    // Only what is nice to know may be missing.
    fake.on(0, |_, command| {
        is(command, "CLIENT SETINFO").then(|| Action::send("-ERR unknown subcommand 'SETINFO'\r\n"))
    });
    assert_eq!(say(&client(&fake.url()), "SET k v"), "OK");
}

#[test]
fn a_connection_that_the_server_closed_while_it_was_idle_costs_no_command() {
    let fake = FakeCluster::new(2);
    let client = Arc::new(client(&fake.url()));
    let (here, there) = (key_of(0, 2, 1), key_of(1, 2, 2));
    for round in 1..=2 {
        let pair = [format!("INCR {here}"), format!("INCR {there}")];
        assert_eq!(
            say_all(&client, &pair),
            vec![(2 * round - 1).to_string(); 2]
        );
        fake.node(0).close_connections();
        fake.node(1).close_connections();
        let idle = Instant::now();
        until("more than a second passes", || {
            idle.elapsed() > Duration::from_millis(1100)
        });
        match round {
            1 => assert_eq!(say(&client, &pair[0]), "2"),
            _ => assert_eq!(say_all(&client, &pair)[0], "4"),
        }
        if round == 1 {
            assert_eq!(say(&client, &pair[1]), "2");
        }
    }
}
