use std::time::Duration;

use crate::{compression::Compression, origin::OriginPolicy};

/// How large a received message may be.
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::protocol::Limits;
///
/// let limits = Limits::new().message_size(64 * 1024);
/// assert_eq!((limits.message_size, limits.fragments), (64 * 1024, 16 * 1024));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The largest message in bytes, after decompression. A larger one is
    /// [`Violation::MessageTooBig`](crate::protocol::Violation::MessageTooBig).
    pub message_size: usize,
    /// The most frames in a message, including empty ones. More are
    /// [`Violation::TooManyFragments`](crate::protocol::Violation::TooManyFragments).
    pub fragments: u32,
}

impl Limits {
    /// The defaults: 16 MiB and 16 384 fragments.
    pub const fn new() -> Self {
        Self { message_size: 16 * 1024 * 1024, fragments: 16 * 1024 }
    }

    /// Sets the largest message in bytes, after decompression. Default 16 MiB.
    pub const fn message_size(mut self, bytes: usize) -> Self {
        self.message_size = bytes;
        self
    }

    /// Sets the most frames in a message, including empty ones. Default 16 384.
    pub const fn fragments(mut self, count: u32) -> Self {
        self.fragments = count;
        self
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::new()
    }
}

/// How connections behave. An option that a route does not set has the value of the group or app
/// around it, or else its default.
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::{App, Options};
///
/// let app = App::new()
///     .options(Options::new().max_message_size(1024 * 1024))
///     .ws("/upload", |route| route.options(Options::new().max_message_size(64 * 1024 * 1024)));
/// # let _ = app;
/// ```
#[derive(Debug, Clone, Default)]
pub struct Options {
    max_message_size: Option<usize>,
    max_fragments: Option<u32>,
    high_water_mark: Option<usize>,
    low_water_mark: Option<usize>,
    send_limit: Option<usize>,
    close_on_full: Option<bool>,
    ping_interval: Option<Option<Duration>>,
    pong_timeout: Option<Option<Duration>>,
    idle_timeout: Option<Option<Duration>>,
    write_timeout: Option<Duration>,
    min_rate: Option<Option<u64>>,
    message_timeout: Option<Option<Duration>>,
    unsent_limit: Option<Option<u32>>,
    close_timeout: Option<Duration>,
    max_lifetime: Option<Option<Duration>>,
    compression: Option<Option<Compression>>,
    origins: Option<OriginPolicy>,
}

impl Options {
    /// Options of which none is set.
    pub fn new() -> Self {
        Self::default()
    }

    /// The largest message that is accepted from the peer, in bytes after decompression. A larger
    /// one closes the connection with 1009. Default 16 MiB; at least 1.
    pub fn max_message_size(mut self, bytes: usize) -> Self {
        self.max_message_size = Some(bytes);
        self
    }

    /// The most frames in a message from the peer, including empty ones. More close the
    /// connection with 1008. Default 16 384; at least 1.
    pub fn max_fragments(mut self, count: u32) -> Self {
        self.max_fragments = Some(count);
        self
    }

    /// While more than this many bytes are queued, [`try_send`](crate::Ws::try_send) returns
    /// [`Backpressure`](crate::SendStatus::Backpressure) and [`send`](crate::Ws::send) waits.
    /// Default 64 KiB.
    pub fn high_water_mark(mut self, bytes: usize) -> Self {
        self.high_water_mark = Some(bytes);
        self
    }

    /// When the queue is down to this many bytes after backpressure, `drain` runs and
    /// [`send`](crate::Ws::send) continues. Default half the high-water mark; at most the
    /// high-water mark.
    pub fn low_water_mark(mut self, bytes: usize) -> Self {
        self.low_water_mark = Some(bytes);
        self
    }

    /// The most bytes that may be queued. A message that would exceed this is refused with
    /// [`Full`](crate::TrySendError::Full), unless the queue is empty. Default 1 MiB, or the
    /// high-water mark if that is more; at least the high-water mark.
    pub fn send_limit(mut self, bytes: usize) -> Self {
        self.send_limit = Some(bytes);
        self
    }

    /// Closes a connection with 1013 when a message exceeds its send limit. Default off: the
    /// message is returned to the caller, or dropped if it was published.
    pub fn close_on_full(mut self, close: bool) -> Self {
        self.close_on_full = Some(close);
        self
    }

    /// The time between two pings to the peer (RFC 6455 §5.5.2). Default 25 s, because many
    /// proxies end connections that are silent for 60 s. `None` turns pings off.
    pub fn ping_interval(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.ping_interval = Some(interval.into());
        self
    }

    /// How long to wait after a ping for a sign of life: a pong, any other bytes from the peer, or
    /// progress of a write that was blocked. Without one, the connection is cut, `error` sees
    /// [`PongTimeout`](crate::ConnectionError::PongTimeout) and `close` sees 1006. Default 20 s;
    /// `None` waits forever.
    ///
    /// A connection whose handler is busy stops reading after 64 KiB and cannot see such a sign.
    /// Then it counts that the peer's TCP stack takes what is sent, and one that takes nothing is
    /// cut after twice this time.
    pub fn pong_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.pong_timeout = Some(timeout.into());
        self
    }

    /// Closes a connection with 1001 when the peer has sent no message for this long. Pings and
    /// pongs do not count. It can take a quarter longer, because the time is not recorded for
    /// each message. Default off.
    pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.idle_timeout = Some(timeout.into());
        self
    }

    /// Cuts a connection when a write has been blocked for this long and the peer has taken nothing
    /// meanwhile. `error` sees [`WriteTimeout`](crate::ConnectionError::WriteTimeout) and `close`
    /// sees 1006. Default 30 s. If the peer took something at first, this can take a quarter
    /// longer.
    ///
    /// On Linux, what a peer has taken is what its TCP stack has acknowledged. Elsewhere, and where
    /// the transport has no [socket](crate::Transport::socket), it is what the transport has
    /// accepted.
    pub fn write_timeout(mut self, timeout: Duration) -> Self {
        self.write_timeout = Some(timeout);
        self
    }

    /// The least rate, in bytes a second, at which the peer must send the rest of a message that it
    /// has begun, and take what is sent to it while it is behind. It is measured over 30 s.
    ///
    /// A peer that is too slow in sending is closed with 1008. One that is too slow in taking is
    /// cut: `error` sees [`TooSlow`](crate::ConnectionError::TooSlow), and `close` sees 1006.
    /// Default 1 KiB a second; `None` allows any rate.
    pub fn min_rate(mut self, bytes: impl Into<Option<u64>>) -> Self {
        self.min_rate = Some(bytes.into());
        self
    }

    /// Closes a connection with 1008 when a message that the peer has begun is not complete after
    /// this long, whatever its rate. It can take a quarter longer. Default off.
    pub fn message_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.message_timeout = Some(timeout.into());
        self
    }

    /// The most bytes that the kernel holds for a connection without having sent them, besides
    /// those that are on their way (`TCP_NOTSENT_LOWAT`). Default 1 MiB; `None` leaves it to the
    /// operating system, which may hold several MiB.
    ///
    /// The kernel's bytes do not count as queued. So for a peer that reads slowly, this and the
    /// [`send_limit`](Self::send_limit) bound how old a message can be when it leaves. This has an
    /// effect on TCP connections, on Linux, Android and Apple's systems.
    pub fn unsent_limit(mut self, bytes: impl Into<Option<u32>>) -> Self {
        self.unsent_limit = Some(bytes.into());
        self
    }

    /// Closes a connection with 1001 when it is this old. Default off.
    pub fn max_lifetime(mut self, lifetime: impl Into<Option<Duration>>) -> Self {
        self.max_lifetime = Some(lifetime.into());
        self
    }

    /// How long the closing handshake (RFC 6455 §7.1.2) may take before the connection is cut,
    /// and how long a busy handler may delay the answer to the peer's close frame, to a violation,
    /// or to the end of the stream. It also bounds what is received after a write failed. Default
    /// 10 s.
    pub fn close_timeout(mut self, timeout: Duration) -> Self {
        self.close_timeout = Some(timeout);
        self
    }

    /// Compresses messages on connections whose client offers permessage-deflate (RFC 7692).
    /// Default off.
    pub fn compression(mut self, compression: impl Into<Option<Compression>>) -> Self {
        self.compression = Some(compression.into());
        self
    }

    /// Lets pages of these origins connect, such as `https://example.com`, besides pages from the
    /// same host (RFC 6455 §10.2). By default, only pages from the same host may, of either scheme
    /// unless [`App::secure`](crate::App::secure) names theirs. Others are refused with 403.
    pub fn allow_origins<O: Into<String>>(mut self, origins: impl IntoIterator<Item = O>) -> Self {
        self.origins = Some(OriginPolicy::Listed(origins.into_iter().map(Into::into).collect()));
        self
    }

    /// Lets pages of every origin connect. Use this only for routes that need no protection from
    /// cross-site requests.
    pub fn allow_any_origin(mut self) -> Self {
        self.origins = Some(OriginPolicy::Any);
        self
    }

    /// These options, completed with those of `outer`.
    pub(crate) fn or(self, outer: &Options) -> Options {
        Options {
            max_message_size: self.max_message_size.or(outer.max_message_size),
            max_fragments: self.max_fragments.or(outer.max_fragments),
            high_water_mark: self.high_water_mark.or(outer.high_water_mark),
            low_water_mark: self.low_water_mark.or(outer.low_water_mark),
            send_limit: self.send_limit.or(outer.send_limit),
            close_on_full: self.close_on_full.or(outer.close_on_full),
            ping_interval: self.ping_interval.or(outer.ping_interval),
            pong_timeout: self.pong_timeout.or(outer.pong_timeout),
            idle_timeout: self.idle_timeout.or(outer.idle_timeout),
            write_timeout: self.write_timeout.or(outer.write_timeout),
            min_rate: self.min_rate.or(outer.min_rate),
            message_timeout: self.message_timeout.or(outer.message_timeout),
            unsent_limit: self.unsent_limit.or(outer.unsent_limit),
            close_timeout: self.close_timeout.or(outer.close_timeout),
            max_lifetime: self.max_lifetime.or(outer.max_lifetime),
            compression: self.compression.or(outer.compression),
            origins: self.origins.or_else(|| outer.origins.clone()),
        }
    }

    /// The settings of a route, or what is wrong with them.
    pub(crate) fn resolve(&self) -> Result<Settings, InvalidOption> {
        let limits = Limits::default();
        let high_water_mark = self.high_water_mark.unwrap_or(64 * 1024);
        let settings = Settings {
            limits: Limits {
                message_size: self.max_message_size.unwrap_or(limits.message_size),
                fragments: self.max_fragments.unwrap_or(limits.fragments),
            },
            high_water_mark,
            low_water_mark: self.low_water_mark.unwrap_or(high_water_mark / 2),
            send_limit: self.send_limit.unwrap_or(high_water_mark.max(1024 * 1024)),
            close_on_full: self.close_on_full.unwrap_or(false),
            ping_interval: self.ping_interval.unwrap_or(Some(Duration::from_secs(25))),
            pong_timeout: self.pong_timeout.unwrap_or(Some(Duration::from_secs(20))),
            idle_timeout: self.idle_timeout.flatten(),
            write_timeout: self.write_timeout.unwrap_or(Duration::from_secs(30)),
            min_rate: self.min_rate.unwrap_or(Some(1024)),
            message_timeout: self.message_timeout.flatten(),
            unsent_limit: self.unsent_limit.unwrap_or(Some(1024 * 1024)),
            close_timeout: self.close_timeout.unwrap_or(Duration::from_secs(10)),
            max_lifetime: self.max_lifetime.flatten(),
            compression: self.compression.flatten(),
            origins: self.origins.clone().unwrap_or_default(),
            topics: String::new(),
        };
        settings.check()?;
        Ok(settings)
    }
}

/// An option has a value that is not allowed.
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::InvalidOption;
///
/// fn explain(error: &InvalidOption) -> String {
///     format!("change {}: it must be {}", error.name, error.rule)
/// }
/// # let _ = explain;
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("option {name} is {value}, but it must be {rule}")]
#[non_exhaustive]
pub struct InvalidOption {
    /// The name of the option.
    pub name: &'static str,
    /// The value that it has.
    pub value: String,
    /// The values that are allowed, such as `at least 1`.
    pub rule: &'static str,
}

/// The complete options of one route, and its prefix of topics.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) limits: Limits,
    pub(crate) high_water_mark: usize,
    pub(crate) low_water_mark: usize,
    pub(crate) send_limit: usize,
    pub(crate) close_on_full: bool,
    pub(crate) ping_interval: Option<Duration>,
    pub(crate) pong_timeout: Option<Duration>,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) write_timeout: Duration,
    pub(crate) min_rate: Option<u64>,
    pub(crate) message_timeout: Option<Duration>,
    pub(crate) unsent_limit: Option<u32>,
    pub(crate) close_timeout: Duration,
    pub(crate) max_lifetime: Option<Duration>,
    pub(crate) compression: Option<Compression>,
    pub(crate) origins: OriginPolicy,
    /// What is put before the names of topics that handlers use. Usually empty.
    pub(crate) topics: String,
}

impl Settings {
    pub(crate) fn with_topics(self, topics: String) -> Self {
        Self { topics, ..self }
    }

    fn check(&self) -> Result<(), InvalidOption> {
        let wrong = |name, value: &dyn ToString, rule| {
            Err(InvalidOption { name, value: value.to_string(), rule })
        };
        if self.limits.message_size == 0 {
            return wrong("max_message_size", &0, "at least 1 byte");
        }
        if self.limits.fragments == 0 {
            return wrong("max_fragments", &0, "at least 1");
        }
        if self.low_water_mark > self.high_water_mark {
            return wrong("low_water_mark", &self.low_water_mark, "at most the high_water_mark");
        }
        if self.send_limit < self.high_water_mark {
            return wrong("send_limit", &self.send_limit, "at least the high_water_mark");
        }
        for (name, duration) in [
            ("ping_interval", self.ping_interval),
            ("pong_timeout", self.pong_timeout),
            ("idle_timeout", self.idle_timeout),
            ("write_timeout", Some(self.write_timeout)),
            ("message_timeout", self.message_timeout),
            ("close_timeout", Some(self.close_timeout)),
            ("max_lifetime", self.max_lifetime),
        ] {
            if duration.is_some_and(|duration| duration.is_zero()) {
                return wrong(name, &"0", "more than zero, or None where it can be turned off");
            }
        }
        if let Some((name, value, rule)) = self.compression.and_then(|own| own.unusable()) {
            return wrong(name, &value, rule);
        }
        if let Some(origin) = self.origins.unusable() {
            return wrong("allow_origins", &origin, "scheme://host[:port] without a path");
        }
        Ok(())
    }
}
