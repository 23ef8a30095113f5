//! One peer of one torrent: the state of both sides, as BEP 3, 6 and 10 define it.
//!
//! ```text
//!               we download from it                  we upload to it
//!   am_interested   peer_choking             peer_interested   am_choking
//!        no             -     nothing              no              -      nothing
//!        yes           yes    wait (1)             yes            yes     wait for the choker
//!        yes           no     keep the window      yes            no      serve its queue
//!
//!   (1) pieces of the allowed-fast set may be asked for meanwhile (BEP 6)
//! ```

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use metainfo::{Block, PieceIndex, PieceRange};
use wire::peer::{Bitfield, ExtendedHandshake, PeerId, Reserved};

use super::early::Early;
use super::metadata::Asks;
use super::shunned::Shunned;
use crate::engine::TorrentKey;
use crate::engine::cx::LimitNodes;
use crate::engine::layers::Asks as HashAsks;
use crate::engine::link::Link;
use crate::engine::pex::Partner;
use crate::engine::picker::Cursor;
use crate::engine::rate::Rate;
use crate::engine::time::Time;
use crate::engine::window::Window;

/// What a peer says it has.
#[derive(Clone, Debug)]
pub(crate) enum Pieces {
    /// Nothing was said yet; the next message may be a bitfield.
    Unsaid,
    /// Every piece.
    All,
    /// These.
    Some(Bitfield),
}

/// Who sent a block, for as long as it may matter: also after the connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Sender {
    pub(crate) ip: IpAddr,
    pub(crate) id: [u8; 20],
}

/// A request of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outstanding {
    pub(crate) block: Block,
    pub(crate) asked: Time,
    /// We do not need it from this peer any more; it will still answer (BEP 6).
    pub(crate) given_up: bool,
}

pub(crate) struct Peer {
    pub(crate) torrent: TorrentKey,
    pub(crate) link: Link,
    pub(crate) limits: LimitNodes,
    pub(crate) id: PeerId,
    pub(crate) reserved: Reserved,
    /// The address that it can be dialled at, once known.
    pub(crate) listens: Option<SocketAddr>,
    /// Place in the torrent's list of peers.
    pub(crate) place: usize,
    /// Guards tokens and timers against a later peer in the same slot.
    pub(crate) generation: u32,

    pub(crate) am_choking: bool,
    pub(crate) am_interested: bool,
    pub(crate) peer_choking: bool,
    pub(crate) peer_interested: bool,

    pub(crate) pieces: Pieces,
    /// Pieces in `pieces`.
    pub(crate) piece_count: u32,
    /// How often it lost a piece (BEP 54). After that it is counted piece by piece, even when it has all of them.
    pub(crate) reneged: u32,
    /// Pieces that it has and we want.
    pub(crate) wanted: u32,
    pub(crate) extended: Option<Box<ExtendedHandshake>>,
    /// What it said of its pieces before anybody could check it.
    pub(crate) early: Option<Box<Early>>,
    /// Its end of the exchange of peers.
    pub(crate) exchange: Option<Box<Partner>>,
    /// What it asks of the info dictionary.
    pub(crate) asks: Option<Box<Asks>>,
    /// What it asks of the trees.
    pub(crate) hash_asks: Option<Box<HashAsks>>,
    /// Its torrent is not open: it was told nothing yet.
    pub(crate) waits: bool,
    /// The pieces from here on that we have are yet to be told.
    pub(crate) untold: Option<u32>,
    /// When it was told what we have.
    pub(crate) greeted: Time,
    /// It said where its node of the DHT is.
    pub(crate) told_node: bool,

    pub(crate) down: Down,
    pub(crate) up: Up,
    /// When its timer is armed for, [`Time::MAX`] when it is not.
    pub(crate) check_at: Time,
    /// Its part of the count of bytes received and waiting to be sent, as of its last turn.
    pub(crate) counted: (usize, usize),
    /// Bytes that what it has may take.
    pub(crate) counted_bits: usize,
}

/// The side on which we download.
pub(crate) struct Down {
    /// Requests without an answer, oldest first.
    pub(crate) requests: VecDeque<Outstanding>,
    /// The request whose block is being received.
    pub(crate) arriving: Option<Outstanding>,
    /// How many requests there may be; counts those that are not given up.
    pub(crate) window: Window,
    /// It may be asked for these while it chokes us (BEP 6).
    pub(crate) allowed: Vec<PieceIndex>,
    /// It would like to be asked for these (BEP 6), the oldest first.
    pub(crate) suggested: Vec<PieceIndex>,
    /// Blocks that may still come although we dropped the request (a choke or a cancel without BEP 6).
    pub(crate) late: u32,
    /// Bytes of blocks that were never asked for.
    pub(crate) unasked: u64,
    /// Pieces that it has and does not give just now.
    pub(crate) shunned: Shunned,
    /// Pieces in a row of which it rejected requests although it lets us ask.
    pub(crate) rejects: u32,
    /// It rejected too many: nothing is asked of it before.
    pub(crate) rests_until: Time,
    /// In the endgame nothing is worth asking of it before.
    pub(crate) idle_until: Time,
    /// It is in the torrent's list of peers that found nothing to ask for.
    pub(crate) hungry: bool,
    /// Where the picker goes on looking.
    pub(crate) cursor: Cursor,
    /// Bytes that came twice or too late to be of use.
    pub(crate) wasted: u64,
}

/// The side on which we upload.
#[derive(Default)]
pub(crate) struct Up {
    /// What it asked for and is not read from disk yet.
    pub(crate) queue: VecDeque<PieceRange>,
    /// How many bytes more than there are it asked for with some of the ranges that are not answered yet.
    pub(crate) gaps: Vec<(PieceRange, u32)>,
    /// Bytes that the disk is reading for it.
    pub(crate) reading: usize,
    pub(crate) rate: Rate,
    pub(crate) bytes: u64,
    /// It may ask for these while we choke it (BEP 6).
    pub(crate) allowed: Vec<PieceIndex>,
    /// It was told to ask for these, and has not done so (BEP 6).
    pub(crate) advised: Vec<PieceIndex>,
    /// Requests in a row that could not be taken.
    pub(crate) refused: usize,
    /// It waits for read credit.
    pub(crate) thirsty: bool,
}

impl Up {
    /// How many bytes more than the range has it asked for; it is answered now.
    pub(crate) fn take_gap(&mut self, range: PieceRange) -> u32 {
        let found = self.gaps.iter().position(|(with, _)| *with == range);
        found.map_or(0, |at| self.gaps.swap_remove(at).1)
    }
}

impl Peer {
    pub(crate) fn sender(&self) -> Sender {
        Sender { ip: self.link.addr.ip(), id: self.id.0 }
    }

    pub(crate) fn has(&self, piece: PieceIndex) -> bool {
        match &self.pieces {
            Pieces::Unsaid => false,
            Pieces::All => true,
            Pieces::Some(bits) => bits.get(piece.get()),
        }
    }

    /// Bytes that it takes to remember what it has.
    pub(crate) fn bitfield_bytes(&self) -> usize {
        match &self.pieces {
            Pieces::Some(bits) => bits.len().div_ceil(8) as usize,
            Pieces::Unsaid | Pieces::All => 0,
        }
    }

    pub(crate) fn is_seed(&self) -> bool {
        match &self.pieces {
            Pieces::Unsaid => false,
            Pieces::All => true,
            Pieces::Some(bits) => bits.is_full(),
        }
    }

    /// Whether it says to only upload: it has all that it wants (BEP 21).
    pub(crate) fn uploads_only(&self) -> bool {
        self.extended.as_ref().is_some_and(|said| said.upload_only == Some(true))
    }

    /// Whether it wants no piece, by all that is known; `None` while it said nothing of that.
    pub(crate) fn is_done(&self) -> Option<bool> {
        let said = self.extended.as_ref().and_then(|said| said.upload_only);
        match self.pieces {
            Pieces::Unsaid => said,
            Pieces::All | Pieces::Some(_) => Some(self.is_seed() || said == Some(true)),
        }
    }

    /// Where it says to listen, at the address that it came by.
    pub(crate) fn claimed_address(&self) -> Option<SocketAddr> {
        let port = self.extended.as_ref()?.port?;
        // With the interface, for a peer of the link.
        let mut addr = self.link.addr;
        addr.set_port(port);
        Some(addr)
    }

    /// Where it says to be in the address family that it did not come by.
    pub(crate) fn other_address(&self) -> Option<SocketAddr> {
        let said = self.extended.as_ref()?;
        let is_ipv4 = self.link.addr.ip().to_canonical().is_ipv4();
        let other = if is_ipv4 { said.ipv6.map(IpAddr::from) } else { said.ipv4.map(IpAddr::from) };
        let other = other.filter(|ip| ip.to_canonical().is_ipv4() != is_ipv4)?;
        Some(SocketAddr::new(other, self.listens?.port()))
    }

    pub(crate) fn fast(&self) -> bool {
        self.reserved.fast()
    }

    /// Whether it may ask for this piece now.
    pub(crate) fn may_be_served(&self, piece: PieceIndex) -> bool {
        !self.am_choking || self.up.allowed.contains(&piece)
    }

    /// Takes an outstanding request off the list. Answers come mostly in order, so it is near the front.
    pub(crate) fn take_request(&mut self, same: impl Fn(&Block) -> bool) -> Option<Outstanding> {
        let at = self.down.requests.iter().position(|r| same(&r.block))?;
        self.down.requests.remove(at)
    }
}
