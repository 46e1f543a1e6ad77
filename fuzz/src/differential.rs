use crate::{frame::MASK, input::Input, tungstenite};

/// Our engine and tungstenite's get the same bytes of a client, and say the same. Where they are
/// meant to differ is written in `tungstenite::compare`.
pub fn differential(data: &[u8]) {
    tungstenite::compare(&Input::new(data).wire(Some(MASK)));
}
