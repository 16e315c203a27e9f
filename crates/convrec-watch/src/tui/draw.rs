use std::ops::Range;
use std::time::Duration;

use convrec_core::printable;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{
    Axis, Bar, BarChart, BarGroup, Block, Chart, Dataset, Gauge, GraphType, List, ListItem,
    ListState, Paragraph, Wrap,
};

use super::Board;
use crate::doctor::short;
use crate::scale;

/// Draws the board over the whole frame.
pub fn draw(frame: &mut Frame<'_>, board: &Board) {
    let said = if board.diagnosis.is_some() || board.problem.is_some() {
        5
    } else {
        1
    };
    let rows = [
        Constraint::Length(1),
        Constraint::Length(said),
        Constraint::Fill(3),
        Constraint::Fill(2),
        Constraint::Length(1),
    ];
    let [top, health, middle, bottom, help] = Layout::vertical(rows).areas(frame.area());
    let [chart, names] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Length(46)]).areas(middle);
    let [ranks, completion] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).areas(bottom);
    progress(frame, top, board);
    state(frame, health, board);
    curve(frame, chart, board);
    values(frame, names, board);
    bars(frame, ranks, board);
    list(frame, completion, board);
    frame.render_widget(
        Line::from(" q quit   arrows, tab: curve   space: next list").dim(),
        help,
    );
}

fn progress(frame: &mut Frame<'_>, area: Rect, board: &Board) {
    let share = if board.total == 0 {
        0.0
    } else {
        (board.step as f64 / board.total as f64).min(1.0)
    };
    let of = if board.total == 0 {
        String::new()
    } else {
        format!(" of {}", board.total)
    };
    let mut label = format!("{}   step {}{of}", board.title, board.step);
    if let (Some(tokens), Some(rollout)) =
        (board.pace.tokens_per_second(), board.pace.rollout_share())
    {
        label += &format!("   {tokens:.0} tokens/s   sampling {:.0}%", 100.0 * rollout);
    }
    if let Some(left) = board
        .pace
        .time_left(board.step, board.total)
        .filter(|_| board.total > 0)
    {
        label += &format!("   {} left", clock(left));
    }
    frame.render_widget(
        Gauge::default()
            .ratio(share)
            .label(label)
            .gauge_style(Style::new().fg(Color::Blue)),
        area,
    );
}

/// A duration as A duration as A duration as `1:02:03`.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    format!(
        "{}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

fn state(frame: &mut Frame<'_>, area: Rect, board: &Board) {
    let line = match (&board.problem, &board.diagnosis) {
        (Some(problem), _) => Line::from(problem.as_str()).red(),
        (None, Some(diagnosis)) => {
            Line::from(format!("{}: {diagnosis}", diagnosis.check.name())).red()
        }
        (None, None) if board.step == 0 => Line::from("waiting for the first step").dim(),
        (None, None) => Line::from("doctor: nothing wrong").green(),
    };
    frame.render_widget(Paragraph::new(line).wrap(Wrap { trim: true }), area);
}

fn curve(frame: &mut Frame<'_>, area: Rect, board: &Board) {
    let points = board
        .curves
        .get(&board.curve)
        .map_or(&[][..], Vec::as_slice);
    let block = Block::bordered().title(board.curve.as_str());
    if points.is_empty() {
        return frame.render_widget(block, area);
    }
    let window = points.len() / 20;
    let smooth = smoothed(points, window);
    let (steps, values) = (
        scale::range(points.iter().map(|point| point.0)),
        scale::range(points.iter().map(|point| point.1)),
    );
    let line = |name: String, data, colour| {
        Dataset::default()
            .name(name)
            .data(data)
            .marker(Marker::Braille)
            .graph_type(GraphType::Line)
            .fg(colour)
    };
    let ticks = |range: &Range<f64>| {
        [
            range.start,
            f64::midpoint(range.start, range.end),
            range.end,
        ]
    };
    let axis = |range: &Range<f64>, label: &dyn Fn(f64) -> String| {
        Axis::default()
            .bounds([range.start, range.end])
            .labels(ticks(range).map(label))
            .dim()
    };
    let value = scale::labels(&ticks(&values));
    let mut lines = vec![line("each step".into(), points, Color::DarkGray)];
    if window > 0 {
        let name = format!("mean of {} steps", window + 1);
        lines.push(line(name, &smooth, Color::Cyan));
    }
    let chart = Chart::new(lines)
        .block(block)
        // By default a legend is left out that takes more than a quarter of the chart.
        .hidden_legend_constraints((Constraint::Ratio(1, 2), Constraint::Ratio(1, 2)))
        .x_axis(axis(&steps, &|step| format!("{step:.0}")))
        .y_axis(axis(&values, &value));
    frame.render_widget(chart, area);
}

/// The curve with each point replaced by the mean of itself and the `window` before it.
fn smoothed(points: &[(f64, f64)], window: usize) -> Vec<(f64, f64)> {
    let mut sum = 0.0;
    let mean = |(n, &(x, y)): (usize, &(f64, f64))| {
        sum += y;
        if n > window {
            sum -= points[n - window - 1].1;
        }
        (x, sum / (n.min(window) + 1) as f64)
    };
    points.iter().enumerate().map(mean).collect()
}

fn values(frame: &mut Frame<'_>, area: Rect, board: &Board) {
    let names = board.names();
    let last = |name: &str| board.curves[name].last().map_or(0.0, |point| point.1);
    let width = usize::from(area.width.saturating_sub(14));
    let item =
        |name: &&str| ListItem::new(format!("{name:<width$.width$} {:>10}", short(last(name))));
    let list = List::new(names.iter().map(item)).block(Block::bordered().title("latest values"));
    let list = list.highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut chosen =
        ListState::default().with_selected(names.iter().position(|name| *name == board.curve));
    frame.render_stateful_widget(list, area, &mut chosen);
}

fn bars(frame: &mut Frame<'_>, area: Rect, board: &Board) {
    const PARTS: f64 = 10_000.0;
    let bar = |(rank, share): (usize, f64)| {
        let value = format!("{:.0}", 100.0 * share);
        Bar::default()
            .value((share * PARTS) as u64)
            .text_value(value)
            .label(format!("{}", rank + 1))
    };
    let bars: Vec<Bar<'_>> = board.ranks().into_iter().enumerate().map(bar).collect();
    let width = (usize::from(area.width.saturating_sub(2)) / bars.len().max(1)).clamp(2, 6) as u16;
    let chart = BarChart::default()
        .data(BarGroup::default().bars(&bars))
        .bar_width(width - 1)
        .bar_gap(1);
    let block = Block::bordered().title("relevant at rank, % of the latest lists");
    frame.render_widget(
        chart.bar_style(Style::new().fg(Color::Cyan)).block(block),
        area,
    );
}

fn list(frame: &mut Frame<'_>, area: Rect, board: &Board) {
    let Some(completion) = board.completions.get(board.completion) else {
        return frame.render_widget(Block::bordered().title("lists"), area);
    };
    let end = if completion.ended { "" } else { ", cut" };
    let id = printable(&completion.id);
    let title = format!("step {}, {id}{end}", completion.step);
    let line = |(rank, item): (usize, &crate::ListedItem)| {
        let earned = completion
            .rewards
            .get(rank)
            .map_or_else(String::new, |reward| short(*reward));
        let style = match (item.hit, item.in_catalog) {
            (true, _) => Style::new().green().bold(),
            (false, true) => Style::new(),
            (false, false) => Style::new().red(),
        };
        let mark = if item.hit { '*' } else { ' ' };
        Line::from(vec![
            Span::raw(format!("{:>2}{mark} ", rank + 1)),
            Span::styled(printable(&item.name).into_owned(), style),
            Span::raw(format!("  {earned}")).dim(),
        ])
    };
    let lines: Vec<Line<'_>> = completion.items.iter().enumerate().map(line).collect();
    frame.render_widget(
        Paragraph::new(lines).block(Block::bordered().title(title)),
        area,
    );
}
