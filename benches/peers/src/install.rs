//! What the servers that are not Rust need. Each is made ready once, and why it could not be
//! is what its rows then say.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use crate::{Result, paths::here};

/// Installs what npm ships, as locked, unless that was done before.
pub(crate) fn scripts() -> Result<()> {
    static INSTALLED: OnceLock<Result<(), String>> = OnceLock::new();
    let installed = INSTALLED.get_or_init(|| npm().map_err(|error| error.to_string()));
    Ok(installed.clone()?)
}

fn npm() -> Result<()> {
    let (lock, installed) =
        (here("js/package-lock.json"), here("js/node_modules/.package-lock.json"));
    if is_newer(&installed, &lock) {
        return Ok(());
    }
    let args = ["ci", "--silent", "--no-audit", "--no-fund"];
    run(Command::new("npm").args(args).current_dir(here("js")))
}

/// Compiles uWebSockets and its server, unless that was done before. Returns the program.
pub(crate) fn uwebsockets() -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    Ok(BUILT.get_or_init(|| compile().map_err(|error| error.to_string())).clone()?)
}

fn compile() -> Result<PathBuf> {
    let source = here("cpp/uwebsockets.cpp");
    let directory = here("target/uwebsockets");
    let program = directory.join("server");
    if is_newer(&program, &source) {
        return Ok(program);
    }
    let library = sources_of("libuwebsockets-sys")?.join("uWebSockets");
    let sockets = library.join("uSockets/src");
    fs::create_dir_all(&directory)?;
    let flags = ["-O3", "-DLIBUS_NO_SSL", "-I"].map(OsString::from);
    let c_files = [files(&sockets, "c")?, files(&sockets.join("eventing"), "c")?].concat();
    let mut compile = Command::new("cc");
    run(compile.args(&flags).arg(&sockets).arg("-c").args(c_files).current_dir(&directory))?;
    let mut link = Command::new("c++");
    link.arg("-std=c++20").args(&flags).arg(&sockets).arg("-I").arg(library.join("src"));
    link.arg(source).args(files(&directory, "o")?).arg("-lz").arg("-o").arg(&program);
    run(&mut link)?;
    Ok(program)
}

/// Where cargo keeps the sources of a package that this one names.
fn sources_of(package: &str) -> Result<PathBuf> {
    let mut cargo = Command::new("cargo");
    cargo.args(["metadata", "--locked", "--all-features", "--format-version", "1"]);
    let output = cargo.arg("--manifest-path").arg(here("Cargo.toml")).output()?;
    let metadata = String::from_utf8(output.stdout)?;
    let paths = metadata.split("\"manifest_path\":\"").filter_map(|rest| rest.split('"').next());
    let is_it = |path: &&str| path.contains(&format!("/{package}-"));
    let manifest = paths.into_iter().find(is_it).ok_or("cargo does not have the sources")?;
    Ok(Path::new(manifest).parent().ok_or("no directory")?.to_owned())
}

fn files(directory: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let paths = fs::read_dir(directory)?.map(|entry| Ok(entry?.path()));
    let has_it = |path: &Result<PathBuf>| {
        path.as_ref().map_or(true, |path| path.extension().is_some_and(|it| it == extension))
    };
    paths.filter(has_it).collect()
}

fn is_newer(made: &Path, from: &Path) -> bool {
    let written = |path: &Path| path.metadata().and_then(|metadata| metadata.modified());
    matches!((written(made), written(from)), (Ok(made), Ok(from)) if made >= from)
}

fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let reason = said.lines().find(|line| line.contains("error")).or(said.lines().last());
    Err(format!("{name}: {}", reason.unwrap_or("no word why")).into())
}
