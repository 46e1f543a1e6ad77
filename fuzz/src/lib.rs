//! The bodies of the fuzz targets. `fuzz_targets` runs them under libFuzzer, and `tests/seeds.rs`
//! runs them on the committed inputs.
//!
//! A target takes any bytes, and panics if something does not hold. Under libFuzzer every panic is
//! a finding, also one that the core would catch.

mod differential;
mod driver;
mod extensions;
mod frames;
mod handshake;
mod inflate;
mod input;
mod request;
mod small_parsers;

// What the tests of the core use too.
#[path = "../../tests/support/frame.rs"]
#[allow(dead_code, unreachable_pub, reason = "this is shared with tests that need more of it")]
mod frame;
#[path = "../../axeom-ws-core/tests/protocol/receive.rs"]
mod receive;
#[path = "../../axeom-ws-core/tests/support/mod.rs"]
mod support;
#[path = "../../axeom-ws-core/tests/protocol/tungstenite.rs"]
mod tungstenite;

pub use self::{
    differential::differential, driver::driver, extensions::extensions, frames::frames,
    handshake::handshake, inflate::inflate, small_parsers::small_parsers,
};

/// Runs a target under `cargo fuzz`. Built without it, the program runs the target once on each
/// file that is named on its command line.
#[macro_export]
macro_rules! run {
    ($target:ident) => {
        #[cfg(fuzzing)]
        libfuzzer_sys::fuzz_target!(|data: &[u8]| $crate::$target(data));

        #[cfg(not(fuzzing))]
        fn main() -> std::io::Result<()> {
            for file in std::env::args_os().skip(1) {
                $crate::$target(&std::fs::read(file)?);
            }
            Ok(())
        }
    };
}
