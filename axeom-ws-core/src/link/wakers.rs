use std::{cell::Cell, task::Waker};

/// Tasks that are to be woken once there is no lock any more: dropped, it wakes them.
#[derive(Default)]
pub(crate) struct Wakers {
    first: Option<Waker>,
    /// The others; in a buffer of the thread, for a publish may wake many.
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
            // On a thread that is ending the buffer is made anew.
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
