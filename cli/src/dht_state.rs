//! What is kept of the DHT between runs: `$XDG_STATE_HOME/unchoke/dht`, or `~/.local/state/unchoke/dht`.
//!
//! One program at a time has the file: two of them must not be nodes of the same id (BEP 45). The others read the nodes only.

use std::env;
use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use swarm::engine::dht::DhtState;
use swarm::session::Dht;
use tokio::task::AbortHandle;

/// Fewer nodes than this are no better than those that are kept.
const WORTH_KEEPING: usize = 8;
/// Between two times that a running node's state is kept.
const INTERVAL: Duration = Duration::from_secs(10 * 60);

/// The file.
pub(crate) struct DhtFile {
    path: PathBuf,
    /// It is ours, as long as this is open.
    lock: Option<File>,
}

impl DhtFile {
    /// Finds the file and takes it, if nobody else has it. `None` where there is no place for it.
    pub(crate) fn open() -> Option<Self> {
        let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let state = absolute("XDG_STATE_HOME");
        let state = state.or_else(|| absolute("HOME").map(|home| home.join(".local/state")))?;
        Self::at(state.join("unchoke/dht"))
    }

    fn at(path: PathBuf) -> Option<Self> {
        fs::create_dir_all(path.parent()?).ok()?;
        let lock = File::create(path.with_extension("lock")).ok().filter(|file| file.try_lock().is_ok());
        Some(Self { path, lock })
    }

    /// What was kept: with the ids, if they are ours.
    pub(crate) fn load(&self) -> Option<Vec<u8>> {
        if self.lock.is_some() { fs::read(&self.path).ok() } else { self.nodes() }
    }

    /// The nodes that were kept, without the ids.
    pub(crate) fn nodes(&self) -> Option<Vec<u8>> {
        let state = DhtState::decode(&fs::read(&self.path).ok()?)?;
        Some(DhtState { id4: None, id6: None, ..state }.encode())
    }

    /// Keeps ids and nodes. That nothing can be kept is not worth more than a word in the log.
    pub(crate) fn keep(&self, state: &[u8]) {
        if self.lock.is_none() {
            return;
        }
        let name = self.path.with_extension("new");
        let write = || {
            let mut file = File::create(&name)?;
            file.write_all(state)?;
            file.sync_all()?;
            fs::rename(&name, &self.path)
        };
        if let Err(error) = write() {
            tracing::warn!(%error, path = %self.path.display(), "the nodes of the DHT are not kept");
        }
    }

    /// Keeps nodes only, beside the ids that are there.
    pub(crate) fn keep_nodes(&self, state: &[u8]) {
        let (old, Some(new)) = (self.kept(), beyond_loopback(state)) else { return };
        if is_worth_keeping(&new, &old) {
            self.keep(&DhtState { nodes: new.nodes, ..old }.encode());
        }
    }

    /// Keeps what a run had: its ids and nodes, unless those are too few.
    fn keep_run(&self, state: &[u8]) {
        let (old, Some(new)) = (self.kept(), beyond_loopback(state)) else { return };
        if is_worth_keeping(&new, &old) {
            self.keep(&new.encode());
        }
    }

    fn kept(&self) -> DhtState {
        fs::read(&self.path).ok().and_then(|bytes| DhtState::decode(&bytes)).unwrap_or_default()
    }
}

/// Keeps the state of a running node now and then, and at the end.
pub(crate) struct Keeper {
    what: Option<(Arc<DhtFile>, Dht)>,
    task: Option<AbortHandle>,
}

impl Keeper {
    /// Begins, if there is a node and a file for it.
    pub(crate) fn start(file: Option<DhtFile>, dht: Option<Dht>) -> Self {
        let what = file.map(Arc::new).zip(dht);
        let task = what.clone().map(|(file, dht)| {
            let task = async move {
                loop {
                    tokio::time::sleep(INTERVAL).await;
                    keep(file.clone(), &dht).await;
                }
            };
            tokio::spawn(task).abort_handle()
        });
        Self { what, task }
    }

    /// Keeps it a last time.
    pub(crate) async fn end(self) {
        if let Some(task) = self.task {
            task.abort();
        }
        if let Some((file, dht)) = self.what {
            keep(file, &dht).await;
        }
    }
}

/// A disk that hangs holds a thread for blocking work, and nothing else.
async fn keep(file: Arc<DhtFile>, dht: &Dht) {
    if let Ok(state) = dht.save().await {
        // A panic was reported when it happened.
        let _ = tokio::task::spawn_blocking(move || file.keep_run(&state)).await;
    }
}

fn is_worth_keeping(new: &DhtState, old: &DhtState) -> bool {
    new.nodes.len() >= WORTH_KEEPING.min(old.nodes.len()) && !new.nodes.is_empty()
}

/// What may be read of a state, without the nodes of this machine: the next run need not have them.
fn beyond_loopback(bytes: &[u8]) -> Option<DhtState> {
    let mut state = DhtState::decode(bytes)?;
    state.nodes.retain(|(_, addr)| !addr.ip().to_canonical().is_loopback());
    Some(state)
}

#[cfg(test)]
mod tests {
    use super::*;
    use swarm::engine::dht::Id;

    fn state(id: u8, nodes: u8) -> Vec<u8> {
        let nodes = (0..nodes).map(|n| (Id([n; 20]), ([9, 9, n, 1], 6881).into())).collect();
        DhtState { id4: Some(Id([id; 20])), id6: None, nodes }.encode()
    }

    #[test]
    fn one_program_has_the_ids_and_the_others_the_nodes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state/dht");
        let first = DhtFile::at(path.clone()).unwrap();
        assert_eq!(first.load(), None);
        first.keep(&state(1, 9));
        assert_eq!(first.load(), Some(state(1, 9)));
        let second = DhtFile::at(path.clone()).unwrap();
        let read = DhtState::decode(&second.load().unwrap()).unwrap();
        assert_eq!((read.id4, read.nodes.len()), (None, 9));
        second.keep(&state(2, 9));
        assert_eq!(first.load(), Some(state(1, 9)), "it is not the second one's to write");
        drop(first);
        assert_eq!(DhtFile::at(path).unwrap().load(), Some(state(1, 9)));
    }

    #[test]
    fn nodes_are_kept_beside_the_ids_and_few_do_not_replace_many() {
        let dir = tempfile::tempdir().unwrap();
        let file = DhtFile::at(dir.path().join("dht")).unwrap();
        file.keep_nodes(&state(7, 2));
        let first = DhtState::decode(&file.load().unwrap()).unwrap();
        assert_eq!((first.id4, first.nodes.len()), (None, 2));
        file.keep(&state(1, 20));
        file.keep_nodes(&state(7, 3));
        assert_eq!(file.load(), Some(state(1, 20)));
        file.keep_nodes(&state(7, 12));
        assert_eq!(file.load(), Some(state(1, 12)));
    }

    #[test]
    fn a_run_among_nodes_of_this_machine_leaves_what_was_kept() {
        let dir = tempfile::tempdir().unwrap();
        let file = DhtFile::at(dir.path().join("dht")).unwrap();
        file.keep_run(&state(1, 200));
        let local = |n: u8| (Id([n; 20]), ([127, 0, 0, 1], 7000 + u16::from(n)).into());
        let nodes = (0..20).map(local).collect();
        let mut run = DhtState { id4: Some(Id([2; 20])), id6: None, nodes };
        for _ in 0..2 {
            file.keep_run(&run.encode());
            file.keep_nodes(&run.encode());
            assert_eq!(file.load(), Some(state(1, 200)));
            run.nodes.push((Id([9; 20]), ([9, 9, 9, 9], 6881).into()));
        }
        run.nodes.extend(DhtState::decode(&state(3, 12)).unwrap().nodes);
        file.keep_run(&run.encode());
        let kept = DhtState::decode(&file.load().unwrap()).unwrap();
        assert_eq!((kept.id4, kept.nodes.len()), (Some(Id([2; 20])), 14), "none of them at loopback");
    }
}
