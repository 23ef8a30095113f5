//! Peers of torrents.

use std::time::Instant;

use anyhow::Result;
use serde::Serialize;
use swarm::engine::dht::{Announce, DhtEvent, Id, LookupStats};
use swarm::session::{Dht, DhtError};

use super::{Shown, hex, millis, over};
use crate::exit::{Exit, failure};
use crate::output::human::count;

#[derive(Serialize)]
struct PeersJson {
    info_hash: String,
    peers: Vec<String>,
    /// Nodes that answered.
    nodes: u32,
    seconds: f64,
}

/// Looks for peers until all nodes that may know some were asked, or that moment.
pub(super) async fn get(
    dht: &Dht,
    id: Id,
    until: Option<tokio::time::Instant>,
    shown: &Shown<'_>,
) -> Result<Exit> {
    let begun = Instant::now();
    let mut lookup = dht.get_peers(id, None).await?;
    let (mut peers, mut stats, mut is_over) = (Vec::new(), LookupStats::default(), false);
    loop {
        let event = tokio::select! {
            biased;
            event = lookup.next() => event,
            () = over(until) => {
                is_over = true;
                None
            }
        };
        let Some(event) = event else { break };
        match event {
            DhtEvent::Peers { peers: more, .. } => {
                if !shown.is_json {
                    shown.console.print(&more.iter().map(|peer| format!("{peer}\n")).collect::<String>())?;
                }
                peers.extend(more);
            }
            DhtEvent::Done { stats: last, .. } => stats = last,
            _ => {}
        }
    }
    let time = begun.elapsed();
    if shown.is_json {
        peers.sort_unstable();
        shown.console.json(&PeersJson {
            info_hash: hex(&id.0),
            peers: peers.iter().map(ToString::to_string).collect(),
            nodes: stats.nodes,
            seconds: time.as_secs_f64(),
        })?;
    }
    let nodes = count(u64::from(stats.nodes), "node");
    match peers.len() as u64 {
        0 if is_over => Err(failure(Exit::Unfinished, "the time was over before a peer was found")),
        found if is_over => {
            if !shown.is_json {
                shown.console.note(&format!("{}; the time was over", count(found, "peer")));
            }
            Ok(Exit::Done)
        }
        _ if stats.answers == 0 => Err(shown.unreachable()),
        0 => Err(failure(Exit::Failed, format!("{nodes} answered and knew no peer of {}", hex(&id.0)))),
        found => {
            let text = format!("{}, {nodes} asked, {}", count(found, "peer"), millis(time));
            if !shown.is_json {
                shown.console.note(&text);
            }
            Ok(Exit::Done)
        }
    }
}

#[derive(Serialize)]
struct AnnounceJson {
    info_hash: String,
    port: u16,
    complete: bool,
    /// Nodes that keep it.
    stored: u32,
    /// Nodes that answered.
    nodes: u32,
}

pub(super) async fn announce(
    dht: &Dht,
    id: Id,
    port: u16,
    complete: bool,
    shown: &Shown<'_>,
) -> Result<Exit> {
    let stats = dht.announce(id, Announce { port, implied_port: false, seed: complete }).await?;
    let info_hash = hex(&id.0);
    let text =
        format!("{info_hash}: a peer at port {port}, stored at {}\n", count(u64::from(stats.stored), "node"));
    if stats.stored > 0 || shown.is_json {
        let json = AnnounceJson { info_hash, port, complete, stored: stats.stored, nodes: stats.nodes };
        shown.result(&json, &text)?;
    }
    stored(&stats, shown)
}

/// Whether anybody keeps what was stored.
pub(super) fn stored(stats: &LookupStats, shown: &Shown<'_>) -> Result<Exit> {
    match stats {
        LookupStats { answers: 0, .. } => Err(shown.unreachable()),
        LookupStats { stored: 0, nodes, .. } => {
            let nodes = count(u64::from(*nodes), "node");
            Err(failure(Exit::Failed, format!("{nodes} answered, but none stored it")))
        }
        _ => Ok(Exit::Done),
    }
}

#[derive(Serialize)]
struct ScrapeJson {
    info_hash: String,
    seeds: Option<u64>,
    peers: Option<u64>,
}

pub(super) async fn scrape(dht: &Dht, id: Id, shown: &Shown<'_>) -> Result<Exit> {
    let asked = dht.scrape(id).await;
    let found = asked.as_ref().ok().copied().flatten();
    let info_hash = hex(&id.0);
    let whole = |part: f64| part.round() as u64;
    let (seeds, peers) = (found.map(|s| whole(s.seeds)), found.map(|s| whole(s.peers)));
    let text = match (seeds, peers) {
        (Some(seeds), Some(peers)) => {
            format!("{info_hash}: about {}, {}\n", count(seeds, "seed"), count(peers, "other peer"))
        }
        _ => String::new(),
    };
    if found.is_some() || shown.is_json {
        shown.result(&ScrapeJson { info_hash: info_hash.clone(), seeds, peers }, &text)?;
    }
    match asked {
        Ok(Some(_)) => Ok(Exit::Done),
        Ok(None) => Err(failure(Exit::Failed, format!("no node knows of peers of {info_hash}"))),
        Err(DhtError::Unanswered) => Err(shown.unreachable()),
        Err(error) => Err(error.into()),
    }
}
