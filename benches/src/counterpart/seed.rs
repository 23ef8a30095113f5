//! A seed that answers requests from memory.

use std::io::{IoSlice, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, Result, bail, ensure};
use wire::peer::{Bitfield, Message, Request};

use super::Connection;
use crate::payload::Payload;

/// Seeds `payload` to the peer at `to` until it hangs up. Calls `first_request` when it asks for something.
pub fn seed(
    to: SocketAddr,
    info_hash: [u8; 20],
    payload: &Payload,
    first_request: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let mut connection = Connection::dial(to, info_hash, payload.pieces())?;
    let all = Bitfield::with_all(payload.pieces());
    let have = if connection.fast { Message::HaveAll } else { Message::Bitfield(all.as_bytes()) };
    connection.send(&[have, Message::Unchoke])?;
    let mut first_request = Some(first_request);
    let mut requests = Vec::new();
    let mut skip = 0;
    loop {
        let there = connection.receive(&mut skip, |message| {
            match message {
                Message::Request(request) => requests.push(request),
                Message::Piece { .. } => bail!("a leecher sent a piece that nobody wants"),
                _ => {}
            }
            Ok(0)
        })?;
        if !requests.is_empty()
            && let Some(first_request) = first_request.take()
        {
            first_request()?;
        }
        match reply(&mut connection.stream, payload, &requests) {
            Err(error) if is_hang_up(&error) => return Ok(()),
            other => other?,
        }
        requests.clear();
        if !there {
            return Ok(());
        }
    }
}

fn is_hang_up(error: &anyhow::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset};
    let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    matches!(kind, Some(BrokenPipe | ConnectionReset))
}

/// Writes headers and payload without copying the payload.
fn reply(stream: &mut TcpStream, payload: &Payload, requests: &[Request]) -> Result<()> {
    const HEADER: usize = 13;
    /// Requests for one system call; each takes up to three slices, and the kernel takes 1,024.
    const BATCH: usize = 256;
    let mut headers = Vec::with_capacity(BATCH * HEADER);
    for batch in requests.chunks(BATCH) {
        headers.clear();
        for &Request { index, begin, len } in batch {
            Message::Piece { index, begin, len }.encode(&mut headers);
        }
        let mut slices = Vec::with_capacity(batch.len() * 3);
        for (request, header) in batch.iter().zip(headers.chunks(HEADER)) {
            slices.push(IoSlice::new(header));
            push_payload(&mut slices, payload, request)?;
        }
        write_all(stream, &mut slices)?;
    }
    Ok(())
}

fn push_payload<'p>(slices: &mut Vec<IoSlice<'p>>, payload: &'p Payload, request: &Request) -> Result<()> {
    let mut offset = u64::from(request.index) * u64::from(payload.piece()) + u64::from(request.begin);
    let end = offset + u64::from(request.len);
    ensure!(end <= payload.size(), "{request:?} is past the end");
    while offset < end {
        let bytes = payload.slice(offset, usize::try_from(end - offset)?);
        offset += bytes.len() as u64;
        slices.push(IoSlice::new(bytes));
    }
    Ok(())
}

fn write_all(stream: &mut TcpStream, mut slices: &mut [IoSlice<'_>]) -> Result<()> {
    while !slices.is_empty() {
        let written = stream.write_vectored(slices)?;
        if written == 0 {
            return Err(std::io::Error::from(std::io::ErrorKind::BrokenPipe)).context("writing");
        }
        IoSlice::advance_slices(&mut slices, written);
    }
    Ok(())
}
