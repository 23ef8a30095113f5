//! Announces to opentracker, if this machine has it. `UNCHOKE_INTEROP=require` makes its absence a failure, and `off` skips it.

use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use swarm::engine::tracker::Family;
use swarm::engine::tracker::udp::Answer;
use swarm::session::http::PATIENCE;

use super::sockets::{http, request, udp_ask, url};

/// What hangs ends after this.
const LIMIT: Duration = Duration::from_secs(120);
/// opentracker refuses to run as root; this is the user nobody.
const NOBODY: u32 = 65534;

struct OpenTracker {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Drop for OpenTracker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/bin", "/usr/sbin", "/usr/local/bin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(usual)
        .map(|folder| folder.join("opentracker"))
        .find(|file| file.is_file())
}

fn free_port() -> u16 {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        if UdpSocket::bind(address).is_ok() {
            return address.port();
        }
    }
}

fn start(binary: &Path) -> OpenTracker {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    fs::write(folder.path().join("allowed"), format!("{}\n", "ab".repeat(20))).unwrap();
    let config = folder.path().join("opentracker.conf");
    let root = folder.path().display();
    let text = format!(
        "listen.tcp {address}\nlisten.udp {address}\naccess.whitelist allowed\ntracker.rootdir {root}\n"
    );
    fs::write(&config, text).unwrap();
    let mut command = Command::new(binary);
    command.current_dir(folder.path()).arg("-f").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
    if fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0) {
        command.uid(NOBODY).gid(NOBODY);
    }
    let mut child = command.spawn().unwrap();
    let deadline = Instant::now() + LIMIT;
    while TcpStream::connect(address).is_err() {
        assert_eq!(child.try_wait().unwrap(), None, "opentracker ended");
        assert!(Instant::now() < deadline, "opentracker does not listen");
        std::thread::yield_now();
    }
    OpenTracker { child, address, _folder: folder }
}

#[tokio::test]
async fn opentracker_answers_over_http_and_udp() {
    let mode = std::env::var("UNCHOKE_INTEROP").unwrap_or_default();
    let Some(binary) = find().filter(|_| mode != "off") else {
        assert!(mode != "require", "opentracker is not installed; run .ci/install");
        let why = if mode == "off" { "UNCHOKE_INTEROP=off" } else { "opentracker is not installed" };
        // Past the capture of test output.
        let _ = writeln!(std::io::stderr(), "skipped: {why}");
        return;
    };
    let tracker = start(&binary);
    let to = tracker.address;
    let tracker_url = url(&format!("http://{to}/announce"));
    let client = http();
    // Its list of torrents is read by a thread of its own.
    let deadline = Instant::now() + LIMIT;
    let announced = loop {
        match client.announce(&tracker_url, &request(1000, 5), Family::V4, PATIENCE).await {
            Ok((reply, _)) => break reply,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
    };
    assert!(announced.interval.is_some_and(|secs| secs > 0), "{announced:?}");

    let over_udp = udp_ask(to, move |client, now| {
        client.announce(now, to, request(1001, 0), "/announce").unwrap();
    });
    let Ok(Answer::Announce(second)) = over_udp.await else { panic!("no announce reply over UDP") };
    assert!(second.peers.contains(&SocketAddr::new(to.ip(), 1000)), "{second:?}");
    assert_eq!((second.seeders, second.leechers), (Some(1), Some(1)));

    let (third, _) = client.announce(&tracker_url, &request(1002, 5), Family::V4, PATIENCE).await.unwrap();
    assert!(third.peers.contains(&SocketAddr::new(to.ip(), 1001)), "{third:?}");

    let counts = client.scrape(&tracker_url, &[[0xab; 20]], Family::V4).await.unwrap()[&[0xab; 20]];
    let scraped = udp_ask(to, move |client, now| _ = client.scrape(now, to, &[[0xab; 20]]).unwrap()).await;
    assert_eq!((counts.seeders, counts.leechers), (1, 2));
    assert_eq!(scraped, Ok(Answer::Scrape(vec![counts])));
}
