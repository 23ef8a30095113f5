//! A thousand torrents in one session: its end, and the start after it.

use std::time::Instant;

use swarm::session::{AddOptions, Event, http};
use tempfile::TempDir;

use crate::resume::recording;
use crate::world::{Content, PATIENCE, add, soon};

const TORRENTS: u64 = 1000;

#[tokio::test]
async fn a_thousand_torrents_end_in_time_though_their_tracker_is_silent() {
    // It takes connections and says nothing.
    let deaf = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/announce", deaf.local_addr().unwrap());
    let (home, state) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let session = recording(state.path()).await;
    for seed in 0..TORRENTS {
        let content = Content::folder(seed, &[20_000], |builder| builder.tracker(url.clone()));
        let dir = home.path().join(seed.to_string());
        // Every other one is complete.
        if seed % 2 == 0 {
            content.write(&dir);
        }
        add(&session, AddOptions::download(content.meta.clone(), dir)).await;
    }
    let begun = Instant::now();
    session.shutdown(PATIENCE).await.unwrap();
    let took = begun.elapsed();
    eprintln!("{TORRENTS} torrents ended in {took:?}");
    assert!(took < http::PATIENCE, "not one goodbye was waited for: {took:?}");

    let session = recording(state.path()).await;
    let known = session.recorded().await.unwrap().summaries;
    assert_eq!(known.len() as u64, TORRENTS);
    let mut events = session.events();
    let mut complete = 0;
    for summary in &known {
        assert!(summary.flags.clean, "{}", summary.name);
        let torrent = soon(session.restore(summary)).await.unwrap();
        complete += u64::from(torrent.status().await.unwrap().activity.is_seeding());
    }
    assert_eq!(complete, TORRENTS / 2);
    session.shutdown(PATIENCE).await.unwrap();
    while let Some(event) = events.next().await {
        assert!(!matches!(event, Event::Checking { .. }), "nothing changed");
    }
}
