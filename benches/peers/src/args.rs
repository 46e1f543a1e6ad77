use std::time::Duration;

use lexopt::{Arg, Parser, ValueExt};

use crate::{
    Result,
    rows::{ROWS, Row},
    servers::{PEERS, Peer},
};

const USAGE: &str = "\
peers [options]           measure; without a selection also write the report
  --servers NAME,NAME     only these servers
  --rows NAME,NAME        only these rows
  --runs N                runs, of which the median counts (default 3)
  --seconds S             seconds for each measurement (default 1.5)
  --list                  names of servers and rows
peers report              write the report again
peers serve NAME JOB      run one server";

pub(crate) enum Command {
    Serve { name: String, job: String },
    Measure(Selection),
    Report,
}

/// What is measured, and how long.
#[derive(Debug)]
pub(crate) struct Selection {
    pub(crate) servers: Vec<&'static Peer>,
    pub(crate) rows: Vec<&'static Row>,
    pub(crate) runs: usize,
    pub(crate) time: Duration,
    /// Nothing was left out.
    pub(crate) whole: bool,
}

pub(crate) fn parse() -> Result<Command> {
    let mut selection = Selection {
        servers: PEERS.iter().collect(),
        rows: ROWS.iter().collect(),
        runs: 3,
        time: Duration::from_millis(1500),
        whole: true,
    };
    let mut parser = Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Value(value) if value == "serve" => {
                let name = parser.value()?.string()?;
                return Ok(Command::Serve { name, job: parser.value()?.string()? });
            }
            Arg::Value(value) if value == "report" => return Ok(Command::Report),
            Arg::Long("servers") => {
                let names = parser.value()?.string()?;
                selection.servers = names.split(',').map(Peer::find).collect::<Result<_>>()?;
                selection.whole = false;
            }
            Arg::Long("rows") => {
                let names = parser.value()?.string()?;
                let found = names.split(',').map(Row::find).collect::<Result<Vec<_>>>()?;
                selection.rows = found.into_iter().flatten().collect();
                selection.whole = false;
            }
            Arg::Long("runs") => selection.runs = parser.value()?.parse::<usize>()?.max(1),
            Arg::Long("seconds") => {
                selection.time = Duration::try_from_secs_f64(parser.value()?.parse()?)?;
            }
            Arg::Long("list") => {
                PEERS.iter().for_each(|peer| println!("server {}", peer.name));
                ROWS.iter().for_each(|row| println!("row {}", row.name));
                std::process::exit(0);
            }
            Arg::Long("help") => {
                println!("{USAGE}");
                std::process::exit(0);
            }
            other => return Err(format!("{}\n{USAGE}", other.unexpected()).into()),
        }
    }
    Ok(Command::Measure(selection))
}
