//! The life of a job as a drawing, its own state marked. The steps are those of `windlass_core`'s table of transitions.

use std::fmt::Write as _;

use windlass_core::job::{JobState, TRANSITIONS};

use crate::i18n::Lang;

/// Size of a box, and of the drawing.
const BOX: (f64, f64) = (118.0, 36.0);
const SIZE: (f64, f64) = (760.0, 236.0);

/// Where the middle of a state's box is.
fn place(state: JobState) -> (f64, f64) {
    match state {
        JobState::Scheduled => (70.0, 118.0),
        JobState::Ready => (260.0, 118.0),
        JobState::Held => (260.0, 206.0),
        JobState::Expired => (260.0, 30.0),
        JobState::Running => (475.0, 118.0),
        JobState::Retrying => (475.0, 206.0),
        JobState::Succeeded => (690.0, 30.0),
        JobState::Dead => (690.0, 118.0),
        JobState::Cancelled => (690.0, 206.0),
    }
}

/// The steps that are drawn; the others (cancel and expiry of anything that waits, retry by hand) would hide these.
const DRAWN: [(JobState, JobState); 10] = [
    (JobState::Scheduled, JobState::Ready),
    (JobState::Ready, JobState::Running),
    (JobState::Ready, JobState::Expired),
    (JobState::Ready, JobState::Held),
    (JobState::Held, JobState::Ready),
    (JobState::Running, JobState::Succeeded),
    (JobState::Running, JobState::Dead),
    (JobState::Running, JobState::Cancelled),
    (JobState::Running, JobState::Retrying),
    (JobState::Retrying, JobState::Ready),
];

/// Draws the life with `current` marked.
pub(crate) fn draw(lang: Lang, current: JobState) -> String {
    let mut svg = String::with_capacity(4_096);
    let name = lang.t(&format!("state.{}", current.name()));
    let _ = write!(
        svg,
        "<svg class=\"diagram\" viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">\
         <defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" \
         orient=\"auto-start-reverse\"><path class=\"tip\" d=\"M0 0.5 7.5 4 0 7.5z\"/></marker></defs>",
        SIZE.0,
        SIZE.1,
        lang.fill("job.diagram", &[("state", name)])
    );
    for (from, to) in DRAWN {
        edge(&mut svg, from, to, current);
    }
    for state in JobState::ALL {
        node(&mut svg, lang, state, state == current);
    }
    svg.push_str("</svg>");
    svg
}

fn node(svg: &mut String, lang: Lang, state: JobState, here: bool) {
    let (x, y) = place(state);
    let _ = write!(
        svg,
        "<g class=\"node {}{}\"><rect x=\"{:.0}\" y=\"{:.0}\" width=\"{}\" height=\"{}\" rx=\"9\"/>\
         <text x=\"{x}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text></g>",
        state.name(),
        if here { " here" } else { "" },
        x - BOX.0 / 2.0,
        y - BOX.1 / 2.0,
        BOX.0,
        BOX.1,
        y + 4.5,
        lang.t(&format!("state.{}", state.name()))
    );
}

fn edge(svg: &mut String, from: JobState, to: JobState, current: JobState) {
    debug_assert!(TRANSITIONS.contains(&(from, to)), "a drawn step is a legal step");
    let ((x1, y1), (x2, y2)) = (place(from), place(to));
    let (half_w, half_h) = (BOX.0 / 2.0, BOX.1 / 2.0);
    let path = if (y1 - y2).abs() < 1.0 {
        format!("M{:.0} {y1} H{:.0}", x1 + half_w, x2 - half_w - 2.0)
    } else if (x1 - x2).abs() < 1.0 {
        // Two arrows between the same boxes stand side by side.
        let aside = if to == JobState::Held {
            -14.0
        } else if from == JobState::Held {
            14.0
        } else {
            0.0
        };
        let down = if y2 > y1 { 1.0 } else { -1.0 };
        format!("M{:.0} {:.0} V{:.0}", x1 + aside, y1 + down * half_h, y2 - down * (half_h + 2.0))
    } else if x2 > x1 {
        let middle = (x1 + half_w + x2 - half_w) / 2.0;
        format!("M{:.0} {y1} C{middle:.0} {y1} {middle:.0} {y2} {:.0} {y2}", x1 + half_w, x2 - half_w - 2.0)
    } else {
        // Back to the queue: out at the left of the lower box, in at the lower right corner of the upper one.
        let (end_x, end_y) = (x2 + half_w - 18.0, y2 + half_h + 2.0);
        format!(
            "M{:.0} {y1} C{:.0} {y1} {end_x:.0} {y1} {end_x:.0} {end_y:.0}",
            x1 - half_w,
            x1 - half_w - 60.0
        )
    };
    let from_here = if from == current { " next" } else { "" };
    let _ = write!(svg, "<path class=\"edge{from_here}\" d=\"{path}\" marker-end=\"url(#tip)\"/>");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_legal_steps_are_drawn_and_one_box_is_marked() {
        for step in DRAWN {
            assert!(TRANSITIONS.contains(&step), "{step:?}");
        }
        for state in JobState::ALL {
            let svg = draw(Lang::En, state);
            assert_eq!(svg.matches(" here\"").count(), 1);
            assert_eq!(svg.matches("class=\"node ").count(), JobState::ALL.len());
        }
    }
}
