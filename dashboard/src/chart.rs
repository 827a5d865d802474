//! The throughput chart: SVG drawn here, so that it works without scripts and follows the theme by classes.

use std::fmt::Write as _;

use windlass_core::api::HistoryPoint;

use crate::i18n::Lang;
use crate::text;

/// A drawing in its own units; the page scales it. Small screens get one of their own, since scaled text would be too
/// small to read.
#[derive(Debug, Clone, Copy)]
struct Frame {
    class: &'static str,
    width: f64,
    height: f64,
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    /// Labels on the axis of time at most.
    labels: u64,
}

const LARGE: Frame = Frame {
    class: "large",
    width: 960.0,
    height: 240.0,
    left: 48.0,
    right: 14.0,
    top: 12.0,
    bottom: 28.0,
    labels: 7,
};
const SMALL: Frame = Frame {
    class: "small",
    width: 340.0,
    height: 190.0,
    left: 38.0,
    right: 12.0,
    top: 10.0,
    bottom: 26.0,
    labels: 3,
};
/// Distances between labels on the axis of time, in milliseconds.
const TIME_STEPS: [u64; 14] = [
    5_000,
    10_000,
    30_000,
    60_000,
    120_000,
    300_000,
    600_000,
    1_800_000,
    3_600_000,
    7_200_000,
    21_600_000,
    43_200_000,
    86_400_000,
    604_800_000,
];
/// Points drawn at most; longer histories are averaged into so many.
const POINTS_MAX: usize = 150;
/// Rows of the table twin at most.
const ROWS_MAX: usize = 12;

/// One point: rates per second, and its distance from now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sample {
    pub(crate) ago_ms: u64,
    pub(crate) enqueued: f64,
    pub(crate) succeeded: f64,
    pub(crate) failed: f64,
}

/// The drawing and its twin.
pub(crate) struct Chart {
    pub(crate) svg: String,
    pub(crate) rows: Vec<Row>,
    pub(crate) is_empty: bool,
}

/// One row of the table twin.
pub(crate) struct Row {
    pub(crate) ago: String,
    pub(crate) enqueued: String,
    pub(crate) succeeded: String,
    pub(crate) failed: String,
}

/// Averages `history` into at most `max` samples, newest last.
fn samples(history: &[HistoryPoint], step_ms: u64, max: usize) -> Vec<Sample> {
    if history.is_empty() || step_ms == 0 {
        return Vec::new();
    }
    let per = history.len().div_ceil(max).max(1);
    // Groups are aligned to the clock, so that old groups stay the same while new points arrive.
    let first = usize::try_from(history[0].at.0 / step_ms).unwrap_or(0) % per;
    let mut groups: Vec<&[HistoryPoint]> = Vec::new();
    let (head, rest) = history.split_at(((per - first) % per).min(history.len()));
    if !head.is_empty() && rest.is_empty() {
        groups.push(head);
    }
    groups.extend(rest.chunks(per));
    let end = history[history.len() - 1].at;
    let to_sample = |group: &&[HistoryPoint]| {
        #[expect(clippy::cast_precision_loss, reason = "drawn with a few hundred pixels")]
        let rate = |total: u64| total as f64 * 1_000.0 / (group.len() as f64 * step_ms as f64);
        Sample {
            ago_ms: end.since_ms(group[group.len() - 1].at),
            enqueued: rate(group.iter().map(|p| p.enqueued).sum()),
            succeeded: rate(group.iter().map(|p| p.succeeded).sum()),
            failed: rate(group.iter().map(|p| p.failed).sum()),
        }
    };
    groups.iter().map(to_sample).collect()
}

/// The step between lines of the grid: 1, 2 or 5 times a power of ten, about four lines up to `top`.
fn nice_step(top: f64) -> f64 {
    let rough = (top / 4.0).max(0.25);
    let power = 10f64.powf(rough.log10().floor());
    let lead = rough / power;
    power
        * if lead <= 1.0 {
            1.0
        } else if lead <= 2.0 {
            2.0
        } else if lead <= 5.0 {
            5.0
        } else {
            10.0
        }
}

/// What both drawings share.
struct Plot<'a> {
    lang: Lang,
    points: &'a [Sample],
    span_ms: u64,
    /// Top of the grid, and the step between its lines.
    top: f64,
    step: f64,
    frame: Frame,
}

/// Draws the history.
pub(crate) fn draw(lang: Lang, history: &[HistoryPoint], step_ms: u64) -> Chart {
    let points = samples(history, step_ms, POINTS_MAX);
    let most = points.iter().flat_map(|p| [p.enqueued, p.succeeded, p.failed]).fold(0.0, f64::max);
    let step = nice_step(most);
    let top = (most / step).ceil().max(1.0) * step;
    let span_ms = points.first().map_or(0, |p| p.ago_ms).max(step_ms.max(1_000));
    let mut svg = String::with_capacity(16_384);
    for frame in [LARGE, SMALL] {
        Plot { lang, points: &points, span_ms, top, step, frame }.draw(&mut svg);
    }
    let rows = samples(history, step_ms, ROWS_MAX).iter().rev().map(|p| row(lang, p)).collect();
    Chart { svg, rows, is_empty: points.len() < 2 }
}

fn row(lang: Lang, sample: &Sample) -> Row {
    Row {
        ago: text::duration(lang, sample.ago_ms),
        enqueued: text::rate(sample.enqueued),
        succeeded: text::rate(sample.succeeded),
        failed: text::rate(sample.failed),
    }
}

impl Plot<'_> {
    fn x(&self, ago_ms: u64) -> f64 {
        let Frame { width, left, right, .. } = self.frame;
        #[expect(clippy::cast_precision_loss, reason = "drawn with a few hundred pixels")]
        let share = ago_ms as f64 / self.span_ms as f64;
        width - right - share * (width - left - right)
    }

    fn y(&self, value: f64) -> f64 {
        let Frame { height, top, bottom, .. } = self.frame;
        height - bottom - value / self.top * (height - top - bottom)
    }

    fn draw(&self, svg: &mut String) {
        let Frame { class, width, height, .. } = self.frame;
        let span = text::duration(self.lang, self.span_ms / 1_000 * 1_000);
        let _ = write!(
            svg,
            "<svg class=\"chart {class}\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
             aria-labelledby=\"chart-title-{class} chart-desc-{class}\">\
             <title id=\"chart-title-{class}\">{}</title><desc id=\"chart-desc-{class}\">{}</desc>",
            self.lang.t("chart.title"),
            self.lang.fill("chart.desc", &[("span", &span)])
        );
        self.grid(svg);
        self.times(svg);
        self.line(svg, "enqueued", |p| p.enqueued);
        self.line(svg, "succeeded", |p| p.succeeded);
        self.line(svg, "failed", |p| p.failed);
        svg.push_str("</svg>");
    }

    fn grid(&self, svg: &mut String) {
        let Frame { width, left, right, .. } = self.frame;
        let mut value = 0.0;
        while value <= self.top + self.step / 2.0 {
            let at = self.y(value);
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{left}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text class=\"tick\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                width - right,
                left - 8.0,
                at + 4.0,
                text::rate(value)
            );
            value += self.step;
        }
    }

    fn times(&self, svg: &mut String) {
        let fits = |step: &&u64| self.span_ms / **step < self.frame.labels;
        let step = TIME_STEPS.iter().find(fits).copied().unwrap_or(self.span_ms.max(1));
        for n in 0..=self.span_ms / step {
            let ago = n * step;
            let label = match n {
                0 => self.lang.t("chart.now").to_owned(),
                _ => format!("−{}", text::duration(self.lang, ago)),
            };
            // The label at the right edge would be cut in the middle.
            let anchor = if n == 0 { "end" } else { "middle" };
            let (x, y) = (self.x(ago), self.frame.height - 8.0);
            if n == 0 || x > self.frame.left + 16.0 {
                let _ = write!(
                    svg,
                    "<text class=\"tick\" x=\"{x:.1}\" y=\"{y}\" text-anchor=\"{anchor}\">{label}</text>"
                );
            }
        }
    }

    fn line(&self, svg: &mut String, class: &str, value: fn(&Sample) -> f64) {
        let place = |p: &Sample| format!("{:.1},{:.1}", self.x(p.ago_ms), self.y(value(p)));
        let path = self.points.iter().map(place).collect::<Vec<_>>().join(" ");
        if let (Some(first), Some(last), "enqueued") = (self.points.first(), self.points.last(), class) {
            let (from, to, base) = (self.x(first.ago_ms), self.x(last.ago_ms), self.y(0.0));
            let _ = write!(
                svg,
                "<polygon class=\"area {class}\" points=\"{from:.1},{base:.1} {path} {to:.1},{base:.1}\"/>"
            );
        }
        let _ = write!(svg, "<polyline class=\"line {class}\" points=\"{path}\"/>");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use windlass_core::time::Timestamp;

    fn history(n: u64) -> Vec<HistoryPoint> {
        (0..n)
            .map(|i| HistoryPoint {
                at: Timestamp(i * 1_000),
                enqueued: i,
                succeeded: i / 2,
                failed: 1,
                ready: 0,
            })
            .collect()
    }

    #[test]
    fn the_grid_has_round_numbers() {
        for (top, step) in
            [(0.0, 0.5), (1.0, 0.5), (7.0, 2.0), (10.0, 5.0), (130.0, 50.0), (9_000.0, 5_000.0)]
        {
            assert!((nice_step(top) - step).abs() < 1e-9, "{top}: {}", nice_step(top));
        }
    }

    #[test]
    fn long_histories_are_averaged() {
        let points = samples(&history(600), 1_000, 150);
        assert_eq!(points.len(), 150);
        assert_eq!(points[149], Sample { ago_ms: 0, enqueued: 597.5, succeeded: 298.5, failed: 1.0 });
    }

    #[test]
    fn an_empty_history_draws_axes() {
        let chart = draw(Lang::En, &[], 1_000);
        assert!(chart.is_empty && chart.svg.starts_with("<svg") && chart.svg.ends_with("</svg>"));
        assert!(!chart.svg.contains("NaN"));
        let one = draw(Lang::En, &history(1), 1_000);
        assert!(!one.svg.contains("NaN") && !one.svg.contains("inf"));
    }
}
