//! The drivers, one per program.

mod aria2;
mod libtorrent;
mod qbittorrent;
mod rtorrent;
mod transmission;
mod unchoke;

pub(crate) use self::aria2::Aria2;
pub(crate) use self::libtorrent::{Libtorrent, python, script as libtorrent_script};
pub(crate) use self::qbittorrent::Qbittorrent;
pub(crate) use self::rtorrent::Rtorrent;
pub(crate) use self::transmission::Transmission;
pub(crate) use self::unchoke::{PROGRAM, Unchoke};
