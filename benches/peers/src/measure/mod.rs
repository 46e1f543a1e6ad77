//! Row by row, run by run, all servers in turn.

mod results;
mod syscalls;
mod work;

use std::io::IsTerminal;

pub(crate) use self::results::{Cell, Results, RowResults, Sample};
use crate::{Result, args::Selection, rows::Work};

/// Measures everything that is selected; calls `done` with each finished row.
pub(crate) fn everything(selection: &Selection, done: impl Fn(&RowResults)) -> Result<Results> {
    let progress = std::io::stderr().is_terminal();
    let mut rows = Vec::new();
    for &row in &selection.rows {
        let servers = row.servers(&selection.servers);
        let mut cells: Vec<_> =
            servers.into_iter().map(|peer| Cell { peer, runs: Vec::new() }).collect();
        // Counts of calls are the same each time.
        let runs = if matches!(row.work, Work::Syscalls(..)) { 1 } else { selection.runs };
        for run in 1..=runs {
            for cell in &mut cells {
                if progress {
                    eprint!("\r\x1b[K{} run {run}: {}", row.name, cell.peer.name);
                }
                let sample = work::measure(row, cell.peer, selection.time);
                cell.runs.push(sample.map_err(|error| error.to_string()));
            }
        }
        if progress {
            eprint!("\r\x1b[K");
        }
        rows.push(RowResults { row, cells });
        rows.last().into_iter().for_each(&done);
    }
    Ok(Results { rows })
}
