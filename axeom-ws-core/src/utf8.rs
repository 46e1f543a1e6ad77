//! Text that is checked to be UTF-8 only once.
//!
//! The `unsafe` code here, and in `protocol/partial.rs`, which makes a `Utf8Bytes` of text that it
//! checked piece by piece, rests on one invariant: the bytes are UTF-8.
//! They become a `&str` without another check, so text is as cheap to pass on as binary.
#![allow(unsafe_code)]

use std::{
    borrow::Borrow,
    fmt,
    hash::{Hash, Hasher},
    ops::Deref,
    str::Utf8Error,
};

use bytes::Bytes;

/// A UTF-8 string that is cheap to clone, because clones share its [`Bytes`].
///
/// It derefs to `str`. It converts from `&str` and `String`, and, if they are UTF-8, from `Bytes`
/// and `Vec<u8>`.
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::Utf8Bytes;
///
/// let text = Utf8Bytes::from("hello");
/// assert_eq!(text, "hello");
/// assert_eq!(text.len(), 5);
/// ```
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Utf8Bytes(Bytes);

impl Utf8Bytes {
    /// A string from static text, which is not copied.
    pub const fn from_static(text: &'static str) -> Self {
        Self(Bytes::from_static(text.as_bytes()))
    }

    /// A string from bytes that are known to be UTF-8.
    ///
    /// # Safety
    /// The bytes must be UTF-8.
    pub(crate) unsafe fn from_utf8_unchecked(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The text as a `str`.
    #[inline]
    pub fn as_str(&self) -> &str {
        // SAFETY: every constructor takes a `str` or bytes that are known to be UTF-8, and
        // `Bytes` never change.
        unsafe { std::str::from_utf8_unchecked(&self.0) }
    }

    /// The bytes of the text, without a copy.
    #[inline]
    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    /// The bytes of the text; a clone of them shares the memory.
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

/// Hashes like `str`, because this type borrows as `str`.
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
            // The fast check does not tell where the error is, but the standard library does.
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

/// The bytes are not UTF-8, and no further bytes can make them so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InvalidUtf8;

/// Copies `bytes` into a string of exactly their size.
pub(crate) fn copy_text(bytes: &[u8]) -> Result<Utf8Bytes, InvalidUtf8> {
    match simdutf8::basic::from_utf8(bytes) {
        Ok(text) => Ok(Utf8Bytes::from(text)),
        Err(_) => Err(InvalidUtf8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_of_texts_is_looked_up_by_str() {
        let map = std::collections::HashMap::from([(Utf8Bytes::from("room"), 1)]);
        assert_eq!(map.get("room"), Some(&1));
    }
}
