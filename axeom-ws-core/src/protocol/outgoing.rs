use bytes::Bytes;

use crate::message::{Message, SendMessage};

/// A message on its way to one connection or to many. It keeps its compressed forms, so that it
/// is compressed once for all connections with the same parameters.
#[derive(Debug)]
pub(crate) struct Outgoing<'a> {
    pub(super) message: &'a Message,
    pub(super) compress: Option<bool>,
    compressed: Option<Box<Compressed>>,
}

/// The parameters of a compressor. A message that is compressed alone always results in the same
/// bytes for the same parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CompressorKey {
    pub(super) level: u8,
    pub(super) window_bits: u8,
    pub(super) mem_level: u8,
}

/// The compressed forms by their parameters; `None` if the message is better sent uncompressed.
type Compressed = Vec<(CompressorKey, Option<Bytes>)>;

impl<'a> Outgoing<'a> {
    pub(crate) fn new(sending: &'a SendMessage) -> Self {
        let SendMessage { message, compress } = sending;
        Self { message, compress: *compress, compressed: None }
    }

    pub(crate) fn len(&self) -> usize {
        self.message.len()
    }

    /// The message compressed alone, which means without references to earlier messages.
    /// `compress` makes it, if no connection needed it before.
    pub(super) fn compressed_alone(
        &mut self,
        key: CompressorKey,
        compress: impl FnOnce(&[u8]) -> Option<Bytes>,
    ) -> Option<Bytes> {
        let compressed = self.compressed.get_or_insert_default();
        if let Some((_, done)) = compressed.iter().find(|(with, _)| *with == key) {
            return done.clone();
        }
        let payload = self.message.as_bytes();
        let done = compress(payload);
        // Without context takeover, a message that does not shrink can be sent uncompressed.
        let done = done.filter(|done| self.compress == Some(true) || done.len() < payload.len());
        compressed.push((key, done.clone()));
        done
    }
}
