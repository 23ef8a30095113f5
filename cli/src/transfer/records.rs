//! Where records are kept.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use storage::record::{FileStore, Store, StoreError};

use crate::exit::{Exit, failure, of_io};
use crate::flags::Net;
use crate::output::Console;

/// The store that the flags name. That there is no usable place for records is an error only if it was named: a download
/// can do without.
pub(super) fn store(net: &Net, console: &Console) -> Result<Option<Arc<dyn Store>>> {
    if net.no_resume {
        return Ok(None);
    }
    named(net.state.as_deref(), console)
}

/// The store in this folder, or in the usual one.
pub(crate) fn named(state: Option<&Path>, console: &Console) -> Result<Option<Arc<dyn Store>>> {
    let Some(dir) = state.map(Path::to_owned).or_else(usual) else {
        console.note("unchoke: no record is kept, because neither --state nor HOME says where");
        return Ok(None);
    };
    match FileStore::open(dir.join("transfers")) {
        Ok(store) => Ok(Some(Arc::new(store))),
        Err(error) if state.is_some() => {
            let exit = if let StoreError::Io { cause, .. } = &error { of_io(cause) } else { Exit::Failed };
            Err(failure(exit, format!("--state: {error}")))
        }
        Err(error) => {
            console.note(&format!("unchoke: no record is kept: {error}; --state chooses another place"));
            Ok(None)
        }
    }
}

/// `$XDG_STATE_HOME/unchoke`, or `~/.local/state/unchoke`.
fn usual() -> Option<PathBuf> {
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let states =
        absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
    states.map(|states| states.join("unchoke"))
}
