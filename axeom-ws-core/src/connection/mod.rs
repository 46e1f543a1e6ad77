//! What the task of one connection does: it runs the protocol over a transport and keeps the
//! connection's deadlines. What the events mean is up to the app.

mod deadlines;
mod driver;
mod gone;
#[cfg(all(test, loom))]
mod loom_model;
mod pace;
mod task;
mod turn;

#[cfg(all(test, loom))]
pub(crate) use self::loom_model::Wire;
pub(crate) use self::{
    driver::{Driver, Input},
    task::Task,
};
