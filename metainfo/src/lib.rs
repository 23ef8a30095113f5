#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod build;
mod check;
mod edit;
mod error;
mod geometry;
mod ids;
mod layout;
mod magnet;
pub mod merkle;
mod names;
mod parse;
pub mod path;
mod text;
mod torrent;

pub use build::{BuildError, Builder, Draft, Feed, Version, piece_length_for};
pub use check::{PieceCheck, V2Check};
pub use edit::Edit;
pub use error::{Error, LayerError, Mismatch, Part};
pub use geometry::{
    BLOCK, Block, Geometry, GeometryError, MAX_PIECE_LENGTH, MAX_PIECES, OutOfBounds, PieceIndex, PieceRange,
};
pub use ids::{InfoHashV1, InfoHashV2, InfoHashes, ParseHashError, TorrentId};
pub use layout::{Attributes, File, FilePath, Layout, Segment};
pub use magnet::{MAX_MAGNET, Magnet, MagnetError, covers, merged};
pub use names::MAX_COLLISIONS;
pub use torrent::{LackingLayer, MAX_SIZE, Torrent};
