//! Exhaustion and fairness: what servers hold, and how long others wait, while they are attacked.
//! See README.md.

mod attacks;
mod client;
mod cores;
mod measure;
mod quiet;
mod report;
mod row;
mod servers;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use lexopt::ValueExt;

use crate::{
    attacks::{ATTACKS, Attack},
    row::Row,
    servers::{SERVERS, Server},
};

pub(crate) type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

const USAGE: &str = "\
siege [options]           attack every server in every way, and write results.md
  --short                 our servers only, for a moment each, and no bound of time counts, so that
                          a loaded machine will do; writes nothing
  --servers NAME,NAME     only these servers; writes nothing
  --attacks NAME,NAME     only these attacks; writes nothing
  --list                  names of servers and attacks
siege bounds              print the table of bounds
siege serve NAME          run one server";

/// How often a row is measured that is out of its bound: another load on the machine may have been
/// in its way. The last time counts. In the short form no bound depends on that, and the first does.
const TRIES: usize = 3;

/// What is attacked, and how long.
struct Selection {
    servers: Vec<&'static Server>,
    attacks: Vec<&'static Attack>,
    /// Attacks take a moment each, and no bound of time counts.
    short: bool,
    /// Nothing was left out.
    whole: bool,
}

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode> {
    let mut selection = Selection {
        servers: SERVERS.iter().collect(),
        attacks: ATTACKS.iter().collect(),
        short: false,
        whole: true,
    };
    let mut args = lexopt::Parser::from_env();
    while let Some(arg) = args.next()? {
        match arg {
            lexopt::Arg::Value(value) if value == "serve" => {
                servers::serve(&args.value()?.string()?)?;
                return Ok(ExitCode::SUCCESS);
            }
            lexopt::Arg::Value(value) if value == "bounds" => {
                print!("{}", report::bounds());
                return Ok(ExitCode::SUCCESS);
            }
            lexopt::Arg::Long("short") => {
                selection.short = true;
                selection.servers.retain(|server| server.is_ours());
                selection.whole = false;
            }
            lexopt::Arg::Long("servers") => {
                let names = args.value()?.string()?;
                selection.servers = names.split(',').map(Server::find).collect::<Result<_>>()?;
                selection.whole = false;
            }
            lexopt::Arg::Long("attacks") => {
                let names = args.value()?.string()?;
                selection.attacks = names.split(',').map(Attack::find).collect::<Result<_>>()?;
                selection.whole = false;
            }
            lexopt::Arg::Long("list") => {
                SERVERS.iter().for_each(|server| println!("server {}", server.name));
                ATTACKS
                    .iter()
                    .for_each(|attack| println!("attack {}: {}", attack.name, attack.what));
                return Ok(ExitCode::SUCCESS);
            }
            lexopt::Arg::Long("help") => {
                println!("{USAGE}");
                return Ok(ExitCode::SUCCESS);
            }
            other => return Err(format!("{}\n{USAGE}", other.unexpected()).into()),
        }
    }
    siege(&selection)
}

fn siege(selection: &Selection) -> Result<ExitCode> {
    report::check_documented()?;
    cores::allow_many_files()?;
    cores::leave_those_of_the_server()?;
    println!("{}", report::HEADER);
    let tries = if selection.short { 1 } else { TRIES };
    let mut rows = Vec::new();
    for attack in &selection.attacks {
        for server in &selection.servers {
            let measure = || Row::measure(attack, server, selection.short);
            let mut row = measure();
            for _ in 1..tries {
                if row.out_of_bounds().is_empty() {
                    break;
                }
                row = measure();
            }
            println!("{row}");
            rows.push(row);
        }
    }
    if selection.whole {
        report::write(&rows)?;
    }
    let out: Vec<_> = rows.iter().flat_map(Row::out_of_bounds).collect();
    out.iter().for_each(|line| eprintln!("{line}"));
    Ok(if out.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A file of this package.
fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
