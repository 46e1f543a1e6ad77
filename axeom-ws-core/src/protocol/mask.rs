/// A frame's masking key, turned to where in the payload it is applied next
/// (RFC 6455 §5.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mask([u8; 4]);

/// One step of the loop below; a whole number of keys that fills vector registers.
const STEP: usize = 32;

impl Mask {
    pub(super) fn new(key: [u8; 4]) -> Self {
        Self(key)
    }

    pub(super) fn key(self) -> [u8; 4] {
        self.0
    }

    /// Masks or unmasks the next bytes of the payload, in place.
    pub(super) fn apply(&mut self, payload: &mut [u8]) {
        let mut key = [0; STEP];
        for (byte, from) in key.iter_mut().zip(self.0.iter().cycle()) {
            *byte = *from;
        }
        let mut steps = payload.chunks_exact_mut(STEP);
        for step in &mut steps {
            for (byte, key) in step.iter_mut().zip(key) {
                *byte ^= key;
            }
        }
        let rest = steps.into_remainder();
        for (byte, key) in rest.iter_mut().zip(key) {
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
