//! Two machines on one wire: a test's own network namespace, another one beside it, and a pair of interfaces that joins them, with
//! an address of each family at both ends.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::network;
use crate::process::{command, find, wait_for};

/// The status of the set-up when there are no such interfaces to be had.
const NONE: i32 = 77;

/// Joins the namespace of the test with that of a process.
const SET_UP: &str = "\
enter=\"nsenter --net=/proc/$1/ns/net\"
ip link add near type veth peer name far netns \"$1\" || exit 77
ip addr add 10.78.0.1/24 dev near && ip -6 addr add fd78::1/64 dev near nodad || exit 77
$enter ip link set lo up || exit 77
$enter ip addr add 10.78.0.2/24 dev far && $enter ip -6 addr add fd78::2/64 dev far nodad || exit 77
ip link set near up && $enter ip link set far up";

/// What the ends say when they are ready: the way to groups is there, and no address is being looked at for another owner.
const READY: &str = "\
for end in \"ip -6\" \"nsenter --net=/proc/$1/ns/net ip -6\"; do
    $end route show table local | grep -q 'ff00::/8 dev [nf]' || exit 1
    [ -z \"$($end addr show tentative)\" ] || exit 1
done";

/// How long an interface may take to come up.
const LIMIT: Duration = Duration::from_secs(60);

/// One of the two machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Near,
    Far,
}

impl End {
    pub(crate) fn v4(self) -> IpAddr {
        Ipv4Addr::new(10, 78, 0, self.number()).into()
    }

    pub(crate) fn v6(self) -> IpAddr {
        Ipv6Addr::new(0xfd78, 0, 0, 0, 0, 0, 0, self.number().into()).into()
    }

    fn number(self) -> u8 {
        if self == End::Near { 1 } else { 2 }
    }
}

/// The wire. Dropping it takes the far machine away.
pub(crate) struct Wire {
    /// Holds the other namespace.
    far: Child,
}

impl Wire {
    /// Runs a test with a wire, in a network of its own, or skips it. `name` is that of the test, with its modules.
    pub(crate) fn with(name: &str, test: impl FnOnce(&Wire) -> Result<()>) -> Result<()> {
        network::inside(name, || match Wire::new()? {
            Some(wire) => test(&wire),
            None => network::skip("pairs of network interfaces are not permitted here"),
        })
    }

    fn new() -> Result<Option<Wire>> {
        let (Some(unshare), Some(_)) = (find("unshare"), find("nsenter")) else { return Ok(None) };
        let mut holder = command(&unshare);
        holder.args(["--net", "--", "sleep", "3600"]).stdin(Stdio::null());
        let wire = Wire { far: holder.spawn().context("a second network")? };
        let own = fs::read_link("/proc/self/ns/net")?;
        wait_for("a second network", LIMIT, || {
            Ok(fs::read_link(wire.namespace()).ok().filter(|other| *other != own))
        })?;
        let status = Command::new("sh").args(["-c", SET_UP, "sh", &wire.far.id().to_string()]).status()?;
        if status.code() == Some(NONE) {
            return Ok(None);
        }
        ensure!(status.success(), "the wire: {status}");
        wait_for("the wire", LIMIT, || {
            let ready = Command::new("sh").args(["-c", READY, "sh", &wire.far.id().to_string()]).status()?;
            Ok(ready.success().then_some(()))
        })?;
        Ok(Some(wire))
    }

    /// A command on one of the machines.
    pub(crate) fn command(&self, end: End, program: &Path) -> Command {
        match end {
            End::Near => command(program),
            End::Far => {
                let mut entered = command(Path::new("nsenter"));
                entered.arg(format!("--net={}", self.namespace())).arg("--").arg(program);
                entered
            }
        }
    }

    fn namespace(&self) -> String {
        format!("/proc/{}/ns/net", self.far.id())
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let _ = self.far.kill();
        let _ = self.far.wait();
    }
}
