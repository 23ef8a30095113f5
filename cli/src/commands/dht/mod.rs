//! `unchoke dht`

mod item;
mod peers;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;
use swarm::session::{Dht, DhtError, DhtSettings, Session, SessionConfig};

use crate::dht_state::DhtFile;
use crate::exit::{Exit, failure};
use crate::flags::values::HostPort;
use crate::flags::{self, DhtAction};
use crate::output::Console;
use crate::output::human::took;
use crate::settings;
use crate::stop::Stop;
use crate::transfer;

/// How long it may take until enough nodes are known. What is asked then is asked anyway.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the end may take.
const DEADLINE: Duration = Duration::from_secs(2);

pub(super) fn run(args: &flags::Dht, console: &Console) -> Result<Exit> {
    let stop = Stop::on_signals()?;
    transfer::block_on(async {
        let file = DhtFile::open();
        let session = start(args, file.as_ref()).await?;
        let outcome = tokio::select! {
            outcome = ask(args, &session, console) => outcome,
            asked = stop.asked() => asked.and_then(|()| Err(failure(Exit::Unfinished, "stopped before the end"))),
        };
        if let (Some(file), Some(dht)) = (file, session.dht()) {
            remember(&file, &dht).await;
        }
        if let Err(late) = session.shutdown(DEADLINE).await {
            tracing::warn!("{late}");
        }
        outcome
    })
}

async fn start(args: &flags::Dht, file: Option<&DhtFile>) -> Result<Session> {
    let settings = DhtSettings {
        bootstrap: settings::bootstrap(&args.bootstrap),
        saved: file.and_then(DhtFile::nodes),
        read_only: true,
    };
    let config = SessionConfig {
        listen: args.listen.iter().map(|ip| SocketAddr::new(*ip, 0)).collect(),
        dht: Some(settings),
        ..SessionConfig::default()
    };
    let cannot = |error| failure(Exit::Unreachable, format!("cannot start: {error}"));
    Session::start(config).await.map_err(cannot)
}

/// Does what was asked for.
async fn ask(args: &flags::Dht, session: &Session, console: &Console) -> Result<Exit> {
    let dht = session.dht().context("the session has no DHT")?;
    let shown = Shown { console, is_json: args.json };
    if let DhtAction::Ping { node } = &args.action {
        return ping(&dht, node, &shown).await;
    }
    if !dht.ready(PATIENCE).await {
        tracing::info!("few nodes of the DHT are known");
    }
    match &args.action {
        DhtAction::GetPeers { topic } => peers::get(&dht, topic.id(), &shown).await,
        DhtAction::Announce { topic, port, complete } => {
            peers::announce(&dht, topic.id(), *port, *complete, &shown).await
        }
        DhtAction::Scrape { topic } => peers::scrape(&dht, topic.id(), &shown).await,
        DhtAction::Get(get) => item::get(&dht, get, &shown).await,
        DhtAction::Put(put) => item::put(&dht, put, &shown).await,
        DhtAction::Ping { .. } => Ok(Exit::Done),
    }
}

/// Where answers go.
struct Shown<'a> {
    console: &'a Console,
    is_json: bool,
}

impl Shown<'_> {
    /// Prints a result, in one form or the other.
    fn result(&self, json: &impl Serialize, text: &str) -> Result<()> {
        if self.is_json { self.console.json(json) } else { self.console.print(text) }
    }
}

#[derive(Serialize)]
struct PingJson {
    node: String,
    id: Option<String>,
    seconds: Option<f64>,
}

async fn ping(dht: &Dht, node: &HostPort, shown: &Shown<'_>) -> Result<Exit> {
    let addrs = transfer::resolve(node).await?;
    let mut refused = None;
    for addr in addrs {
        match dht.ping(addr).await {
            Ok(Some(pong)) => {
                let (node, id) = (addr.to_string(), hex(&pong.id.0));
                let text = format!("{node}  {id}  {}\n", millis(pong.rtt));
                let json = PingJson { node, id: Some(id), seconds: Some(pong.rtt.as_secs_f64()) };
                shown.result(&json, &text)?;
                return Ok(Exit::Done);
            }
            Ok(None) => {}
            Err(error @ DhtError::NotTaken(_)) => refused = Some(error),
            Err(error) => return Err(error.into()),
        }
    }
    if shown.is_json {
        shown.console.json(&PingJson { node: node.to_string(), id: None, seconds: None })?;
    }
    let why = refused.map_or_else(|| "no answer".to_owned(), |error| error.to_string());
    Err(failure(Exit::Unreachable, format!("{node}: {why}")))
}

fn millis(time: Duration) -> String {
    if time < Duration::from_secs(1) { format!("{:.1} ms", time.as_secs_f64() * 1000.0) } else { took(time) }
}

/// No node said anything.
fn unreachable() -> anyhow::Error {
    let text = "no node of the DHT answered; --bootstrap HOST:PORT names one to begin with";
    failure(Exit::Unreachable, text)
}

/// Keeps the nodes for the next run.
async fn remember(file: &DhtFile, dht: &Dht) {
    match dht.save().await {
        Ok(state) => file.keep_nodes(&state),
        Err(error) => tracing::warn!(%error, "the nodes of the DHT are not kept"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
