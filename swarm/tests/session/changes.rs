use std::collections::BTreeMap;

use swarm::engine::TorrentStatus;
use swarm::engine::changes::Columns;
use swarm::session::{AddOptions, Session};
use tempfile::TempDir;

use crate::world::{Content, add, end, event, seeder, session, soon};

/// A reader: what it knows by the changes alone.
#[derive(Default)]
struct Reader {
    revision: u64,
    torrents: BTreeMap<metainfo::TorrentId, TorrentStatus>,
    peers: BTreeMap<metainfo::TorrentId, usize>,
    upserts: usize,
}

impl Reader {
    async fn look(&mut self, session: &Session) {
        let changes = session.changes_since(self.revision, Columns::ALL).await.unwrap();
        if changes.full {
            self.torrents.clear();
        }
        for id in changes.removed {
            self.torrents.remove(&id);
        }
        self.upserts = changes.upserts.len();
        for change in changes.upserts {
            self.torrents.extend(change.status.map(|status| (change.torrent.id(), status)));
            self.peers.extend(change.peers.map(|peers| (change.torrent.id(), peers.len())));
        }
        self.revision = changes.revision;
    }
}

#[tokio::test]
async fn a_reader_follows_by_changes_alone() {
    let contents: Vec<_> =
        (0..4).map(|i| Content::folder(50 + i, &[60_000 + i as usize], |builder| builder)).collect();
    let dirs: Vec<_> = contents.iter().map(Content::placed).collect();
    let (seed, _seeding) = seeder(&contents[0], dirs[0].path()).await;
    let session = session().await;
    for (content, dir) in contents.iter().zip(&dirs).skip(1) {
        add(&session, AddOptions::seed(content.meta.clone(), dir.path())).await;
    }
    let mut reader = Reader::default();
    reader.look(&session).await;
    assert_eq!((reader.torrents.len(), reader.upserts), (3, 3));
    reader.look(&session).await;
    assert_eq!(reader.upserts, 0, "nothing changed");

    let to = TempDir::new().unwrap();
    let options = AddOptions {
        peers: seed.listening().to_vec(),
        ..AddOptions::download(contents[0].meta.clone(), to.path())
    };
    let torrent = add(&session, options).await;
    soon(torrent.wait_complete()).await.unwrap();
    let id = torrent.id();
    soon(async {
        while reader.torrents.get(&id).is_none_or(|status| !status.activity.is_seeding()) {
            reader.look(&session).await;
            assert!(reader.upserts <= 1, "the others did not change");
        }
    })
    .await;
    let (seen, now) = (&reader.torrents[&id], torrent.status().await.unwrap());
    assert_eq!((seen.done, seen.pieces_done, seen.totals), (now.done, now.pieces_done, now.totals));

    let mut events = session.events();
    soon(torrent.remove()).await.unwrap();
    event(&mut events, |event| event.torrent() == Some(id)).await;
    soon(async {
        while reader.torrents.contains_key(&id) {
            reader.look(&session).await;
        }
    })
    .await;
    assert_eq!(reader.torrents.len(), 3);
    end([session, seed]).await;
}
