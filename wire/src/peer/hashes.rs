use alloc::vec::Vec;
use nom::Parser;
use nom::combinator::map_opt;
use nom::number::complete::be_u32;

/// A range of hashes in the merkle tree of one v2 file (BEP 52): asked for, refused, or the head of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HashRequest {
    /// Root of the file's tree, which names the file.
    pub pieces_root: [u8; 32],
    /// Layers between the leaves and the hashes; 0 means the leaves.
    pub base_layer: u32,
    /// The first hash, counted in hashes of that layer. Should be a multiple of `length`.
    pub index: u32,
    /// Number of hashes. Should be a power of two, at least 2 and at most 512.
    pub length: u32,
    /// Ancestor layers that prove the range.
    pub proof_layers: u32,
}

/// An answer to a [`HashRequest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hashes<'a> {
    /// What was asked for.
    pub request: HashRequest,
    /// The hashes of the base layer, then one uncle for each proof layer that needs one.
    pub hashes: &'a [[u8; 32]],
}

impl HashRequest {
    /// Bytes in a message body.
    pub(super) const LEN: usize = 48;

    /// The request at the start of a body, and the bytes after it.
    pub(super) fn split(body: &[u8]) -> Option<(Self, &[u8])> {
        let root = map_opt(nom::bytes::complete::take(32usize), |b: &[u8]| b.first_chunk().copied());
        let fields: nom::IResult<_, _> = (root, be_u32, be_u32, be_u32, be_u32).parse(body);
        let (rest, (pieces_root, base_layer, index, length, proof_layers)) = fields.ok()?;
        Some((Self { pieces_root, base_layer, index, length, proof_layers }, rest))
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.pieces_root);
        for number in [self.base_layer, self.index, self.length, self.proof_layers] {
            out.extend_from_slice(&number.to_be_bytes());
        }
    }
}
