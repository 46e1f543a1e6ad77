//! One line for each kind of work, one mark for each server: further left is cheaper.

use std::path::Path;

use plotters::{
    coord::Shift,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use super::tables::{digits, unit};
use crate::{
    Result,
    measure::{Results, RowResults},
};

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const ROWS: &[&str] = &[
    "echo-20-1",
    "echo-20-32",
    "echo-1k-1",
    "echo-16k-4",
    "echo-1m-1",
    "echo-text-16",
    "growth-10000",
    "deflate",
    "broadcast",
    "publish-10000",
    "chat",
    "handshakes",
    "idle",
    "kept",
];

const OURS: &[(&str, &str, RGBColor)] = &[
    ("ours-tokio", "axeom-ws on tokio", RGBColor(206, 42, 42)),
    ("ours-smol", "on smol", RGBColor(233, 122, 36)),
    ("ours-async-std", "on async-std", RGBColor(240, 182, 46)),
];

const PEERS: &[(&str, &str, RGBColor)] = &[
    ("fastwebsockets", "fastwebsockets", RGBColor(31, 98, 175)),
    ("tokio-websockets", "tokio-websockets", RGBColor(87, 166, 219)),
    ("yawc", "yawc", RGBColor(28, 145, 140)),
    ("tokio-tungstenite", "tokio-tungstenite", RGBColor(150, 206, 180)),
    ("async-tungstenite", "async-tungstenite", RGBColor(64, 145, 72)),
    ("async-tungstenite-tuned", "async-tungstenite, tuned", RGBColor(160, 196, 92)),
    ("axum", "axum", RGBColor(118, 84, 168)),
    ("actix-ws", "actix-ws", RGBColor(178, 150, 214)),
    ("uwebsockets", "uWebSockets", RGBColor(214, 93, 160)),
    ("bun", "Bun", RGBColor(60, 52, 48)),
    ("node-ws", "Node ws", RGBColor(150, 140, 132)),
    ("deno", "Deno", RGBColor(196, 189, 183)),
];

const INK: RGBColor = RGBColor(40, 40, 40);
const FAINT: RGBColor = RGBColor(120, 120, 120);
const GRID: RGBColor = RGBColor(222, 222, 222);
const BAND: RGBColor = RGBColor(246, 246, 244);

const WIDTH: i32 = 1180;
const TOP: i32 = 166;
const STEP: i32 = 36;
/// Where the marks are, between the titles and the figures.
const LEFT: i32 = 300;
const RIGHT: i32 = 880;
/// How far the marks go, as shares of the best peer's cost. What costs more is at the edge.
const LEAST: f64 = 0.125;
const MOST: f64 = 32.0;

pub(super) fn draw(results: &Results, path: &Path) -> Result<()> {
    let rows: Vec<_> = ROWS.iter().filter_map(|name| results.row(name)).collect();
    let bottom = TOP + STEP * rows.len() as i32;
    let height = bottom + 62;
    let area = SVGBackend::new(path, (WIDTH as u32, height as u32)).into_drawing_area();
    area.fill(&WHITE)?;
    let heading = "What a server pays for the same work, the best peer = 1";
    write(&area, heading, (20, 30), 21, &INK, HPos::Left)?;
    let explained =
        "CPU time or memory, on a logarithmic scale that ends at 32: further left is cheaper";
    write(&area, explained, (20, 54), 14, &FAINT, HPos::Left)?;
    legend(&area)?;
    for index in (0..rows.len()).step_by(2) {
        let y = TOP + STEP * index as i32;
        area.draw(&Rectangle::new([(0, y), (WIDTH, y + STEP)], BAND.filled()))?;
    }
    write(&area, "axeom-ws on tokio", (RIGHT + 95, TOP - 12), 12, &OURS[0].2, HPos::Right)?;
    write(&area, "the best peer", (RIGHT + 108, TOP - 12), 12, &FAINT, HPos::Left)?;
    scale(&area, bottom)?;
    for (index, row) in rows.iter().enumerate() {
        line(&area, row, TOP + STEP * index as i32 + STEP / 2)?;
    }
    area.present()?;
    Ok(())
}

/// The same chart without a size of its own.
pub(super) fn as_wide_as_the_page(svg: &str) -> String {
    let Some((size, rest)) = svg.split_once(" viewBox=") else { return svg.to_owned() };
    match size.starts_with("<svg ") {
        true => format!("<svg viewBox={rest}"),
        false => svg.to_owned(),
    }
}

fn legend(area: &Area<'_>) -> Result<()> {
    let mut x = 24;
    for (_, title, color) in OURS {
        diamond(area, (x, 84), *color)?;
        write(area, title, (x + 14, 84), 14, &INK, HPos::Left)?;
        x += 36 + width(title, 14);
    }
    area.draw(&floor(x, 84))?;
    write(area, "raw epoll byte echo", (x + 10, 84), 14, &INK, HPos::Left)?;
    let mut x = 24;
    for (_, title, color) in PEERS {
        dot(area, (x, 112), *color)?;
        write(area, title, (x + 10, 112), 13, &INK, HPos::Left)?;
        x += 28 + width(title, 13);
    }
    Ok(())
}

/// About how wide a text is.
fn width(text: &str, size: usize) -> i32 {
    (text.chars().count() * size * 46 / 100) as i32
}

fn scale(area: &Area<'_>, bottom: i32) -> Result<()> {
    for tick in [0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0] {
        let best = tick == 1.0;
        let color = if best { FAINT } else { GRID };
        let style = color.stroke_width(if best { 2 } else { 1 });
        area.draw(&PathElement::new([(place(tick), TOP), (place(tick), bottom + 6)], style))?;
        let label = if tick < 1.0 { format!("1/{}", 1.0 / tick) } else { format!("{tick}") };
        write(area, &label, (place(tick), bottom + 18), 13, &FAINT, HPos::Center)?;
    }
    write(area, "best peer", (place(1.0), bottom + 38), 13, &FAINT, HPos::Center)?;
    write(area, "dearer →", (RIGHT, bottom + 38), 13, &FAINT, HPos::Right)?;
    write(area, "← cheaper", (LEFT, bottom + 38), 13, &FAINT, HPos::Left)
}

fn line(area: &Area<'_>, results: &RowResults, y: i32) -> Result<()> {
    write(area, results.row.title, (20, y), 14, &INK, HPos::Left)?;
    let figure = |name: &str| results.cell(name)?.figure().ok();
    let peers = PEERS.iter().filter_map(|peer| Some((peer, figure(peer.0)?)));
    let Some((best, least)) = results.best_peer() else {
        return write(area, "no peer does this", (LEFT, y), 13, &FAINT, HPos::Left);
    };
    if let Some(raw) = figure("raw-epoll").filter(|_| results.row.has_baseline()) {
        area.draw(&floor(place(raw / least), y))?;
    }
    for ((_, _, color), figure) in peers {
        dot(area, (place(figure / least), y), *color)?;
    }
    let ours: Vec<_> = OURS.iter().filter_map(|ours| Some((ours, figure(ours.0)?))).collect();
    // The first of ours on top.
    for ((_, _, color), figure) in ours.iter().rev() {
        diamond(area, (place(figure / least), y), *color)?;
    }
    let ours = ours.first().map_or("failed".to_owned(), |(_, figure)| digits(*figure));
    let said = format!("{ours} {}", unit(results.row));
    write(area, &said, (RIGHT + 95, y), 14, &OURS[0].2, HPos::Right)?;
    let said = format!("{} {}, {}", digits(least), unit(results.row), best.name);
    write(area, &said, (RIGHT + 108, y), 13, &FAINT, HPos::Left)
}

/// Where a share of the best peer's cost is.
fn place(share: f64) -> i32 {
    let at = (share.clamp(LEAST, MOST) / LEAST).ln() / (MOST / LEAST).ln();
    LEFT + (f64::from(RIGHT - LEFT) * at).round() as i32
}

fn dot(area: &Area<'_>, at: (i32, i32), color: RGBColor) -> Result<()> {
    Ok(area.draw(&Circle::new(at, 5, color.mix(0.9).filled()))?)
}

fn diamond(area: &Area<'_>, (x, y): (i32, i32), color: RGBColor) -> Result<()> {
    for (size, color) in [(10, WHITE), (8, color)] {
        let points = vec![(x - size, y), (x, y - size), (x + size, y), (x, y + size)];
        area.draw(&Polygon::new(points, color.filled()))?;
    }
    Ok(())
}

fn floor(x: i32, y: i32) -> Rectangle<(i32, i32)> {
    Rectangle::new([(x - 1, y - 11), (x + 2, y + 11)], INK.filled())
}

fn write(
    area: &Area<'_>,
    text: &str,
    at: (i32, i32),
    size: i32,
    color: &RGBColor,
    side: HPos,
) -> Result<()> {
    let style = ("sans-serif", size).into_text_style(area).color(color);
    Ok(area.draw(&Text::new(text, at, style.pos(Pos::new(side, VPos::Center))))?)
}
