//! The peer protocol: what two peers say to each other over a byte stream (BEP 3, 6, 10, 52).
//!
//! [`Message::parse`] is stateless and borrows from the driver's buffer. A piece message counts as complete once
//! its 13-byte header is held, so that the driver can read the payload straight to where it belongs.
//! [`Decoder`] is the owning convenience for those who do not keep their own buffer.

mod allowed_fast;
mod bitfield;
mod client;
mod decoder;
mod error;
mod extended;
mod extensions;
mod frame;
mod handshake;
mod hashes;
mod id;
mod limits;
mod lt_donthave;
mod message;
mod reserved;
mod ut_metadata;
mod ut_pex;

pub use allowed_fast::allowed_fast;
pub use bitfield::{Bitfield, BitfieldError};
pub use client::Client;
pub use decoder::{Decoder, Event};
pub use error::{Error, Expected};
pub use extended::{ExtendedHandshake, ExtendedHandshakeError};
pub use extensions::Extensions;
pub use handshake::{Handshake, HandshakeHead};
pub use hashes::{HashRequest, Hashes};
pub use id::PeerId;
pub use limits::Limits;
pub use lt_donthave::DontHave;
pub use message::{Message, Request};
pub use reserved::Reserved;
pub use ut_metadata::{MetadataError, MetadataMessage};
pub use ut_pex::{PexError, PexFlags, PexMessage, PexPeer};
