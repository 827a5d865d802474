//! The throughput chart: SVG drawn here, so that it works without scripts and follows the theme by classes.

use std::fmt::Write as _;

use windlass_core::api::HistoryPoint;

use crate::i18n::Lang;
use crate::text;

/// Size of the drawing in its own units; the page scales it.
const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 28.0;
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

/// Draws the history.
pub(crate) fn draw(lang: Lang, history: &[HistoryPoint], step_ms: u64) -> Chart {
    let points = samples(history, step_ms, POINTS_MAX);
    let most = points.iter().flat_map(|p| [p.enqueued, p.succeeded, p.failed]).fold(0.0, f64::max);
    let step = nice_step(most);
    let top = (most / step).ceil().max(1.0) * step;
    let span_ms = points.first().map_or(0, |p| p.ago_ms).max(step_ms.max(1_000));
    let x = |ago_ms: u64| {
        #[expect(clippy::cast_precision_loss, reason = "drawn with a few hundred pixels")]
        let share = ago_ms as f64 / span_ms as f64;
        WIDTH - RIGHT - share * (WIDTH - LEFT - RIGHT)
    };
    let y = |value: f64| HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM);
    let mut svg = String::with_capacity(8_192);
    let _ = write!(
        svg,
        "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-labelledby=\"chart-title chart-desc\">\
         <title id=\"chart-title\">{}</title><desc id=\"chart-desc\">{}</desc>",
        lang.t("chart.title"),
        lang.fill("chart.desc", &[("span", &text::duration(lang, span_ms))])
    );
    grid(&mut svg, lang, top, step, span_ms, &x, &y);
    let series: [(&str, fn(&Sample) -> f64); 3] =
        [("enqueued", |p| p.enqueued), ("succeeded", |p| p.succeeded), ("failed", |p| p.failed)];
    for (class, value) in series {
        line(&mut svg, class, &points, value, &x, &y);
    }
    svg.push_str("</svg>");
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

fn grid(
    svg: &mut String,
    lang: Lang,
    top: f64,
    step: f64,
    span_ms: u64,
    x: &impl Fn(u64) -> f64,
    y: &impl Fn(f64) -> f64,
) {
    let mut value = 0.0;
    while value <= top + step / 2.0 {
        let at = y(value);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text class=\"tick\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            at + 4.0,
            text::rate(value)
        );
        value += step;
    }
    for quarter in 0..=4_u64 {
        let ago = span_ms * quarter / 4;
        let anchor = match quarter {
            0 => "end",
            4 => "start",
            _ => "middle",
        };
        let label = if quarter == 0 {
            lang.t("chart.now").to_owned()
        } else {
            format!("−{}", text::duration(lang, ago / 1_000 * 1_000))
        };
        let _ = write!(
            svg,
            "<text class=\"tick\" x=\"{:.1}\" y=\"{}\" text-anchor=\"{anchor}\">{label}</text>",
            x(ago),
            HEIGHT - 8.0
        );
    }
}

fn line(
    svg: &mut String,
    class: &str,
    points: &[Sample],
    value: fn(&Sample) -> f64,
    x: &impl Fn(u64) -> f64,
    y: &impl Fn(f64) -> f64,
) {
    let path: Vec<String> = points.iter().map(|p| format!("{:.1},{:.1}", x(p.ago_ms), y(value(p)))).collect();
    if let (Some(first), Some(last), "enqueued") = (points.first(), points.last(), class) {
        let _ = write!(
            svg,
            "<polygon class=\"area {class}\" points=\"{:.1},{base:.1} {} {:.1},{base:.1}\"/>",
            x(first.ago_ms),
            path.join(" "),
            x(last.ago_ms),
            base = y(0.0)
        );
    }
    let _ = write!(svg, "<polyline class=\"line {class}\" points=\"{}\"/>", path.join(" "));
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
