use std::{io, os::unix::net, path::Path};

use axeom_ws_core::{Incoming, LocalAddr, ServeError, SocketFile, bind_unix};

use crate::Io;

/// A listening Unix domain socket of tokio. Its [`Peer`](axeom_ws_core::Peer)s have no address, but
/// [`PeerCredentials`](axeom_ws_core::PeerCredentials).
///
/// ```no_run
/// use axeom_ws_tokio::{Server, UnixListener};
///
/// # async fn example(app: axeom_ws_core::App) -> Result<(), axeom_ws_core::BoxError> {
/// let listener = UnixListener::bind("/run/chat.sock")?;
/// Server::on(listener)?.serve(app).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct UnixListener {
    listener: tokio::net::UnixListener,
    _file: Option<SocketFile>,
}

impl UnixListener {
    /// Binds to a path. The socket of an earlier process that is left there is replaced, and the
    /// file is removed when the listener is dropped. Who may connect is decided by its permissions,
    /// and by those of its directory.
    ///
    /// # Errors
    /// [`ServeError::Bind`] if the path cannot be bound, for example because another process
    /// listens there.
    pub fn bind(path: impl AsRef<Path>) -> Result<Self, ServeError> {
        let (listener, file) = bind_unix(path, register)?;
        Ok(Self { listener, _file: Some(file) })
    }

    /// Wraps a socket that the program has bound or inherited. Its file is not removed.
    ///
    /// # Errors
    /// The error of the operating system.
    pub fn from_std(listener: net::UnixListener) -> io::Result<Self> {
        Ok(Self { listener: register(listener)?, _file: None })
    }
}

fn register(listener: net::UnixListener) -> io::Result<tokio::net::UnixListener> {
    listener.set_nonblocking(true)?;
    tokio::net::UnixListener::from_std(listener)
}

impl axeom_ws_core::Listener for UnixListener {
    async fn accept(&self) -> io::Result<Incoming> {
        let (stream, _) = self.listener.accept().await?;
        Ok(Incoming::from_unix(stream, Io::new))
    }

    fn local_addr(&self) -> io::Result<LocalAddr> {
        let addr = self.listener.local_addr()?;
        Ok(LocalAddr::Unix(addr.as_pathname().map(Path::to_owned)))
    }
}
