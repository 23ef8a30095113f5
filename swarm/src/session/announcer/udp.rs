//! Asking trackers over UDP: the reactor has the sockets.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::addresses;
use crate::engine::scope::Scope;
use crate::engine::tracker::udp::{self, Answer, RequestId};
use crate::engine::tracker::{Failure, Family, TrackerUrl};
use crate::reactor::{Answered, Handle, Plane, UdpError};
use crate::session::http::{Problem, may_ask_udp};
use crate::session::link::{Link, Unavailable};
use crate::session::resolve::ResolveError;

/// The answer of a tracker over UDP, and the address that it came from, within `patience`. `ask` runs on the reactor's thread, once
/// for each address that is tried.
pub(super) async fn ask(
    link: &Arc<Link>,
    tracker: &TrackerUrl,
    family: Family,
    patience: Duration,
    ask: impl Fn(&mut Plane, SocketAddr, Answered) -> Result<RequestId, UdpError> + Send + Sync + 'static,
) -> Result<(Answer, SocketAddr), Failure> {
    let (host, port) = tracker.host_port();
    let found = match link.resolver.lookup(&host, port, Some(family)).await {
        Ok(found) => found,
        Err(ResolveError::NoAddress(_)) => return Err(Failure::NoAddress),
        Err(error) => return Err(Failure::Unreachable(error.to_string())),
    };
    let allowed = allowed(tracker, &found)?;
    let ask = Arc::new(ask);
    let ask_one = |to| ask_one(link, to, Arc::clone(&ask));
    addresses::in_turn(&link.desk.addresses, ((host, port), family), &allowed, patience, ask_one).await
}

/// Those of a tracker's addresses that may be asked.
fn allowed(tracker: &TrackerUrl, found: &[SocketAddr]) -> Result<Vec<SocketAddr>, Failure> {
    let trackers: Vec<_> = found.iter().copied().filter(|to| Scope::of(to.ip()).is_some()).collect();
    let allowed: Vec<_> = trackers.iter().copied().filter(|to| may_ask_udp(tracker, *to)).collect();
    match (found.first(), allowed.is_empty()) {
        (None, _) => Err(Failure::NoAddress),
        (Some(first), true) if trackers.is_empty() => {
            Err(Failure::Unreachable(format!("{} is no address of a tracker", first.ip())))
        }
        (_, true) => Err(Failure::Unreachable(Problem::Local.to_string())),
        (_, false) => Ok(allowed),
    }
}

async fn ask_one(
    link: &Arc<Link>,
    to: SocketAddr,
    ask: Arc<
        impl Fn(&mut Plane, SocketAddr, Answered) -> Result<RequestId, UdpError> + Send + Sync + 'static,
    >,
) -> Result<(Answer, SocketAddr), Failure> {
    let (answered, answer) = oneshot::channel();
    let call = UdpCall::new(link.reactor.clone());
    let slot = call.slot.clone();
    let asked = link.ask(move |plane| {
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if !slot.given_up {
            let done = Box::new(move |result| {
                // Whoever gave up has no use for it.
                let _ = answered.send(result);
            });
            slot.request = Some(ask(plane, to, done)?);
        }
        Ok(())
    });
    asked.await.map_err(over)?.map_err(failure)?;
    let answer = answer.await.map_err(|_| over(Unavailable::Over))?.map_err(failure)?;
    Ok((answer, to))
}

fn over(error: Unavailable) -> Failure {
    Failure::Unreachable(error.to_string())
}

fn failure(error: UdpError) -> Failure {
    match error {
        UdpError::NoSocket(_) => Failure::NoAddress,
        UdpError::NotTaken(why) => Failure::Unreachable(why.to_string()),
        UdpError::Send(kind) => Failure::Unreachable(format!("cannot send: {kind}")),
        UdpError::Tracker(udp::Error::TimedOut) => Failure::TimedOut,
        UdpError::Tracker(udp::Error::Refused(reason)) => {
            Failure::Refused(wire::tracker::Failure { reason, retry_in: None })
        }
    }
}

/// A request in the reactor's hands; it is given up when this is dropped.
struct UdpCall {
    reactor: Handle,
    slot: Arc<Mutex<Slot>>,
}

#[derive(Default)]
struct Slot {
    request: Option<RequestId>,
    given_up: bool,
}

impl UdpCall {
    fn new(reactor: Handle) -> Self {
        Self { reactor, slot: Arc::default() }
    }
}

impl Drop for UdpCall {
    fn drop(&mut self) {
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        slot.given_up = true;
        if let Some(request) = slot.request.take() {
            // A reactor that is gone has given up everything.
            let _ = self.reactor.run(move |plane| plane.cancel_udp(request));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_tracker_those_addresses_are_asked_that_may_be() {
        let refused = || Err(Failure::Unreachable(Problem::Local.to_string()));
        let nobody = |ip: &str| Err(Failure::Unreachable(format!("{ip} is no address of a tracker")));
        for (url, found, expected) in [
            (
                "udp://t.example:6969/announce",
                &["192.168.1.7", "9.9.9.9"][..],
                Ok(vec!["192.168.1.7", "9.9.9.9"]),
            ),
            ("udp://t.example:6969/announce?key=1", &["192.168.1.7", "9.9.9.9"], Ok(vec!["9.9.9.9"])),
            ("udp://t.example:53", &["9.9.9.9", "127.0.0.1"], Ok(vec!["9.9.9.9"])),
            ("udp://t.example:53", &["10.0.0.1"], refused()),
            ("udp://t.example:6969/x?y=z", &["127.0.0.1", "224.0.0.1"], refused()),
            ("udp://t.example:6969", &["224.0.0.1", "9.9.9.9"], Ok(vec!["9.9.9.9"])),
            ("udp://t.example:6969", &["224.0.0.1", "0.0.0.0"], nobody("224.0.0.1")),
            ("udp://t.example:6969", &[], Err(Failure::NoAddress)),
        ] {
            let tracker = TrackerUrl::parse(url).unwrap();
            let port = tracker.host_port().1;
            let found: Vec<_> = found.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), port)).collect();
            let told = allowed(&tracker, &found);
            let told = told.map(|all| all.iter().map(|to| to.ip().to_string()).collect::<Vec<_>>());
            assert_eq!(told, expected.map(|all| all.into_iter().map(str::to_owned).collect()), "{url}");
        }
    }
}
