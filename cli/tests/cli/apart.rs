//! Disks that do as a test likes: each test in a mount namespace of its own, of which nothing is left.

use std::path::Path;
use std::process::Command;

/// Says to a test that it is in its namespace.
const INSIDE: &str = "UNCHOKE_TEST_APART";

/// Runs the test of this name anew in a mount namespace; where none can be had it says so and is skipped.
pub(crate) fn apart(name: &str, test: impl Fn()) {
    if std::env::var_os(INSIDE).is_some() {
        return test();
    }
    let can = |options: &&str| {
        let probe = "mount -t tmpfs none /tmp && umount /tmp";
        let probe = Command::new("unshare").args([options, "sh", "-c", probe]).output();
        probe.is_ok_and(|probe| probe.status.success())
    };
    let Some(options) = ["-m", "-mr"].into_iter().find(can) else {
        return eprintln!("skipped: no mount namespace can be had here");
    };
    let output = Command::new("unshare")
        .arg(options)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    eprint!("{said}");
}

/// Whether a command of the shell succeeds; the paths are its arguments.
pub(crate) fn sh(command: &str, paths: &[&Path]) -> bool {
    Command::new("sh").args(["-c", command, "sh"]).args(paths).status().unwrap().success()
}
