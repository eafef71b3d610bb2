//! Read throughput grows with replicas. The rate of every node is capped, so that nodes and not this machine are the
//! limit. `RDC_BLESS=1 cargo test --test replicas scale` writes docs/benchmarks/replica-reads.md and its plot.

use crate::common::{client, is_command, run};
use std::fmt::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::{Action, FakeCluster};

/// A node serves one read at a time, each in this time: 250 a second.
const SERVICE: Duration = Duration::from_millis(4);
const CAP: usize = 250;
const THREADS: usize = 32;
const REPLICAS: usize = 4;
const MODES: &[&str] = &["primary", "any", "replica"];

/// Reads per second with this many replicas.
fn throughput(replicas: usize, read_from: &str) -> f64 {
    let fake = FakeCluster::with_replicas(1, replicas);
    fake.put("k", "v");
    for node in 0..=replicas {
        let mut answer = fake.default_answer(node);
        let mut free = Instant::now();
        fake.on(node, move |connection, command| {
            let reply = Action::Send(answer(connection, command));
            if !is_command(command, "GET") {
                return Some(reply);
            }
            let now = Instant::now();
            free = free.max(now) + SERVICE;
            Some(Action::Delay(free - now, Box::new(reply)))
        });
    }
    // Each thread has its own connection, so that threads do not wait for each other.
    let url = format!("{}?connections_per_node={THREADS}", fake.url());
    let reader = client(&url).with("read_from", read_from);
    let (finished, reads) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while !finished.load(Ordering::SeqCst) {
                    assert_eq!(run(&reader, "GET k"), "v");
                    reads.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        // Connections are open before the measurement.
        crate::common::wait_for("the first reads", || reads.load(Ordering::SeqCst) > 50);
        let (began, before) = (Instant::now(), reads.load(Ordering::SeqCst));
        crate::common::wait_for("the time is over", || {
            began.elapsed() > Duration::from_millis(500)
        });
        let counted = reads.load(Ordering::SeqCst) - before;
        let rate = counted as f64 / began.elapsed().as_secs_f64();
        finished.store(true, Ordering::SeqCst);
        rate
    })
}

#[test]
fn read_throughput_grows_with_replicas() {
    let rates: Vec<Vec<f64>> = MODES
        .iter()
        .map(|mode| (0..=REPLICAS).map(|n| throughput(n, mode)).collect())
        .collect();
    println!("{}", table(&rates));
    let [primary, any, replica] = &rates[..] else {
        panic!("{rates:?}");
    };
    for replicas in 1..=REPLICAS {
        let nodes = replicas as f64;
        assert!(
            any[replicas] > 0.75 * (nodes + 1.0) * any[0],
            "any, {replicas} replicas: {any:?}"
        );
        assert!(
            replica[replicas] > 0.75 * nodes * replica[0],
            "replica, {replicas} replicas: {replica:?}"
        );
        assert!(primary[replicas] < 1.3 * primary[0], "{primary:?}");
    }
    if std::env::var_os("RDC_BLESS").is_some_and(|bless| bless == "1") {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/benchmarks");
        std::fs::write(folder.join("replica-reads.md"), page(&rates)).unwrap();
        std::fs::write(folder.join("replica-reads.svg"), plot(&rates)).unwrap();
    }
}

fn table(rates: &[Vec<f64>]) -> String {
    let mut table =
        String::from("| replicas | `primary` | `any` | `replica` |\n|---|---|---|---|\n");
    for replicas in 0..=REPLICAS {
        write!(table, "| {replicas} |").unwrap();
        for mode in rates {
            write!(table, " {:.0} |", mode[replicas]).unwrap();
        }
        table.push('\n');
    }
    table
}

fn page(rates: &[Vec<f64>]) -> String {
    format!(
        "<!-- Made by `RDC_BLESS=1 cargo test --test replicas scale` from tests/replicas/scale.rs. -->\n\
         \n\
         # Reads a second, with more and more replicas\n\
         \n\
         One shard of scripted nodes, each of which serves one read after another in {} ms, so {} a second at most: the nodes and \
         not this machine are the limit. {THREADS} threads read one key through one handle. What is compared is how well the reads are \
         spread; `scale::read_throughput_grows_with_replicas` fails where less than three quarters of what the nodes could do is \
         reached.\n\
         \n\
         {}\n\
         ![Reads a second by the number of replicas](replica-reads.svg)\n\
         \n\
         `primary` leaves the replicas idle, `any` has one node more to read from than `replica`, and without a replica all three \
         read from the primary.\n",
        SERVICE.as_millis(),
        CAP,
        table(rates)
    )
}

/// A line plot over the number of replicas.
fn plot(rates: &[Vec<f64>]) -> String {
    const COLORS: [&str; 3] = ["#888888", "#1f77b4", "#d62728"];
    let most = (CAP * (REPLICAS + 1)) as f64;
    let x = |replicas: usize| 70.0 + 480.0 * replicas as f64 / REPLICAS as f64;
    let y = |rate: f64| 290.0 - 250.0 * rate / most;
    let mut svg = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 680 350\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"680\" height=\"350\" fill=\"#ffffff\"/>\n\
         <text x=\"70\" y=\"22\">reads a second; each node serves at most 250</text>\n",
    );
    for nodes in 0..=REPLICAS + 1 {
        let (rate, at) = (CAP * nodes, y((CAP * nodes) as f64));
        writeln!(
            svg,
            "<line x1=\"70\" x2=\"550\" y1=\"{at:.0}\" y2=\"{at:.0}\" stroke=\"#dddddd\"/>\
             <text x=\"62\" y=\"{:.0}\" text-anchor=\"end\">{rate}</text>",
            at + 4.0
        )
        .unwrap();
    }
    for replicas in 0..=REPLICAS {
        let at = x(replicas);
        writeln!(
            svg,
            "<text x=\"{at:.0}\" y=\"310\" text-anchor=\"middle\">{replicas}</text>"
        )
        .unwrap();
    }
    svg.push_str("<text x=\"310\" y=\"334\" text-anchor=\"middle\">replicas</text>\n");
    for ((mode, rates), color) in MODES.iter().zip(rates).zip(COLORS) {
        let points: Vec<String> = rates
            .iter()
            .enumerate()
            .map(|(n, rate)| format!("{:.1},{:.1}", x(n), y(*rate)))
            .collect();
        writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"/>\
             <text x=\"558\" y=\"{:.1}\" fill=\"{color}\">{mode}</text>",
            points.join(" "),
            y(rates[REPLICAS]) + 4.0
        )
        .unwrap();
    }
    svg.push_str("</svg>\n");
    svg
}
