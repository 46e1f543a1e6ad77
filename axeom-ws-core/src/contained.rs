//! Panics of the program's code that the library calls, above all when a value is dropped: of two
//! at a time, the second would abort the process.

use std::{
    any::Any,
    fmt, mem,
    ops::{Deref, DerefMut},
    panic::{self, AssertUnwindSafe},
};

use crate::telemetry;

/// A value of the program. A panic when it is dropped is logged and counted, and goes no further.
pub(crate) struct Contained<T>(Option<T>);

impl<T> Contained<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Some(value))
    }

    /// No value.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    pub(crate) fn get_mut(&mut self) -> Option<&mut T> {
        self.0.as_mut()
    }
}

/// For one that has a value.
impl<T> Deref for Contained<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        self.0.as_ref().expect("it has a value until it is dropped")
    }
}

impl<T> DerefMut for Contained<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("it has a value until it is dropped")
    }
}

impl<T: fmt::Debug> fmt::Debug for Contained<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T> Drop for Contained<T> {
    #[inline]
    fn drop(&mut self) {
        if mem::needs_drop::<T>() && self.0.is_some() {
            contain(|| self.0 = None);
        }
    }
}

/// Runs what drops values of the program.
#[inline]
pub(crate) fn contain(drop: impl FnOnce()) {
    if let Err(panic) = panic::catch_unwind(AssertUnwindSafe(drop)) {
        let panic = caught(panic);
        tracing::error!(panic, "a value panicked when it was dropped");
    }
}

/// Counts a panic that was caught, and returns its message.
#[cold]
pub(crate) fn caught(panic: Box<dyn Any + Send>) -> String {
    telemetry::panicked();
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    // What it panicked with may panic too when it is dropped, and so on.
    if let Err(next) = panic::catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        mem::forget(next);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Panics when it is dropped, with itself `0` more times.
    struct Bomb(u32);

    impl Drop for Bomb {
        fn drop(&mut self) {
            match self.0 {
                0 => panic!("a bomb"),
                more => panic::panic_any(Bomb(more - 1)),
            }
        }
    }

    #[test]
    fn panics_of_values_go_no_further() {
        let bombs = [0, 1, 2].map(|n| Contained::new(Bomb(n)));
        assert!(bombs.iter().map(|bomb| bomb.0.as_ref().unwrap().0).eq(0..3));
        drop(bombs);
        drop(Contained::<Bomb>::none());
        // Nor does one while another unwinds.
        let unwinding = panic::catch_unwind(|| {
            let _bombs = [Contained::new(Bomb(0)), Contained::new(Bomb(1))];
            panic!("the first");
        });
        assert_eq!(caught(unwinding.unwrap_err()), "the first");
    }
}
