use std::{
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

use rustix::{
    event::epoll::{self, CreateFlags, Event, EventData, EventFlags},
    io::Errno,
};

use super::connect::PATIENCE;
use crate::Result;

/// Level-triggered epoll, with an index for each descriptor.
#[derive(Debug)]
pub(crate) struct Poll(OwnedFd);

impl Poll {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self(epoll::create(CreateFlags::CLOEXEC)?))
    }

    /// The same epoll.
    pub(crate) fn try_clone(&self) -> Result<Self> {
        Ok(Self(self.0.try_clone()?))
    }

    pub(crate) fn add(&self, fd: impl AsFd, index: usize) -> Result<()> {
        let data = EventData::new_u64(index as u64);
        Ok(epoll::add(&self.0, fd, data, EventFlags::IN)?)
    }

    /// Waits for room to write as well, or no longer.
    pub(crate) fn want_room(&self, fd: impl AsFd, index: usize, want: bool) -> Result<()> {
        let mut flags = EventFlags::IN;
        flags.set(EventFlags::OUT, want);
        Ok(epoll::modify(&self.0, fd, EventData::new_u64(index as u64), flags)?)
    }

    /// Calls `ready` with the index of every descriptor that is ready and whether it has
    /// room, until `time` is over or `ready` says that it is done.
    pub(crate) fn run(
        &self,
        time: Duration,
        mut ready: impl FnMut(usize, EventFlags) -> Result<bool>,
    ) -> Result<()> {
        let timeout = PATIENCE.try_into()?;
        let end = Instant::now() + time;
        let mut space = [MaybeUninit::<Event>::uninit(); 512];
        while Instant::now() < end {
            let events = match epoll::wait(&self.0, &mut space, Some(&timeout)) {
                Ok((events, _)) => events,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            if events.is_empty() {
                return Err(format!("no answer for {PATIENCE:?}").into());
            }
            for event in events {
                if ready(event.data.u64() as usize, event.flags)? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}
