use crate::env::{Env, ran};

fn env(config: &str) -> Env {
    let env = Env::new();
    env.content("one.bin", 100_000);
    env.write(".config/unchoke/config.toml", config);
    env
}

/// The comment and piece length of what is made.
fn made(env: &Env, words: &[&str], variables: &[(&str, &str)]) -> (String, u64) {
    let words = [&["create", "one.bin", "-f", "-o", "a"], words].concat();
    let ran = ran(env.command(&words).envs(variables.iter().copied()).output().unwrap());
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let shown = env.command(&["show", "a", "--json"]).env("XDG_CONFIG_HOME", "/nowhere").output().unwrap();
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    (shown["comment"].as_str().unwrap_or_default().to_owned(), shown["piece_length"].as_u64().unwrap())
}

#[test]
fn flags_go_over_variables_and_those_over_the_file() {
    let env = env("comment = \"top\"\n[create]\npiece-size = \"64K\"\n");
    let variable = [("UNCHOKE_COMMENT", "variable")];
    assert_eq!(made(&env, &[], &[]), ("top".into(), 65536));
    assert_eq!(made(&env, &[], &variable), ("variable".into(), 65536));
    assert_eq!(made(&env, &["-c", "flag", "--piece-size", "32K"], &variable), ("flag".into(), 32768));
}

#[test]
fn a_table_goes_over_the_top() {
    let env = env("comment = \"top\"\n[create]\ncomment = \"table\"\n");
    assert_eq!(made(&env, &[], &[]).0, "table");
}

#[test]
fn the_folder_of_xdg_is_used() {
    let env = env("comment = \"home\"\n");
    env.write("xdg/unchoke/config.toml", "comment = \"xdg\"\n");
    let xdg = env.path("xdg");
    assert_eq!(made(&env, &[], &[("XDG_CONFIG_HOME", xdg.to_str().unwrap())]).0, "xdg");
    assert_eq!(made(&env, &[], &[("XDG_CONFIG_HOME", "relative")]).0, "home");
}

#[test]
fn mistakes_in_the_file_are_2_and_named_with_their_line() {
    for (config, says) in [
        ("\n\nprot = 1\n", "config.toml, line 3: unknown key \"prot\""),
        ("[nonsense]\n", "line 1: unknown table [nonsense]"),
        ("[create]\npiece-size = \"9x\"\n", "line 2: piece-size cannot be \"9x\""),
        ("a = = b\n", "line 1: "),
    ] {
        let env = env(config);
        env.fails(2, &["create", "one.bin"], says);
        // Help is there all the same.
        env.ok(&["create", "--help"]);
    }
}

#[test]
fn switches_can_be_set_by_variables() {
    let env = Env::new();
    env.content("one.bin", 1000);
    for (value, is_private) in [("1", true), ("yes", true), ("0", false), ("false", false), ("", false)] {
        let mut command = env.command(&["create", "one.bin", "-f", "-o", "a"]);
        assert!(command.env("UNCHOKE_PRIVATE", value).output().unwrap().status.success());
        assert_eq!(env.json(&["show", "a", "--json"])["private"], is_private, "{value:?}");
    }
}

#[test]
fn secrets_of_variables_are_not_in_the_help() {
    let env = Env::new();
    let mut command = env.command(&["create", "--help"]);
    let help = ran(command.env("UNCHOKE_TRACKER", "http://t/passkey").output().unwrap()).out;
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(help.contains("[env: UNCHOKE_TRACKER]") && !help.contains("passkey"), "{help}");
}
