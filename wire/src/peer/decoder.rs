use alloc::vec::Vec;

use super::frame::Frame;
use super::limits::as_usize;
use super::{Error, Handshake, Limits, Message};
use crate::Decoded;

/// Takes a peer's byte stream in pieces of any size and gives its messages, the same whatever the pieces were.
///
/// Only a message that was cut in two is held, never the payload of a piece message: that is handed on as it comes.
/// Call [`next`](Self::next) with each input until it answers `None`.
#[derive(Clone, Debug)]
pub struct Decoder {
    limits: Limits,
    /// The start of a message whose end has not come.
    held: Vec<u8>,
    /// `held` was given out whole, and is to be dropped.
    given: bool,
    /// Bytes of payload still to come.
    payload: u32,
    handshake: bool,
    failed: Option<Error>,
}

/// What a [`Decoder`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The handshake.
    Handshake(Handshake),
    /// A message. After a [`Message::Piece`] its payload follows as [`Event::Payload`], if it has any.
    Message(Message<'a>),
    /// Some payload of the last piece message.
    Payload {
        /// The next bytes; never empty.
        data: &'a [u8],
        /// Bytes that follow after these.
        left: u32,
    },
}

impl Decoder {
    /// A decoder for a stream that starts with a handshake.
    pub fn new(limits: Limits) -> Self {
        Self { limits, held: Vec::new(), given: false, payload: 0, handshake: true, failed: None }
    }

    /// A decoder for a stream whose handshake was taken off already.
    pub fn after_handshake(limits: Limits) -> Self {
        Self { handshake: false, ..Self::new(limits) }
    }

    /// Changes the limits for what follows, once the torrent is known.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// The next event, taking from the front of `input` what belongs to it. `None` means that all of `input` was
    /// taken. After an error every call gives the same error.
    pub fn next<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8]) -> Result<Option<Event<'a>>, Error> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if core::mem::take(&mut self.given) {
            self.held.clear();
            // One long message should not cost its size for the rest of the connection.
            self.held.shrink_to(1024);
        }
        if self.payload > 0 {
            return Ok(self.take_payload(input));
        }
        if let Err(error) = self.fill(input) {
            self.failed = Some(error);
            return Err(error);
        }
        self.take_event(input)
    }

    fn take_payload<'a>(&mut self, input: &mut &'a [u8]) -> Option<Event<'a>> {
        let here = input.len().min(as_usize(self.payload));
        let data = input.split_off(..here).filter(|data| !data.is_empty())?;
        self.payload = self.payload.saturating_sub(u32::try_from(here).unwrap_or(u32::MAX));
        Some(Event::Payload { data, left: self.payload })
    }

    /// Moves bytes from `input` to `held`, until `held` has a whole event or `input` is empty. Does nothing when `held`
    /// is empty and `input` has a whole event: that is then read where it lies.
    fn fill(&mut self, input: &mut &[u8]) -> Result<(), Error> {
        loop {
            let Some(needed) = self.needed(if self.held.is_empty() { input } else { &self.held })? else {
                return Ok(());
            };
            let take = needed.saturating_sub(self.held.len()).min(input.len());
            match input.split_off(..take) {
                Some(more) if !more.is_empty() => self.held.extend_from_slice(more),
                _ => return Ok(()),
            }
        }
    }

    /// Bytes that a whole event takes, or `None` if it is all there.
    fn needed(&self, bytes: &[u8]) -> Result<Option<usize>, Error> {
        if self.handshake {
            return Ok(match Handshake::parse(bytes)? {
                Decoded::Complete { .. } => None,
                Decoded::Incomplete { needed } => Some(needed),
            });
        }
        Ok(match Frame::read(bytes, &self.limits)? {
            Frame::Needs(needed) => Some(needed),
            Frame::KeepAlive | Frame::Ready { .. } => None,
        })
    }

    fn take_event<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8]) -> Result<Option<Event<'a>>, Error> {
        let from_input = self.held.is_empty();
        let bytes: &'a [u8] = if from_input { input } else { &self.held };
        let found = if self.handshake {
            Handshake::parse(bytes)?.map(Event::Handshake)
        } else {
            Message::parse(bytes, &self.limits)?.map(Event::Message)
        };
        let Decoded::Complete { value, consumed } = found else {
            return Ok(None);
        };
        self.handshake = false;
        if let Event::Message(Message::Piece { len, .. }) = value {
            self.payload = len;
        }
        if from_input {
            *input = input.get(consumed..).unwrap_or_default();
        } else {
            self.given = true;
        }
        Ok(Some(value))
    }
}
