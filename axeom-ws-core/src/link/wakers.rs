use std::{cell::Cell, task::Waker};

/// Collects the wakers of tasks while a lock is held. Dropping it, after the lock was released,
/// wakes the tasks.
#[derive(Default)]
pub(crate) struct Wakers {
    first: Option<Waker>,
    /// The other wakers. Their buffer is kept for the thread, because a publish may wake many
    /// tasks.
    rest: Vec<Waker>,
}

thread_local! {
    static SPARE: Cell<Vec<Waker>> = const { Cell::new(Vec::new()) };
}

impl Wakers {
    #[inline]
    pub(super) fn push(&mut self, waker: Waker) {
        if self.first.is_none() {
            self.first = Some(waker);
        } else {
            self.push_more(waker);
        }
    }

    fn push_more(&mut self, waker: Waker) {
        if self.rest.capacity() == 0 {
            // If the thread is ending, its buffer is gone and a new one is made.
            self.rest = SPARE.try_with(Cell::take).unwrap_or_default();
        }
        self.rest.push(waker);
    }
}

impl Drop for Wakers {
    fn drop(&mut self) {
        if let Some(first) = self.first.take() {
            first.wake();
        }
        if self.rest.capacity() > 0 {
            self.rest.drain(..).for_each(Waker::wake);
            let rest = std::mem::take(&mut self.rest);
            let _ = SPARE.try_with(|spare| spare.set(rest));
        }
    }
}
