//! What was chosen for a torrent in an earlier run, for people and for programs.

use metainfo::Torrent;
use storage::Allocation;
use swarm::session::{PieceOrder, Priority, Recalled};

use super::event::Event;
use crate::output::human::rate;
use crate::output::json::stored_files;

/// For programs.
pub(super) fn event(info_hash: String, recalled: &Recalled, torrent: &Torrent) -> Event<'static> {
    let wanted = recalled.files.as_ref().map(|files| {
        let stored = stored_files(torrent).map(|(file, _)| file);
        stored.fold((0, 0), |(wanted, all), file| (wanted + usize::from(files.has(file)), all + 1))
    });
    let (wanted, files) = wanted.unzip();
    Event::Recalled {
        info_hash,
        wanted,
        files,
        order: recalled.order.map(order),
        preallocate: recalled.allocation.map(preallocate),
        down_limit: recalled.down_limit.flatten(),
        up_limit: recalled.up_limit.flatten(),
    }
}

/// For people: what holds, and how something else is chosen.
pub(super) fn text(recalled: &Recalled, torrent: &Torrent) -> String {
    let (mut said, mut other) = (Vec::new(), Vec::new());
    if let Some(files) = &recalled.files {
        let levels: Vec<_> = stored_files(torrent).map(|(file, _)| files.priority(file)).collect();
        let wanted = levels.iter().filter(|level| **level != Priority::Skip).count();
        if wanted < levels.len() {
            said.push(format!("{wanted} of {} files", levels.len()));
        }
        if levels.iter().any(|level| matches!(level, Priority::Low | Priority::High)) {
            said.push(String::from("the priorities of files"));
        }
        other.push("--select '*'");
    }
    if let Some(kind) = recalled.order {
        said.push(format!("{} order", order(kind)));
        other.push("--order rarest");
    }
    if let Some(when) = recalled.allocation {
        said.push(format!("--preallocate {}", preallocate(when)));
        other.push("--preallocate sparse");
    }
    for (limit, what, flag) in
        [(recalled.down_limit, "received", "--down-limit 0"), (recalled.up_limit, "sent", "--up-limit 0")]
    {
        if let Some(limit) = limit.flatten() {
            said.push(format!("up to {} {what}", rate(limit)));
            other.push(flag);
        }
    }
    format!("{}, as before; {} for the usual", said.join(", "), other.join(" "))
}

const fn order(order: PieceOrder) -> &'static str {
    match order {
        PieceOrder::Rarest => "rarest",
        PieceOrder::Sequential => "sequential",
        PieceOrder::FirstLast => "first-last",
    }
}

const fn preallocate(when: Allocation) -> &'static str {
    match when {
        Allocation::None => "none",
        Allocation::Sparse => "sparse",
        Allocation::Full => "full",
    }
}
