//! What goes over the UDP sockets: trackers that are asked, and the DHT.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;

use mio::{Registry, Token};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use wire::tracker::AnnounceRequest;

use super::udp::Udp;
use crate::engine::tracker::Family;
use crate::engine::tracker::udp::{Answer, Client, Error, NotTaken, RequestId};
use crate::engine::{Engine, Time};

/// How every packet of the DHT starts: it is a bencoded dictionary. No tracker's answer does.
const DHT: u8 = b'd';

/// Called with the outcome of a request, on the reactor's thread. Must not block.
pub type Answered = Box<dyn FnOnce(Result<Answer, UdpError>) + Send>;

/// Why a tracker was not asked over UDP, or did not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UdpError {
    /// There is no socket of this family.
    NoSocket(Family),
    /// Too much is asked at the same time.
    NotTaken(NotTaken),
    /// The system cannot send there.
    Send(io::ErrorKind),
    /// No answer, or a refusal.
    Tracker(Error),
}

/// The sockets, and who waits for answers.
pub(super) struct Datagrams {
    udp: Udp,
    client: Client,
    waiting: HashMap<RequestId, (SocketAddr, Answered)>,
}

impl Datagrams {
    /// Opens the sockets for the addresses that are listened on. They are registered from `first` on.
    pub(super) fn open(registry: &Registry, first: Token, listening: &[SocketAddr], seed: [u8; 32]) -> Self {
        let mut rng = ChaCha8Rng::from_seed(seed);
        // The engine draws from the first stream of the same seed.
        rng.set_stream(1);
        let udp = Udp::open(registry, first, listening);
        Self { udp, client: Client::new(rng), waiting: HashMap::new() }
    }

    /// Where nodes of the DHT reach us.
    pub(super) fn home(&self, family: Family) -> Option<SocketAddr> {
        self.udp.home(family)
    }

    pub(super) fn announce(
        &mut self,
        now: Time,
        to: SocketAddr,
        request: AnnounceRequest,
        url_data: &str,
        answered: Answered,
    ) -> Result<RequestId, UdpError> {
        self.reach(to)?;
        let id = self.client.announce(now, to, request, url_data).map_err(UdpError::NotTaken)?;
        self.wait(id, to, answered);
        Ok(id)
    }

    pub(super) fn scrape(
        &mut self,
        now: Time,
        to: SocketAddr,
        hashes: &[[u8; 20]],
        answered: Answered,
    ) -> Result<RequestId, UdpError> {
        self.reach(to)?;
        let id = self.client.scrape(now, to, hashes).map_err(UdpError::NotTaken)?;
        self.wait(id, to, answered);
        Ok(id)
    }

    fn reach(&self, to: SocketAddr) -> Result<(), UdpError> {
        let family = Family::of(to.ip());
        if self.udp.has(family) { Ok(()) } else { Err(UdpError::NoSocket(family)) }
    }

    fn wait(&mut self, id: RequestId, to: SocketAddr, answered: Answered) {
        self.waiting.insert(id, (to, answered));
        self.ask();
    }

    pub(super) fn cancel(&mut self, id: RequestId) {
        if self.waiting.remove(&id).is_some() {
            self.client.cancel(id);
        }
    }

    /// Takes what came, from whichever socket.
    pub(super) fn receive(&mut self, now: Time, engine: &mut Engine) {
        let client = &mut self.client;
        self.udp.receive(|came, datagram| {
            if datagram.first() != Some(&DHT) {
                client.handle_datagram(now, came.from, datagram);
            } else if came.home {
                engine.handle_datagram(now, came.at, came.from, datagram);
            }
        });
        self.ask();
        self.flush(now, engine);
    }

    /// When to call [`Datagrams::handle_timeout`].
    pub(super) fn next_timeout(&self) -> Option<Time> {
        if self.udp.unread { Some(Time::ZERO) } else { self.client.next_timeout() }
    }

    pub(super) fn handle_timeout(&mut self, now: Time, engine: &mut Engine) {
        if self.udp.unread {
            self.receive(now, engine);
        }
        self.client.handle_timeout(now);
        self.ask();
    }

    /// Sends what the engine has to send.
    pub(super) fn flush(&self, now: Time, engine: &mut Engine) {
        while let Some(datagram) = engine.poll_datagram() {
            match self.udp.send(datagram.from, datagram.to, &datagram.bytes) {
                Err(error) if is_without_way(error) => engine.handle_unreachable(now, datagram.to),
                // What does not arrive is not answered.
                _ => {}
            }
        }
    }

    /// Sends what is to be sent to trackers, and tells what came of requests.
    fn ask(&mut self) {
        while let Some((to, packet)) = self.client.poll_transmit() {
            if let Err(error) = self.udp.send(None, to, &packet) {
                self.fail(to, error);
            }
        }
        while let Some((id, result)) = self.client.poll_event() {
            if let Some((_, answered)) = self.waiting.remove(&id) {
                answered(result.map_err(UdpError::Tracker));
            }
        }
    }

    /// Ends all requests to an address that nothing can be sent to.
    fn fail(&mut self, to: SocketAddr, error: io::ErrorKind) {
        let there = self.waiting.iter().filter(|(_, (addr, _))| *addr == to).map(|(id, _)| *id);
        let mut there: Vec<_> = there.collect();
        there.sort_unstable();
        for id in there {
            self.client.cancel(id);
            if let Some((_, answered)) = self.waiting.remove(&id) {
                answered(Err(UdpError::Send(error)));
            }
        }
    }
}

/// Whether nothing can be sent there as long as the network is as it is.
fn is_without_way(error: io::ErrorKind) -> bool {
    use io::ErrorKind::{AddrNotAvailable, HostUnreachable, NetworkUnreachable};
    matches!(error, NetworkUnreachable | HostUnreachable | AddrNotAvailable)
}
