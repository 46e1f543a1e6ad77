use std::iter;

use super::about::About;
use crate::{
    measure::{Cell, Results, RowResults},
    rows::{Row, Unit},
    servers::{PEERS, Peer},
};

/// What the short table has columns for.
const SHORT: &[&str] = &["echo", "deflate", "broadcast", "chat", "handshakes", "idle", "kept"];

/// What it has rows for: the floor, ours, and those that most readers compare with.
const SHORT_PEERS: &[&str] = &[
    "raw-epoll",
    "ours-tokio",
    "ours-smol",
    "ours-async-std",
    "fastwebsockets",
    "tokio-websockets",
    "tokio-tungstenite",
    "uwebsockets",
];

/// For the README, which is shown in other places too, so that its links are whole.
pub(super) fn short(results: &Results, about: &About) -> String {
    const RAW: &str = "https://raw.githubusercontent.com/axeom/axeom-ws/main";
    const BLOB: &str = "https://github.com/axeom/axeom-ws/blob/main";
    let mut text = format!(
        "![What a server pays for the same work, beside its peers]({RAW}/benches/peers/results.svg)\n\n\
         Measured {} on {}; the medians of {}. \
         [All servers, figures and versions]({BLOB}/benches/peers/results.md).\n\n",
        about.get("date"),
        about.get("machine"),
        about.get("runs").replace(" of ", " runs of "),
    );
    let figure = |cell: &Cell, row: &RowResults| {
        let figure = cell.figure().ok()?;
        let least = row.best_peer().map_or(f64::MAX, |(_, least)| least);
        let stands_out = figure <= least && !cell.peer.is_raw();
        Some(if stands_out { format!("**{}**", digits(figure)) } else { digits(figure) })
    };
    text += &table_of(SHORT_PEERS, results, SHORT, figure);
    text += "\nµs of CPU time for each message, delivery or connection; of an idle connection, \
             bytes; kept, KiB. Bold: the best of all peers, also of those that are not in this \
             table, and ours that are no more.\n";
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

/// Every server as a row, work as columns.
fn table(
    results: &Results,
    prefixes: &[&str],
    show: impl Fn(&Cell, &RowResults) -> Option<String>,
) -> String {
    let names: Vec<_> = PEERS.iter().map(|peer| peer.name).collect();
    table_of(&names, results, prefixes, show)
}

/// The same, of these servers.
fn table_of(
    names: &[&str],
    results: &Results,
    prefixes: &[&str],
    show: impl Fn(&Cell, &RowResults) -> Option<String>,
) -> String {
    let rows: Vec<_> = results.rows.iter().filter(|results| is_in(results.row, prefixes)).collect();
    let mut text = head(iter::once("").chain(rows.iter().map(|results| results.row.title)));
    for peer in PEERS.iter().filter(|peer| names.contains(&peer.name)) {
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
    match peer.name.strip_prefix("ours-") {
        Some(on) => format!("**axeom-ws: {on}**"),
        None => peer.name.to_owned(),
    }
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
