/// A frame's masking key, rotated so that its lowest byte is for the next byte of the payload
/// (RFC 6455 §5.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mask(u32);

/// How many bytes one iteration of the main loop masks. The compiler vectorizes it as a whole.
const BLOCK: usize = 64;

impl Mask {
    pub(super) fn new(key: [u8; 4]) -> Self {
        Self(u32::from_le_bytes(key))
    }

    pub(super) fn key(self) -> [u8; 4] {
        self.0.to_le_bytes()
    }

    /// Masks or unmasks the next bytes of the payload, in place.
    #[inline]
    pub(super) fn apply(&mut self, payload: &mut [u8]) {
        let twice = u64::from(self.0) << 32 | u64::from(self.0);
        let mut blocks = payload.chunks_exact_mut(BLOCK);
        for block in &mut blocks {
            for word in block.chunks_exact_mut(8) {
                xor(word, twice);
            }
        }
        let mut rest = blocks.into_remainder();
        // The compiler would vectorize a plain loop over the rest as well, although its setup would
        // then take longer than the loop.
        for size in [32, 16, 8] {
            let (words, after) = rest.split_at_mut(rest.len() & size);
            for word in words.chunks_exact_mut(8) {
                xor(word, twice);
            }
            rest = after;
        }
        let (four, after) = rest.split_at_mut(rest.len() & 4);
        if let Some(four) = four.first_chunk_mut() {
            *four = (u32::from_le_bytes(*four) ^ self.0).to_le_bytes();
        }
        for (byte, key) in after.iter_mut().zip(self.key()) {
            *byte ^= key;
        }
        self.0 = self.0.rotate_right((after.len() as u32).wrapping_mul(8));
    }
}

fn xor(word: &mut [u8], key: u64) {
    if let Some(word) = word.first_chunk_mut() {
        *word = (u64::from_le_bytes(*word) ^ key).to_le_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_split_of_a_payload_unmasks_to_the_same_bytes() {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        let payload: Vec<u8> = (0..200u8).collect();
        let expected: Vec<u8> =
            payload.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]).collect();
        for cut in 0..payload.len() {
            let mut mask = Mask::new(key);
            let mut masked = payload.clone();
            let (first, second) = masked.split_at_mut(cut);
            mask.apply(first);
            mask.apply(second);
            assert_eq!(masked, expected, "cut at {cut}");
        }
    }
}
