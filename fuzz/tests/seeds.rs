//! Every target holds on its committed inputs, among which are those that once broke it.

use std::{fs, path::Path};

/// Runs a target on the inputs in `seeds/NAME`.
fn hold(name: &str, target: fn(&[u8])) {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(name);
    let mut files: Vec<_> =
        fs::read_dir(&seeds).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", seeds.display());
    for file in files {
        println!("{}", file.display());
        target(&fs::read(&file).unwrap());
    }
}

macro_rules! targets {
    ($($name:ident)+) => {
        $(
            #[test]
            fn $name() {
                hold(stringify!($name), axeom_ws_fuzz::$name);
            }
        )+
    };
}

targets! { handshake frames inflate extensions small_parsers driver differential }
