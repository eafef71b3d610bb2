//! A chart of ratios as SVG: for each workload, how many times the cost of librediscluster each other client has.

use std::fmt::Write;

use crate::svg::short;

pub struct RatioChart<'a> {
    pub title: &'a str,
    pub clients: Vec<&'a str>,
    pub rows: Vec<Row<'a>>,
}

pub struct Row<'a> {
    pub name: &'a str,
    /// By client: the median of the ratios of all rounds, and their quartiles.
    pub ratios: Vec<Option<(f64, (f64, f64))>>,
}

/// No red: it marks where librediscluster is worse.
const COLOURS: [&str; 5] = ["#2f6fb3", "#e08e0b", "#7a4fa3", "#2e2e2e", "#4b9b8f"];
const RED: &str = "#c62828";
const LEFT: f64 = 170.0;
const WIDTH: f64 = 600.0;
const TOP: f64 = 92.0;
const ROW: f64 = 30.0;
/// The lowest and the highest ratio that have a place.
const RANGE: (f64, f64) = (0.5, 200.0);
const TICKS: [f64; 9] = [0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0];
/// Below this ratio librediscluster is worse. The page lists the same rows.
const WORSE: f64 = 1.0 / 1.05;

fn place(ratio: f64) -> f64 {
    let share = (ratio / RANGE.0).ln() / (RANGE.1 / RANGE.0).ln();
    LEFT + share.clamp(0.0, 1.0) * WIDTH
}

impl RatioChart<'_> {
    pub fn draw(&self) -> String {
        let bottom = TOP + self.rows.len() as f64 * ROW;
        let mut svg = String::new();
        self.frame(&mut svg, bottom);
        for (i, row) in self.rows.iter().enumerate() {
            let y = TOP + ROW * (i as f64 + 0.5);
            let (x, below) = (LEFT - 10.0, y + 4.0);
            line(
                &mut svg,
                format_args!(
                    "<text x=\"{x}\" y=\"{below}\" text-anchor=\"end\">{}</text>",
                    row.name
                ),
            );
            line(
                &mut svg,
                format_args!(
                    "<path d=\"M{LEFT} {:.0}h{WIDTH}\" stroke=\"#ddd\"/>",
                    y + ROW / 2.0
                ),
            );
            for (client, ratio) in row.ratios.iter().enumerate() {
                let Some((ratio, quartiles)) = *ratio else {
                    continue;
                };
                // The dots of a row are below each other, so that none hides another.
                let step = (ROW - 10.0) / self.clients.len() as f64;
                let y = y + (client as f64 - (self.clients.len() - 1) as f64 / 2.0) * step;
                dot(
                    &mut svg,
                    y,
                    COLOURS[client % COLOURS.len()],
                    ratio,
                    quartiles,
                );
            }
        }
        svg + "</svg>\n"
    }

    /// The title, the legend, and the two sides.
    fn frame(&self, svg: &mut String, bottom: f64) {
        let (total, height) = (LEFT + WIDTH + 20.0, bottom + 34.0);
        let (one, right, tall) = (place(1.0), LEFT + WIDTH, bottom - TOP);
        line(
            svg,
            format_args!(
                "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {total} {height:.0}\" font-family=\"sans-serif\" \
             font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
             <text x=\"10\" y=\"22\" font-size=\"15\">{}</text>",
                self.title
            ),
        );
        for (i, name) in self.clients.iter().enumerate() {
            let x = LEFT + 110.0 * i as f64;
            line(
                svg,
                format_args!(
                    "<circle cx=\"{}\" cy=\"42\" r=\"5\" fill=\"{}\"/><text x=\"{}\" y=\"46\">{name}</text>",
                    x + 5.0,
                    COLOURS[i % COLOURS.len()],
                    x + 15.0
                ),
            );
        }
        line(
            svg,
            format_args!(
                "<rect x=\"{LEFT}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{tall}\" fill=\"#fbe4e2\"/>\n\
             <rect x=\"{one:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{tall}\" fill=\"#eef7f0\"/>",
                one - LEFT,
                right - one
            ),
        );
        line(
            svg,
            format_args!(
                "<text x=\"{:.1}\" y=\"70\" text-anchor=\"end\" fill=\"{RED}\">the other client needs less</text>\n\
             <text x=\"{:.1}\" y=\"70\" fill=\"#1b6b3a\">librediscluster needs less \u{2192}</text>",
                one - 6.0,
                one + 6.0
            ),
        );
        axis(svg, bottom);
    }
}

/// The scale, above and below the rows.
fn axis(svg: &mut String, bottom: f64) {
    let tall = bottom - TOP;
    for tick in TICKS {
        let (x, width) = (place(tick), if tick == 1.0 { 2 } else { 1 });
        let colour = if tick == 1.0 { "#555" } else { "#ccc" };
        line(
            svg,
            format_args!(
                "<path d=\"M{x:.1} {TOP}v{tall}\" stroke=\"{colour}\" stroke-width=\"{width}\"/>\
                 <text x=\"{x:.1}\" y=\"{:.0}\" text-anchor=\"middle\" fill=\"#555\">{tick}x</text>\
                 <text x=\"{x:.1}\" y=\"{:.0}\" text-anchor=\"middle\" fill=\"#555\">{tick}x</text>",
                TOP - 6.0,
                bottom + 14.0
            ),
        );
    }
    line(
        svg,
        format_args!(
            "<text x=\"{LEFT}\" y=\"{:.0}\" fill=\"#555\">a dot is the median of all rounds, its line the middle half of them; \
                 red: librediscluster is worse</text>",
            bottom + 29.0
        ),
    );
}

fn dot(svg: &mut String, y: f64, colour: &str, ratio: f64, quartiles: (f64, f64)) {
    let (x, low, high) = (place(ratio), place(quartiles.0), place(quartiles.1));
    line(
        svg,
        format_args!(
            "<path d=\"M{low:.1} {y:.1}H{high:.1}\" stroke=\"{colour}\" stroke-width=\"1.5\"/>\
         <circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{colour}\"/>"
        ),
    );
    if ratio < WORSE {
        line(
            svg,
            format_args!(
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"6\" fill=\"none\" stroke=\"{RED}\" stroke-width=\"2\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"{RED}\" font-weight=\"bold\">{}x</text>",
                x - 9.0,
                y + 4.0,
                short(ratio)
            ),
        );
    }
}

fn line(svg: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(svg, "{text}").expect("a String takes everything");
}
