use rustix::process::Signal;

use crate::env::Env;

#[test]
fn a_whole_swarm_runs_and_leaves_nothing() {
    let env = Env::new();
    let out = env.ok(&["demo", "--size", "3M"]);
    assert!(out.contains("moved 9.0 MiB to 3 leechers"), "{out}");
    assert!(out.contains("every hash matches: 576 pieces in 3 copies"), "{out}");
    assert_eq!(std::fs::read_dir(env.path("")).unwrap().count(), 0);
}

#[test]
fn a_swarm_that_is_ended_at_once_leaves_nothing() {
    let env = Env::new();
    let demo = env.start(&["demo", "--size", "256M"]);
    let entries = || std::fs::read_dir(env.path("")).unwrap().map(|entry| entry.unwrap().path());
    while !entries().any(|folder| folder.join("seeder/content.bin").exists()) {
        std::thread::yield_now();
    }
    // Of two equal signals that wait the system delivers one.
    demo.signal(Signal::INT);
    demo.signal(Signal::TERM);
    let code = demo.end();
    // Between the signals it may have ended by itself.
    assert!(matches!(code, Some(130 | 7)), "{code:?}");
    assert_eq!(entries().count(), 0);
}
