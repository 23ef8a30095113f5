//! The smallest program around the reactor: takes a torrent from one peer, or serves one. Session and command line do the
//! same with trackers, checks and words around it.
//!
//! ```text
//! transfer leech FILE.torrent DIR PORT [HOST:PORT]      transfer seed FILE.torrent DIR PORT
//! ```
//!
//! It listens on PORT, and dials HOST:PORT if that is given.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use storage::{DiskConfig, FileOptions, FileStorage};
use swarm::engine::candidates::Source;
use swarm::engine::scope::Scope;
use swarm::engine::{Action, AddTorrent, Config, Event};
use swarm::reactor::{Observer, Plane, ReactorConfig};
use wire::peer::{Bitfield, PeerId};

/// Ends when the torrent is complete, if it is to end.
struct Watch {
    leech: bool,
}

impl Observer for Watch {
    fn action(&mut self, plane: &mut Plane, action: Action) {
        if let Action::Event(event) = action {
            if matches!(event, Event::Complete { .. }) && self.leech {
                plane.stop();
            }
            if !matches!(event, Event::PieceDone { .. }) {
                eprintln!("{event:?}");
            }
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [role, file, dir, port, peer @ ..] = &args[..] else {
        return Err("expected: leech|seed FILE DIR PORT [HOST:PORT]".into());
    };
    let leech = role == "leech";
    let torrent = Arc::new(metainfo::Torrent::parse(&std::fs::read(file)?)?);
    let mut random = [0; 44];
    getrandom::fill(&mut random)?;
    let (id, seed) = (random[..12].try_into()?, random[12..].try_into()?);
    let config = ReactorConfig {
        dht: None,
        engine: Config::new(PeerId::new(PeerId::PREFIX, id)),
        disk: DiskConfig::default(),
        listen: Vec::new(),
        port: port.parse()?,
    };
    let (mut plane, _handle) = Plane::new(config, seed)?;
    let storage = Arc::new(FileStorage::create(Path::new(dir), torrent.clone(), FileOptions::default())?);
    let store = plane.disk().attach(storage, torrent.clone());
    let count = torrent.geometry().piece_count();
    let have = if leech { Bitfield::new(count) } else { Bitfield::with_all(count) };
    let now = plane.now();
    let engine = plane.engine();
    let key = engine.add_torrent(now, AddTorrent::new(torrent, store, have)).ok_or("added twice")?;
    for peer in peer {
        engine.add_peers(now, key, &[peer.parse()?], Source::User, Scope::Loopback);
    }
    Ok(plane.run(&mut Watch { leech })?)
}
