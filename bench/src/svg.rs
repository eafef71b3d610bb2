//! Bar charts as SVG.

use std::fmt::Write;

pub struct Chart<'a> {
    pub title: &'a str,
    pub unit: &'a str,
    pub series: &'a [&'a str],
    /// For each group its name, and the value of each series, if there is one.
    pub groups: Vec<(&'a str, Vec<Option<f64>>)>,
}

const COLOURS: [&str; 8] = [
    "#0b7a75", "#9aa5b1", "#2f6fb3", "#e08e0b", "#7a4fa3", "#2e2e2e", "#7a5c3e", "#4b9b8f",
];
const LEFT: f64 = 180.0;
const WIDTH: f64 = 560.0;
const BAR: f64 = 11.0;
const GAP: f64 = 12.0;

impl Chart<'_> {
    pub fn draw(&self) -> String {
        let values = || {
            self.groups
                .iter()
                .flat_map(|(_, values)| values.iter().flatten())
        };
        let most = values().copied().fold(f64::MIN_POSITIVE, f64::max);
        let place = |value: f64| (value / most).clamp(0.0, 1.0) * WIDTH;
        let bars: usize = self
            .groups
            .iter()
            .map(|(_, v)| v.iter().flatten().count())
            .sum();
        let top = 50.0 + 16.0 * self.series.len().div_ceil(4) as f64;
        let height = top + bars as f64 * BAR + self.groups.len() as f64 * GAP + 30.0;
        let total = LEFT + WIDTH + 90.0;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {total} {height:.0}\" \
             font-family=\"sans-serif\" font-size=\"11\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
             <text x=\"10\" y=\"22\" font-size=\"15\">{}</text>\n",
            self.title
        );
        for (i, name) in self.series.iter().enumerate() {
            let (x, y) = (10.0 + 165.0 * (i % 4) as f64, 38.0 + 16.0 * (i / 4) as f64);
            let colour = COLOURS[i % COLOURS.len()];
            line(
                &mut svg,
                &format!(
                    "<rect x=\"{x}\" y=\"{y}\" width=\"10\" height=\"10\" fill=\"{colour}\"/>\
                 <text x=\"{}\" y=\"{}\">{name}</text>",
                    x + 15.0,
                    y + 9.0
                ),
            );
        }
        let mut y = top;
        for (name, values) in &self.groups {
            let count = values.iter().flatten().count() as f64;
            line(
                &mut svg,
                &format!(
                    "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>",
                    LEFT - 8.0,
                    y + count * BAR / 2.0 + 4.0
                ),
            );
            for (i, value) in values.iter().enumerate() {
                let Some(value) = *value else { continue };
                let (long, colour) = (place(value), COLOURS[i % COLOURS.len()]);
                line(
                    &mut svg,
                    &format!(
                        "<rect x=\"{LEFT}\" y=\"{y:.1}\" width=\"{long:.1}\" height=\"{}\" fill=\"{colour}\"/>\
                     <text x=\"{:.1}\" y=\"{:.1}\" font-size=\"9\">{}</text>",
                        BAR - 1.0,
                        LEFT + long + 4.0,
                        y + 8.5,
                        short(value)
                    ),
                );
                y += BAR;
            }
            y += GAP;
        }
        line(
            &mut svg,
            &format!(
                "<text x=\"{LEFT}\" y=\"{:.0}\" fill=\"#555\">{}</text>",
                y + 8.0,
                self.unit
            ),
        );
        svg + "</svg>\n"
    }
}

fn line(svg: &mut String, text: &str) {
    writeln!(svg, "{text}").expect("a String takes everything");
}

/// Formats a number with two or three significant digits.
pub fn short(value: f64) -> String {
    let digits = match value {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{value:.digits$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut grouped = String::new();
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + rest
}
