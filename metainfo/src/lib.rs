#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod geometry;
mod ids;

pub use geometry::{
    BLOCK, Block, Geometry, GeometryError, MAX_PIECE_LENGTH, OutOfBounds, PieceIndex, PieceRange,
};
pub use ids::{InfoHashV1, InfoHashV2, InfoHashes, ParseHashError, TorrentId};
