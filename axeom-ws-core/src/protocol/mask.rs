/// A frame's masking key, turned to where in the payload it is applied next
/// (RFC 6455 §5.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mask([u8; 4]);

impl Mask {
    pub(super) fn new(key: [u8; 4]) -> Self {
        Self(key)
    }

    pub(super) fn key(self) -> [u8; 4] {
        self.0
    }

    /// Masks or unmasks the next bytes of the payload, in place.
    pub(super) fn apply(&mut self, payload: &mut [u8]) {
        let [a, b, c, d] = self.0;
        let twice = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
        // A loop that compilers turn into one over vector registers.
        let mut steps = payload.chunks_exact_mut(8);
        for step in &mut steps {
            if let Some(step) = step.first_chunk_mut() {
                *step = (u64::from_ne_bytes(*step) ^ twice).to_ne_bytes();
            }
        }
        let rest = steps.into_remainder();
        for (byte, key) in rest.iter_mut().zip(twice.to_ne_bytes()) {
            *byte ^= key;
        }
        self.0.rotate_left(rest.len() % 4);
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
