//! Charts of the last hour, drawn as SVG on the server.

use std::time::Duration;

use maud::{Markup, html};

use super::parts::short;
use crate::admin::Rows;
use crate::web::samples::{KEPT, Sample};

const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 120.0;

/// A line of a chart: its name, which is its class too, and a value for each sample.
struct Line {
    name: &'static str,
    values: Vec<(f64, Option<f64>)>,
}

/// The rates of writing and of sending or executing.
pub(super) fn rates(of: Rows, samples: &[Sample]) -> Markup {
    let done = match of {
        Rows::Messages => "sent",
        Rows::Calls => "executed",
    };
    let written = line("written", samples, |sample| sample.of(of)?.written);
    let done = line(done, samples, |sample| sample.of(of)?.done);
    let last = |line: &Line| line.values.last().and_then(|(_, value)| *value);
    let text = [&written, &done].map(|line| match last(line) {
        Some(rate) => format!("{} {}/s", line.name, rate_text(rate)),
        None => format!("{} not known yet", line.name),
    });
    let scale = Scale {
        round: nice,
        text: |most| format!("{}/s", rate_text(most)),
    };
    chart("Rate", &text.join(", "), &[written, done], &scale)
}

/// The age of the oldest row that could be taken.
pub(super) fn lag(of: Rows, samples: &[Sample]) -> Markup {
    let lag = line("lag", samples, |sample| {
        Some(sample.of(of)?.lag.as_secs_f64())
    });
    let text = match lag.values.last() {
        Some((_, Some(seconds))) => format!("now {}", seconds_text(*seconds)),
        _ => "not known yet".to_owned(),
    };
    let scale = Scale {
        round: nice_time,
        text: seconds_text,
    };
    chart("Lag", &text, &[lag], &scale)
}

fn line(name: &'static str, samples: &[Sample], value: impl Fn(&Sample) -> Option<f64>) -> Line {
    let end = samples.last().map(|last| last.at);
    let values = samples.iter().map(|sample| {
        let age = end.map(|end| (end - sample.at).to_std().unwrap_or_default());
        let age = age.unwrap_or_default().as_secs_f64();
        (WIDTH * (1.0 - age / KEPT.as_secs_f64()), value(sample))
    });
    Line {
        name,
        values: values.collect(),
    }
}

fn rate_text(rate: f64) -> String {
    match rate {
        ..10.0 => format!("{rate:.1}"),
        _ => format!("{rate:.0}"),
    }
}

fn seconds_text(seconds: f64) -> String {
    short(Duration::from_secs_f64(seconds.max(0.0)))
}

/// A chart. `text` says the same in words.
fn chart(title: &str, text: &str, lines: &[Line], scale: &Scale) -> Markup {
    let values = lines.iter().flat_map(|line| &line.values);
    let most = values.filter_map(|(_, value)| *value).fold(0.0, f64::max);
    let most = (scale.round)(most);
    html! {
        figure.chart {
            figcaption { strong { (title) } " " span { (text) } }
            svg viewBox={"0 -4 " (WIDTH) " " (HEIGHT + 8.0)} role="img" preserveAspectRatio="none"
                aria-label={(title) " in the last hour: " (text)} {
                @for part in 0..=2 {
                    @let y = HEIGHT * f64::from(part) / 2.0;
                    line.grid x1="0" x2=(WIDTH) y1=(y) y2=(y) {}
                }
                @for line in lines {
                    @for segment in segments(line, most) {
                        polyline class=(line.name) points=(segment) {}
                    }
                }
            }
            div.scale { span { ((scale.text)(most)) } span { "0" } }
            div.times { span { "1 h ago" } span { "30 m" } span { "now" } }
            @if lines.len() > 1 {
                p.legend { @for line in lines { span class=(line.name) { (line.name) } } }
            }
        }
    }
}

/// The vertical scale of a chart.
struct Scale {
    /// The next round number.
    round: fn(f64) -> f64,
    text: fn(f64) -> String,
}

/// The next round time, in seconds; at least 5 s.
fn nice_time(most: f64) -> f64 {
    const ROUND: [f64; 13] = [
        5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0, 7_200.0, 21_600.0, 43_200.0,
        86_400.0,
    ];
    let found = ROUND.into_iter().find(|round| *round >= most);
    found.unwrap_or_else(|| 86_400.0 * nice(most / 86_400.0))
}

/// The next number of the form 1, 2 or 5 with zeros; at least 1.
fn nice(most: f64) -> f64 {
    let mut step = 1.0;
    loop {
        for factor in [1.0, 2.0, 5.0] {
            if step * factor >= most {
                return step * factor;
            }
        }
        step *= 10.0;
        if !step.is_finite() {
            return most;
        }
    }
}

/// The points of a line, in a new text after each gap.
fn segments(line: &Line, most: f64) -> Vec<String> {
    let mut segments: Vec<String> = Vec::new();
    let mut is_open = false;
    for (x, value) in &line.values {
        let Some(value) = value else {
            is_open = false;
            continue;
        };
        if !is_open {
            segments.push(String::new());
            is_open = true;
        }
        let y = HEIGHT * (1.0 - value / most);
        if let Some(segment) = segments.last_mut() {
            if !segment.is_empty() {
                segment.push(' ');
            }
            segment.push_str(&format!("{x:.1},{y:.1}"));
        }
    }
    segments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_gaps_and_a_scale() {
        let line = Line {
            name: "lag",
            values: vec![
                (0.0, Some(0.0)),
                (10.0, Some(10.0)),
                (20.0, None),
                (30.0, Some(5.0)),
            ],
        };
        assert_eq!(segments(&line, 10.0), ["0.0,120.0 10.0,0.0", "30.0,60.0"]);
        for (most, expected) in [
            (0.0, 1.0),
            (1.0, 1.0),
            (1.5, 2.0),
            (3.0, 5.0),
            (60.0, 100.0),
        ] {
            assert_eq!(nice(most), expected, "{most}");
        }
        for (most, expected) in [(0.0, 5.0), (61.0, 120.0), (86_401.0, 172_800.0)] {
            assert_eq!(nice_time(most), expected, "{most}");
        }
    }
}
