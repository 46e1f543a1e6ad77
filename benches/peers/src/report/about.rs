use std::{fs, process::Command, thread};

use crate::{args::Selection, paths::here, servers::PEERS};

/// When, where and with what was measured: a name and a value each.
#[derive(Debug, Default)]
pub(super) struct About(pub(super) Vec<(String, String)>);

impl About {
    pub(super) fn this_run(selection: &Selection) -> Self {
        let runs = format!("{} of {} s each", selection.runs, selection.time.as_secs_f64());
        let facts = [
            ("date", said("date", &["-u", "+%F"])),
            ("machine", machine()),
            ("runs", runs),
            ("commit", said("git", &["rev-parse", "--short", "HEAD"])),
            ("versions", versions()),
        ];
        Self(facts.map(|(name, value)| (name.to_owned(), value)).into())
    }

    pub(super) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|fact| fact.0 == name).map_or("unknown", |fact| &fact.1)
    }
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
    let npm = fs::read_to_string(here("js/package-lock.json")).unwrap_or_default();
    let mut versions = vec![said("rustc", &["--version"])];
    for peer in PEERS {
        let package = peer.package;
        let of_cargo = || after(&lock, &format!("name = \"{package}\"\nversion = \""));
        let of_npm =
            || after(&npm, &format!("\"node_modules/{package}\": {{\n      \"version\": \""));
        if let Some(version) = of_cargo().or_else(of_npm) {
            versions.push(format!("{package} {version}"));
        }
    }
    versions.push(format!("Node {}", said("node", &["--version"])));
    let mut seen = Vec::new();
    versions.retain(|version| {
        !seen.contains(version) && {
            seen.push(version.clone());
            true
        }
    });
    versions.join(", ")
}

/// What follows in quotes. Of several versions the newest is the last.
fn after<'a>(text: &'a str, start: &str) -> Option<&'a str> {
    text.rsplit_once(start)?.1.split('"').next()
}

fn said(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).current_dir(here("")).output();
    match output {
        Ok(output) => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        Err(error) => format!("unknown ({error})"),
    }
}
