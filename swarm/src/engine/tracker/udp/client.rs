use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use wire::tracker::AnnounceRequest;
use wire::tracker::udp::{Reply, Request as Packet};

use super::request::{Answer, Error, MAX_REQUESTS, MAX_SCRAPE, NotTaken, Question, Request, RequestId};
use super::server::{CONNECTION_LIFE, Link, MAX_ATTEMPT, Server, wait};
use crate::engine::time::Time;
use crate::engine::tracker::Family;

/// Packets that nobody fetched beyond this number are dropped, oldest first, as the network would.
const MAX_QUEUED: usize = MAX_REQUESTS;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    Connect(SocketAddr),
    Request(RequestId),
}

/// The client side of BEP 15, for any number of trackers and torrents over one socket per address family.
///
/// ```text
///             connect request           connect response          answer, error
///   request ───────────────► connecting ───────────────► asked ─────────────────► event
///      │                       ▲  ▲ │ resend 15·2ⁿ s      │ ▲ │ resend 15·2ⁿ s
///      │                       │  └─┘                     │ └─┘
///      │ connection id known   └──────────────────────────┘
///      └─────────────────────────────────────────────────►  connection id older than 60 s
/// ```
///
/// - Commands: [`announce`](Self::announce), [`scrape`](Self::scrape), [`cancel`](Self::cancel).
/// - Inputs: [`handle_datagram`](Self::handle_datagram), [`handle_timeout`](Self::handle_timeout).
/// - Outputs: [`poll_transmit`](Self::poll_transmit) and [`poll_event`](Self::poll_event) until they give nothing, then
///   wait until [`next_timeout`](Self::next_timeout).
///
/// Addresses have to be in one form: IPv4 addresses not mapped into IPv6.
#[derive(Debug)]
pub struct Client {
    servers: BTreeMap<SocketAddr, Server>,
    requests: BTreeMap<RequestId, Request>,
    transactions: BTreeMap<u32, Owner>,
    timers: BTreeSet<(Time, Owner)>,
    transmits: VecDeque<(SocketAddr, Vec<u8>)>,
    events: VecDeque<(RequestId, Result<Answer, Error>)>,
    next_id: u64,
    rng: ChaCha8Rng,
}

impl Client {
    /// Transaction ids are drawn from `rng`: seed it from a good source, they keep strangers out.
    pub fn new(rng: ChaCha8Rng) -> Self {
        Self {
            servers: BTreeMap::new(),
            requests: BTreeMap::new(),
            transactions: BTreeMap::new(),
            timers: BTreeSet::new(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            next_id: 0,
            rng,
        }
    }

    /// Announces. `url_data` is the path and query of the tracker's URL (BEP 41), see
    /// [`url_data`](wire::tracker::udp::url_data).
    pub fn announce(
        &mut self,
        now: Time,
        to: SocketAddr,
        request: AnnounceRequest,
        url_data: &str,
    ) -> Result<RequestId, NotTaken> {
        self.ask(now, to, Question::Announce { request, url_data: url_data.into() })
    }

    /// Asks for the counts of up to [`MAX_SCRAPE`] torrents.
    pub fn scrape(&mut self, now: Time, to: SocketAddr, hashes: &[[u8; 20]]) -> Result<RequestId, NotTaken> {
        match hashes.len() {
            1..=MAX_SCRAPE => self.ask(now, to, Question::Scrape(hashes.to_vec())),
            found => Err(NotTaken::Scrape(found)),
        }
    }

    /// Forgets a request. No event comes of it.
    pub fn cancel(&mut self, id: RequestId) {
        let Some(request) = self.remove(id) else { return };
        if let Some(server) = self.servers.get(&request.to)
            && server.waiting.is_empty()
            && matches!(server.link, Link::Connecting { .. })
        {
            self.forget_server(request.to);
        }
    }

    /// A datagram came. Returns whether it is an answer to one of our requests; if not, it is for somebody else, or forged.
    pub fn handle_datagram(&mut self, now: Time, from: SocketAddr, packet: &[u8]) -> bool {
        let Ok(reply) = Reply::parse(packet, Family::of(from.ip()).into()) else { return false };
        match self.transactions.get(&reply.transaction()) {
            Some(Owner::Connect(to)) if *to == from => self.connect_reply(now, from, reply),
            Some(&Owner::Request(id)) => self.request_reply(now, from, id, reply),
            _ => false,
        }
    }

    /// Sends again what got no answer, and gives up what was sent often enough.
    pub fn handle_timeout(&mut self, now: Time) {
        while let Some(&(due, owner)) = self.timers.first()
            && due <= now
        {
            self.timers.pop_first();
            match owner {
                Owner::Connect(to) => self.server_timer(now, to),
                Owner::Request(id) => self.resend(now, id),
            }
        }
    }

    /// When to call [`Self::handle_timeout`].
    pub fn next_timeout(&self) -> Option<Time> {
        self.timers.first().map(|(due, _)| *due)
    }

    /// The next packet to send, and where to.
    pub fn poll_transmit(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.transmits.pop_front()
    }

    /// The next request that came to its end.
    pub fn poll_event(&mut self) -> Option<(RequestId, Result<Answer, Error>)> {
        self.events.pop_front()
    }

    /// How many requests are under way.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Whether no request is under way.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    fn ask(&mut self, now: Time, to: SocketAddr, question: Question) -> Result<RequestId, NotTaken> {
        if self.requests.len() >= MAX_REQUESTS {
            return Err(NotTaken::Full);
        }
        let id = RequestId(self.next_id);
        self.next_id += 1;
        let transaction = self.draw_transaction(Owner::Request(id));
        let request = Request { to, question, transaction, attempt: 0, deadline: None, reconnected: false };
        self.requests.insert(id, request);
        self.dispatch(now, id);
        Ok(id)
    }

    /// Sends a request, or lets it wait for a connection id.
    fn dispatch(&mut self, now: Time, id: RequestId) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        let (to, attempt) = (request.to, request.attempt);
        if let Some(connection) = self.servers.get(&to).and_then(|server| server.connection(now)) {
            let deadline = now + wait(attempt);
            request.deadline = Some(deadline);
            let packet = request.packet(connection);
            self.timers.insert((deadline, Owner::Request(id)));
            self.transmit(to, packet);
            return;
        }
        request.deadline = None;
        self.connect(now, to, attempt);
        if let Some(server) = self.servers.get_mut(&to) {
            server.waiting.insert(id);
        }
    }

    /// Asks for a connection id. If that is under way, it is hurried, so that a new request need not wait for the long
    /// pauses of an old one.
    fn connect(&mut self, now: Time, to: SocketAddr, attempt: u32) {
        match self.servers.get(&to).map(|server| server.link) {
            Some(Link::Connecting { transaction, attempt: slow, sent, .. }) if attempt < slow => {
                let deadline = sent + wait(attempt);
                if deadline > now {
                    self.set_link(to, Link::Connecting { transaction, attempt, sent, deadline });
                } else {
                    self.send_connect(now, to, transaction, attempt);
                }
            }
            Some(Link::Connecting { .. }) => {}
            Some(Link::Connected { .. }) | None => {
                let transaction = self.draw_transaction(Owner::Connect(to));
                self.send_connect(now, to, transaction, attempt);
            }
        }
    }

    fn send_connect(&mut self, now: Time, to: SocketAddr, transaction: u32, attempt: u32) {
        let deadline = now + wait(attempt);
        self.set_link(to, Link::Connecting { transaction, attempt, sent: now, deadline });
        let mut packet = Vec::with_capacity(16);
        Packet::Connect { transaction }.encode(&mut packet);
        self.transmit(to, packet);
    }

    fn connect_reply(&mut self, now: Time, from: SocketAddr, reply: Reply) -> bool {
        match reply {
            Reply::Connect { transaction, connection } => {
                self.transactions.remove(&transaction);
                self.set_link(from, Link::Connected { id: connection, until: now + CONNECTION_LIFE });
                let waiting = self.servers.get_mut(&from).map(|server| std::mem::take(&mut server.waiting));
                for id in waiting.into_iter().flatten() {
                    self.dispatch(now, id);
                }
                true
            }
            Reply::Error { message, .. } => {
                self.fail_waiting(from, &Error::Refused(message));
                true
            }
            _ => false,
        }
    }

    fn request_reply(&mut self, now: Time, from: SocketAddr, id: RequestId, reply: Reply) -> bool {
        let Some(request) = self.requests.get_mut(&id) else { return false };
        if request.to != from || request.deadline.is_none() {
            return false;
        }
        let result = match (reply, &request.question) {
            (Reply::Announce { reply, .. }, Question::Announce { .. }) => Ok(Answer::Announce(reply)),
            (Reply::Scrape { counts, .. }, Question::Scrape(_)) => Ok(Answer::Scrape(counts)),
            (Reply::Error { message, .. }, _) => {
                if !request.reconnected && message.to_ascii_lowercase().contains("connection id") {
                    request.reconnected = true;
                    self.reconnect(now, id);
                    return true;
                }
                Err(Error::Refused(message))
            }
            _ => return false,
        };
        self.remove(id);
        self.events.push_back((id, result));
        true
    }

    /// The tracker does not know our connection id any more, for example because it was restarted.
    fn reconnect(&mut self, now: Time, id: RequestId) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        let to = request.to;
        if let Some(deadline) = request.deadline.take() {
            self.timers.remove(&(deadline, Owner::Request(id)));
        }
        if self.servers.get(&to).is_some_and(|server| matches!(server.link, Link::Connected { .. })) {
            self.forget_server(to);
        }
        self.dispatch(now, id);
    }

    fn server_timer(&mut self, now: Time, to: SocketAddr) {
        match self.servers.get(&to).map(|server| server.link) {
            Some(Link::Connecting { attempt: MAX_ATTEMPT, .. }) => self.fail_waiting(to, &Error::TimedOut),
            Some(Link::Connecting { transaction, attempt, .. }) => {
                self.send_connect(now, to, transaction, attempt + 1);
            }
            Some(Link::Connected { .. }) | None => self.forget_server(to),
        }
    }

    fn resend(&mut self, now: Time, id: RequestId) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        if request.attempt >= MAX_ATTEMPT {
            self.remove(id);
            self.events.push_back((id, Err(Error::TimedOut)));
        } else {
            request.attempt += 1;
            self.dispatch(now, id);
        }
    }

    fn fail_waiting(&mut self, to: SocketAddr, error: &Error) {
        let Some(server) = self.servers.get_mut(&to) else { return };
        let waiting = std::mem::take(&mut server.waiting);
        self.forget_server(to);
        for id in waiting {
            self.remove(id);
            self.events.push_back((id, Err(error.clone())));
        }
    }

    fn forget_server(&mut self, to: SocketAddr) {
        let Some(server) = self.servers.remove(&to) else { return };
        self.timers.remove(&(server.link.timer(), Owner::Connect(to)));
        if let Link::Connecting { transaction, .. } = server.link {
            self.transactions.remove(&transaction);
        }
    }

    fn remove(&mut self, id: RequestId) -> Option<Request> {
        let request = self.requests.remove(&id)?;
        self.transactions.remove(&request.transaction);
        if let Some(deadline) = request.deadline {
            self.timers.remove(&(deadline, Owner::Request(id)));
        }
        if let Some(server) = self.servers.get_mut(&request.to) {
            server.waiting.remove(&id);
        }
        Some(request)
    }

    fn set_link(&mut self, to: SocketAddr, link: Link) {
        let server = self.servers.entry(to).or_insert(Server { link, waiting: BTreeSet::new() });
        let old = std::mem::replace(&mut server.link, link);
        self.timers.remove(&(old.timer(), Owner::Connect(to)));
        self.timers.insert((link.timer(), Owner::Connect(to)));
    }

    fn draw_transaction(&mut self, owner: Owner) -> u32 {
        loop {
            let transaction = self.rng.next_u32();
            if let std::collections::btree_map::Entry::Vacant(entry) = self.transactions.entry(transaction) {
                entry.insert(owner);
                return transaction;
            }
        }
    }

    fn transmit(&mut self, to: SocketAddr, packet: Vec<u8>) {
        if self.transmits.len() >= MAX_QUEUED {
            self.transmits.pop_front();
        }
        self.transmits.push_back((to, packet));
    }
}
