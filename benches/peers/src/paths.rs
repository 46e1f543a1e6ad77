use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use crate::Result;

/// A file of this package.
pub(crate) fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Installs what npm ships, as locked, unless that was done before.
pub(crate) fn install_scripts() -> Result<()> {
    static INSTALLED: OnceLock<Result<(), String>> = OnceLock::new();
    let installed = INSTALLED.get_or_init(|| npm().map_err(|error| error.to_string()));
    Ok(installed.clone()?)
}

fn npm() -> Result<()> {
    let written = |path: &str| here(path).metadata()?.modified();
    let lock = written("js/package-lock.json")?;
    if written("js/node_modules/.package-lock.json").is_ok_and(|installed| installed >= lock) {
        return Ok(());
    }
    let output = Command::new("npm")
        .args(["ci", "--silent", "--no-audit", "--no-fund"])
        .current_dir(here("js"))
        .output()
        .map_err(|error| format!("npm: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(format!("npm ci: {}", said.lines().last().unwrap_or("no word why")).into())
}
