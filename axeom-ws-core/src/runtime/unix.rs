//! Unix domain sockets: their files, and who is on the other end.

use std::{
    fs, io,
    os::{
        fd::AsFd,
        unix::{
            fs::{FileTypeExt, MetadataExt},
            net::UnixListener,
        },
    },
    path::{self, Path, PathBuf},
};

use socket2::{Domain, SockAddr, Socket, Type};

use super::{Incoming, Peer, Transport};
use crate::error::ServeError;

/// The file of a Unix domain socket. Dropping this removes it, unless another socket has taken its
/// place.
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// # let path = std::env::temp_dir().join(format!("axeom-ws-doc-{}.sock", std::process::id()));
/// let (listener, file) = axeom_ws::bind_unix(&path, Ok)?;
/// assert_eq!(file.path(), path);
/// drop((listener, file));
/// assert!(!path.exists());
/// # Ok::<(), axeom_ws::ServeError>(())
/// ```
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    fn at(path: &Path) -> io::Result<Self> {
        // The program may change its directory.
        let path = path::absolute(path)?;
        let metadata = fs::symlink_metadata(&path)?;
        Ok(Self { path, device: metadata.dev(), inode: metadata.ino() })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_own = |found: fs::Metadata| (found.dev(), found.ino()) == (self.device, self.inode);
        if fs::symlink_metadata(&self.path).is_ok_and(is_own) {
            // What is left of it is replaced by the next socket.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Binds a Unix domain socket to a path, as the `UnixListener::bind` of each adapter does, and has
/// `register` make of it what a runtime accepts with.
///
/// A socket that an earlier process left there is replaced. One that is listened on is not.
///
/// # Errors
/// [`ServeError::Bind`] with the path, if it cannot be bound or registered.
pub fn bind_unix<L>(
    path: impl AsRef<Path>,
    register: impl FnOnce(UnixListener) -> io::Result<L>,
) -> Result<(L, SocketFile), ServeError> {
    let path = path.as_ref();
    let bound = || {
        let listener = bind(path)?;
        let file = SocketFile::at(path)?;
        listener.set_nonblocking(true)?;
        Ok((register(listener)?, file))
    };
    bound().map_err(|source| ServeError::Bind { addr: path.display().to_string(), source })
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let in_use = |why| Err(io::Error::new(io::ErrorKind::AddrInUse, why));
            if !fs::symlink_metadata(path)?.file_type().is_socket() {
                return in_use("there is a file that is not a socket");
            }
            if is_listened_on(path)? {
                return in_use("another process listens there");
            }
            fs::remove_file(path)?;
            UnixListener::bind(path)
        }
        bound => bound,
    }
}

fn is_listened_on(path: &Path) -> io::Result<bool> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Else this would wait for room in the backlog.
    socket.set_nonblocking(true)?;
    let connected = socket.connect(&SockAddr::unix(path)?);
    Ok(!connected.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused))
}

/// Who is on the other end of a Unix domain socket, as it was when the connection was made. On
/// Linux and Android, [`Context::extension`](crate::Context::extension) and
/// [`Ws::extension`](crate::Ws::extension) give it for connections of the `UnixListener` of each
/// adapter; elsewhere they give `None`.
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::{App, PeerCredentials, Rejection};
///
/// /// Lets in nobody but root.
/// let app = App::new()
///     .guard(async |ctx| match ctx.extension::<PeerCredentials>() {
///         Some(peer) if peer.uid == 0 => Ok(()),
///         _ => Err(Rejection::forbidden("root only")),
///     })
///     .ws("/", |route| route);
/// # let _ = app;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerCredentials {
    /// The user of its process.
    pub uid: u32,
    /// The group of its process.
    pub gid: u32,
    /// Its process, unless that cannot be seen from here, as in another container.
    pub pid: Option<i32>,
}

impl PeerCredentials {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn of(socket: &impl AsFd) -> Option<Self> {
        use nix::sys::socket::{getsockopt, sockopt};

        let found = getsockopt(socket, sockopt::PeerCredentials).ok()?;
        let pid = Some(found.pid()).filter(|pid| *pid > 0);
        Some(Self { uid: found.uid(), gid: found.gid(), pid })
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn of(_: &impl AsFd) -> Option<Self> {
        None
    }
}

impl Incoming {
    /// A connection over a Unix domain socket, of which `transport` makes the transport. If the
    /// operating system tells, [`PeerCredentials`] are among its extensions.
    pub fn from_unix<S: AsFd, T: Transport>(stream: S, transport: impl FnOnce(S) -> T) -> Self {
        let credentials = PeerCredentials::of(&stream);
        let mut incoming = Self::new(transport(stream), Peer::Unix);
        if let Some(credentials) = credentials {
            incoming.extensions_mut().insert(credentials);
        }
        incoming
    }
}
