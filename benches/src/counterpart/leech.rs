//! A leecher that asks far ahead and drops what it gets.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use anyhow::{Result, anyhow, bail};
use wire::peer::{Message, Request};

use super::Connection;
use crate::payload::Payload;

const BLOCK: u32 = 16 * 1024;

/// How to leech.
pub struct LeechOptions {
    /// Connections that share the payload.
    pub connections: u32,
    /// Requests in flight for each connection.
    pub depth: usize,
}

/// Takes the whole payload once from the peer at `to`. Calls `unchoked` when every connection may ask,
/// before the first request. Answers the seconds from then to the last byte.
pub fn leech(
    to: SocketAddr,
    info_hash: [u8; 20],
    payload: &Payload,
    options: &LeechOptions,
    unchoked: impl FnOnce() -> Result<()>,
) -> Result<f64> {
    let count = options.connections.max(1);
    let ready = Barrier::new(count as usize + 1);
    let go = Barrier::new(count as usize + 1);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|n| {
                let (ready, go) = (&ready, &go);
                scope.spawn(move || -> Result<()> {
                    let open = wait_unchoke(to, info_hash, payload);
                    ready.wait();
                    go.wait();
                    let pieces = payload.pieces();
                    let share = |n: u32| u32::try_from(u64::from(pieces) * u64::from(n) / u64::from(count));
                    take(open?, payload, share(n)?..share(n + 1)?, options.depth)
                })
            })
            .collect();
        ready.wait();
        let told = unchoked();
        let start = Instant::now();
        go.wait();
        for thread in threads {
            thread.join().map_err(|_| anyhow!("a connection panicked"))??;
        }
        told.map(|()| start.elapsed().as_secs_f64())
    })
}

fn wait_unchoke(to: SocketAddr, info_hash: [u8; 20], payload: &Payload) -> Result<Connection> {
    let mut connection = Connection::dial(to, info_hash, payload.pieces())?;
    if connection.fast {
        connection.send(&[Message::HaveNone])?;
    }
    connection.send(&[Message::Interested])?;
    let mut choked = true;
    while choked {
        let there = connection.receive(&mut 0, |message| {
            match message {
                Message::Unchoke => choked = false,
                Message::Choke => choked = true,
                _ => {}
            }
            Ok(0)
        })?;
        if !there {
            bail!("the subject hung up before it unchoked");
        }
    }
    Ok(connection)
}

/// Takes some pieces over one connection.
fn take(mut connection: Connection, payload: &Payload, pieces: Range<u32>, depth: usize) -> Result<()> {
    let mut wanted: VecDeque<Request> = pieces.flat_map(|piece| blocks(payload, piece)).collect();
    let mut asked: VecDeque<Request> = VecDeque::new();
    let mut choked = false;
    let mut skip = 0;
    loop {
        if !choked && asked.len() <= depth.saturating_sub(depth / 8) {
            let more = depth.saturating_sub(asked.len()).min(wanted.len());
            let batch: Vec<Request> = wanted.drain(..more).collect();
            let messages: Vec<Message<'_>> = batch.iter().copied().map(Message::Request).collect();
            connection.send(&messages)?;
            asked.extend(batch);
        }
        if asked.is_empty() && wanted.is_empty() && skip == 0 {
            return Ok(());
        }
        let fast = connection.fast;
        let there = connection.receive(&mut skip, |message| {
            match message {
                Message::Piece { index, begin, len } => {
                    forget(&mut asked, Request { index, begin, len })?;
                    return Ok(usize::try_from(len)?);
                }
                Message::Choke => {
                    choked = true;
                    // With the Fast extension each request is answered or rejected by itself.
                    if !fast {
                        wanted.extend(asked.drain(..));
                    }
                }
                Message::Unchoke => choked = false,
                Message::Reject(request) => {
                    forget(&mut asked, request)?;
                    wanted.push_front(request);
                }
                _ => {}
            }
            Ok(0)
        })?;
        if !there {
            bail!("the subject hung up with {} blocks to go", asked.len() + wanted.len());
        }
    }
}

fn forget(asked: &mut VecDeque<Request>, request: Request) -> Result<()> {
    let found = asked.iter().position(|&other| other == request);
    match found.and_then(|at| asked.remove(at)) {
        Some(_) => Ok(()),
        None => bail!("{request:?} was not asked for"),
    }
}

fn blocks(payload: &Payload, piece: u32) -> impl Iterator<Item = Request> {
    let start = u64::from(piece) * u64::from(payload.piece());
    let len = u64::from(payload.piece()).min(payload.size() - start);
    let len = u32::try_from(len).unwrap_or(u32::MAX);
    (0..len.div_ceil(BLOCK)).map(move |block| {
        let begin = block * BLOCK;
        Request { index: piece, begin, len: BLOCK.min(len - begin) }
    })
}
