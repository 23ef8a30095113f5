//! The HTTP client against servers that mean harm: bounded in bytes and time, and never led astray.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use flate2::{Compress, Compression, FlushCompress};
use swarm::engine::tracker::{Failure, Family};
use swarm::session::http::{HttpError, MAX_REDIRECTS, MAX_REPLY, PATIENCE, Problem};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use wire::tracker::AnnounceReply;

use super::sockets::{http, request, url};

/// A server that answers each request by a function of its target, and counts what it did.
struct Server {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
    sent: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

/// What goes out, in order; the last part is repeated for ever if so marked, after a pause each time.
#[derive(Clone, Default)]
struct Answer {
    head: Vec<u8>,
    repeat: Option<(Vec<u8>, Duration)>,
}

fn plain(status: &str, headers: &str, body: &[u8]) -> Answer {
    let mut head = Vec::new();
    write!(head, "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n", body.len()).unwrap();
    head.extend_from_slice(body);
    Answer { head, repeat: None }
}

fn redirect(to: &str) -> Answer {
    plain("302 Found", &format!("Location: {to}\r\n"), b"")
}

fn endless(head: &[u8], part: Vec<u8>, pause: Duration) -> Answer {
    Answer { head: head.to_vec(), repeat: Some((part, pause)) }
}

impl Server {
    async fn start(answer: impl Fn(SocketAddr, &str) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let counters: [Arc<AtomicUsize>; 3] = Default::default();
        let [requests, connections, sent] = counters.clone();
        let answer = Arc::new(answer);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut serving = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                counters[1].fetch_add(1, Ordering::SeqCst);
                let (counters, answer) = (counters.clone(), Arc::clone(&answer));
                serving
                    .spawn(async move { serve(stream, &counters, |target| answer(address, target)).await });
            }
        });
        Self { address, requests, connections, sent, _tasks: tasks }
    }

    fn url(&self) -> String {
        format!("http://{}/announce", self.address)
    }

    async fn announce(&self) -> Result<AnnounceReply, HttpError> {
        let (http, url) = (http(), url(&self.url()));
        Ok(http.announce(&url, &request(1, 5), Family::V4, PATIENCE).await?.0)
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

async fn serve(mut stream: TcpStream, counters: &[Arc<AtomicUsize>; 3], answer: impl Fn(&str) -> Answer) {
    let mut head = Vec::new();
    while let Ok(byte) = stream.read_u8().await {
        head.push(byte);
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        counters[0].fetch_add(1, Ordering::SeqCst);
        let text = String::from_utf8_lossy(&head).into_owned();
        head.clear();
        let answer = answer(text.split(' ').nth(1).unwrap_or_default());
        if stream.write_all(&answer.head).await.is_err() {
            return;
        }
        while let Some((part, pause)) = &answer.repeat {
            if stream.write_all(part).await.is_err() {
                return;
            }
            counters[2].fetch_add(part.len(), Ordering::SeqCst);
            tokio::time::sleep(*pause).await;
        }
    }
}

fn problem<T: std::fmt::Debug>(result: Result<T, HttpError>) -> Problem {
    result.unwrap_err().problem
}

#[tokio::test]
async fn an_endless_body_ends_at_two_mebibytes() {
    let server =
        Server::start(|_, _| endless(b"HTTP/1.1 200 OK\r\n\r\n", vec![b'x'; 1 << 16], Duration::ZERO));
    let server = server.await;
    assert_eq!(problem(server.announce().await), Problem::TooLarge(MAX_REPLY));
    assert!(server.sent.load(Ordering::SeqCst) < 32 << 20);
}

#[tokio::test]
async fn a_bomb_of_ten_gibibytes_ends_at_two_mebibytes() {
    // A fully flushed part of a deflate stream can be repeated as often as one likes.
    let mut part = Vec::with_capacity(1 << 16);
    let mut deflate = Compress::new(Compression::best(), false);
    deflate.compress_vec(&vec![0; 1 << 20], &mut part, FlushCompress::Full).unwrap();
    assert!(part.len() < 4096);
    let bomb = part.repeat(100);
    let server = Server::start(move |_, _| {
        let mut head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n".to_vec();
        head.extend_from_slice(b"\x1f\x8b\x08\0\0\0\0\0\0\x03");
        endless(&head, bomb.clone(), Duration::ZERO)
    });
    let server = server.await;
    assert_eq!(problem(server.announce().await), Problem::TooLarge(MAX_REPLY));
    assert!(server.sent.load(Ordering::SeqCst) < 32 << 20);
}

#[tokio::test]
async fn a_compressed_answer_is_read() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(b"d8:intervali900e5:peers6:\x0a\0\0\x01\x1a\xe1e").unwrap();
    let body = gzip.finish().unwrap();
    let server = Server::start(move |_, _| plain("200 OK", "Content-Encoding: gzip\r\n", &body)).await;
    let reply = server.announce().await.unwrap();
    assert_eq!((reply.interval, reply.peers), (Some(900), vec!["10.0.0.1:6881".parse().unwrap()]));
}

#[tokio::test]
async fn a_server_that_trickles_has_a_time_limit_in_total() {
    let pause = Duration::from_millis(20);
    for head in [&b"HTTP/1.1 200 OK\r\nX: "[..], b"HTTP/1.1 200 OK\r\n\r\nd8:intervali"] {
        let server = Server::start(move |_, _| endless(head, b"1".to_vec(), pause)).await;
        let limit = Duration::from_millis(300);
        let result = http().announce(&url(&server.url()), &request(1, 5), Family::V4, limit).await;
        let error = result.unwrap_err();
        assert_eq!(error.problem, Problem::TimedOut(limit));
        assert_eq!(Failure::from(error), Failure::TimedOut);
    }
}

#[tokio::test]
async fn a_flood_of_headers_is_cut_off() {
    let server = Server::start(|_, _| {
        endless(
            b"HTTP/1.1 200 OK\r\n",
            b"X-Flood: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n".repeat(100),
            Duration::ZERO,
        )
    });
    let server = server.await;
    assert!(matches!(problem(server.announce().await), Problem::Broken(_)));
    assert!(server.sent.load(Ordering::SeqCst) < 32 << 20);
}

#[tokio::test]
async fn a_redirect_loop_ends_after_five() {
    let server = Server::start(|_, target| redirect(target)).await;
    assert_eq!(problem(server.announce().await), Problem::Redirects(MAX_REDIRECTS));
    assert_eq!(server.requests(), MAX_REDIRECTS + 1);
}

#[tokio::test]
async fn a_redirect_to_another_tracker_path_is_followed() {
    let server = Server::start(|_, target| match target.strip_prefix("/announce?") {
        Some(query) => redirect(&format!("/v2/announce?{query}")),
        None => plain("200 OK", "", b"d8:intervali900e5:peers0:e"),
    });
    let server = server.await;
    assert_eq!(server.announce().await.unwrap().interval, Some(900));
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn no_redirect_leads_to_other_schemes_or_to_local_services() {
    let canary = Server::start(|_, _| plain("200 OK", "", b"d8:intervali1ee")).await;
    let port = canary.address.port();
    for (to, expected) in [
        (format!("http://127.0.0.1:{port}/admin"), Problem::Local),
        (format!("http://localhost:{port}/admin"), Problem::Local),
        (format!("http://2130706433:{port}/admin?cmd=announce"), Problem::Local),
        ("http://169.254.169.254/latest/meta-data/".into(), Problem::Local),
        ("http://[::ffff:127.0.0.1]/".into(), Problem::Local),
        ("file:///etc/passwd".into(), Problem::Scheme("file".into())),
        ("gopher://127.0.0.1/announce".into(), Problem::Scheme("gopher".into())),
        ("http://".into(), Problem::BadUrl("empty host".into())),
    ] {
        let location = to.clone();
        let server = Server::start(move |_, _| redirect(&location)).await;
        assert_eq!(problem(server.announce().await), expected, "{to}");
    }
    assert_eq!(canary.connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_torrent_cannot_call_a_local_service_by_anything_but_a_tracker_path() {
    let canary = Server::start(|_, _| plain("200 OK", "", b"d8:intervali1ee")).await;
    let port = canary.address.port();
    for path in ["admin", "", "announce/reboot", "announce?cmd=reboot", "x?/announce"] {
        for host in ["127.0.0.1", "localhost"] {
            let tracker = url(&format!("http://{host}:{port}/{path}"));
            let result = http().announce(&tracker, &request(1, 5), Family::V4, PATIENCE).await;
            assert_eq!(problem(result), Problem::Local, "{host} {path}");
        }
    }
    assert_eq!(canary.connections.load(Ordering::SeqCst), 0);
    let tracker = url(&format!("http://localhost:{port}/announce"));
    assert!(http().announce(&tracker, &request(1, 5), Family::V4, PATIENCE).await.is_ok());
}

#[tokio::test]
async fn announces_share_a_connection() {
    let server = Server::start(|_, _| plain("200 OK", "", b"d8:intervali900e5:peers0:e")).await;
    let http = http();
    for port in 1..10 {
        http.announce(&url(&server.url()), &request(port, 5), Family::V4, PATIENCE).await.unwrap();
    }
    assert_eq!((server.requests(), server.connections.load(Ordering::SeqCst)), (9, 1));
}

#[tokio::test]
async fn what_is_no_answer_is_told_apart() {
    for (status, body, expected) in [
        ("404 Not Found", "nothing here", "HTTP status 404"),
        ("200 OK", "<html>login</html>", "expected a bencoded reply"),
        ("200 OK", "i5e", "expected a dictionary"),
        (
            "503 Service Unavailable",
            "d14:failure reason4:busy8:retry ini5ee",
            "the tracker refused: busy (retry in 5 min)",
        ),
    ] {
        let server = Server::start(move |_, _| plain(status, "", body.as_bytes())).await;
        let told = server.announce().await.unwrap_err().problem.to_string();
        assert!(told.starts_with(expected), "{told}");
    }
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let tracker = url(&format!("http://{gone}/announce"));
    let refused = http().announce(&tracker, &request(1, 5), Family::V4, PATIENCE).await.unwrap_err();
    assert_eq!(refused.problem, Problem::Refused);
    assert_eq!(refused.to_string(), format!("http://{gone}/announce: connection refused"));
}

#[tokio::test]
async fn a_torrent_is_fetched_from_where_the_user_says_within_limits() {
    let server = Server::start(|_, target| match target {
        "/moved" => redirect("/x.torrent"),
        "/x.torrent" => plain("200 OK", "", b"d4:infode"),
        "/secret?key=1" => plain("403 Forbidden", "", b""),
        _ => endless(b"HTTP/1.1 200 OK\r\n\r\n", vec![b'x'; 1 << 20], Duration::ZERO),
    });
    let server = server.await;
    let at = |path: &str| format!("http://{}{path}", server.address);
    let http = http();
    assert_eq!(http.fetch_torrent(&at("/moved")).await.unwrap(), &b"d4:infode"[..]);
    assert_eq!(problem(http.fetch_torrent(&at("/endless")).await), Problem::TooLarge(metainfo::MAX_SIZE));
    let error = http.fetch_torrent(&at("/secret?key=1")).await.unwrap_err();
    assert_eq!(error.to_string(), format!("{}?***: HTTP status 403", at("/secret")));
    assert_eq!(problem(http.fetch_torrent("ftp://h/x").await), Problem::Scheme("ftp".into()));
}
