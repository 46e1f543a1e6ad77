use std::iter;

use super::about::About;
use crate::{
    measure::{Cell, Results, RowResults},
    rows::{ROWS, Row, Unit},
    servers::{PEERS, Peer},
};

/// The servers of the short table, beside the best peer.
const OURS: &[(&str, &str)] = &[
    ("ours-tokio", "**axeom-ws on tokio**"),
    ("ours-smol", "**on smol**"),
    ("ours-async-std", "**on async-std**"),
];
const SHORT: &[(&str, &str)] = &[
    ("fastwebsockets", "fastwebsockets"),
    ("async-tungstenite", "async-tungstenite"),
    ("axum", "axum"),
    ("uwebsockets", "uWebSockets"),
    ("bun", "Bun"),
    ("node-ws", "Node `ws`"),
    ("raw-epoll", "raw byte echo"),
];

const SHORT_ROWS: &[&str] = &["echo", "deflate", "broadcast", "chat", "handshakes", "idle", "kept"];

/// For the README: work as rows, some servers as columns, figures in the row's own unit.
pub(super) fn short(results: &Results, about: &About) -> String {
    let mut text = format!(
        "![What a server pays for the same work, beside its peers](benches/peers/results.svg)\n\n\
         Measured {} on {}; the medians of {}. \
         [All figures](benches/peers/results.md).\n\n",
        about.get("date"),
        about.get("machine"),
        about.get("runs").replace(" of ", " runs of "),
    );
    let titles = |columns: &'static [(&str, &'static str)]| columns.iter().map(|column| column.1);
    text += &head(iter::once("").chain(titles(OURS)).chain(["best peer"]).chain(titles(SHORT)));
    for row in ROWS.iter().filter(|row| is_in(row, SHORT_ROWS)) {
        let Some(results) = results.row(row.name) else { continue };
        let best = results.best_peer();
        let least = best.map_or(f64::MAX, |(_, figure)| figure);
        let show = |(name, _): &(&str, &str)| match results.cell(name).map(Cell::figure) {
            None => "–".to_owned(),
            Some(Ok(figure)) if figure <= least => format!("**{}**", digits(figure)),
            Some(Ok(figure)) => digits(figure),
            Some(Err(_)) => "failed".to_owned(),
        };
        let plain = |column| show(column).replace("**", "");
        let title = format!("{}, {}", row.title, unit(row));
        let best = best
            .map_or("–".to_owned(), |(peer, figure)| format!("{} {}", digits(figure), peer.name));
        let ours = OURS.iter().map(show);
        text += &line(iter::once(title).chain(ours).chain([best]).chain(SHORT.iter().map(plain)));
    }
    text += "\nBold: no more than the best peer's.\n";
    text += &failures(results);
    text += &format!("\nVersions: {}.\n", about.get("versions"));
    text
}

/// Everything.
pub(super) fn all(results: &Results, about: &About) -> String {
    let mut text = String::from(
        "# Results\n\nWritten by the command in [README.md](README.md), which says what is \
         measured and how. Every run is in [results.tsv](results.tsv).\n\n\
         ![cost relative to the best peer](results.svg)\n\n| | |\n| --- | --- |\n",
    );
    for name in ["date", "machine", "runs", "commit", "versions"] {
        text += &format!("| {name} | {} |\n", about.get(name));
    }
    let micros = |cell: &Cell, _: &RowResults| {
        let user = cell.user().map_or(String::new(), |user| format!(" ({})", digits(user)));
        cell.figure().map(|figure| digits(figure) + &user).ok()
    };
    let plain = |cell: &Cell, _: &RowResults| cell.figure().map(digits).ok();
    let rate = |cell: &Cell, _: &RowResults| cell.rate().map(thousands);
    let to_epoll = |cell: &Cell, row: &RowResults| {
        let (ratio, user) = (row.ratio(cell, "raw-epoll")?, cell.user()?);
        Some(match cell.peer.name {
            "raw-epoll" => format!("{} µs", digits(cell.figure().ok()?)),
            _ => format!("{ratio:.2} ({})", digits(user)),
        })
    };
    let to_runtime = |cell: &Cell, row: &RowResults| {
        let raw = cell.peer.raw().filter(|raw| *raw != cell.peer.name)?;
        Some(format!("{:.2}", row.ratio(cell, raw)?))
    };
    let calls =
        |cell: &Cell, _: &RowResults| Some(format!("{:.2}: {}", cell.figure().ok()?, cell.note()));

    let echoes = &["echo"][..];
    let other = &["deflate", "broadcast", "chat", "handshakes"][..];
    text += "\n## Echo: CPU time over a raw epoll byte echo\n\nUser CPU µs for each message in \
             brackets.\n\n";
    text += &table(results, echoes, to_epoll);
    text += "\n## Echo: CPU time over a byte echo on the same runtime\n\n";
    text += &table(results, echoes, to_runtime);
    text += "\n## Echo: messages a second\n\n";
    text += &table(results, echoes, rate);
    text += "\n## Other work: CPU µs\n\nUser CPU µs in brackets.\n\n";
    text += &table(results, other, micros);
    text += "\n## Other work: how many a second\n\n";
    text += &table(results, other, rate);
    text += "\n## Memory of a connection\n\nIdle: bytes. After an echo of 1 MiB: KiB.\n\n";
    text += &table(results, &["idle", "kept"], plain);
    text += "\n## Growth: CPU µs\n\nUser CPU µs in brackets.\n\n";
    text += &table(results, &["growth", "publish"], micros);
    text += "\n## System calls for each message\n\n";
    text += &table(results, &["syscalls"], calls);
    text += "\n## All cores, shared with the client: CPU µs\n\nUser CPU µs in brackets.\n\n";
    text += &table(results, &["workers"], micros);
    text += "\nMessages a second:\n\n";
    text += &table(results, &["workers"], rate);
    text += &failures(results);
    text
}

/// Servers as rows, work as columns.
fn table(
    results: &Results,
    prefixes: &[&str],
    show: impl Fn(&Cell, &RowResults) -> Option<String>,
) -> String {
    let rows: Vec<_> = results.rows.iter().filter(|results| is_in(results.row, prefixes)).collect();
    let mut text = head(iter::once("").chain(rows.iter().map(|results| results.row.title)));
    for peer in PEERS {
        let cell = |results: &&RowResults| {
            let cell = results.cell(peer.name)?;
            Some(match cell.figure() {
                Ok(_) => show(cell, results)?,
                Err(_) => "failed".to_owned(),
            })
        };
        let cells: Vec<_> = rows.iter().map(cell).collect();
        if cells.iter().any(Option::is_some) {
            let cells = cells.into_iter().map(|cell| cell.unwrap_or_else(|| "–".to_owned()));
            text += &line(iter::once(title(peer)).chain(cells));
        }
    }
    text
}

fn failures(results: &Results) -> String {
    let mut text = String::new();
    for RowResults { row, cells } in &results.rows {
        for cell in cells {
            if let Err(error) = cell.figure() {
                text += &format!("\n{}, {}: failed: {error}\n", cell.peer.name, row.title);
            }
        }
    }
    text
}

fn title(peer: &Peer) -> String {
    if peer.is_ours() { format!("**{}**", peer.name) } else { peer.name.to_owned() }
}

fn is_in(row: &Row, prefixes: &[&str]) -> bool {
    prefixes.iter().any(|prefix| row.name.starts_with(prefix))
}

fn head<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.collect();
    let rule = names.iter().enumerate().map(|(n, _)| if n == 0 { "---" } else { "---:" });
    line(names.iter()) + &line(rule)
}

fn line(cells: impl Iterator<Item = impl ToString>) -> String {
    let cells: Vec<_> = cells.map(|cell| cell.to_string()).collect();
    format!("| {} |\n", cells.join(" | "))
}

pub(super) fn unit(row: &Row) -> &'static str {
    match row.unit() {
        Unit::Micros => "µs",
        Unit::Bytes => "bytes",
        Unit::Kibibytes => "KiB",
        Unit::Calls => "calls",
    }
}

/// Three digits that count.
pub(super) fn digits(figure: f64) -> String {
    match figure {
        1000.0.. => thousands(figure),
        99.95.. => format!("{figure:.0}"),
        9.995.. => format!("{figure:.1}"),
        0.9995.. => format!("{figure:.2}"),
        _ => format!("{figure:.3}"),
    }
}

fn thousands(figure: f64) -> String {
    let digits = format!("{figure:.0}");
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join("\u{202f}")
}
