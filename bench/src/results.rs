//! Samples, their medians, and the medians of ratios within a round.

use crate::contender::Sample;
use crate::workload::WORKLOADS;

/// Samples by workload, contender and round; `None` if there is no result.
pub struct Results {
    samples: Vec<Vec<Vec<Option<Sample>>>>,
}

/// A value of a sample.
pub type Metric = fn(&Sample) -> f64;

pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    Some((values[last / 2] + values[values.len() / 2]) / 2.0)
}

impl Results {
    pub fn new(contenders: usize) -> Results {
        let samples = vec![vec![Vec::new(); contenders]; WORKLOADS.len()];
        Results { samples }
    }

    pub fn add(&mut self, workload: usize, contender: usize, sample: Option<Sample>) {
        self.samples[workload][contender].push(sample);
    }

    pub fn median(&self, workload: usize, contender: usize, metric: Metric) -> Option<f64> {
        let all = self.samples[workload][contender].iter().flatten();
        median(all.map(metric).collect())
    }

    /// The median of one contender's value divided by another's, within each round.
    pub fn ratio(&self, workload: usize, one: usize, other: usize, metric: Metric) -> Option<f64> {
        let of = &self.samples[workload];
        let rounds = of[one].iter().zip(&of[other]);
        let ratios = rounds.filter_map(|(a, b)| Some(metric(a.as_ref()?) / metric(b.as_ref()?)));
        median(ratios.collect())
    }

    /// The number of rounds of a contender: the minimum over all workloads.
    pub fn rounds(&self, contender: usize) -> usize {
        let counts = self.samples.iter().map(|of| of[contender].len());
        counts.min().unwrap_or(0)
    }

    /// All samples as tab-separated lines.
    pub fn table(&self, names: &[&str]) -> String {
        let mut text = String::from(
            "workload\tcontender\tround\toperations\twall_ns\tcpu_ns\tp50_ns\tp99_ns\n",
        );
        for (workload, of) in WORKLOADS.iter().zip(&self.samples) {
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
