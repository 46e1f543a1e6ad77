use crate::{rows::Row, servers::Peer};

/// What one measurement found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sample {
    /// What the row is about, in its unit.
    pub(crate) figure: f64,
    /// If that is CPU time: how much of it in user code.
    pub(crate) user: f64,
    /// If that is CPU time: how many messages a second.
    pub(crate) rate: f64,
    /// What a figure does not say.
    pub(crate) note: String,
}

/// Everything that was measured.
#[derive(Debug)]
pub(crate) struct Results {
    pub(crate) rows: Vec<RowResults>,
}

/// A row, with every server that was measured.
#[derive(Debug)]
pub(crate) struct RowResults {
    pub(crate) row: &'static Row,
    pub(crate) cells: Vec<Cell>,
}

/// A server in a row, with every run or why it failed.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) peer: &'static Peer,
    pub(crate) runs: Vec<Result<Sample, String>>,
}

impl Cell {
    /// The median figure, or the first thing that failed.
    pub(crate) fn figure(&self) -> Result<f64, &str> {
        self.median(|sample| sample.figure)
    }

    pub(crate) fn user(&self) -> Option<f64> {
        self.median(|sample| sample.user).ok()
    }

    pub(crate) fn rate(&self) -> Option<f64> {
        self.median(|sample| sample.rate).ok()
    }

    pub(crate) fn note(&self) -> &str {
        let first = self.runs.first().and_then(|run| run.as_ref().ok());
        first.map_or("", |sample| &sample.note)
    }

    fn median(&self, value: impl Fn(&Sample) -> f64) -> Result<f64, &str> {
        let mut values = Vec::new();
        for run in &self.runs {
            values.push(value(run.as_ref().map_err(String::as_str)?));
        }
        median(values).ok_or("not measured")
    }
}

impl RowResults {
    pub(crate) fn cell(&self, server: &str) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.peer.name == server)
    }

    /// The peer, ours not counted, whose figure is the smallest.
    pub(crate) fn best_peer(&self) -> Option<(&'static Peer, f64)> {
        let peers = self.cells.iter().filter(|cell| !cell.peer.is_raw() && !cell.peer.is_ours());
        let figures = peers.filter_map(|cell| Some((cell.peer, cell.figure().ok()?)));
        figures.min_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// The median of the ratios to another server, run by run.
    pub(crate) fn ratio(&self, cell: &Cell, to: &str) -> Option<f64> {
        let base = self.cell(to)?;
        let ratios = cell
            .runs
            .iter()
            .zip(&base.runs)
            .map(|(run, base)| Some(run.as_ref().ok()?.figure / base.as_ref().ok()?.figure));
        median(ratios.collect::<Option<_>>()?)
    }
}

impl Results {
    pub(crate) fn row(&self, name: &str) -> Option<&RowResults> {
        self.rows.iter().find(|results| results.row.name == name)
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = values.get(middle)?;
    Some(if values.len().is_multiple_of(2) { (values[middle - 1] + upper) / 2.0 } else { *upper })
}
