//! Downloads that are read back from the disk before they count as complete.

use std::os::unix::fs::FileExt;
use std::time::Duration;

use swarm::engine::Activity;
use swarm::session::{AddOptions, Event, Session};
use tempfile::TempDir;

use crate::resume::content;
use crate::world::{add, config, end, event, seeder, soon};

#[tokio::test]
async fn bytes_that_were_damaged_after_they_were_written_are_found_before_it_is_complete() {
    let content = content(520);
    let (whole, part, to) = (content.placed(), content.placed(), TempDir::new().unwrap());
    let file = |dir: &TempDir, at: usize| dir.path().join(content.meta.layout().files()[at].path.as_str());
    std::fs::remove_file(file(&part, 2)).unwrap();
    let (first, _first) = seeder(&content, part.path()).await;
    let (second, _second) = seeder(&content, whole.path()).await;
    // One that does not look at its files by itself.
    let mut config = config();
    config.engine.look_interval = Duration::from_secs(3600);
    let session = Session::start(config).await.unwrap();
    let mut events = session.events();
    let options = AddOptions {
        verify: true,
        peers: first.listening().to_vec(),
        ..AddOptions::download(content.meta.clone(), to.path())
    };
    let torrent = add(&session, options).await;
    soon(async {
        while torrent.status().await.unwrap().pieces_done < 8 {
            events.next().await.unwrap();
        }
    })
    .await;
    // Nothing more comes from this seed.
    std::fs::File::options().write(true).open(file(&to, 0)).unwrap().write_at(b"damage", 40_000).unwrap();
    torrent.add_peers(second.listening().to_vec()).await.unwrap();
    let (mut lost, mut was_complete) = (Vec::new(), false);
    while !was_complete {
        let matters = |event: &Event| matches!(event, Event::Verified { .. } | Event::Complete { .. });
        match event(&mut events, matters).await {
            Event::Verified { torrent: of, lost: count } if of == torrent.id() => lost.push(count),
            told => was_complete = told == Event::Complete { torrent: torrent.id() },
        }
    }
    assert_eq!(lost, [1, 0]);
    assert_eq!(torrent.status().await.unwrap().activity, Activity::Seeding);
    assert_eq!(torrent.status().await.unwrap().totals.downloaded, 3 * 131_072 + 32 * 1024);
    content.assert_all(to.path());
    end([session, first, second]).await;
}
