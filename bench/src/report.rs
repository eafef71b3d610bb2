//! docs/benchmarks/: the page, its charts and the raw numbers.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::bars;
use crate::contender::{Contender, FLOOR, OURS, Sample};
use crate::machine;
use crate::ratio_chart::{RatioChart, Row};
use crate::recovery::Outcomes;
use crate::results::{Metric, Results, median};
use crate::svg::{Chart, short};
use crate::worker::Failure;
use crate::workload::{WORKLOADS, Workload};

pub struct Report<'a> {
    pub contenders: &'a [Contender],
    pub absent: &'a [String],
    pub results: &'a Results,
    /// Bytes of a handle, by contender.
    pub memory: &'a [Option<f64>],
    /// By kill, then by contender.
    pub recovery: &'a [Outcomes],
    pub server: String,
    pub commands: &'a str,
    pub budget_ms: u64,
}

pub const OUR_PYTHON: &str = "librediscluster, Python";
/// Above this ratio the page lists the workload as lost.
const LOST: f64 = 1.05;

impl Report<'_> {
    fn names(&self) -> Vec<&str> {
        self.contenders.iter().map(|c| c.name).collect()
    }

    fn ours(&self) -> usize {
        let ours = self.contenders.iter().position(|c| c.name == OURS);
        ours.expect("librediscluster is a contender")
    }

    pub fn write(&self, folder: &Path) -> Result<(), Failure> {
        fs::create_dir_all(folder)?;
        let names = self.names();
        self.results.write(&folder.join("results.tsv"), &names)?;
        let cpu = "CPU time of the client for an operation, times that of librediscluster";
        let cpu = self.ratio_chart(cpu, bars::metric("CPU"), |_| true);
        fs::write(folder.join("cpu.svg"), cpu)?;
        let p50 = "Median time of a turn, times that of librediscluster";
        let p50 = self.ratio_chart(p50, bars::metric("p50"), |title| !title.contains("thread"));
        fs::write(folder.join("p50.svg"), p50)?;
        let threads = self.threads_chart();
        fs::write(folder.join("threads.svg"), threads)?;
        Ok(fs::write(folder.join("README.md"), self.page()?)?)
    }

    /// The ratios of all other clients of a C program or of another language. The floor and the load generator are none.
    fn ratio_chart(&self, title: &str, metric: Metric, wanted: fn(&str) -> bool) -> String {
        let is_other = |c: &usize| self.contenders[*c].is_peer && *c != self.ours();
        let others: Vec<usize> = (0..self.contenders.len()).filter(is_other).collect();
        let row = |(w, workload): (usize, &'static Workload)| Row {
            name: workload.title,
            ratios: others
                .iter()
                .map(|&c| self.results.ratio_with_quartiles(w, c, self.ours(), metric))
                .collect(),
        };
        let rows = WORKLOADS.iter().enumerate();
        RatioChart {
            title,
            clients: others.iter().map(|&c| self.contenders[c].name).collect(),
            rows: rows.filter(|(_, w)| wanted(w.title)).map(row).collect(),
        }
        .draw()
    }

    /// The throughput of several threads, by the clients that have threads.
    fn threads_chart(&self) -> String {
        let rows: Vec<(usize, &'static Workload)> = WORKLOADS
            .iter()
            .enumerate()
            .filter(|(_, w)| w.title.contains("thread"))
            .collect();
        let thousands = |w, c| (self.results.median(w, c, Sample::per_second)).map(|n| n / 1e3);
        let threaded: Vec<usize> = (0..self.contenders.len())
            .filter(|&c| rows.iter().any(|&(w, _)| thousands(w, c).is_some()))
            .collect();
        let series: Vec<&str> = threaded.iter().map(|&c| self.contenders[c].name).collect();
        let group = |&(w, workload): &(usize, &'static Workload)| {
            let values = threaded.iter().map(|&c| thousands(w, c)).collect();
            (workload.title, values)
        };
        Chart {
            title: "GET by several threads",
            unit: "thousand operations per second: longer bars are better",
            series: &series,
            groups: rows.iter().map(group).collect(),
        }
        .draw()
    }

    /// A row per workload, and a column per contender: its median, and its ratio to ours.
    fn table(&self, metric: Metric) -> Result<String, Failure> {
        let (mut text, mut line, ours) = (String::from("| |"), String::from("|---|"), self.ours());
        for name in self.names() {
            write!(text, " {name} |")?;
            line += "---:|";
        }
        writeln!(text, "\n{line}")?;
        for (w, workload) in WORKLOADS.iter().enumerate() {
            write!(text, "| {} |", workload.title)?;
            for c in 0..self.contenders.len() {
                let value = self.results.median(w, c, metric).map(short);
                let times = self.results.ratio(w, c, ours, metric);
                match (value, times) {
                    (Some(value), _) if c == ours => write!(text, " **{value}** |")?,
                    (Some(value), Some(times)) => write!(text, " {value} ({}x) |", short(times))?,
                    (Some(value), None) => write!(text, " {value} |")?,
                    _ => write!(text, " |")?,
                }
            }
            writeln!(text)?;
        }
        Ok(text)
    }

    /// Where a peer is better than librediscluster, worst first.
    fn lost(&self) -> String {
        let mut rows = Vec::new();
        let ours = self.ours();
        for (w, workload) in WORKLOADS.iter().enumerate() {
            for (c, contender) in self.contenders.iter().enumerate() {
                if c == ours || !contender.is_peer {
                    continue;
                }
                for (name, metric) in [
                    ("median time of a turn", bars::metric("p50")),
                    ("time per operation", bars::metric("time")),
                    ("CPU per operation", bars::metric("CPU")),
                ] {
                    // Without threads, turns follow each other, and the median says the same.
                    if name == "time per operation" && !workload.title.contains("thread") {
                        continue;
                    }
                    match self.results.ratio(w, ours, c, metric) {
                        Some(ratio) if ratio > LOST => rows.push((
                            ratio,
                            format!(
                                "- {}, {name}: {} times that of {}\n",
                                workload.title,
                                short(ratio),
                                contender.name
                            ),
                        )),
                        _ => {}
                    }
                }
            }
        }
        if let Some(mine) = self.memory[ours] {
            for (contender, bytes) in self.contenders.iter().zip(self.memory) {
                match bytes {
                    Some(bytes) if contender.is_peer && mine > bytes * LOST => rows.push((
                        mine / bytes,
                        format!(
                            "- memory per handle: {} times that of {}\n",
                            short(mine / bytes),
                            contender.name
                        ),
                    )),
                    _ => {}
                }
            }
        }
        rows.sort_by(|a, b| b.0.total_cmp(&a.0));
        if rows.is_empty() {
            return "No workload by more than 5 %.\n".into();
        }
        rows.into_iter().map(|(_, row)| row).collect()
    }

    fn handles(&self) -> Result<String, Failure> {
        let mut text = String::from("| | resident, KiB |\n|---|---:|\n");
        for (contender, bytes) in self.contenders.iter().zip(self.memory) {
            if let Some(bytes) = bytes {
                writeln!(text, "| {} | {} |", contender.name, short(bytes / 1024.0))?;
            }
        }
        Ok(text)
    }

    fn recoveries(&self) -> Result<String, Failure> {
        let mut text = String::from(
            "| | lag, median ms | longest | writes | errors | |\n|---|---:|---:|---:|---:|---|\n",
        );
        for (c, contender) in self.contenders.iter().enumerate() {
            let all: Vec<_> = self
                .recovery
                .iter()
                .filter_map(|kill| kill[c].as_ref())
                .collect();
            if all.is_empty() || contender.name == FLOOR {
                continue;
            }
            let good: Vec<_> = all.iter().filter_map(|o| o.as_ref().ok()).collect();
            let lags = || good.iter().map(|o| o.lag_ms);
            let number = |value: Option<f64>| value.map_or(String::new(), short);
            let sum = |of: fn(&crate::recovery::Outcome) -> f64| {
                good.iter().map(|o| of(o)).fold(0.0, |a, b| a + b)
            };
            let mut reasons: Vec<_> = all
                .iter()
                .filter_map(|o| o.as_ref().err())
                .map(|r| r.trim())
                .collect();
            reasons.dedup();
            writeln!(
                text,
                "| {} | {} | {} | {:.0} | {:.0} | {} |",
                contender.name,
                number(median(lags().collect())),
                number(lags().reduce(f64::max)),
                sum(|o| o.writes),
                sum(|o| o.failed),
                reasons.join("; ")
            )?;
        }
        Ok(text)
    }

    fn page(&self) -> Result<String, Failure> {
        let mut page = String::new();
        write!(
            page,
            "<!-- Generated by `make bench`. -->\n\n# Benchmarks\n\n\
             librediscluster, through its C ABI, compared with other clients. Clients for event loops are compared in\n\
             [event-loops.md](event-loops.md), subscribers in [messages.md](messages.md), and the bindings in\n\
             [bindings.md](bindings.md).\n\n\
             - **Method.** {} rounds. In each, every client runs for {} ms, one after the other, in a process of its own.\n\
             - **Times** are medians of the rounds.\n\
             - **Ratios**, in brackets, are the other client's value divided by that of librediscluster: the median of the\n  \
             ratios within each round, so that changes in machine load affect both sides. Above 1, librediscluster is better.\n\
             - **Noise.** Wall times vary by 20 to 30 % from run to run, CPU times less. Exact counts are in\n  \
             [performance.md](../performance.md), and `make gates` checks them.\n\nEnvironment:\n\n",
            self.results.rounds(self.ours()),
            self.budget_ms
        )?;
        for line in machine::describe() {
            writeln!(page, "- {line}")?;
        }
        writeln!(
            page,
            "- server: {}; three primaries with one replica each, on the same machine",
            self.server
        )?;
        writeln!(
            page,
            "- data: 100,000 keys with values of 16 bytes, a list and a hash of 10,000 elements each, a string of 10 MiB\n- every reply is read element by element and checked"
        )?;
        writeln!(page, "\n    {}\n", self.commands.replace('\n', "\n    "))?;
        writeln!(page, "| client | measured as |\n|---|---|")?;
        for contender in self.contenders {
            writeln!(page, "| {} | {} |", contender.name, contender.what)?;
        }
        for absent in self.absent {
            writeln!(page, "| absent | {absent} |")?;
        }
        write!(
            page,
            "\n## Where librediscluster is slower or larger\n\n{}",
            self.lost()
        )?;
        write!(
            page,
            "\n## Targets\n\nThe value of librediscluster divided by that of the best listed peer. The targets were set before the library was\nwritten.\n\n{}",
            bars::table(self.results, &self.names(), OURS, OUR_PYTHON)
        )?;
        write!(
            page,
            "\n## Client CPU time, us per operation\n\n{}\n![Client CPU time per operation](cpu.svg)\n",
            self.table(bars::metric("CPU"))?
        )?;
        write!(
            page,
            "\n## Median time, us per turn\n\nA whole pipeline is one turn.\n\n{}\n![Median time of a turn](p50.svg)\n",
            self.table(|s: &Sample| s.p50_ns / 1e3)?
        )?;
        write!(
            page,
            "\n## Throughput, operations per second\n\nThe ratios again divide the other client's value by that of librediscluster. Here librediscluster is better below 1.\n\n{}\n![GET throughput with several threads](threads.svg)\n",
            self.table(Sample::per_second)?
        )?;
        write!(
            page,
            "\n## Memory per handle\n\nResident memory of a handle that is connected to all primaries and shares nothing; the average of many handles.\n\n{}",
            self.handles()?
        )?;
        write!(
            page,
            "\n## Recovery\n\nA primary is killed with `kill -9` ({} kills) while every client writes one of its keys every \
             millisecond. The lag is\nthe time from the moment when the replica accepts a write until the client's first \
             successful write. librediscluster may\nrepeat these writes (`retry_writes=yes`) and has 30 s for each.\n\n{}",
            self.recovery.len(),
            self.recoveries()?
        )?;
        Ok(page)
    }
}
