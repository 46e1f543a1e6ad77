//! What was found: on the terminal, in a file, as tables, as a chart.

mod about;
mod chart;
mod samples;
mod tables;
mod terminal;

use std::fs;

use self::about::About;
pub(crate) use self::terminal::print;
use crate::{Result, args::Selection, measure::Results, paths::here};

const BEGIN: &str = "<!-- peers: begin -->\n";
const END: &str = "<!-- peers: end -->";

/// Writes everything that was measured, then what is made of it.
pub(crate) fn write(results: &Results, selection: &Selection) -> Result<()> {
    samples::write(results, &About::this_run(selection))?;
    render()
}

/// Writes the tables and the chart of what was measured last.
pub(crate) fn render() -> Result<()> {
    let (results, about) = samples::read()?;
    fs::write(here("results.md"), tables::all(&results, &about))?;
    chart::draw(&results, &here("results.svg"))?;
    // The guide has the chart inlined, as wide as the page. It is a copy, because a package holds
    // only what is below its own directory, and not what another package has there.
    let chart = fs::read_to_string(here("results.svg"))?;
    fs::write(here("../../src/guide/performance.svg"), chart::as_wide_as_the_page(&chart))?;

    let path = here("../../README.md");
    let readme = fs::read_to_string(&path)?;
    let (before, rest) = readme.split_once(BEGIN).ok_or("README.md has no place for a table")?;
    let (_, after) = rest.split_once(END).ok_or("README.md has no end of the table")?;
    let table = tables::short(&results, &about);
    fs::write(path, format!("{before}{BEGIN}{table}{END}{after}"))?;
    println!("wrote results.tsv, results.md, results.svg, the guide's chart and README.md's table");
    Ok(())
}
