use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::LOCATION;
use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use url::Url;
use wire::tracker::http::{
    ReplyError, announce_url, parse_announce_reply, parse_scrape_reply, scrape_request_url, scrape_url,
};
use wire::tracker::{AnnounceReply, AnnounceRequest, ScrapeCounts};

use super::error::{HttpError, Problem};
use super::guard::{Names, Origin, Reach, check, first_reach};
use super::tls;
use crate::engine::scope::Scope;
use crate::engine::tracker::address::hide_secrets;
use crate::engine::tracker::{Family, TrackerUrl};
use crate::session::resolve::Resolver;

/// A tracker's answer has at most this many bytes, decompressed.
pub const MAX_REPLY: usize = 2 << 20;
/// Redirects followed.
pub const MAX_REDIRECTS: usize = 5;
/// The longest time for a tracker's answer, redirects included.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// The longest time to fetch a torrent.
const PATIENCE_TORRENT: Duration = Duration::from_secs(300);
/// The longest time for one connection to come about.
const PATIENCE_CONNECT: Duration = Duration::from_secs(20);
/// Idle connections kept per host: announces of several torrents to one tracker share them. There are as many as were in use
/// at a time, which are fewer until a session ends.
pub(in crate::session) const IDLE_PER_HOST: usize = 64;

/// What an [`Http`] tells of itself and where it speaks from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    /// The `User-Agent`.
    pub user_agent: String,
    /// The IPv4 address to speak from; unspecified lets the system choose.
    pub bind_v4: Ipv4Addr,
    /// The IPv6 address to speak from; unspecified lets the system choose.
    pub bind_v6: Ipv6Addr,
    /// Certificates of authorities (DER) that HTTPS trusts besides those of the system.
    pub roots: Vec<Vec<u8>>,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            user_agent: concat!("unchoke/", env!("CARGO_PKG_VERSION")).into(),
            bind_v4: Ipv4Addr::UNSPECIFIED,
            bind_v6: Ipv6Addr::UNSPECIFIED,
            roots: Vec::new(),
        }
    }
}

/// The HTTP side of a session. Connections are kept alive and shared by all torrents.
#[derive(Debug)]
pub struct Http {
    clients: Vec<(Option<Family>, Reach, Client)>,
}

/// One request, with its limits.
struct Ask {
    origin: Origin,
    /// How far the first request may go.
    reach: Reach,
    family: Option<Family>,
    limit: usize,
    patience: Duration,
}

struct HttpAnswer {
    status: u16,
    body: Bytes,
    /// The address that it came from.
    from: Option<IpAddr>,
}

impl Http {
    /// Fails if the TLS library cannot be set up, or does not understand a certificate.
    pub fn new(config: &HttpConfig, resolver: &Resolver) -> Result<Self, HttpError> {
        let failed = |why: String| HttpError { url: String::new(), problem: Problem::Tls(why) };
        let tls = tls::config(&config.roots).map_err(|error| failed(error.to_string()))?;
        let mut clients = Vec::new();
        for family in [None, Some(Family::V4), Some(Family::V6)] {
            for reach in [Reach::Any, Reach::Global] {
                let names = Names { resolver: resolver.clone(), family, reach };
                let client = client(config, tls.clone(), names).map_err(|error| failed(error.to_string()))?;
                clients.push((family, reach, client));
            }
        }
        Ok(Self { clients })
    }

    /// Announces over one address family, within `patience` and [`PATIENCE`]. A tracker's refusal is an error with
    /// [`Problem::Reply`]. With the answer comes how far the address reaches that it came from.
    pub async fn announce(
        &self,
        tracker: &TrackerUrl,
        request: &AnnounceRequest,
        family: Family,
        patience: Duration,
    ) -> Result<(AnnounceReply, Scope), HttpError> {
        let url = announce_url(tracker.as_str(), request);
        let (reply, from) = self.tracker(tracker, &url, family, patience, parse_announce_reply).await?;
        Ok((reply, from.and_then(Scope::of).unwrap_or(Scope::Global)))
    }

    /// Asks for the counts of some torrents (BEP 48).
    pub async fn scrape(
        &self,
        tracker: &TrackerUrl,
        info_hashes: &[[u8; 20]],
        family: Family,
    ) -> Result<BTreeMap<[u8; 20], ScrapeCounts>, HttpError> {
        let Some(scrape) = scrape_url(tracker.as_str()) else {
            return Err(HttpError { url: tracker.to_string(), problem: Problem::NoScrape });
        };
        let url = scrape_request_url(&scrape, info_hashes);
        Ok(self.tracker(tracker, &url, family, PATIENCE, parse_scrape_reply).await?.0)
    }

    /// Fetches the bytes of a torrent from a URL that the user typed: at most [`metainfo::MAX_SIZE`].
    pub async fn fetch_torrent(&self, url: &str) -> Result<Bytes, HttpError> {
        let ask = Ask {
            origin: Origin::User,
            reach: Reach::Any,
            family: None,
            limit: metainfo::MAX_SIZE,
            patience: PATIENCE_TORRENT,
        };
        let result = self.get(url, &ask).await.and_then(|answer| match answer.status {
            200..=299 => Ok(answer.body),
            other => Err(Problem::Status(other)),
        });
        result.map_err(|problem| HttpError { url: hide_secrets(url), problem })
    }

    /// What came, and from which address.
    async fn tracker<T>(
        &self,
        tracker: &TrackerUrl,
        url: &str,
        family: Family,
        patience: Duration,
        parse: impl Fn(&[u8]) -> Result<T, ReplyError>,
    ) -> Result<(T, Option<IpAddr>), HttpError> {
        let ask = Ask {
            origin: Origin::Torrent,
            reach: first_reach(tracker),
            family: Some(family),
            limit: MAX_REPLY,
            patience: patience.min(PATIENCE),
        };
        let result =
            self.get(url, &ask).await.and_then(|answer| match (answer.status, parse(&answer.body)) {
                // Some trackers refuse with an error status and still say why.
                (_, Err(ReplyError::Failure(failure))) => Err(Problem::Reply(ReplyError::Failure(failure))),
                (200..=299, result) => Ok((result.map_err(Problem::Reply)?, answer.from)),
                (other, _) => Err(Problem::Status(other)),
            });
        result.map_err(|problem| HttpError { url: tracker.to_string(), problem })
    }

    /// The answer, within the limits.
    async fn get(&self, url: &str, ask: &Ask) -> Result<HttpAnswer, Problem> {
        let url = parse(url)?;
        let answer = tokio::time::timeout(ask.patience, self.follow(url, ask)).await;
        answer.unwrap_or(Err(Problem::TimedOut(ask.patience)))
    }

    /// Follows redirects. Where one may lead is judged by where it came from.
    async fn follow(&self, mut url: Url, ask: &Ask) -> Result<HttpAnswer, Problem> {
        let mut reach = ask.reach;
        for _ in 0..=MAX_REDIRECTS {
            check(&url, ask.family, reach)?;
            let sent = self.client(ask.family, reach)?.get(url.clone()).send().await;
            let response = sent.map_err(|error| Problem::of(&error.without_url(), ask.patience))?;
            let from = response.remote_addr().map(|address| address.ip());
            let Some(next) = redirect(&url, &response)? else {
                let status = response.status().as_u16();
                return Ok(HttpAnswer { status, body: body(response, ask).await?, from });
            };
            reach = ask.origin.reach_by_redirect(from, &next);
            url = next;
        }
        Err(Problem::Redirects(MAX_REDIRECTS))
    }

    fn client(&self, family: Option<Family>, reach: Reach) -> Result<&Client, Problem> {
        let found = self.clients.iter().find(|(f, r, _)| *f == family && *r == reach);
        found.map(|(.., client)| client).ok_or_else(|| Problem::Connect("no such client".into()))
    }
}

fn client(config: &HttpConfig, tls: rustls::ClientConfig, names: Names) -> reqwest::Result<Client> {
    let from = names.family.map(|family| match family {
        Family::V4 => IpAddr::V4(config.bind_v4),
        Family::V6 => IpAddr::V6(config.bind_v6),
    });
    Client::builder()
        .tls_backend_preconfigured(tls)
        .user_agent(&config.user_agent)
        .redirect(Policy::none())
        .no_proxy()
        .referer(false)
        .local_address(from)
        .connect_timeout(PATIENCE_CONNECT)
        .pool_max_idle_per_host(IDLE_PER_HOST)
        .dns_resolver(names)
        .build()
}

/// Where a response leads, if it is a redirect.
fn redirect(from: &Url, response: &Response) -> Result<Option<Url>, Problem> {
    let leads = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let Some(location) = response.headers().get(LOCATION).filter(|_| leads) else { return Ok(None) };
    let location = location.to_str().map_err(|error| Problem::BadUrl(error.to_string()))?;
    from.join(location).map(Some).map_err(|error| Problem::BadUrl(error.to_string()))
}

/// Reads a body chunk by chunk, and stops when it gets too long. What is counted is what comes out of decompression. A
/// body of one chunk, as most answers of trackers are, is not copied.
async fn body(mut response: Response, ask: &Ask) -> Result<Bytes, Problem> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| Problem::of(&e.without_url(), ask.patience))? {
        if chunk.len() > ask.limit.saturating_sub(body.len()) {
            return Err(Problem::TooLarge(ask.limit));
        }
        match chunk.try_into_mut() {
            Ok(chunk) if body.is_empty() => body = chunk,
            Ok(chunk) => body.extend_from_slice(&chunk),
            Err(chunk) => body.extend_from_slice(&chunk),
        }
    }
    Ok(body.freeze())
}

fn parse(url: &str) -> Result<Url, Problem> {
    Url::parse(url.trim()).map_err(|error| Problem::BadUrl(error.to_string()))
}
