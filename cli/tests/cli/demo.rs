use crate::env::Env;

#[test]
fn a_whole_swarm_runs_and_leaves_nothing() {
    let env = Env::new();
    let out = env.ok(&["demo", "--size", "3M"]);
    assert!(out.contains("moved 9.0 MiB to 3 leechers"), "{out}");
    assert!(out.contains("every hash matches: 576 pieces in 3 copies"), "{out}");
    assert_eq!(std::fs::read_dir(env.path("")).unwrap().count(), 0);
}
