//! A peer that sends and sees bytes: for all that a good client would never do.

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{
    frame::{self, Frame},
    request::Request,
};

trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

pub struct Raw {
    stream: Box<dyn Connection>,
    /// Received and not looked at.
    pub received: Vec<u8>,
}

/// The key of RFC 6455 §1.3 and its answer.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

impl Raw {
    pub fn new(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        Self { stream: Box::new(stream), received: Vec::new() }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
        // The server may have ended the connection already because of what was written.
        let _ = self.stream.flush().await;
    }

    /// As [`send`](Self::send), when the server may be gone already.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).await.is_ok()
    }

    /// Ends the sending direction.
    pub async fn shutdown(&mut self) {
        self.stream.close().await.unwrap();
    }

    /// Reads once; `false` at the end, and after a reset.
    pub async fn read(&mut self) -> bool {
        let mut buffer = vec![0; 16 * 1024];
        let n = self.stream.read(&mut buffer).await.unwrap_or(0);
        self.received.extend_from_slice(&buffer[..n]);
        n > 0
    }

    /// Everything until the server ends the connection.
    pub async fn read_to_end(&mut self) -> Vec<u8> {
        while self.read().await {}
        std::mem::take(&mut self.received)
    }

    /// Everything until the server ends the connection, which it must do without a reset.
    pub async fn read_to_orderly_end(&mut self) -> Vec<u8> {
        self.stream.read_to_end(&mut self.received).await.unwrap();
        std::mem::take(&mut self.received)
    }

    /// Sends a request and reads its whole response.
    pub async fn ask(&mut self, request: &Request) -> Response {
        self.send(request.text()).await;
        self.response().await
    }

    /// A whole response, whose connection the server ends.
    pub async fn response(&mut self) -> Response {
        Response::parse(&String::from_utf8(self.read_to_orderly_end().await).unwrap())
    }

    /// A response head, with the connection going on after it.
    pub async fn head(&mut self) -> Response {
        loop {
            let end = self.received.windows(4).position(|window| window == b"\r\n\r\n");
            if let Some(end) = end {
                let head: Vec<_> = self.received.drain(..end + 4).collect();
                return Response::parse(&String::from_utf8(head).unwrap());
            }
            assert!(self.read().await, "the connection ended in the response head");
        }
    }

    /// Sends a request of these lines, and the empty line after them.
    pub async fn send_request(&mut self, lines: &[&str]) {
        self.send(format!("{}\r\n\r\n", lines.join("\r\n"))).await;
    }

    pub async fn upgrade(&mut self, path: &str) -> Response {
        self.send(Request::get(path).text()).await;
        let response = self.head().await;
        assert_eq!(response.status, 101, "{response:?}");
        response
    }

    /// The next frame.
    pub async fn frame(&mut self) -> Frame {
        self.try_frame().await.expect("the connection ended before the next frame")
    }

    /// The next frame, or `None` at the end.
    pub async fn try_frame(&mut self) -> Option<Frame> {
        loop {
            if let Some((frame, size)) = frame::decode(&self.received) {
                self.received.drain(..size);
                return Some(frame);
            }
            if !self.read().await {
                assert!(self.received.is_empty(), "half a frame: {:?}", self.received);
                return None;
            }
        }
    }

    /// The code of the close frame that comes next, after which the server ends the
    /// connection.
    pub async fn close_code(&mut self) -> u16 {
        let frame = self.frame().await;
        let code = frame.close_code().unwrap_or_else(|| panic!("not a close frame: {frame:?}"));
        // Answered as a good client would; a server that is gone does not mind.
        self.try_send(frame::close(code)).await;
        assert_eq!(self.try_frame().await, None, "a frame after the close frame");
        code
    }
}

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Response {
    fn parse(text: &str) -> Self {
        let (head, body) =
            text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {text:?}"));
        let mut lines = head.split("\r\n");
        let status_line = lines.next().unwrap();
        let status = status_line.strip_prefix("HTTP/1.1 ").expect(status_line);
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(": ").expect(line);
            (name.to_ascii_lowercase(), value.to_owned())
        });
        Self {
            status: status[..3].parse().unwrap(),
            headers: headers.collect(),
            body: body.to_owned(),
        }
    }

    /// The only value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(key, _)| key == name);
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} is repeated: {self:?}");
        value
    }
}
