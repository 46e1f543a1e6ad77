//! When a collection gives memory back after a peak.

/// Below this capacity, shrinking is not worth its allocation.
const SMALL: usize = 32;

/// The capacity that a collection should shrink to after a removal, if it has far more than it
/// needs. It shrinks when a quarter is used and keeps twice that, so removals cost a constant on
/// average, whatever is added in between.
#[inline]
pub(crate) fn shrunk(len: usize, capacity: usize) -> Option<usize> {
    (capacity > SMALL && len < capacity / 4).then_some(len * 2)
}
