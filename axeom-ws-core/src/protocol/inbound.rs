use bytes::{Bytes, BytesMut};

use super::{
    Role,
    deflate::Inflater,
    header::{Header, Opcode, Plain},
    mask::Mask,
    partial::Partial,
};
use crate::{
    close::{CloseCode, CloseFrame},
    compression::DeflateParams,
    event::Event,
    message::Message,
    options::Limits,
    utf8::{Utf8Bytes, copy_text},
    violation::Violation,
};

/// What [`Inbound::receive`] did.
#[derive(Debug, PartialEq)]
#[must_use]
#[non_exhaustive]
pub struct Received {
    /// How many bytes at the front of the input were consumed. The rest must be passed again,
    /// with more input behind it.
    pub consumed: usize,
    /// The event that they completed. With `None`, more input is needed.
    pub event: Option<Event>,
}

/// What was parsed: an event, but for the decompression of a message. That is put off until the
/// message is wanted, because until then it is small.
#[derive(Debug)]
pub(crate) enum Parsed {
    Event(Event),
    Compressed { text: bool, payload: Bytes },
}

impl Parsed {
    /// The bytes of its payload.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Event(event) => event.payload_len(),
            Self::Compressed { payload, .. } => payload.len(),
        }
    }
}

/// A payload is worth reading straight into its buffer if at least this many bytes of it are
/// still to come.
const WORTH_A_DIRECT_READ: u64 = 64 * 1024;

/// The receiving half of a connection, which turns bytes into events. The
/// [module](crate::protocol) has an example.
///
/// Memory grows with the bytes that were received and never with an announced length. However
/// the input is split, each byte is looked at a bounded number of times.
#[derive(Debug)]
pub struct Inbound {
    role: Role,
    limits: Limits,
    inflater: Option<Box<Inflater>>,
    /// The data frame whose payload is arriving.
    frame: Option<DataFrame>,
    /// The data message that is not complete yet.
    message: Option<Box<Assembly>>,
    /// Whether there was a close frame or a violation, after which all input is ignored.
    ended: bool,
    /// Whether the next frame may be a whole message and so take the [fast path](Self::plain).
    may_be_plain: bool,
}

#[derive(Debug)]
struct DataFrame {
    fin: bool,
    mask: Mask,
    remaining: u64,
}

#[derive(Debug)]
struct Assembly {
    text: bool,
    compressed: bool,
    fragments: u32,
    payload: Partial,
}

impl Inbound {
    /// The receiving half of a new connection. `role` is the role of the receiver.
    pub fn new(role: Role, limits: Limits) -> Self {
        let mut inbound = Self {
            role,
            limits,
            inflater: None,
            frame: None,
            message: None,
            ended: false,
            may_be_plain: false,
        };
        inbound.note_progress();
        inbound
    }

    /// Enables permessage-deflate with the parameters that were negotiated (RFC 7692).
    pub fn with_deflate(mut self, params: DeflateParams) -> Self {
        self.inflater = Some(Box::new(Inflater::new(self.role, params)));
        self
    }

    /// Consumes bytes from the front of `input` up to the end of the next event.
    ///
    /// This may unmask payloads in `input` in place. If there is an event, call this again with
    /// the bytes that were not consumed; if there is none, append more input first.
    ///
    /// # Errors
    /// The peer broke the protocol. The message that the frame belongs to is not delivered, and
    /// all later input is ignored. The connection should be closed with
    /// [`Violation::close_code`].
    pub fn receive(&mut self, input: &mut [u8]) -> Result<Received, Violation> {
        if let Some((consumed, message)) = self.plain(input) {
            return Ok(Received { consumed, event: Some(Event::Message(message)) });
        }
        let (consumed, parsed) = self.parse_any(input)?;
        let event = parsed.map(|parsed| self.decompress(parsed)).transpose()?;
        Ok(Received { consumed, event })
    }

    /// As [`receive`](Self::receive), but leaves the decompression of a message to
    /// [`decompress`](Self::decompress).
    pub(crate) fn parse(&mut self, input: &mut [u8]) -> Result<(usize, Option<Parsed>), Violation> {
        if let Some((consumed, message)) = self.plain(input) {
            return Ok((consumed, Some(Parsed::Event(Event::Message(message)))));
        }
        self.parse_any(input)
    }

    fn parse_any(&mut self, input: &mut [u8]) -> Result<(usize, Option<Parsed>), Violation> {
        if self.ended {
            return Ok((input.len(), None));
        }
        let parsed = self.advance(input);
        self.ended = matches!(parsed, Err(_) | Ok((_, Some(Parsed::Event(Event::Close(_))))));
        self.note_progress();
        parsed
    }

    /// Makes an event of what was parsed. This must be called in the order in which it was parsed.
    pub(crate) fn decompress(&mut self, parsed: Parsed) -> Result<Event, Violation> {
        let (text, payload) = match parsed {
            Parsed::Event(event) => return Ok(event),
            Parsed::Compressed { text, payload } => (text, payload),
        };
        let message = match &mut self.inflater {
            Some(inflater) => inflated(inflater, &payload, text, &self.limits),
            // Without an inflater, no frame is taken for a compressed one.
            None => Err(Violation::BadDeflate),
        };
        if message.is_err() {
            self.ended = true;
            self.note_progress();
        }
        message.map(Event::Message)
    }

    /// How many bytes of an unfinished message are held.
    pub fn held(&self) -> usize {
        self.message.as_ref().map_or(0, |message| message.payload.len())
    }

    /// Whether a data message has begun and is not complete.
    #[inline]
    pub(crate) fn is_unfinished(&self) -> bool {
        self.frame.is_some() || self.message.is_some()
    }

    /// While a payload has at least 64 KiB still to come, this returns an empty buffer for its
    /// next bytes. Read into it, up to its capacity, and give it back with
    /// [`join_room`](Self::join_room) before any other call. In this way a large payload is not
    /// copied, as it would be by [`receive`](Self::receive).
    ///
    /// All input must have been consumed before.
    pub fn split_room(&mut self) -> Option<BytesMut> {
        match (&self.frame, &mut self.message) {
            (Some(frame), Some(message))
                if frame.remaining >= WORTH_A_DIRECT_READ && !self.ended =>
            {
                let expected = usize::try_from(frame.remaining).unwrap_or(usize::MAX);
                Some(message.payload.split_room(expected))
            }
            _ => None,
        }
    }

    /// Takes the buffer of [`split_room`](Self::split_room) back, with the bytes that were read
    /// into it, and returns the message if they complete it.
    ///
    /// # Errors
    /// The same as for [`receive`](Self::receive).
    pub fn join_room(&mut self, room: BytesMut) -> Result<Option<Event>, Violation> {
        let parsed = self.parse_room(room)?;
        parsed.map(|parsed| self.decompress(parsed)).transpose()
    }

    /// As [`join_room`](Self::join_room), but leaves the decompression of a message to
    /// [`decompress`](Self::decompress).
    pub(crate) fn parse_room(&mut self, mut room: BytesMut) -> Result<Option<Parsed>, Violation> {
        let (Some(frame), Some(message)) = (&mut self.frame, &mut self.message) else {
            return Ok(None);
        };
        // The caller may have put more in there than the frame has.
        room.truncate(usize::try_from(frame.remaining).unwrap_or(usize::MAX));
        frame.remaining = frame.remaining.saturating_sub(room.len() as u64);
        let is_new = !room.is_empty();
        message.payload.join_room(room, |bytes| frame.mask.apply(bytes));
        let is_text = message.text && !message.compressed;
        let received = if is_new && is_text && message.payload.check().is_err() {
            Err(Violation::InvalidUtf8)
        } else if frame.remaining > 0 {
            return Ok(None);
        } else {
            self.end_of_frame()
        };
        self.ended = received.is_err();
        self.note_progress();
        received
    }

    fn note_progress(&mut self) {
        let between_messages = self.frame.is_none() && self.message.is_none() && !self.ended;
        self.may_be_plain =
            between_messages && self.role == Role::Server && self.limits.fragments > 0;
    }

    /// The fast path for a whole message in one frame, which nearly all input consists of. It
    /// returns the length of the frame and the message, or `None` if the input needs
    /// [`receive`](Self::receive).
    #[inline(always)]
    pub(crate) fn plain(&self, input: &[u8]) -> Option<(usize, Message)> {
        if !self.may_be_plain {
            return None;
        }
        let mut header = Plain::parse(input)?;
        let end = header.size.saturating_add(header.length);
        if header.length > self.limits.message_size {
            return None;
        }
        let mut payload = input.get(header.size..end)?.to_vec();
        header.mask.apply(&mut payload);
        let message = if header.text {
            Message::Text(Utf8Bytes::try_from(payload).ok()?)
        } else {
            Message::Binary(Bytes::from(payload))
        };
        Some((end, message))
    }

    fn advance(&mut self, input: &mut [u8]) -> Result<(usize, Option<Parsed>), Violation> {
        let mut consumed: usize = 0;
        loop {
            let rest = input.get_mut(consumed..).unwrap_or_default();
            if self.frame.is_some() {
                consumed = consumed.saturating_add(self.payload(rest)?);
                if self.frame.as_ref().is_some_and(|frame| frame.remaining > 0) {
                    return Ok((consumed, None));
                }
                if let message @ Some(_) = self.end_of_frame()? {
                    return Ok((consumed, message));
                }
                continue;
            }

            let Some(mut header) = Header::parse(rest, self.role, self.inflater.is_some())? else {
                return Ok((consumed, None));
            };
            let whole = usize::try_from(header.length)
                .ok()
                .and_then(|length| rest.get_mut(header.size..)?.get_mut(..length));
            if header.opcode.is_control() {
                // A control frame is short enough to wait for the rest of it.
                let Some(payload) = whole else { return Ok((consumed, None)) };
                header.mask.apply(payload);
                consumed = consumed.saturating_add(header.size).saturating_add(payload.len());
                let event = control_event(header.opcode, payload)?;
                return Ok((consumed, Some(Parsed::Event(event))));
            }

            self.check_data(&header)?;
            match whole {
                Some(payload) if header.fin && self.message.is_none() => {
                    header.mask.apply(payload);
                    consumed = consumed.saturating_add(header.size).saturating_add(payload.len());
                    let text = header.opcode == Opcode::Text;
                    let message = if header.rsv1 {
                        Parsed::Compressed { text, payload: Bytes::copy_from_slice(payload) }
                    } else if text {
                        Parsed::Event(Event::Message(Message::Text(copy_text(payload)?)))
                    } else {
                        let payload = Bytes::copy_from_slice(payload);
                        Parsed::Event(Event::Message(Message::Binary(payload)))
                    };
                    return Ok((consumed, Some(message)));
                }
                _ => {
                    consumed = consumed.saturating_add(header.size);
                    self.begin_frame(header);
                }
            }
        }
    }

    /// Checks the header of a data frame against the message that it belongs to.
    fn check_data(&self, header: &Header) -> Result<(), Violation> {
        let (so_far, fragments) = match (&self.message, header.opcode) {
            (None, Opcode::Continuation) => return Err(Violation::UnexpectedContinuation),
            (None, _) => (0, 0),
            (Some(message), Opcode::Continuation) => (message.payload.len(), message.fragments),
            (Some(_), _) => return Err(Violation::UnfinishedMessage),
        };
        let limit = self.limits.message_size;
        if header.length > (limit as u64).saturating_sub(so_far as u64) {
            return Err(Violation::MessageTooBig { limit });
        }
        if fragments >= self.limits.fragments {
            return Err(Violation::TooManyFragments { limit: self.limits.fragments });
        }
        Ok(())
    }

    fn begin_frame(&mut self, header: Header) {
        let message = self.message.get_or_insert_with(|| {
            let text = header.opcode == Opcode::Text;
            let compressed = header.rsv1;
            Box::new(Assembly { text, compressed, fragments: 0, payload: Partial::default() })
        });
        message.fragments = message.fragments.saturating_add(1);
        self.frame =
            Some(DataFrame { fin: header.fin, mask: header.mask, remaining: header.length });
    }

    /// Takes the part of the current frame's payload that `input` contains.
    fn payload(&mut self, input: &mut [u8]) -> Result<usize, Violation> {
        let (Some(frame), Some(message)) = (&mut self.frame, &mut self.message) else {
            return Ok(0);
        };
        let n = usize::try_from(frame.remaining).map_or(input.len(), |all| all.min(input.len()));
        let piece = input.get_mut(..n).unwrap_or_default();
        frame.mask.apply(piece);
        frame.remaining = frame.remaining.saturating_sub(n as u64);
        let expected = usize::try_from(frame.remaining).unwrap_or(usize::MAX);
        message.payload.push(piece, expected);
        if message.text && !message.compressed {
            message.payload.check()?;
        }
        Ok(n)
    }

    /// Ends the current frame, and returns the message if that was its last frame.
    fn end_of_frame(&mut self) -> Result<Option<Parsed>, Violation> {
        let fin = self.frame.take().is_some_and(|frame| frame.fin);
        let Some(message) = self.message.take_if(|_| fin) else {
            return Ok(None);
        };
        if message.compressed {
            let payload = message.payload.into_bytes();
            return Ok(Some(Parsed::Compressed { text: message.text, payload }));
        }
        let message = match message.text {
            true => Message::Text(message.payload.into_text()?),
            false => Message::Binary(message.payload.into_bytes()),
        };
        Ok(Some(Parsed::Event(Event::Message(message))))
    }
}

/// Decompresses a message, whose payload is complete and unmasked.
fn inflated(
    inflater: &mut Inflater,
    payload: &[u8],
    text: bool,
    limits: &Limits,
) -> Result<Message, Violation> {
    let payload = inflater.decompress(payload, limits.message_size)?;
    if !text {
        return Ok(Message::Binary(payload));
    }
    Utf8Bytes::try_from(payload).map(Message::Text).map_err(|_| Violation::InvalidUtf8)
}

/// The event of a control frame, whose payload is complete and unmasked.
fn control_event(opcode: Opcode, payload: &[u8]) -> Result<Event, Violation> {
    match (opcode, payload) {
        (Opcode::Ping, _) => Ok(Event::Ping(Bytes::copy_from_slice(payload))),
        (Opcode::Pong, _) => Ok(Event::Pong(Bytes::copy_from_slice(payload))),
        (_, []) => Ok(Event::Close(CloseFrame::no_status())),
        (_, [_]) => Err(Violation::TruncatedCloseCode),
        (_, [high, low, reason @ ..]) => {
            let code = CloseCode::from(u16::from_be_bytes([*high, *low]));
            if !code.is_sendable() {
                return Err(Violation::BadCloseCode { code });
            }
            Ok(Event::Close(CloseFrame { code, reason: copy_text(reason)? }))
        }
    }
}
