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

pub(crate) type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

fn main() -> Result<()> {
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
