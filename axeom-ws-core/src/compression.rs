/// How messages are compressed: permessage-deflate (RFC 7692). Off unless an
/// [`Options`](crate::Options) has one.
///
/// Without server context takeover, the default, a connection holds no compressor: one
/// per thread serves them all, and a published message is compressed once for all
/// subscribers whose parameters are the same. What a connection holds once it has sent and
/// received a compressed message, in bytes, of which 1 500 are the connection itself (x86-64
/// Linux, `cargo bench --all-features --bench memory`):
///
/// | | bytes |
/// | --- | ---: |
/// | off | 1 482 |
/// | no context takeover | 1 585 |
/// | [`client_context_takeover`] (default) | 21 676 |
/// | and [`server_context_takeover`], window bits 15, memory level 8 | 341 299 |
/// | the same, window bits 10, memory level 3 | 165 171 |
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
    /// The defaults: level 6, from 1 KiB on, no server context takeover, client context
    /// takeover if the client likes, 15 window bits, memory level 8.
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

    /// How hard to try: 1 (fast) to 9 (small). Default 6.
    pub const fn level(mut self, level: u8) -> Self {
        self.level = level;
        self
    }

    /// Messages of fewer bytes than this are sent as they are. Default 1024.
    pub const fn threshold(mut self, bytes: usize) -> Self {
        self.threshold = bytes;
        self
    }

    /// Lets each message refer to those sent before (RFC 7692 §7.1.1.1). Default off: on,
    /// small messages shrink more, every connection that has sent a compressed one holds a
    /// compressor, and published messages are compressed for each subscriber alone.
    pub const fn server_context_takeover(mut self, takeover: bool) -> Self {
        self.server_context_takeover = takeover;
        self
    }

    /// Lets the client's messages refer to those before (RFC 7692 §7.1.1.2), for which a
    /// connection that has received one holds a decompressor. Default on. Off, the client
    /// is told not to, and one decompressor per thread serves all.
    pub const fn client_context_takeover(mut self, takeover: bool) -> Self {
        self.client_context_takeover = takeover;
        self
    }

    /// The window of this side's compressor as a power of two, 9 to 15 (RFC 7692
    /// §7.1.2.1). Default 15. A client may ask for less.
    pub const fn server_max_window_bits(mut self, bits: u8) -> Self {
        self.server_max_window_bits = bits;
        self
    }

    /// The window of the client's compressor as a power of two, 9 to 15 (RFC 7692
    /// §7.1.2.2). Default 15. Only a client that says it can be told uses less.
    pub const fn client_max_window_bits(mut self, bits: u8) -> Self {
        self.client_max_window_bits = bits;
        self
    }

    /// The memory of a compressor, 1 (little) to 9 (fast). Default 8.
    pub const fn mem_level(mut self, level: u8) -> Self {
        self.mem_level = level;
        self
    }

    /// An option with a value it cannot have: its name, the value, and the rule.
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
    /// The server's messages do not refer to those before.
    pub server_no_context_takeover: bool,
    /// The client's messages do not refer to those before.
    pub client_no_context_takeover: bool,
    /// The server's window as a power of two.
    pub server_max_window_bits: u8,
    /// The client's window as a power of two.
    pub client_max_window_bits: u8,
}

impl DeflateParams {
    /// Those of an answer without parameters: both sides refer to earlier messages, in
    /// windows of 15 bits.
    pub const fn new() -> Self {
        Self {
            server_no_context_takeover: false,
            client_no_context_takeover: false,
            server_max_window_bits: 15,
            client_max_window_bits: 15,
        }
    }

    /// Whether the server's messages do not refer to those before (RFC 7692 §7.1.1.1).
    pub const fn server_no_context_takeover(mut self, none: bool) -> Self {
        self.server_no_context_takeover = none;
        self
    }

    /// Whether the client's messages do not refer to those before (RFC 7692 §7.1.1.2).
    pub const fn client_no_context_takeover(mut self, none: bool) -> Self {
        self.client_no_context_takeover = none;
        self
    }

    /// The server's window as a power of two, 9 to 15 (RFC 7692 §7.1.2.1).
    pub const fn server_max_window_bits(mut self, bits: u8) -> Self {
        self.server_max_window_bits = bits;
        self
    }

    /// The client's window as a power of two, 9 to 15 (RFC 7692 §7.1.2.2).
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
