use async_std::net::TcpStream;
use axeom_ws_core::{Bytes, HyperRuntime, Transport, hyper::upgrade::Upgraded};
use smol_hyper::rt::FuturesIo;

use crate::{Adapter, promote};

/// An [`HttpService`](axeom_ws_core::HttpService) on async-std, for servers on hyper.
pub type HttpService = axeom_ws_core::HttpService<Adapter>;

impl HyperRuntime for Adapter {
    fn reclaim(&self, upgraded: Upgraded) -> Result<(Box<dyn Transport>, Bytes), Upgraded> {
        let parts = upgraded.downcast::<FuturesIo<TcpStream>>()?;
        Ok((promote(parts.io.into_inner()).boxed(), parts.read_buf))
    }
}
