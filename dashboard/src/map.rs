//! The cluster as a drawing: owners in the middle over their store, at their sides whoever stands by, and lines along which these
//! relay connections. Drawn twice, since a wide drawing that is scaled to a telephone cannot be read.

use std::fmt::Write as _;

use windlass_core::api::{ClusterNode, ClusterView, NodeState, ShardView};

use crate::i18n::Lang;
use crate::text;
use crate::ui::esc;

/// Nodes that are drawn; the table has all.
const DRAWN_MAX: usize = 13;
/// Silence below this is none: nodes speak once a second, and their words take a moment.
const SILENCE_MS: u64 = 3_000;
/// Height of a node without what it owns, and of a shard within it.
const NODE_HEIGHT: f64 = 84.0;
const SHARD_HEIGHT: f64 = 50.0;
/// Space between boxes.
const GAP: f64 = 16.0;
/// Size of the store's drum.
const STORE: (f64, f64) = (150.0, 52.0);

/// What stands in one box: a node, or the shards that nobody owns.
struct Block<'a> {
    node: Option<&'a ClusterNode>,
    shards: Vec<&'a ShardView>,
}

impl Block<'_> {
    fn height(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a handful of shards")]
        let shards = self.shards.len() as f64;
        let head = if self.node.is_some() { NODE_HEIGHT } else { 38.0 };
        head + shards * SHARD_HEIGHT + if self.shards.is_empty() { 0.0 } else { 6.0 }
    }

    fn state(&self) -> &'static str {
        self.node.map_or(NodeState::Gone.name(), |node| node.state.name())
    }

    /// Whether it takes connections and passes them on.
    fn relays(&self) -> bool {
        self.shards.is_empty() && self.node.is_some_and(|node| node.state != NodeState::Gone)
    }
}

/// Where a box stands.
#[derive(Clone, Copy)]
struct Place {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

/// The drawing, and which lines there are in it.
pub(crate) struct Map {
    pub(crate) svg: String,
    pub(crate) relays: bool,
    pub(crate) watches: bool,
}

/// Draws the cluster in both sizes. `shared`: whoever owns nothing watches the store.
pub(crate) fn draw(lang: Lang, view: &ClusterView, shared: bool) -> Map {
    let (centre, sides) = blocks(view);
    let mut svg = String::with_capacity(8_192);
    let sketch = Sketch { lang, view, shared, centre, sides };
    sketch.large(&mut svg);
    sketch.small(&mut svg);
    let others = sketch.sides.iter().any(Block::relays);
    Map { svg, relays: others && sketch.owner_lives(), watches: others && shared }
}

/// Owners, and shards that nobody owns, are the centre; all other nodes stand beside.
fn blocks(view: &ClusterView) -> (Vec<Block<'_>>, Vec<Block<'_>>) {
    let owned = |node: &ClusterNode| -> Vec<&ShardView> {
        view.shards.iter().filter(|shard| shard.owner.as_deref() == Some(&node.name)).collect()
    };
    let drawn = view.nodes.iter().take(DRAWN_MAX);
    let (mut centre, sides): (Vec<_>, Vec<_>) = drawn
        .map(|node| Block { node: Some(node), shards: owned(node) })
        .partition(|block| !block.shards.is_empty());
    let orphans: Vec<&ShardView> = view.shards.iter().filter(|shard| shard.owner.is_none()).collect();
    if !orphans.is_empty() {
        centre.push(Block { node: None, shards: orphans });
    }
    (centre, sides)
}

struct Sketch<'a> {
    lang: Lang,
    view: &'a ClusterView,
    shared: bool,
    centre: Vec<Block<'a>>,
    sides: Vec<Block<'a>>,
}

fn total(blocks: &[Block<'_>]) -> f64 {
    let heights: f64 = blocks.iter().map(Block::height).sum();
    #[expect(clippy::cast_precision_loss, reason = "a handful of boxes")]
    let gaps = blocks.len().saturating_sub(1) as f64 * GAP;
    heights + gaps
}

impl Sketch<'_> {
    /// Owners in the middle, the others left and right of them, the store below.
    fn large(&self, svg: &mut String) {
        const WIDTH: f64 = 960.0;
        let (side, middle) = (256.0, 284.0);
        let column = |odd: usize| -> Vec<&Block<'_>> { self.sides.iter().skip(odd).step_by(2).collect() };
        let columns = [(column(0), 10.0), (column(1), WIDTH - 10.0 - side)];
        let tallest = columns.iter().map(|(blocks, _)| blocks.iter().map(|b| b.height() + GAP).sum::<f64>());
        let inner = tallest.fold(total(&self.centre), f64::max);
        let height = inner + 2.0 * GAP + 44.0 + STORE.1;
        self.open(svg, "large", WIDTH, height);
        let x = (WIDTH - middle) / 2.0;
        let top = GAP + (inner - total(&self.centre)) / 2.0;
        let mut places = Vec::new();
        let mut y = top;
        for block in &self.centre {
            let place = Place { x, y, width: middle, height: block.height() };
            places.push(place);
            y += place.height + GAP;
        }
        let store_y = height - STORE.1 - 6.0;
        let bottom = top + total(&self.centre);
        self.pipe(svg, (WIDTH / 2.0, bottom), store_y);
        let goal = places.first().copied();
        let mut boxes = String::new();
        for (blocks, x) in columns {
            let sum: f64 = blocks.iter().map(|b| b.height() + GAP).sum::<f64>() - GAP;
            let mut y = GAP + (inner - sum) / 2.0;
            for block in blocks {
                let place = Place { x, y, width: side, height: block.height() };
                if let Some(goal) = goal.filter(|_| block.relays() && self.owner_lives()) {
                    relay_across(svg, place, goal);
                }
                if block.relays() && self.shared {
                    watch(svg, place, (WIDTH / 2.0, store_y));
                }
                self.block(&mut boxes, block, place);
                y += place.height + GAP;
            }
        }
        for (block, place) in self.centre.iter().zip(places) {
            self.block(&mut boxes, block, place);
        }
        svg.push_str(&boxes);
        self.store(svg, (WIDTH / 2.0, store_y));
        svg.push_str("</svg>");
    }

    /// The store on top, then owners, then the others on a line that leads up to the first owner.
    fn small(&self, svg: &mut String) {
        const WIDTH: f64 = 340.0;
        let first = STORE.1 + 30.0;
        let height = first + total(&self.centre) + GAP + total(&self.sides) + 8.0;
        self.open(svg, "small", WIDTH, height);
        self.pipe(svg, (WIDTH / 2.0, first), 6.0 + STORE.1);
        let mut boxes = String::new();
        let mut y = first;
        let mut under = None;
        for block in &self.centre {
            let place = Place { x: 4.0, y, width: WIDTH - 8.0, height: block.height() };
            self.block(&mut boxes, block, place);
            y += place.height + GAP;
            under = under.or(Some(place.y + place.height));
        }
        for block in &self.sides {
            let place = Place { x: 34.0, y, width: WIDTH - 38.0, height: block.height() };
            if let Some(under) = under.filter(|_| block.relays() && self.owner_lives()) {
                let middle = y + place.height / 2.0;
                let _ = write!(
                    svg,
                    "<path class=\"relay\" d=\"M{} {middle:.0} H24 Q18 {middle:.0} 18 {:.0} V{:.0}\" marker-end=\"url(#relay-small)\"/>",
                    place.x,
                    middle - 6.0,
                    under + 3.0
                );
            }
            self.block(&mut boxes, block, place);
            y += place.height + GAP;
        }
        svg.push_str(&boxes);
        self.store(svg, (WIDTH / 2.0, 6.0));
        svg.push_str("</svg>");
    }

    fn open(&self, svg: &mut String, class: &str, width: f64, height: f64) {
        let nodes = self.lang.count("cluster.nodes", self.view.nodes.len() as u64);
        let label = self.lang.fill("cluster.map", &[("nodes", &nodes), ("store", &self.view.store)]);
        let _ = write!(
            svg,
            "<svg class=\"map {class}\" viewBox=\"0 0 {width} {height:.0}\" role=\"img\" aria-label=\"{}\">\
             <defs><marker id=\"relay-{class}\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" \
             markerHeight=\"7\" orient=\"auto-start-reverse\"><path class=\"tip\" d=\"M0 0.5 7.5 4 0 7.5z\"/></marker></defs>",
            esc(&label)
        );
    }

    /// Whether there is somebody to whom connections can be relayed.
    fn owner_lives(&self) -> bool {
        self.centre.iter().any(|block| block.node.is_some_and(|node| node.state != NodeState::Gone))
    }

    /// The line between owners and store, broken while nobody writes.
    fn pipe(&self, svg: &mut String, (x, from): (f64, f64), to: f64) {
        let class = if self.owner_lives() { "pipe" } else { "pipe cut" };
        let _ = write!(svg, "<path class=\"{class}\" d=\"M{x:.0} {from:.0} V{to:.0}\"/>");
    }

    /// A drum with the engine's name.
    fn store(&self, svg: &mut String, (middle, y): (f64, f64)) {
        let (width, height) = STORE;
        let (left, right, rise) = (middle - width / 2.0, middle + width / 2.0, 8.0);
        let trouble = if self.view.trouble.is_some() { " gone" } else { "" };
        let _ = write!(
            svg,
            "<g class=\"store{trouble}\"><path d=\"M{left} {top} V{low} A{radius} {rise} 0 0 0 {right} {low} V{top}\"/>\
             <ellipse cx=\"{middle}\" cy=\"{top}\" rx=\"{radius}\" ry=\"{rise}\"/>\
             <text x=\"{middle}\" y=\"{text}\" text-anchor=\"middle\">{}</text></g>",
            esc(&cut(&self.view.store, 18)),
            top = y + rise,
            low = y + height - rise,
            radius = width / 2.0,
            text = y + height / 2.0 + 9.0,
        );
    }

    fn block(&self, svg: &mut String, block: &Block<'_>, place: Place) {
        let Place { x, y, width, height } = place;
        let here = block.node.is_some_and(|node| node.name == self.view.node);
        let _ = write!(
            svg,
            "<g class=\"seat {}{}\"><rect class=\"box\" x=\"{x}\" y=\"{y:.0}\" width=\"{width}\" height=\"{height:.0}\" rx=\"11\"/>",
            block.state(),
            if here { " here" } else { "" },
        );
        let mut below = y + 6.0;
        match block.node {
            Some(node) => {
                self.node(svg, node, here, place);
                below += NODE_HEIGHT - 6.0;
            }
            None => {
                line(svg, "word", (x + 16.0, y + 25.0), "start", self.lang.t("cluster.nobody"));
                below += 32.0;
            }
        }
        for shard in &block.shards {
            self.shard(svg, shard, Place { y: below, ..place });
            below += SHARD_HEIGHT;
        }
        svg.push_str("</g>");
    }

    fn node(&self, svg: &mut String, node: &ClusterNode, here: bool, Place { x, y, width, .. }: Place) {
        let lang = self.lang;
        let _ = write!(
            svg,
            "<title>{}</title><circle class=\"dot\" cx=\"{}\" cy=\"{:.0}\" r=\"5\"/>",
            esc(&node.name),
            x + 18.0,
            y + 21.0
        );
        line(svg, "name", (x + 31.0, y + 25.5), "start", &cut(&node.name, 21));
        let state = lang.t(&format!("seat.{}", node.state.name()));
        line(svg, "word", (x + width - 14.0, y + 25.5), "end", state);
        let addr = if node.http.is_empty() { &node.native } else { &node.http };
        let parts = [node.version.as_str(), addr.as_str()];
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        line(svg, "fact", (x + 16.0, y + 47.0), "start", &cut(&parts.join(" · "), 38));
        let mut life = match (node.state, here) {
            (_, true) => lang.t("cluster.answers").to_owned(),
            (NodeState::Gone, _) => lang.fill("cluster.silent", &[("wait", &silence(lang, node.lag_ms))]),
            _ => format!("{} {}", lang.t("workers.heartbeat"), silence(lang, node.lag_ms)),
        };
        if node.connections > 0 {
            let _ = write!(life, " · {}", lang.count("cluster.connections", u64::from(node.connections)));
        }
        line(svg, "fact", (x + 16.0, y + 66.0), "start", &cut(&life, 44));
    }

    fn shard(&self, svg: &mut String, shard: &ShardView, Place { x, y, width, .. }: Place) {
        let lang = self.lang;
        let _ = write!(
            svg,
            "<rect class=\"shard\" x=\"{}\" y=\"{y:.0}\" width=\"{}\" height=\"{}\" rx=\"7\"/>",
            x + 10.0,
            width - 20.0,
            SHARD_HEIGHT - 6.0
        );
        let name = lang.fill("cluster.shard_n", &[("n", &shard.shard.to_string())]);
        line(svg, "name", (x + 20.0, y + 18.0), "start", &name);
        let epoch = format!("{} {}", lang.t("node.epoch"), text::number(shard.epoch));
        line(svg, "fact", (x + width - 20.0, y + 18.0), "end", &epoch);
        let figures = [
            lang.fill("cluster.ready", &[("n", &text::number(shard.ready))]),
            lang.fill("cluster.running", &[("n", &text::number(shard.running))]),
            format!("{} {}", text::rate(shard.rate), lang.t("unit.per_s")),
        ];
        line(svg, "fact", (x + 20.0, y + 35.5), "start", &cut(&figures.join(" · "), 44));
    }
}

/// A curve from the inner edge of a box at a side to the box in the middle.
fn relay_across(svg: &mut String, from: Place, to: Place) {
    let (y1, y2) = (from.y + from.height / 2.0, to.y + NODE_HEIGHT / 2.0);
    let left = from.x < to.x;
    let x1 = if left { from.x + from.width } else { from.x };
    let x2 = if left { to.x - 3.0 } else { to.x + to.width + 3.0 };
    let middle = (x1 + x2) / 2.0;
    let _ = write!(
        svg,
        "<path class=\"relay\" d=\"M{x1:.0} {y1:.0} C{middle:.0} {y1:.0} {middle:.0} {y2:.0} {x2:.0} {y2:.0}\" marker-end=\"url(#relay-large)\"/>"
    );
}

/// A line from under a box at a side to the store. It runs behind the boxes below.
fn watch(svg: &mut String, from: Place, (middle, y): (f64, f64)) {
    let left = from.x < middle;
    let x = from.x + from.width / 2.0;
    let edge = if left { middle - STORE.0 / 2.0 } else { middle + STORE.0 / 2.0 };
    let bend = if left { 14.0 } else { -14.0 };
    let low = y + STORE.1 / 2.0 + 2.0;
    let _ = write!(
        svg,
        "<path class=\"watch\" d=\"M{x:.0} {:.0} V{:.0} Q{x:.0} {low:.0} {:.0} {low:.0} H{edge:.0}\"/>",
        from.y + from.height,
        low - 14.0,
        x + bend
    );
}

fn line(svg: &mut String, class: &str, (x, y): (f64, f64), anchor: &str, words: &str) {
    let _ = write!(
        svg,
        "<text class=\"{class}\" x=\"{x}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>",
        esc(words)
    );
}

/// Text in a drawing has no edge of its own at which it would be cut.
fn cut(words: &str, chars_max: usize) -> String {
    if words.chars().count() <= chars_max {
        return words.to_owned();
    }
    words.chars().take(chars_max.saturating_sub(1)).chain(['…']).collect()
}

/// How long a node has been silent: whole seconds, so that the drawing does not change with every word.
pub(crate) fn silence(lang: Lang, ms: u64) -> String {
    if ms < SILENCE_MS {
        lang.t("workers.beat_now").to_owned()
    } else {
        text::duration(lang, ms / 1_000 * 1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, state: NodeState) -> ClusterNode {
        ClusterNode { name: name.to_owned(), state, ..ClusterNode::default() }
    }

    fn view(owner: Option<&str>, nodes: Vec<ClusterNode>) -> ClusterView {
        let shards = vec![ShardView { epoch: 3, owner: owner.map(str::to_owned), ..ShardView::default() }];
        ClusterView {
            node: "a".to_owned(),
            store: "postgres".to_owned(),
            shards,
            nodes,
            ..ClusterView::default()
        }
    }

    fn count(svg: &str, what: &str) -> usize {
        svg.matches(what).count()
    }

    #[test]
    fn everybody_who_lives_and_owns_nothing_relays_to_the_owner() {
        use NodeState::{Draining, Gone, Owner, Standby};
        let nodes = vec![node("a", Owner), node("b", Standby), node("c", Draining), node("d", Gone)];
        let svg = draw(Lang::En, &view(Some("a"), nodes), true).svg;
        // Both sizes.
        assert_eq!((count(&svg, "<g class=\"seat "), count(&svg, "class=\"relay\"")), (8, 4));
        assert_eq!((count(&svg, "seat owner here"), count(&svg, "class=\"shard\"")), (2, 2));
        assert_eq!((count(&svg, "class=\"pipe\""), count(&svg, "pipe cut")), (2, 0));
    }

    #[test]
    fn without_a_living_owner_nothing_is_relayed() {
        let nodes = || vec![node("b", NodeState::Standby), node("c", NodeState::Standby)];
        let svg = draw(Lang::En, &view(None, nodes()), true).svg;
        assert_eq!((count(&svg, "class=\"relay\""), count(&svg, "pipe cut")), (0, 2));
        assert!(svg.contains("Nobody owns"), "{svg}");
        let mut with_dead = nodes();
        with_dead.push(node("a", NodeState::Gone));
        let svg = draw(Lang::En, &view(Some("a"), with_dead), true).svg;
        assert_eq!((count(&svg, "class=\"relay\""), count(&svg, "pipe cut")), (0, 2));
    }

    #[test]
    fn any_number_of_nodes_is_drawn_within_the_picture() {
        for others in [0, 1, 2, 5, 40] {
            let mut nodes = vec![node("a", NodeState::Owner)];
            nodes.extend((0..others).map(|n| node(&format!("b{n}"), NodeState::Standby)));
            let svg = draw(Lang::En, &view(Some("a"), nodes), true).svg;
            assert!(!svg.contains("NaN") && !svg.contains("=\"-"), "{others}: {svg}");
            for part in svg.split("<svg ").skip(1) {
                let height: f64 = part
                    .split("viewBox=\"0 0 ")
                    .nth(1)
                    .unwrap()
                    .split([' ', '"'])
                    .nth(1)
                    .unwrap()
                    .parse()
                    .unwrap();
                for rect in part.split("class=\"box\"").skip(1) {
                    let of = |name: &str| -> f64 {
                        rect.split(name).nth(1).unwrap().split('"').next().unwrap().parse().unwrap()
                    };
                    assert!(of(" y=\"") + of(" height=\"") <= height, "{others}: {rect}");
                }
            }
        }
        assert!(!draw(Lang::En, &ClusterView::default(), false).svg.contains("class=\"box\""));
    }

    #[test]
    fn names_are_cut_and_escaped() {
        let svg = draw(Lang::En, &view(Some("<b>"), vec![node("<b>", NodeState::Owner)]), true).svg;
        assert!(!svg.contains("<b>"));
        assert_eq!((cut("abcdef", 4), cut("中文字", 3)), ("abc…".to_owned(), "中文字".to_owned()));
    }
}
