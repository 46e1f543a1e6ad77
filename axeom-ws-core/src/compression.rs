/// How messages are compressed with permessage-deflate (RFC 7692). Compression is off unless it is
/// set with [`Options::compression`](crate::Options::compression).
///
/// Without server context takeover, which is the default, a connection has no compressor. One
/// compressor per thread is used for all connections, and a published message is compressed once
/// for all subscribers with the same parameters.
///
/// The table shows the memory of a connection that has sent and received a compressed message.
/// About 1 350 bytes of it are the connection itself (x86-64 Linux,
/// `cargo bench --all-features --bench memory`).
///
/// | | bytes |
/// | --- | ---: |
/// | off | 1 343 |
/// | no context takeover | 1 404 |
/// | [`client_context_takeover`] (default) | 21 446 |
/// | and [`server_context_takeover`], window bits 15, memory level 8 | 341 327 |
/// | the same, window bits 10, memory level 3 | 165 064 |
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::{App, Compression, Options};
///
/// let app = App::new().options(Options::new().compression(Compression::new().level(3)));
/// # let _ = app;
/// ```
///
/// [`server_context_takeover`]: Self::server_context_takeover
/// [`client_context_takeover`]: Self::client_context_takeover
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Compression {
    pub(crate) level: u8,
    pub(crate) threshold: usize,
    pub(crate) server_context_takeover: bool,
    pub(crate) client_context_takeover: bool,
    pub(crate) server_max_window_bits: u8,
    pub(crate) client_max_window_bits: u8,
    pub(crate) mem_level: u8,
}

impl Default for Compression {
    fn default() -> Self {
        Self::new()
    }
}

impl Compression {
    /// The defaults: level 6, a threshold of 1 KiB, no server context takeover, client context
    /// takeover if the client uses it, 15 window bits, and memory level 8.
    pub const fn new() -> Self {
        Self {
            level: 6,
            threshold: 1024,
            server_context_takeover: false,
            client_context_takeover: true,
            server_max_window_bits: 15,
            client_max_window_bits: 15,
            mem_level: 8,
        }
    }

    /// The compression level, from 1 (fast) to 9 (small). Default 6.
    pub const fn level(mut self, level: u8) -> Self {
        self.level = level;
        self
    }

    /// Messages of fewer bytes than this are sent uncompressed. Default 1024.
    pub const fn threshold(mut self, bytes: usize) -> Self {
        self.threshold = bytes;
        self
    }

    /// Lets each of the server's messages refer to earlier ones (RFC 7692 §7.1.1.1). Default off.
    ///
    /// This compresses small messages better. But each connection that has sent a compressed
    /// message then has its own compressor, and a published message is compressed once for each
    /// subscriber.
    pub const fn server_context_takeover(mut self, takeover: bool) -> Self {
        self.server_context_takeover = takeover;
        self
    }

    /// Lets each of the client's messages refer to earlier ones (RFC 7692 §7.1.1.2). Default on.
    ///
    /// Each connection that has received a compressed message then has its own decompressor. If
    /// this is off, the client is told not to use context takeover, and one decompressor per
    /// thread is used for all connections.
    pub const fn client_context_takeover(mut self, takeover: bool) -> Self {
        self.client_context_takeover = takeover;
        self
    }

    /// The window of the server's compressor, as a power of two from 9 to 15 (RFC 7692
    /// §7.1.2.1). Default 15. A client may ask for less.
    pub const fn server_max_window_bits(mut self, bits: u8) -> Self {
        self.server_max_window_bits = bits;
        self
    }

    /// The window of the client's compressor, as a power of two from 9 to 15 (RFC 7692
    /// §7.1.2.2). Default 15. Less has an effect only on clients whose offer contains this
    /// parameter.
    pub const fn client_max_window_bits(mut self, bits: u8) -> Self {
        self.client_max_window_bits = bits;
        self
    }

    /// The memory level of a compressor, from 1 (little memory) to 9 (fast). Default 8.
    pub const fn mem_level(mut self, level: u8) -> Self {
        self.mem_level = level;
        self
    }

    /// An option whose value is not allowed: its name, the value, and the rule.
    pub(crate) fn unusable(&self) -> Option<(&'static str, u8, &'static str)> {
        let window = |bits: u8| (9..=15).contains(&bits);
        if !(1..=9).contains(&self.level) {
            return Some(("compression.level", self.level, "1 to 9"));
        }
        if !(1..=9).contains(&self.mem_level) {
            return Some(("compression.mem_level", self.mem_level, "1 to 9"));
        }
        if !window(self.server_max_window_bits) {
            let bits = self.server_max_window_bits;
            return Some(("compression.server_max_window_bits", bits, "9 to 15"));
        }
        if !window(self.client_max_window_bits) {
            let bits = self.client_max_window_bits;
            return Some(("compression.client_max_window_bits", bits, "9 to 15"));
        }
        None
    }
}

/// The parameters of permessage-deflate that both sides agreed on (RFC 7692 §7.1).
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::{
///     DeflateParams,
///     protocol::{Inbound, Limits, Role},
/// };
///
/// let params = DeflateParams::new().client_no_context_takeover(true);
/// let server = Inbound::new(Role::Server, Limits::new()).with_deflate(params);
/// # let _ = server;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct DeflateParams {
    /// Whether the server's messages do not refer to earlier ones.
    pub server_no_context_takeover: bool,
    /// Whether the client's messages do not refer to earlier ones.
    pub client_no_context_takeover: bool,
    /// The server's window, as a power of two.
    pub server_max_window_bits: u8,
    /// The client's window, as a power of two.
    pub client_max_window_bits: u8,
}

impl DeflateParams {
    /// The parameters that follow from an answer without any: both sides refer to earlier
    /// messages, in windows of 15 bits.
    pub const fn new() -> Self {
        Self {
            server_no_context_takeover: false,
            client_no_context_takeover: false,
            server_max_window_bits: 15,
            client_max_window_bits: 15,
        }
    }

    /// Sets whether the server's messages do not refer to earlier ones (RFC 7692 §7.1.1.1).
    /// Default `false`.
    pub const fn server_no_context_takeover(mut self, none: bool) -> Self {
        self.server_no_context_takeover = none;
        self
    }

    /// Sets whether the client's messages do not refer to earlier ones (RFC 7692 §7.1.1.2).
    /// Default `false`.
    pub const fn client_no_context_takeover(mut self, none: bool) -> Self {
        self.client_no_context_takeover = none;
        self
    }

    /// Sets the server's window, as a power of two from 9 to 15 (RFC 7692 §7.1.2.1). Default 15.
    pub const fn server_max_window_bits(mut self, bits: u8) -> Self {
        self.server_max_window_bits = bits;
        self
    }

    /// Sets the client's window, as a power of two from 9 to 15 (RFC 7692 §7.1.2.2). Default 15.
    pub const fn client_max_window_bits(mut self, bits: u8) -> Self {
        self.client_max_window_bits = bits;
        self
    }
}

impl Default for DeflateParams {
    fn default() -> Self {
        Self::new()
    }
}
