//! What `windlass top` draws.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph, Row, Sparkline, Table, TableState};

use super::screen::Screen;
use super::summary;
use crate::cli::output::{bytes, span};
use crate::cli::{queue, value, worker};

const DIM: Style = Style::new().add_modifier(Modifier::DIM);
const HEAD: Style = Style::new().add_modifier(Modifier::BOLD);

/// Draws the whole screen.
pub(super) fn draw(frame: &mut Frame<'_>, screen: &Screen) {
    let workers =
        u16::try_from(screen.picture.workers.len()).unwrap_or(u16::MAX).saturating_add(3).clamp(4, 14);
    let [head, rates, queues, below, foot] = Layout::vertical([
        Constraint::Length(3),
        Constraint::Length(4),
        Constraint::Min(5),
        Constraint::Length(workers),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    draw_head(frame, head, screen);
    let bars = Sparkline::default().data(&screen.rates).style(Style::new().fg(Color::Cyan));
    frame.render_widget(bars.block(titled(" enqueued per second ")), rates);
    draw_queues(frame, queues, screen);
    draw_workers(frame, below, screen);
    frame.render_widget(foot_line(screen), foot);
}

fn titled(title: &str) -> Block<'_> {
    Block::default().borders(Borders::TOP).border_style(DIM).title(title)
}

fn draw_head(frame: &mut Frame<'_>, area: Rect, screen: &Screen) {
    let overview = &screen.picture.overview;
    let up = span(value::now().since_ms(overview.node.started_at));
    let store = &overview.store;
    let first = format!(
        "windlass {} at {}   up {up}   store {} {}   memory {}",
        overview.node.version,
        screen.server,
        store.engine,
        bytes(store.disk_bytes),
        bytes(overview.node.rss_bytes),
    );
    let mut lines = vec![Line::styled(first, DIM), Line::styled(summary(overview).join("   "), HEAD)];
    if let Some(problem) = overview.problems.first() {
        lines.push(Line::styled(format!("! {problem}"), Style::new().fg(Color::Red)));
    }
    frame.render_widget(Paragraph::new(lines), area);
}

fn draw_queues(frame: &mut Frame<'_>, area: Rect, screen: &Screen) {
    let rows = screen.picture.queues.iter().map(|q| {
        let row = Row::new(queue::row(q).into_iter().map(|word| word.text));
        if q.paused { row.style(Style::new().fg(Color::Yellow)) } else { row }
    });
    let mut widths = vec![Constraint::Min(16)];
    widths.extend([Constraint::Length(10); 10]);
    let table = Table::new(rows, widths)
        .header(Row::new(queue::HEADERS).style(HEAD))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
        .block(titled(" queues "));
    let mut state = TableState::default().with_selected(screen.index());
    frame.render_stateful_widget(table, area, &mut state);
}

fn draw_workers(frame: &mut Frame<'_>, area: Rect, screen: &Screen) {
    let rows =
        screen.picture.workers.iter().map(|w| Row::new(worker::row(w).into_iter().map(|word| word.text)));
    let widths = [
        Constraint::Min(16),
        Constraint::Length(10),
        Constraint::Length(8),
        Constraint::Min(12),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Length(10),
        Constraint::Min(24),
    ];
    let table = Table::new(rows, widths).header(Row::new(worker::HEADERS).style(HEAD));
    frame.render_widget(table.block(titled(" workers ")), area);
}

fn foot_line(screen: &Screen) -> Paragraph<'_> {
    let mut spans = vec![Span::styled(" ↑↓ choose  P pause/resume queue  p freeze  r refresh  q quit ", DIM)];
    if screen.frozen {
        spans.push(Span::styled(" FROZEN ", Style::new().add_modifier(Modifier::REVERSED)));
    }
    spans.push(Span::raw(format!(" {}", screen.message)));
    Paragraph::new(Line::from(spans))
}
