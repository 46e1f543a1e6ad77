//! A message that arrives in pieces.
#![allow(unsafe_code, reason = "text that was checked piece by piece is not checked again")]

use bytes::{Bytes, BytesMut};

use crate::utf8::{InvalidUtf8, Utf8Bytes};

/// A message that arrives in pieces.
///
/// It owns its bytes, so that they cannot change after they were checked. A byte that nothing
/// after it could make valid fails the first [`check`](Self::check) that sees it. A character
/// that is cut at the end of a piece waits for the rest, so at most three bytes are checked
/// again.
#[derive(Debug, Default)]
pub(super) struct Partial {
    bytes: BytesMut,
    /// `bytes[..checked]` is UTF-8 and does not change any more.
    checked: usize,
}

/// For how many bytes a message of `len` bytes makes room at a time: three times as many, but at
/// least 16 KiB and at most 1 MiB. Memory must grow with what was received, but each step may
/// copy all of it.
fn growth(len: usize) -> usize {
    len.saturating_mul(3).clamp(LEAST_GROWTH, 1024 * 1024)
}

const LEAST_GROWTH: usize = 16 * 1024;

impl Partial {
    /// How many bytes have arrived.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends a piece. `expected` is how many more bytes the frame has.
    pub(super) fn push(&mut self, piece: &[u8], expected: usize) {
        let len = self.len();
        if self.bytes.capacity().saturating_sub(len) < piece.len() {
            // For pieces with nothing expected behind them, such as fragments, growing by half
            // keeps each one from copying everything that arrived before.
            let more = piece.len().saturating_add(expected.min(growth(len)));
            self.bytes.reserve(more.max(len / 2));
        }
        self.bytes.extend_from_slice(piece);
    }

    /// Splits off an empty buffer for the next bytes of a payload with `expected` bytes to come.
    /// It has exactly the capacity that may be filled, and gives no access to what arrived
    /// before.
    pub(super) fn split_room(&mut self, expected: usize) -> BytesMut {
        let len = self.len();
        let most = growth(len).min(expected);
        if self.bytes.capacity() == len {
            self.bytes.reserve(most);
        }
        let mut room = self.bytes.split_off(len);
        if room.capacity() > most {
            drop(room.split_off(most));
        }
        room
    }

    /// Takes the buffer back, after `finish` has unmasked its contents.
    pub(super) fn join_room(&mut self, mut room: BytesMut, finish: impl FnOnce(&mut [u8])) {
        finish(&mut room);
        self.bytes.unsplit(room);
    }

    /// Checks what arrived since the last check.
    pub(super) fn check(&mut self) -> Result<(), InvalidUtf8> {
        let unchecked = self.bytes.get(self.checked..).unwrap_or_default();
        match simdutf8::compat::from_utf8(unchecked) {
            Ok(_) => self.checked = self.len(),
            Err(error) if error.error_len().is_none() => {
                self.checked = self.checked.saturating_add(error.valid_up_to());
            }
            Err(_) => return Err(InvalidUtf8),
        }
        Ok(())
    }

    /// The whole message as bytes.
    pub(super) fn into_bytes(self) -> Bytes {
        self.bytes.freeze()
    }

    /// The whole message as text.
    pub(super) fn into_text(mut self) -> Result<Utf8Bytes, InvalidUtf8> {
        if self.checked < self.len() {
            self.check()?;
        }
        // The message may end in the middle of a character.
        if self.checked < self.len() {
            return Err(InvalidUtf8);
        }
        // SAFETY: all bytes were checked, in pieces that each ended with a whole character, and
        // they cannot have changed since, because the methods of this type only append.
        Ok(unsafe { Utf8Bytes::from_utf8_unchecked(self.into_bytes()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLES: &[&str] =
        &["", "plain", "κόσμε", "日本語", "𐍈 and 👋🏽", "\u{10FFFF}\u{7FF}\u{800}"];

    #[test]
    fn every_split_of_valid_text_is_accepted() {
        for sample in SAMPLES {
            for cut in 0..=sample.len() {
                let mut text = Partial::default();
                text.push(&sample.as_bytes()[..cut], 0);
                assert_eq!(text.check(), Ok(()), "{sample:?} cut at {cut}");
                text.push(&sample.as_bytes()[cut..], 0);
                assert_eq!(text.check(), Ok(()), "{sample:?} cut at {cut}");
                assert_eq!(text.into_text().unwrap(), *sample);
            }
        }
    }

    #[test]
    fn an_impossible_byte_is_refused_when_it_arrives() {
        // 0xF4 0x90 would be above U+10FFFF, 0xED 0xA0 is a surrogate, and 0xC0 is never valid.
        for bad in [&b"ok\xF4\x90"[..], b"\xED\xA0", b"\xC0", b"\xE0\x80", b"\x80"] {
            let (before, last) = bad.split_at(bad.len() - 1);
            let mut text = Partial::default();
            text.push(before, 1);
            assert_eq!(text.check(), Ok(()), "{bad:x?}");
            text.push(last, 0);
            assert_eq!(text.check(), Err(InvalidUtf8), "{bad:x?}");
        }
    }

    #[test]
    fn a_text_that_ends_inside_a_character_is_refused() {
        let mut text = Partial::default();
        text.push(b"caf\xC3", 0);
        assert_eq!(text.check(), Ok(()));
        assert_eq!(text.into_text(), Err(InvalidUtf8));
    }

    #[test]
    fn room_follows_what_arrived_not_what_was_announced() {
        let mut message = Partial::default();
        let mut room = message.split_room(usize::MAX);
        let first = room.capacity();
        assert_eq!(first, LEAST_GROWTH);
        room.resize(first, 0);
        message.join_room(room, |_| ());
        let room = message.split_room(usize::MAX);
        assert!(room.capacity() <= 3 * first);
        message.join_room(room, |_| ());
        message.push(b"xyz", usize::MAX);
        assert_eq!(message.len(), first + 3);
        assert!(message.bytes.capacity() <= 4 * first);
        assert!(message.into_bytes().ends_with(b"xyz"));
    }

    #[test]
    fn room_is_no_larger_than_what_is_expected() {
        let mut message = Partial::default();
        message.push(b"abc", 100);
        let mut room = message.split_room(5);
        assert_eq!((room.len(), room.capacity()), (0, 5));
        room.extend_from_slice(b"defgh");
        message.join_room(room, |bytes| bytes.make_ascii_uppercase());
        assert_eq!(message.into_bytes(), "abcDEFGH");
    }

    #[test]
    fn many_pieces_move_what_arrived_seldom() {
        let mut message = Partial::default();
        let mut moves = 0;
        for _ in 0..10_000 {
            let before = message.bytes.capacity();
            message.push(&[7; 100], 0);
            moves += usize::from(message.bytes.capacity() != before);
        }
        assert!(moves < 100, "{moves} moves");
        assert!(message.bytes.capacity() <= 2 * message.len());
    }
}
