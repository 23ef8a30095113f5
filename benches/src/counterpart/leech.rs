//! A leecher that asks far ahead and drops what it gets.

use std::collections::VecDeque;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Mutex, OnceLock, PoisonError};
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

/// Takes the whole payload once from the peer at `to`. Calls `unchoked` when the first connection may ask,
/// before the first request. Answers the seconds from then to the last byte.
pub fn leech(
    to: SocketAddr,
    info_hash: [u8; 20],
    payload: &Payload,
    options: &LeechOptions,
    unchoked: impl FnOnce() -> Result<()>,
) -> Result<f64> {
    let work = Work::new(payload);
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..options.connections.max(1))
            .map(|_| {
                let tell = tell.clone();
                scope.spawn(move || -> Result<()> {
                    let connection = Connection::dial(to, info_hash, payload.pieces())?;
                    match take(connection, work, options.depth, &tell) {
                        // Its connection was ended before it had said a word.
                        Err(_) if work.is_done() => Ok(()),
                        other => other,
                    }
                })
            })
            .collect();
        drop(tell);
        // Without any unchoke every connection has failed, and says why below.
        let ready = told.recv().map_or(Ok(()), |()| unchoked());
        let start = Instant::now();
        let _ = work.gate.set(());
        for thread in threads {
            thread.join().map_err(|_| anyhow!("a connection panicked"))??;
        }
        ready.map(|()| start.elapsed().as_secs_f64())
    })
}

/// What the connections share.
struct Work {
    /// Blocks that no connection has asked for.
    todo: Mutex<VecDeque<Request>>,
    /// Blocks that have not come.
    left: AtomicUsize,
    /// Opens when the clock runs.
    gate: OnceLock<()>,
    /// To end connections that have nothing to do, or were never unchoked.
    streams: Mutex<Vec<TcpStream>>,
}

impl Work {
    fn new(payload: &Payload) -> Work {
        let todo: VecDeque<Request> =
            (0..payload.pieces()).flat_map(|piece| blocks(payload, piece)).collect();
        let left = AtomicUsize::new(todo.len());
        Work { todo: Mutex::new(todo), left, gate: OnceLock::new(), streams: Mutex::default() }
    }

    fn draw(&self, most: usize) -> Vec<Request> {
        let mut todo = self.todo.lock().unwrap_or_else(PoisonError::into_inner);
        let most = most.min(todo.len());
        todo.drain(..most).collect()
    }

    fn give_back(&self, requests: impl IntoIterator<Item = Request>) {
        self.todo.lock().unwrap_or_else(PoisonError::into_inner).extend(requests);
    }

    fn came(&self, blocks: usize) {
        if blocks > 0 && self.left.fetch_sub(blocks, Ordering::Relaxed) == blocks {
            for stream in self.streams.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                // One that is gone already is as good.
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }

    fn is_done(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }
}

/// Takes what it can over one connection until all of the work is done.
fn take(mut connection: Connection, work: &Work, depth: usize, tell: &Sender<()>) -> Result<()> {
    work.streams.lock().unwrap_or_else(PoisonError::into_inner).push(connection.stream.try_clone()?);
    if connection.fast {
        connection.send(&[Message::HaveNone])?;
    }
    connection.send(&[Message::Interested])?;
    let fast = connection.fast;
    let mut asked: VecDeque<Request> = VecDeque::new();
    let (mut choked, mut waited) = (true, false);
    let (mut skip, mut begun, mut counted) = (0, 0, 0);
    while !work.is_done() {
        if !choked && !waited {
            // After the end of the benchmark's own preparations nobody listens any more.
            let _ = tell.send(());
            work.gate.wait();
            waited = true;
        }
        if !choked && asked.len() <= depth - depth / 8 {
            let batch = work.draw(depth.saturating_sub(asked.len()));
            let messages: Vec<Message<'_>> = batch.iter().copied().map(Message::Request).collect();
            connection.send(&messages)?;
            asked.extend(batch);
        }
        let there = connection.receive(&mut skip, |message| {
            match message {
                Message::Piece { index, begin, len } => {
                    forget(&mut asked, Request { index, begin, len })?;
                    begun += 1;
                    return Ok(usize::try_from(len)?);
                }
                Message::Choke => {
                    choked = true;
                    // With the Fast extension each request is answered or rejected by itself.
                    if !fast {
                        work.give_back(asked.drain(..));
                    }
                }
                Message::Unchoke => choked = false,
                Message::Reject(request) => {
                    forget(&mut asked, request)?;
                    work.give_back([request]);
                }
                _ => {}
            }
            Ok(0)
        })?;
        let came = begun - usize::from(skip > 0);
        work.came(came - counted);
        counted = came;
        if !there && !work.is_done() {
            bail!("the subject hung up with {} blocks to go", work.left.load(Ordering::Relaxed));
        }
    }
    Ok(())
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
