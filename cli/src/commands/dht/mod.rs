//! `unchoke dht`

mod item;
mod peers;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;
use swarm::session::{Dht, DhtError, DhtSettings, Session, SessionConfig};
use tokio::time::{Instant, sleep_until};

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
/// After this long somebody who watches is told what is waited for.
const QUIET: Duration = Duration::from_secs(2);
/// How long the end may take.
const DEADLINE: Duration = Duration::from_secs(2);

pub(super) fn run(args: &flags::Dht, console: &Console) -> Result<Exit> {
    let stop = Stop::on_signals()?;
    let draft = match &args.action {
        DhtAction::Put(put) => Some(item::Draft::read(put)?),
        _ => None,
    };
    transfer::block_on(async {
        let file = DhtFile::open();
        let until = args.stop_after.and_then(|time| Instant::now().checked_add(time));
        let session = start(args, file.as_ref()).await?;
        let outcome = tokio::select! {
            // It may have something to show for its time.
            biased;
            outcome = ask(args, draft, until, &session, console) => outcome,
            () = over(until) => Err(failure(Exit::Unfinished, "the time was over before the DHT answered")),
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

/// Waits for that moment, if there is one.
async fn over(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}

/// Does what was asked for.
async fn ask(
    args: &flags::Dht,
    draft: Option<item::Draft<'_>>,
    until: Option<Instant>,
    session: &Session,
    console: &Console,
) -> Result<Exit> {
    let dht = session.dht().context("the session has no DHT")?;
    let shown = Shown { console, is_json: args.json, named: &args.bootstrap };
    if let DhtAction::Ping { node } = &args.action {
        return ping(&dht, node, &shown).await;
    }
    join(&dht, console).await;
    if let Some(draft) = draft {
        return item::put(&dht, draft, &shown).await;
    }
    match &args.action {
        DhtAction::GetPeers { topic } => peers::get(&dht, topic.id(), until, &shown).await,
        DhtAction::Announce { topic, port, complete } => {
            peers::announce(&dht, topic.id(), *port, *complete, &shown).await
        }
        DhtAction::Scrape { topic } => peers::scrape(&dht, topic.id(), &shown).await,
        DhtAction::Get(get) => item::get(&dht, get, &shown).await,
        DhtAction::Put(_) | DhtAction::Ping { .. } => Ok(Exit::Done),
    }
}

/// Waits until enough nodes are known. What is asked is asked in any case.
async fn join(dht: &Dht, console: &Console) {
    if dht.ready(QUIET).await {
        return;
    }
    if console.is_live() {
        console.note("looking for nodes of the DHT ...");
    }
    if !dht.ready(PATIENCE - QUIET).await {
        tracing::info!("few nodes of the DHT are known");
    }
}

/// Where answers go.
struct Shown<'a> {
    console: &'a Console,
    is_json: bool,
    /// The nodes to begin with that the user named.
    named: &'a [HostPort],
}

impl Shown<'_> {
    /// Prints a result, in one form or the other.
    fn result(&self, json: &impl Serialize, text: &str) -> Result<()> {
        if self.is_json { self.console.json(json) } else { self.console.print(text) }
    }

    /// No node said anything.
    fn unreachable(&self) -> anyhow::Error {
        let text = match self.named {
            [] => "no node of the DHT answered: check that there is a network and that a firewall lets UDP through, or name \
                   another node to begin with by --bootstrap HOST:PORT"
                .to_owned(),
            named => {
                let named: Vec<String> = named.iter().map(ToString::to_string).collect();
                format!(
                    "no node of the DHT answered, {} included: check that it runs and that a firewall lets UDP through",
                    named.join(" ")
                )
            }
        };
        failure(Exit::Unreachable, text)
    }
}

#[derive(Serialize)]
struct PingJson {
    node: String,
    id: Option<String>,
    seconds: Option<f64>,
}

async fn ping(dht: &Dht, node: &HostPort, shown: &Shown<'_>) -> Result<Exit> {
    let silent = || {
        let json = PingJson { node: node.to_string(), id: None, seconds: None };
        if shown.is_json { shown.console.json(&json) } else { Ok(()) }
    };
    let addrs = match transfer::resolve(node).await {
        Ok(addrs) => addrs,
        Err(error) => {
            silent()?;
            return Err(error);
        }
    };
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
    silent()?;
    let silence = || "no answer: it may not be there, or a firewall drops UDP".to_owned();
    let why = refused.map_or_else(silence, |error| error.to_string());
    Err(failure(Exit::Unreachable, format!("{node}: {why}")))
}

fn millis(time: Duration) -> String {
    if time < Duration::from_secs(1) { format!("{:.1} ms", time.as_secs_f64() * 1000.0) } else { took(time) }
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
