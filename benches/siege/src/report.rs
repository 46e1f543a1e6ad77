//! The tables: what was measured, what is promised, and where both are written down.

use std::{fmt::Write, fs, process::Command, thread};

use crate::{Result, attacks::ATTACKS, here, row::Row, servers};

pub(crate) const HEADER: &str = "\
| attack | server | done | MiB: before → peak → after | descriptors: before → peak → after | CPU s | p50 ms | p99 ms | worst ms | bounds |
| --- | --- | ---: | --- | --- | ---: | ---: | ---: | ---: | --- |";

/// What is promised for each attack.
pub(crate) fn bounds() -> String {
    let mut table = String::from(
        "| attack | worst echo | MiB more at the peak | MiB more after | descriptors more at the peak |\n\
         | --- | ---: | ---: | ---: | ---: |\n",
    );
    for attack in ATTACKS {
        let bound = &attack.bound;
        let _ = writeln!(
            table,
            "| `{}`: {} | {} ms | {} | {} | {} |",
            attack.name, attack.what, bound.worst, bound.peak, bound.after, bound.descriptors
        );
    }
    table
}

/// The bounds are those that SECURITY.md promises.
pub(crate) fn check_documented() -> Result<()> {
    match fs::read_to_string(here("../../SECURITY.md"))?.contains(&bounds()) {
        true => Ok(()),
        false => Err("SECURITY.md has other bounds than `siege bounds` prints".into()),
    }
}

/// Writes results.md.
pub(crate) fn write(rows: &[Row]) -> Result<()> {
    let mut page = String::from(
        "# Results\n\nWritten by the command below. [README.md](README.md) says what is measured \
         and how, [SECURITY.md](../../SECURITY.md#exhaustion) which bounds ours keep.\n\n",
    );
    let facts = [
        ("date", said("date", &["-u", "+%F"])),
        ("machine", machine()),
        ("command", "`cargo run --release --manifest-path benches/siege/Cargo.toml`".to_owned()),
        ("commit", said("git", &["rev-parse", "--short", "HEAD"])),
        ("versions", versions()),
    ];
    page.push_str("| | |\n| --- | --- |\n");
    for (name, value) in facts {
        writeln!(page, "| {name} | {value} |")?;
    }
    writeln!(page, "\n{HEADER}")?;
    for row in rows {
        writeln!(page, "{row}")?;
    }
    Ok(fs::write(here("results.md"), page)?)
}

fn machine() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown CPU", |(_, model)| model.trim());
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{model}, {cores} cores, Linux {}", kernel.trim())
}

fn versions() -> String {
    let lock = fs::read_to_string(here("Cargo.lock")).unwrap_or_default();
    let of = |package: &str| {
        let start = format!("name = \"{package}\"\nversion = \"");
        let version = lock.rsplit_once(&start).and_then(|(_, rest)| rest.split('"').next());
        format!("{package} {}", version.unwrap_or("unknown"))
    };
    [
        said("rustc", &["--version"]),
        ["tokio", "smol", "async-std", "axeom-ws", "axum"].map(of).join(", "),
        format!("Node {}", said("node", &["--version"])),
        servers::WS.to_owned(),
    ]
    .join(", ")
}

fn said(program: &str, args: &[&str]) -> String {
    match Command::new(program).args(args).current_dir(here("")).output() {
        Ok(output) => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        Err(error) => format!("unknown ({error})"),
    }
}
