//! The other end's permessage-deflate, driven apart from the engine under test.

use zlib_rs::{Deflate, DeflateFlush, Inflate, InflateFlush};

/// What a flushed block ends with, and a message goes without (RFC 7692 §7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// Both directions of one end, each with its own memory of what went before.
pub struct Codec {
    deflate: Deflate,
    inflate: Inflate,
}

impl Codec {
    /// With the windows of what this end sends and of what it receives.
    pub fn new(sent_bits: u8, received_bits: u8) -> Self {
        let deflate = Deflate::new(6, false, sent_bits);
        Self { deflate, inflate: Inflate::new(false, received_bits) }
    }

    /// A message as it is sent.
    pub fn compress(&mut self, message: &[u8]) -> Vec<u8> {
        let mut out = vec![0; message.len() + message.len() / 8 + 64];
        let before = self.deflate.total_out();
        self.deflate.compress(message, &mut out, DeflateFlush::SyncFlush).unwrap();
        out.truncate((self.deflate.total_out() - before) as usize);
        assert!(out.ends_with(&TAIL));
        out.truncate(out.len() - TAIL.len());
        out
    }

    /// The message that was received as `payload`.
    pub fn decompress(&mut self, payload: &[u8]) -> Vec<u8> {
        let input = [payload, &TAIL].concat();
        let (mut taken, mut message) = (0, Vec::new());
        let mut chunk = [0; 16 * 1024];
        loop {
            let (read, written) = (self.inflate.total_in(), self.inflate.total_out());
            self.inflate
                .decompress(&input[taken..], &mut chunk, InflateFlush::SyncFlush)
                .unwrap_or_else(|error| panic!("{error:?} in {payload:02x?}"));
            taken += (self.inflate.total_in() - read) as usize;
            let n = (self.inflate.total_out() - written) as usize;
            message.extend_from_slice(&chunk[..n]);
            if taken == input.len() && n < chunk.len() {
                return message;
            }
        }
    }
}

/// A message compressed alone.
pub fn compress(message: &[u8]) -> Vec<u8> {
    Codec::new(15, 15).compress(message)
}
