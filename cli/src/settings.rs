//! From flags to what the libraries take.

use std::num::NonZeroUsize;

use metainfo::Version;
use storage::{Progress, ScanOptions};

use crate::flags::Create;
use crate::stop::Stop;

/// How to hash: on how many threads, whom to tell, and when to stop.
pub(crate) fn scan<'a>(
    threads: Option<NonZeroUsize>,
    stop: &'a Stop,
    progress: &'a (dyn Fn(Progress) + Sync),
) -> ScanOptions<'a> {
    let default = ScanOptions::default();
    ScanOptions {
        threads: threads.map_or(default.threads, NonZeroUsize::get),
        cancel: Some(stop.flag()),
        progress: Some(progress),
        ..default
    }
}

/// Which kind of torrent to make.
pub(crate) fn version(args: &Create) -> Version {
    match (args.v1, args.v2, args.hybrid) {
        (true, ..) | (.., false, false) => Version::V1,
        (_, true, _) => Version::V2,
        (_, _, true) => Version::Hybrid,
    }
}
