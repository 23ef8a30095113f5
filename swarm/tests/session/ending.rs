use std::time::Instant;

use swarm::session::http;
use swarm::session::{AddError, AddOptions, Unavailable};
use tempfile::TempDir;

use crate::world::{Content, PATIENCE, add, seeder, session, soon};

#[tokio::test]
async fn the_end_does_not_wait_for_a_tracker_that_never_answers() {
    // It takes the connection and says nothing.
    let deaf = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/announce", deaf.local_addr().unwrap());
    let content = Content::folder(30, &[10_000], |builder| builder.tracker(url));
    let dir = TempDir::new().unwrap();
    let session = session().await;
    add(&session, AddOptions::download(content.meta.clone(), dir.path())).await;
    let _connection = soon(deaf.accept()).await.unwrap();
    let begun = Instant::now();
    session.shutdown(PATIENCE).await.unwrap();
    assert!(begun.elapsed() < http::PATIENCE, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn after_the_end_every_question_has_an_answer() {
    let content = Content::folder(31, &[10_000], |builder| builder);
    let dir = content.placed();
    let (session, torrent) = seeder(&content, dir.path()).await;
    let clone = session.clone();
    let mut events = session.events();
    session.shutdown(PATIENCE).await.unwrap();
    assert_eq!(torrent.status().await.unwrap_err(), Unavailable::Over);
    assert_eq!(torrent.remove().await.unwrap_err(), Unavailable::Over);
    assert_eq!(clone.set_limits(None, None).await.unwrap_err(), Unavailable::Over);
    let refused = clone.add(AddOptions::seed(content.meta.clone(), dir.path())).await.unwrap_err();
    assert_eq!(refused, AddError::Unavailable(Unavailable::Over));
    assert!(clone.torrents().is_empty());
    clone.shutdown(PATIENCE).await.unwrap();
    drop(torrent);
    soon(async { while events.next().await.is_some() {} }).await;
}

#[tokio::test]
async fn a_session_that_is_dropped_ends() {
    let content = Content::folder(32, &[10_000], |builder| builder);
    let dir = content.placed();
    let (session, torrent) = seeder(&content, dir.path()).await;
    let address = session.listening()[0];
    let mut peer = tokio::net::TcpStream::connect(address).await.unwrap();
    drop(session);
    // The thread closes its sockets when it ends.
    let closed = soon(tokio::io::AsyncReadExt::read(&mut peer, &mut [0; 1])).await;
    assert!(matches!(closed, Ok(0) | Err(_)), "{closed:?}");
    assert_eq!(torrent.status().await.unwrap_err(), Unavailable::Over);
}

#[tokio::test]
async fn a_check_that_nobody_waits_for_is_given_up() {
    let content = Content::folder(33, &[10_000], |builder| builder);
    let dir = content.placed();
    let session = session().await;
    let options = AddOptions::seed(content.meta.clone(), dir.path());
    drop(Box::pin(session.add(options.clone())));
    // The other threads may be through with it before it is asked a second time; then nothing was given up.
    while let Some(added) = begun(session.add(options.clone())).await {
        soon(added.unwrap().remove()).await.unwrap();
    }
    // Its name and its files are free again, at the latest when the blocking thread looks up.
    let torrent = soon(async {
        loop {
            match session.add(options.clone()).await {
                Ok(torrent) => return torrent,
                Err(AddError::PathTaken { .. } | AddError::Duplicate(_)) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    })
    .await;
    assert!(torrent.status().await.unwrap().activity.is_seeding());
    session.shutdown(PATIENCE).await.unwrap();
}

/// Begins something and gives it up; what came of it if it was over at once.
async fn begun<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|cx| {
        std::task::Poll::Ready(match future.as_mut().poll(cx) {
            std::task::Poll::Ready(done) => Some(done),
            std::task::Poll::Pending => None,
        })
    })
    .await
}
