//! The driver: one task per connection, which joins the protocol, the stream and the
//! handlers. The only place that does I/O.

mod alarm;
mod call;
mod deadlines;
mod driver;
mod handle;
mod input;
mod link;
#[cfg(all(test, loom))]
mod model;
mod open;
mod run;
mod send;
mod socket;
mod timer;
mod ws;

pub(crate) use self::{
    alarm::Alarm,
    driver::Driver,
    handle::run_handler,
    input::Input,
    link::{Link, Refused},
    open::ServeStream,
    run::Run,
    socket::run_socket,
};
pub use self::{
    link::ConnectionId,
    socket::{Socket, SocketEvent},
    ws::Ws,
};
