//! Every run in a file, so that tables can be made again.

use std::{fmt::Write, fs};

use super::about::About;
use crate::{
    Result,
    measure::{Cell, Results, RowResults, Sample},
    paths::here,
    rows::Row,
    servers::Peer,
};

const FILE: &str = "results.tsv";

pub(super) fn write(results: &Results, about: &About) -> Result<()> {
    let mut text = String::new();
    for (name, value) in &about.0 {
        writeln!(text, "# {name}\t{value}")?;
    }
    writeln!(text, "# row\tserver\tfigure\tuser\ta second\tnote, or why it failed")?;
    for RowResults { row, cells } in &results.rows {
        for Cell { peer, runs } in cells {
            for run in runs {
                write!(text, "{}\t{}\t", row.name, peer.name)?;
                match run {
                    Ok(Sample { figure, user, rate, note }) => {
                        writeln!(text, "{figure:.6}\t{user:.6}\t{rate:.0}\t{note}")?;
                    }
                    Err(error) => writeln!(text, "failed\t\t\t{}", one_line(error))?,
                }
            }
        }
    }
    Ok(fs::write(here(FILE), text)?)
}

pub(super) fn read() -> Result<(Results, About)> {
    let text = fs::read_to_string(here(FILE)).map_err(|error| format!("{FILE}: {error}"))?;
    let mut about = About::default();
    let mut results = Results { rows: Vec::new() };
    for line in text.lines() {
        if let Some(fact) = line.strip_prefix("# ") {
            let fact = fact.split_once('\t').ok_or("a fact without a value")?;
            about.0.push((fact.0.to_owned(), fact.1.to_owned()));
            continue;
        }
        let fields: Vec<_> = line.split('\t').collect();
        let [row, server, figure, user, rate, note] = fields[..] else {
            return Err(format!("{FILE}: not six fields: {line}").into());
        };
        let run = match figure {
            "failed" => Err(note.to_owned()),
            _ => Ok(Sample {
                figure: figure.parse()?,
                user: user.parse()?,
                rate: rate.parse()?,
                note: note.to_owned(),
            }),
        };
        results.add(Row::named(row)?, Peer::find(server)?, run);
    }
    Ok((results, about))
}

impl Results {
    fn add(&mut self, row: &'static Row, peer: &'static Peer, run: Result<Sample, String>) {
        if self.rows.last().is_none_or(|last| last.row.name != row.name) {
            self.rows.push(RowResults { row, cells: Vec::new() });
        }
        let Some(RowResults { cells, .. }) = self.rows.last_mut() else { return };
        match cells.last_mut() {
            Some(last) if last.peer.name == peer.name => last.runs.push(run),
            _ => cells.push(Cell { peer, runs: vec![run] }),
        }
    }
}

fn one_line(text: &str) -> String {
    text.replace(['\n', '\r', '\t'], " ")
}
