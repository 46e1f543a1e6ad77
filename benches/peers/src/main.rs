//! Measures our server beside its peers. See README.md.

mod args;
mod cores;
mod cpu;
mod install;
mod load;
mod measure;
mod paths;
mod process;
mod report;
mod rows;
mod servers;

use std::process::ExitCode;

pub(crate) type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    match args::parse()? {
        args::Command::Serve { name, job } => servers::serve(&name, &job),
        args::Command::Measure(selection) => {
            cores::allow_many_files()?;
            let results = measure::everything(&selection, report::print)?;
            if selection.whole { report::write(&results, &selection) } else { Ok(()) }
        }
        args::Command::Report => report::render(),
    }
}
