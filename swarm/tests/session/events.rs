use swarm::session::{AddOptions, Event};
use tempfile::TempDir;

use crate::world::{Content, add, end, seeder, session, soon};

#[tokio::test]
async fn a_slow_listener_is_told_what_it_missed_and_holds_nobody_up() {
    // 1,500 pieces: more events than are kept.
    let small = |builder: metainfo::Builder| builder.piece_length(16 * 1024);
    let content = Content::folder(40, &[1500 * 16 * 1024], small);
    let (from, to) = (content.placed(), TempDir::new().unwrap());
    let (seed, _seeding) = seeder(&content, from.path()).await;
    let leech = session().await;
    let mut events = leech.events();
    let options = AddOptions {
        peers: seed.listening().to_vec(),
        ..AddOptions::download(content.meta.clone(), to.path())
    };
    let torrent = add(&leech, options).await;
    soon(torrent.wait_complete()).await.unwrap();
    let Some(Event::Missed(missed)) = soon(events.next()).await else { panic!("it missed some") };
    let mut seen = 0;
    loop {
        match soon(events.next()).await.unwrap() {
            Event::PieceDone { .. } => seen += 1,
            Event::Complete { .. } => break,
            event => panic!("{event:?}"),
        }
    }
    // All pieces, that the torrent was added, and that it is complete.
    assert_eq!(missed + seen + 1, 1502);
    end([leech, seed]).await;
}
