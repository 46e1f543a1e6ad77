//! What `instructions.py` counts the instructions of; see there.
//!
//! ```text
//! instructions                    each case once, to see that it works
//! instructions --list             the cases, and how many batches and operations are counted
//! instructions CASE BATCHES       one case, after a batch to warm up
//! ```

mod cases;

use std::process::ExitCode;

use self::cases::{Case, Work};

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let cases = cases::all().into_iter().filter(|case| case.batches.is_some());
    match &args[..] {
        [] => cases.for_each(|case| run(&case, 0)),
        [list] if list == "--list" => {
            for Case { name, setup: _, batches } in cases {
                println!("{}\t{name}", batches.unwrap_or_default());
            }
        }
        [name, batches] => {
            match (cases.into_iter().find(|case| case.name == name), batches.parse()) {
                (Some(case), Ok(batches)) => run(&case, batches),
                _ => {
                    eprintln!("no such case");
                    return ExitCode::FAILURE;
                }
            }
        }
        _ => {
            eprintln!("usage: instructions [--list | CASE BATCHES]");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn run(case: &Case, batches: usize) {
    let mut work = (case.setup)();
    // The first fills what is filled once.
    (work.batch)();
    counted(&mut work, batches);
    println!("{}\t{}", work.operations, case.name);
}

/// What callgrind looks for, to count only what happens in here.
#[inline(never)]
fn counted(work: &mut Work, batches: usize) {
    for _ in 0..batches {
        (work.batch)();
    }
}
