//! The protocol over a transport and time: what one connection's task does, whatever its app
//! makes of it.

mod deadlines;
mod driver;
mod gone;
mod input;
#[cfg(all(test, loom))]
mod loom_model;
mod task;

#[cfg(all(test, loom))]
pub(crate) use self::loom_model::Wire;
pub(crate) use self::{driver::Driver, input::Input, task::Task};
