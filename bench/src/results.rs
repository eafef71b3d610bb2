//! Samples, their medians, and the medians of ratios within a round.

use std::fs;
use std::io;
use std::path::Path;

use crate::contender::Sample;
use crate::workload::Workload;

/// Samples by workload, contender and round; `None` if there is no result.
pub struct Results {
    workloads: &'static [Workload],
    samples: Vec<Vec<Vec<Option<Sample>>>>,
}

/// A value of a sample.
pub type Metric = fn(&Sample) -> f64;

pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    Some((values[last / 2] + values[values.len() / 2]) / 2.0)
}

/// The first and the third quartile.
fn quartiles(mut values: Vec<f64>) -> Option<(f64, f64)> {
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    Some((values[last / 4], values[last - last / 4]))
}

impl Results {
    pub fn new(workloads: &'static [Workload], contenders: usize) -> Results {
        let samples = vec![vec![Vec::new(); contenders]; workloads.len()];
        Results { workloads, samples }
    }

    pub fn add(&mut self, workload: usize, contender: usize, sample: Option<Sample>) {
        self.samples[workload][contender].push(sample);
    }

    pub fn median(&self, workload: usize, contender: usize, metric: Metric) -> Option<f64> {
        let all = self.samples[workload][contender].iter().flatten();
        median(all.map(metric).collect())
    }

    /// The first and the third quartile.
    pub fn quartiles(
        &self,
        workload: usize,
        contender: usize,
        metric: Metric,
    ) -> Option<(f64, f64)> {
        let all = self.samples[workload][contender].iter().flatten();
        quartiles(all.map(metric).collect())
    }

    /// The median of one contender's value divided by another's, within each round.
    pub fn ratio(&self, workload: usize, one: usize, other: usize, metric: Metric) -> Option<f64> {
        self.ratio_of((workload, one), (workload, other), metric)
    }

    /// The same for two pairs of a workload and a contender, which were measured in the same rounds.
    pub fn ratio_of(
        &self,
        one: (usize, usize),
        other: (usize, usize),
        metric: Metric,
    ) -> Option<f64> {
        median(self.ratios(one, other, metric))
    }

    /// The median ratio of two contenders, and the quartiles of their ratios.
    pub fn ratio_with_quartiles(
        &self,
        workload: usize,
        one: usize,
        other: usize,
        metric: Metric,
    ) -> Option<(f64, (f64, f64))> {
        let ratios = self.ratios((workload, one), (workload, other), metric);
        Some((median(ratios.clone())?, quartiles(ratios)?))
    }

    /// The ratios within all rounds that both were measured in.
    fn ratios(&self, one: (usize, usize), other: (usize, usize), metric: Metric) -> Vec<f64> {
        let of = |(workload, contender): (usize, usize)| self.samples[workload][contender].iter();
        of(one)
            .zip(of(other))
            .filter_map(|(a, b)| Some(metric(a.as_ref()?) / metric(b.as_ref()?)))
            .collect()
    }

    /// The number of rounds of a contender: the minimum over all workloads.
    pub fn rounds(&self, contender: usize) -> usize {
        let counts = self.samples.iter().map(|of| of[contender].len());
        counts.min().unwrap_or(0)
    }

    /// Writes all samples to a file, in place of those of the same workloads. The samples of other
    /// workloads stay in it.
    pub fn write(&self, file: &Path, names: &[&str]) -> io::Result<()> {
        const HEAD: &str =
            "workload\tcontender\tround\toperations\twall_ns\tcpu_ns\tp50_ns\tp99_ns";
        let old = match fs::read_to_string(file) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            old => old.unwrap_or_default(),
        };
        let is_other = |line: &&str| {
            let title = line.split('\t').next();
            *line != HEAD && self.workloads.iter().all(|w| Some(w.title) != title)
        };
        let mut lines = vec![HEAD];
        lines.extend(old.lines().filter(is_other));
        fs::write(file, lines.join("\n") + "\n" + &self.rows(names))
    }

    fn rows(&self, names: &[&str]) -> String {
        let mut text = String::new();
        for (workload, of) in self.workloads.iter().zip(&self.samples) {
            for (name, rounds) in names.iter().zip(of) {
                for (round, sample) in rounds.iter().enumerate() {
                    let Some(s) = sample else { continue };
                    text += &format!(
                        "{}\t{name}\t{}\t{:.0}\t{:.0}\t{:.0}\t{:.0}\t{:.0}\n",
                        workload.title,
                        round + 1,
                        s.operations,
                        s.wall_ns,
                        s.cpu_ns,
                        s.p50_ns,
                        s.p99_ns
                    );
                }
            }
        }
        text
    }
}
