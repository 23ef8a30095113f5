//! Asking trackers: the engine says what to ask, this asks over HTTP and UDP, a bounded number at a time.

mod addresses;
mod udp;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metainfo::TorrentId;
use tokio::sync::{Notify, watch};
use tokio::task::{AbortHandle, Id, JoinSet};
use wire::tracker::udp::url_data;
use wire::tracker::{AnnounceReply, AnnounceRequest, ScrapeCounts};

use super::announce_queue::{Ended, Host, Limits, Queue};
use super::event::Event;
use super::http::{Http, IDLE_PER_HOST};
use super::link::Link;
use super::log::Short;
use crate::engine::TorrentKey;
use crate::engine::scope::Scope;
use crate::engine::tracker::udp::Answer;
use crate::engine::tracker::{Announce, AnnounceId, Failure, Family, PATIENCE_STOPPED, Scheme, TrackerUrl};
use crate::reactor::Plane;
use addresses::Addresses;

/// Announces under way at a time. Each may have a connection of its own.
const LIMITS: Limits = Limits { most: 64, answering: 16, other: 2 };

/// At the end of a session there is a moment only, in which a tracker hears of one torrent per connection and round trip;
/// so one that answers gets as many as are kept alive.
const LEAVING: Limits = Limits { most: 128, answering: IDLE_PER_HOST, other: 2 };

/// Names an announce among those of all torrents.
type Ticket = (TorrentKey, AnnounceId);

/// Where the reactor's thread leaves what is to be asked. Everything in it belongs to a torrent that runs, and a torrent
/// asks few trackers at a time, so it stays small.
#[derive(Default)]
pub(super) struct Desk {
    state: Mutex<Waiting>,
    news: Notify,
    /// Which addresses of trackers over UDP answer.
    addresses: Mutex<Addresses>,
    /// Announces that are waiting or under way.
    open: watch::Sender<usize>,
}

struct Waiting {
    queue: Queue<Ticket, Ask>,
    cancelled: Vec<Ticket>,
}

impl Default for Waiting {
    fn default() -> Self {
        Self { queue: Queue::new(LIMITS), cancelled: Vec::new() }
    }
}

/// One announce to make.
struct Ask {
    torrent: TorrentKey,
    id: TorrentId,
    announce: Announce,
}

impl Ask {
    fn ticket(&self) -> Ticket {
        (self.torrent, self.announce.id)
    }
}

impl Desk {
    /// An announce is to be made.
    pub(super) fn submit(&self, torrent: TorrentKey, id: TorrentId, announce: Announce) {
        self.open.send_modify(|open| *open += 1);
        let host = announce.url.host_port();
        let ask = Ask { torrent, id, announce };
        self.waiting().queue.push(ask.ticket(), &host, ask);
        self.news.notify_one();
    }

    /// An announce is of no interest any more.
    pub(super) fn cancel(&self, torrent: TorrentKey, announce: AnnounceId) {
        let ticket = (torrent, announce);
        let mut waiting = self.waiting();
        if waiting.queue.drop_waiting(&ticket) {
            self.closed(1);
        } else {
            waiting.cancelled.push(ticket);
        }
        drop(waiting);
        self.news.notify_one();
    }

    /// The session ends: trackers are told so as fast as they answer.
    pub(super) fn leave(&self) {
        self.waiting().queue.set_limits(LEAVING);
        self.news.notify_one();
    }

    /// Tells how many announces are open, whenever that changes.
    pub(super) fn open(&self) -> watch::Receiver<usize> {
        self.open.subscribe()
    }

    fn closed(&self, count: usize) {
        self.open.send_modify(|open| *open -= count);
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An announce that is under way.
struct Running {
    ticket: Ticket,
    host: Host,
    began: Instant,
}

impl Running {
    /// What it says of its tracker that this was given up.
    fn given_up(&self) -> Ended {
        if self.began.elapsed() < PATIENCE_STOPPED { Ended::Untried } else { Ended::Silent }
    }
}

/// Serves the desk for good.
pub(super) async fn run(link: Arc<Link>) {
    let mut tasks = JoinSet::new();
    let mut tickets: HashMap<Id, Running> = HashMap::new();
    let mut aborts: HashMap<Ticket, AbortHandle> = HashMap::new();
    loop {
        let (asks, cancelled) = {
            let mut waiting = link.desk.waiting();
            let asks: Vec<_> = std::iter::from_fn(|| waiting.queue.pop()).collect();
            (asks, std::mem::take(&mut waiting.cancelled))
        };
        for ticket in cancelled {
            if let Some(abort) = aborts.remove(&ticket) {
                abort.abort();
            }
        }
        for (host, ask) in asks {
            let (ticket, began) = (ask.ticket(), Instant::now());
            let abort = tasks.spawn(announce(link.clone(), ask));
            tickets.insert(abort.id(), Running { ticket, host, began });
            aborts.insert(ticket, abort);
        }
        tokio::select! {
            () = link.desk.news.notified() => {}
            Some(ended) = tasks.join_next_with_id(), if !tasks.is_empty() => {
                let (id, how) = ended.map_or_else(|error| (error.id(), None), |(id, how)| (id, Some(how)));
                if let Some(running) = tickets.remove(&id) {
                    let how = how.unwrap_or_else(|| running.given_up());
                    link.desk.waiting().queue.ended(&running.host, how);
                    if aborts.get(&running.ticket).is_some_and(|abort| abort.id() == id) {
                        aborts.remove(&running.ticket);
                    }
                }
                link.desk.closed(1);
            }
        }
    }
}

/// Makes one announce and tells the engine and the listeners what came of it.
async fn announce(link: Arc<Link>, ask: Ask) -> Ended {
    let Announce { url, event, left, patience, .. } = &ask.announce;
    let family = ask.announce.id.family;
    tracing::trace!(torrent = %Short(ask.id), tracker = %url, ?family, ?event, left, "a tracker is asked");
    let patience = *patience;
    let (torrent, id) = ask.ticket();
    // When the session is over, nobody waits.
    let _ = link
        .ask(move |plane| {
            let now = plane.now();
            plane.engine().handle_announce_begun(now, torrent, id);
        })
        .await;
    let request = ask.announce.request(ask.id.0, link.peer_id, link.port());
    let asked = tokio::time::timeout(patience, ask_tracker(&link, &ask.announce, request));
    let result = asked.await.unwrap_or(Err(Failure::TimedOut));
    let tracker = ask.announce.url.to_string();
    match &result {
        Ok((reply, _)) => link.tell(Event::TrackerAnswered {
            torrent: ask.id,
            tracker,
            peers: reply.peers.len(),
            warning: reply.warning.clone(),
        }),
        // The other address family answers for both.
        Err(Failure::NoAddress) => {}
        Err(failure) => {
            link.tell(Event::TrackerFailed { torrent: ask.id, tracker, failure: failure.clone() });
        }
    }
    let how = match &result {
        Ok(_) | Err(Failure::Refused(_)) => Ended::Answered,
        Err(Failure::NoAddress) => Ended::Untried,
        Err(_) => Ended::Silent,
    };
    let scope = result.as_ref().map_or(Scope::Global, |(_, scope)| *scope);
    let result = result.map(|(reply, _)| reply);
    // When the session is over, nobody needs the answer.
    let _ = link
        .ask(move |plane| {
            let now = plane.now();
            plane.engine().handle_announced(now, torrent, id, scope, result);
        })
        .await;
    how
}

/// The answer, and how far the tracker's address reaches.
async fn ask_tracker(
    link: &Arc<Link>,
    announce: &Announce,
    request: AnnounceRequest,
) -> Result<(AnnounceReply, Scope), Failure> {
    let family = announce.id.family;
    if !link.listening.iter().any(|own| Family::of(own.ip()) == family) {
        return Err(Failure::NoAddress);
    }
    match announce.url.scheme() {
        Scheme::Http | Scheme::Https => {
            let reply = http(link).await?.announce(&announce.url, &request, family, announce.patience).await;
            Ok(reply?)
        }
        Scheme::Udp => {
            let options = url_data(announce.url.as_str()).to_owned();
            let ask =
                move |plane: &mut Plane, to, done| plane.announce_udp(to, request.clone(), &options, done);
            match udp::ask(link, &announce.url, family, announce.patience, ask).await? {
                (Answer::Announce(reply), to) => Ok((reply, Scope::of(to.ip()).unwrap_or(Scope::Global))),
                (Answer::Scrape(_), _) => Err(other_answer()),
            }
        }
    }
}

/// The HTTP client, made when it is first needed: reading the system's certificates takes a while.
async fn http(link: &Arc<Link>) -> Result<&Http, Failure> {
    let make = || async {
        let maker = link.clone();
        let made = tokio::task::spawn_blocking(move || Http::new(&maker.http_config, &maker.resolver)).await;
        made.map_err(|error| Failure::Unreachable(error.to_string()))?.map_err(Failure::from)
    };
    link.http.get_or_try_init(make).await
}

/// Asks a tracker for the counts of torrents, over one address family. UDP has `patience` for all addresses together. There are as many counts as torrents, or fewer.
pub(super) async fn scrape(
    link: &Arc<Link>,
    tracker: &TrackerUrl,
    hashes: &[[u8; 20]],
    family: Family,
    patience: Duration,
) -> Result<BTreeMap<[u8; 20], ScrapeCounts>, Failure> {
    match tracker.scheme() {
        Scheme::Http | Scheme::Https => Ok(http(link).await?.scrape(tracker, hashes, family).await?),
        Scheme::Udp => {
            let asked = hashes.to_vec();
            let ask = move |plane: &mut Plane, to, done| plane.scrape_udp(to, &asked, done);
            match udp::ask(link, tracker, family, patience, ask).await? {
                (Answer::Scrape(counts), _) => Ok(hashes.iter().copied().zip(counts).collect()),
                (Answer::Announce(_), _) => Err(other_answer()),
            }
        }
    }
}

fn other_answer() -> Failure {
    Failure::Unreachable("the tracker answered another question".into())
}
