use std::net::TcpStream;

use async_io::Async;
use axeom_ws_core::{Bytes, HyperRuntime, Transport, hyper::upgrade::Upgraded};
use smol_hyper::rt::FuturesIo;

use crate::{Adapter, promote};

/// An [`HttpService`](axeom_ws_core::HttpService) on smol, for servers on hyper.
pub type HttpService = axeom_ws_core::HttpService<Adapter>;

impl HyperRuntime for Adapter {
    fn reclaim(&self, upgraded: Upgraded) -> Result<(Box<dyn Transport>, Bytes), Upgraded> {
        let parts = upgraded.downcast::<FuturesIo<Async<TcpStream>>>()?;
        Ok((promote(parts.io.into_inner()).boxed(), parts.read_buf))
    }
}
