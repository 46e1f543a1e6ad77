//! Text whose UTF-8 was checked once.
//!
//! This is the only module with `unsafe` code: `Utf8Bytes` keeps the invariant
//! that its bytes are UTF-8, and turning them into `&str` without a second pass
//! over them is what makes text as cheap to hand on as binary.
#![allow(unsafe_code)]

use std::{
    borrow::Borrow,
    fmt,
    hash::{Hash, Hasher},
    ops::Deref,
    str::Utf8Error,
};

use bytes::Bytes;

/// A cheaply cloneable UTF-8 string: [`Bytes`] that are known to be text.
///
/// It derefs to `str`, and converts from `&str`, `String` and (checked) from
/// `Bytes` and `Vec<u8>`.
///
/// ```
/// use axeom_ws_core::Utf8Bytes;
///
/// let text = Utf8Bytes::from("hello");
/// assert_eq!(text, "hello");
/// assert_eq!(text.len(), 5);
/// ```
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Utf8Bytes(Bytes);

impl Utf8Bytes {
    /// Text that lives for the whole program; nothing is copied.
    pub const fn from_static(text: &'static str) -> Self {
        Self(Bytes::from_static(text.as_bytes()))
    }

    /// The text.
    #[inline]
    pub fn as_str(&self) -> &str {
        // SAFETY: every constructor in this module takes a `str` or checked bytes,
        // and `Bytes` never change.
        unsafe { std::str::from_utf8_unchecked(&self.0) }
    }

    /// The bytes behind the text, without a copy.
    #[inline]
    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    /// The same bytes, shared.
    #[inline]
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }
}

impl Deref for Utf8Bytes {
    type Target = str;

    #[inline]
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Utf8Bytes {
    fn as_ref(&self) -> &str {
        self
    }
}

impl AsRef<[u8]> for Utf8Bytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// As `str` does, which it can be borrowed as.
impl Hash for Utf8Bytes {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl Borrow<str> for Utf8Bytes {
    fn borrow(&self) -> &str {
        self
    }
}

impl fmt::Display for Utf8Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.as_str(), f)
    }
}

impl fmt::Debug for Utf8Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl PartialEq<str> for Utf8Bytes {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Utf8Bytes {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl From<&str> for Utf8Bytes {
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<String> for Utf8Bytes {
    fn from(text: String) -> Self {
        Self(Bytes::from(text.into_bytes()))
    }
}

impl From<Utf8Bytes> for Bytes {
    fn from(text: Utf8Bytes) -> Bytes {
        text.0
    }
}

impl From<Utf8Bytes> for String {
    fn from(text: Utf8Bytes) -> String {
        text.as_str().to_owned()
    }
}

impl TryFrom<Bytes> for Utf8Bytes {
    type Error = Utf8Error;

    fn try_from(bytes: Bytes) -> Result<Self, Utf8Error> {
        match simdutf8::basic::from_utf8(&bytes) {
            Ok(_) => Ok(Self(bytes)),
            // The fast check does not say where; the standard library does.
            Err(_) => std::str::from_utf8(&bytes).map(|_| Self(bytes.clone())),
        }
    }
}

impl TryFrom<Vec<u8>> for Utf8Bytes {
    type Error = Utf8Error;

    fn try_from(bytes: Vec<u8>) -> Result<Self, Utf8Error> {
        Self::try_from(Bytes::from(bytes))
    }
}

/// The bytes cannot be, or become, UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InvalidUtf8;

/// Copies `bytes` into a text of exactly their size.
pub(crate) fn copy_text(bytes: &[u8]) -> Result<Utf8Bytes, InvalidUtf8> {
    match simdutf8::basic::from_utf8(bytes) {
        Ok(text) => Ok(Utf8Bytes::from(text)),
        Err(_) => Err(InvalidUtf8),
    }
}

/// A message that arrives in pieces.
///
/// It owns its bytes, so that what was checked cannot change afterwards. A byte
/// that no continuation could make valid is refused by the first
/// [`check`](Self::check) that sees it; a character cut at the end of a piece waits
/// for its rest, and at most three bytes are looked at twice.
#[derive(Debug, Default)]
pub(crate) struct Partial {
    /// `bytes[..filled]` arrived; what lies beyond is zeroed room to read into.
    bytes: Vec<u8>,
    filled: usize,
    /// `bytes[..checked]` is UTF-8.
    checked: usize,
}

/// How much a message that has `filled` bytes makes room for at a time: three times as
/// many, but 16 KiB to 1 MiB. Memory follows what was received; each step moves all of it.
fn growth(filled: usize) -> usize {
    filled.saturating_mul(3).clamp(LEAST_GROWTH, 1024 * 1024)
}

const LEAST_GROWTH: usize = 16 * 1024;

impl Partial {
    /// How many bytes have arrived.
    pub(crate) fn len(&self) -> usize {
        self.filled
    }

    /// Appends a piece; `expected` more bytes are announced to follow it.
    pub(crate) fn push(&mut self, piece: &[u8], expected: usize) {
        self.bytes.truncate(self.filled);
        if self.bytes.capacity() - self.filled < piece.len() {
            let growth = growth(self.filled);
            // Pieces that announce nothing behind them, such as fragments, must not move
            // all that arrived each time.
            let more = (piece.len() + expected.min(growth)).max(self.filled / 2);
            self.bytes.reserve_exact(more);
        }
        self.bytes.extend_from_slice(piece);
        self.filled = self.bytes.len();
    }

    /// Room for the next bytes of a payload that has `expected` bytes to come.
    pub(crate) fn room(&mut self, expected: usize) -> &mut [u8] {
        if self.bytes.len() == self.filled {
            let growth = growth(self.filled).min(expected);
            self.bytes.reserve_exact(growth);
            self.bytes.resize(self.filled + growth, 0);
        }
        let end = self.bytes.len().min(self.filled.saturating_add(expected));
        &mut self.bytes[self.filled..end]
    }

    /// Counts the first `n` bytes of the [`room`](Self::room) as arrived, after
    /// `finish` (the unmasking) saw them.
    pub(crate) fn fill(&mut self, n: usize, finish: impl FnOnce(&mut [u8])) {
        let end = (self.filled + n).min(self.bytes.len());
        finish(&mut self.bytes[self.filled..end]);
        self.filled = end;
    }

    /// Checks what arrived since the last check.
    pub(crate) fn check(&mut self) -> Result<(), InvalidUtf8> {
        match simdutf8::compat::from_utf8(&self.bytes[self.checked..self.filled]) {
            Ok(_) => self.checked = self.filled,
            Err(error) if error.error_len().is_none() => self.checked += error.valid_up_to(),
            Err(_) => return Err(InvalidUtf8),
        }
        Ok(())
    }

    /// The whole message as bytes.
    pub(crate) fn into_bytes(mut self) -> Bytes {
        self.bytes.truncate(self.filled);
        Bytes::from(self.bytes)
    }

    /// The whole message as text.
    pub(crate) fn into_text(mut self) -> Result<Utf8Bytes, InvalidUtf8> {
        if self.checked < self.filled {
            self.check()?;
        }
        // A character may still be cut where the message ends.
        if self.checked == self.filled {
            Ok(Utf8Bytes(self.into_bytes()))
        } else {
            Err(InvalidUtf8)
        }
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
        // 0xF4 0x90 would be above U+10FFFF; 0xED 0xA0 a surrogate; 0xC0 is never legal.
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
        let room = message.room(usize::MAX).len();
        assert_eq!(room, LEAST_GROWTH);
        message.fill(room, |_| ());
        assert!(message.room(usize::MAX).len() <= 3 * room);
        message.push(b"xyz", usize::MAX);
        assert_eq!(message.len(), room + 3);
        assert!(message.bytes.capacity() <= 4 * room);
        assert!(message.into_bytes().ends_with(b"xyz"));
    }

    #[test]
    fn a_map_of_texts_is_looked_up_by_str() {
        let map = std::collections::HashMap::from([(Utf8Bytes::from("room"), 1)]);
        assert_eq!(map.get("room"), Some(&1));
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
