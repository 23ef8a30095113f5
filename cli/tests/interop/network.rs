//! A network of a test's own: a network namespace in which the loopback interface is a small local network, with
//! multicast and an address for every client, and without a way out.
//!
//! What clients refuse to do on 127.0.0.0/8 works there: Transmission dials, LSD announces, and a DHT has more than one
//! node for an address. The test runs itself again inside of it.

use std::env;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::Stdio;
use std::sync::Once;

use anyhow::{Context, Result, ensure};
use tempfile::NamedTempFile;

use crate::mode;
use crate::process::{command, find};

/// Set for a test that runs inside.
const INSIDE: &str = "UNCHOKE_INTEROP_NETWORK";

/// Sets the network up, and goes on with what its arguments say.
const SET_UP: &str = "\
ip link set lo up && ip link set lo multicast on || exit 77
for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14; do ip addr add 10.77.$n.1/16 dev lo || exit 77; done
ip route add default via 10.77.1.1 dev lo && ip route add 224.0.0.0/4 dev lo || exit 77
mount --bind \"$1\" /etc/resolv.conf || exit 77; shift
exec \"$@\"";

/// A server for names that refuses. Nobody would answer at all otherwise, and qBittorrent 4.5 asks for five nodes of the DHT by name
/// before it uses those that it was told: a hundred seconds.
const RESOLVER: &[u8] = b"nameserver 10.77.1.1\n";

/// The status that says that there is no network to be had.
const NONE: i32 = 77;

/// An address of its own for each client of a test, from 1 to 14. Clients of the DHT mistrust nodes of one /24.
pub(crate) fn host(n: u8) -> IpAddr {
    Ipv4Addr::new(10, 77, n, 1).into()
}

/// Runs a test in a network of its own, or skips it. `name` is that of the test, with its modules.
pub(crate) fn inside(name: &str, test: impl FnOnce() -> Result<()>) -> Result<()> {
    if env::var_os(INSIDE).is_some() {
        return test();
    }
    if mode() == "off" {
        return skip("UNCHOKE_INTEROP=off");
    }
    // The first part names the program.
    let name = name.split_once("::").map_or(name, |(_, name)| name);
    let unshare = find("unshare").filter(|_| find("ip").is_some());
    let Some(unshare) = unshare else { return skip("unshare and ip are not installed") };
    let mut resolver = NamedTempFile::new()?;
    resolver.write_all(RESOLVER)?;
    let is_root = rustix::process::getuid().is_root();
    let mut command = command(&unshare);
    command.args(["--net", "--mount"]).args((!is_root).then_some("--map-root-user"));
    command.args(["--", "sh", "-c", SET_UP, "sh"]).arg(resolver.path()).arg(env::current_exe()?);
    command.args([name, "--exact", "--nocapture", "--test-threads", "1"]);
    command.env(INSIDE, "1").stdin(Stdio::null());
    let output = command.output().with_context(|| Path::new("unshare").display().to_string())?;
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let refused = said.contains("unshare failed") || said.contains("Operation not permitted");
    if output.status.code() == Some(NONE) || !output.status.success() && refused {
        return skip("network namespaces are not permitted here");
    }
    ensure!(output.status.success(), "inside of the network:\n{said}");
    ensure!(said.contains("1 passed"), "no test ran inside of the network:\n{said}");
    match said.lines().find_map(|line| line.strip_prefix("skipped: ")) {
        Some(why) => skip(why),
        None => Ok(()),
    }
}

/// Tells once, past the capture of test output. An error where absence is to be a failure.
pub(crate) fn skip(why: &str) -> Result<()> {
    static TOLD: Once = Once::new();
    ensure!(mode() != "require", "{why}, and UNCHOKE_INTEROP=require");
    TOLD.call_once(|| {
        let _ = writeln!(std::io::stderr(), "skipped: {why}");
    });
    Ok(())
}
