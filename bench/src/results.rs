//! Samples, and what is said of them: medians, and medians of the ratios of the same round.

use crate::contender::Sample;
use crate::workload::WORKLOADS;

/// By workload, contender and round; None where there is no result.
pub struct Results {
    samples: Vec<Vec<Vec<Option<Sample>>>>,
}

/// What of a sample is looked at.
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

    pub fn note(&mut self, workload: usize, contender: usize, sample: Option<Sample>) {
        self.samples[workload][contender].push(sample);
    }

    pub fn median(&self, workload: usize, contender: usize, metric: Metric) -> Option<f64> {
        let all = self.samples[workload][contender].iter().flatten();
        median(all.map(metric).collect())
    }

    /// The median of one contender's value by another's, each of the same round.
    pub fn ratio(&self, workload: usize, one: usize, other: usize, metric: Metric) -> Option<f64> {
        let of = &self.samples[workload];
        let rounds = of[one].iter().zip(&of[other]);
        let ratios = rounds.filter_map(|(a, b)| Some(metric(a.as_ref()?) / metric(b.as_ref()?)));
        median(ratios.collect())
    }

    /// In how many rounds this one took part, at least.
    pub fn rounds(&self, contender: usize) -> usize {
        let counts = self.samples.iter().map(|of| of[contender].len());
        counts.min().unwrap_or(0)
    }

    /// Everything, a line each, for whoever would rather calculate otherwise.
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
