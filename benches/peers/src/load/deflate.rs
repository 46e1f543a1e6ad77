use std::io::{Read, Write};

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

use super::{Frames, Opcode, Target, frames::header_len};
use crate::Result;

/// What ends each message, and is left out (RFC 7692 §7.2.1).
const TAIL: &[u8] = &[0, 0, 0xff, 0xff];

/// Compressed frames, and the answer that this server gives to one: how it compresses is its
/// own, but without context takeover it does so the same way each time.
pub(crate) fn compressed(target: &Target, count: usize, text: &[u8]) -> Result<Frames> {
    let mut deflated = Vec::with_capacity(2 * text.len());
    let mut compress = Compress::new(Compression::default(), false);
    compress.compress_vec(text, &mut deflated, FlushCompress::Sync)?;
    deflated.truncate(deflated.len() - TAIL.len());
    let mut frames = Frames::new(count, Opcode::CompressedText, &deflated);

    let mut stream = target.connect()?;
    stream.write_all(frames.next(0, frames.len))?;
    let mut answer = vec![0; 2];
    stream.read_exact(&mut answer)?;
    if answer[0] != 0x80 | Opcode::CompressedText as u8 {
        return Err(format!("the answer is not compressed: it begins {:#x}", answer[0]).into());
    }
    if answer[1] == 126 {
        answer.resize(4, 0);
        stream.read_exact(&mut answer[2..])?;
    }
    let (header, payload) = header_len(&answer).ok_or("the answer is masked, or huge")?;
    answer.resize(header + payload, 0);
    stream.read_exact(&mut answer[header..])?;

    let deflated = [&answer[header..], TAIL].concat();
    let mut inflated = Vec::with_capacity(2 * text.len());
    Decompress::new(false).decompress_vec(&deflated, &mut inflated, FlushDecompress::Sync)?;
    if inflated != text {
        return Err("the answer is not the echo".into());
    }
    frames.answer = answer;
    Ok(frames)
}
