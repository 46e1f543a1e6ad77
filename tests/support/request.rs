//! Handshake requests as text, changed line by line.

use super::raw::KEY;

/// A request head. It starts out good.
#[derive(Clone, Debug)]
pub struct Request {
    lines: Vec<String>,
}

impl Request {
    /// A good handshake.
    pub fn get(path: &str) -> Self {
        let lines = [
            format!("GET {path} HTTP/1.1"),
            "Host: localhost".to_owned(),
            "Upgrade: websocket".to_owned(),
            "Connection: Upgrade".to_owned(),
            "Sec-WebSocket-Version: 13".to_owned(),
            format!("Sec-WebSocket-Key: {KEY}"),
        ];
        Self { lines: lines.into() }
    }

    /// A plain request, without any header but `Host`.
    pub fn plain(line: &str) -> Self {
        Self { lines: vec![format!("{line} HTTP/1.1"), "Host: localhost".to_owned()] }
    }

    /// The same with one more line.
    pub fn and(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }

    /// The same without the lines of a header.
    pub fn without(mut self, name: &str) -> Self {
        let prefix = format!("{name}: ");
        self.lines.retain(|line| !line.starts_with(&prefix));
        self
    }

    /// The same with another value of a header.
    pub fn with(self, name: &str, value: &str) -> Self {
        self.without(name).and(format!("{name}: {value}"))
    }

    /// The same with something else in its request line.
    pub fn line(mut self, from: &str, to: &str) -> Self {
        assert!(self.lines[0].contains(from), "{from:?} is not in {:?}", self.lines[0]);
        self.lines[0] = self.lines[0].replacen(from, to, 1);
        self
    }

    /// As it goes over the wire.
    pub fn text(&self) -> String {
        format!("{}\r\n\r\n", self.lines.join("\r\n"))
    }
}
