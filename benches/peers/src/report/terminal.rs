use crate::{
    measure::RowResults,
    rows::{Unit, Work},
};

/// A row on the terminal.
pub(crate) fn print(results: &RowResults) {
    let row = results.row;
    if results.cells.is_empty() {
        return;
    }
    println!("\n{}: {}", row.name, row.title);
    match (row.unit(), row.has_baseline()) {
        (Unit::Micros, true) => println!(
            "{:34}{:>12}{:>10}{:>10}{:>9}{:>11}",
            "", "a second", "user µs", "system µs", "× epoll", "× runtime"
        ),
        (Unit::Micros, false) => {
            println!("{:34}{:>12}{:>10}{:>10}{:>9}", "", "a second", "user µs", "system µs", "µs");
        }
        (Unit::Bytes, _) => println!("{:34}{:>12}", "", "bytes"),
        (Unit::Kibibytes, _) => println!("{:34}{:>12}", "", "KiB"),
        (Unit::Calls, _) => println!("{:34}{:>12}", "", "calls"),
    }
    for cell in &results.cells {
        let name = cell.peer.name;
        let figure = match cell.figure() {
            Ok(figure) => figure,
            Err(error) => {
                println!("{name:34}failed: {error}");
                continue;
            }
        };
        match row.unit() {
            Unit::Micros => {
                let user = cell.user().unwrap_or_default();
                let rate = cell.rate().unwrap_or_default();
                print!("{name:34}{rate:>12.0}{user:>10.3}{:>10.3}", figure - user);
                if row.has_baseline() {
                    let ratio = |to| results.ratio(cell, to).map(|ratio| format!("{ratio:.2}"));
                    let epoll = ratio("raw-epoll").unwrap_or_default();
                    let runtime = cell.peer.raw().and_then(ratio).unwrap_or_default();
                    println!("{epoll:>9}{runtime:>11}");
                } else {
                    println!("{figure:>9.3}");
                }
            }
            Unit::Bytes => println!("{name:34}{figure:>12.0}"),
            Unit::Kibibytes => println!("{name:34}{figure:>12.1}"),
            Unit::Calls => println!("{name:34}{figure:>12.3}  {}", cell.note()),
        }
    }
    if let (Work::Workers(..) | Work::DeflateWorkers(..), Some(one), Some(two)) =
        (row.work, results.cell("ours-1-worker"), results.cell("ours-2-workers"))
        && let (Some(ratio), Some(rate), Some(rates)) =
            (results.ratio(two, one.peer.name), one.rate(), two.rate())
    {
        println!("two workers: {ratio:.2} × the CPU time, {:.2} × the rate", rates / rate);
    }
}
