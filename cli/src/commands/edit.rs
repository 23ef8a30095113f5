//! `unchoke edit`

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use metainfo::Torrent;

use crate::commands::create;
use crate::exit::{Exit, failure};
use crate::flags::Edit;
use crate::flags::values;
use crate::input;
use crate::output::Console;

pub(super) fn run(args: &Edit, console: &Console) -> Result<Exit> {
    let origin = args.torrent.display().to_string();
    let bytes = input::bytes(&args.torrent)?;
    let torrent = input::parse(&bytes, &origin)?;
    let mut edit = metainfo::Edit::new(&bytes)?;
    let mut is_changed = false;
    if let Some(tiers) = trackers(args, &torrent)? {
        edit.set_trackers(&tiers);
        is_changed = true;
    }
    if let Some(urls) = web_seeds(args, &torrent)? {
        edit.set_web_seeds(&urls);
        is_changed = true;
    }
    if let Some(comment) = &args.comment {
        edit.set_comment(Some(comment.as_str()).filter(|text| !text.is_empty()));
        is_changed = true;
    }
    if let Some(program) = &args.created_by {
        edit.set_created_by(Some(program.as_str()).filter(|text| !text.is_empty()));
        is_changed = true;
    }
    if args.no_date {
        edit.set_creation_date(None);
        is_changed = true;
    }
    if !is_changed {
        return Err(failure(Exit::Usage, "nothing to change was named, see unchoke edit --help"));
    }
    let edited = edit.finish().with_context(|| format!("cannot edit {origin}"))?;
    let output = args.output.as_deref().unwrap_or(&args.torrent);
    if output.as_os_str() == "-" {
        std::io::stdout().write_all(&edited)?;
        return Ok(Exit::Done);
    }
    create::write(output, &edited)?;
    console.note(&format!("wrote {}, info-hash {} as before", output.display(), torrent.id()));
    Ok(Exit::Done)
}

/// The tiers as they shall be, if anything was said about them.
fn trackers(args: &Edit, torrent: &Torrent) -> Result<Option<Vec<Vec<String>>>> {
    let says_something = args.clear_trackers
        || [&args.add_tracker, &args.remove_tracker, &args.replace_tracker]
            .iter()
            .any(|list| !list.is_empty());
    if !says_something {
        return Ok(None);
    }
    let mut tiers = if args.clear_trackers { Vec::new() } else { torrent.trackers().to_vec() };
    for url in &args.remove_tracker {
        let before = tiers.iter().flatten().count();
        tiers.iter_mut().for_each(|tier| tier.retain(|known| known != url));
        if tiers.iter().flatten().count() == before {
            return Err(unknown(args, "tracker", url));
        }
    }
    for pair in args.replace_tracker.chunks_exact(2) {
        let (old, new) = (&pair[0], &pair[1]);
        let new = values::tracker(new).map_err(|why| failure(Exit::Usage, format!("{new}: {why}")))?;
        let mut found = tiers.iter_mut().flatten().filter(|known| *known == old).peekable();
        if found.peek().is_none() {
            return Err(unknown(args, "tracker", old));
        }
        found.for_each(|known| known.clone_from(&new));
    }
    tiers.retain(|tier| !tier.is_empty());
    for url in &args.add_tracker {
        if !tiers.iter().flatten().any(|known| known == url) {
            tiers.push(vec![url.clone()]);
        }
    }
    Ok(Some(tiers))
}

/// The web seeds as they shall be, if anything was said about them.
fn web_seeds(args: &Edit, torrent: &Torrent) -> Result<Option<Vec<String>>> {
    if !args.clear_web_seeds && args.add_web_seed.is_empty() && args.remove_web_seed.is_empty() {
        return Ok(None);
    }
    let mut urls = if args.clear_web_seeds { Vec::new() } else { torrent.web_seeds().to_vec() };
    for url in &args.remove_web_seed {
        let before = urls.len();
        urls.retain(|known| known.trim_end_matches('/') != url.trim_end_matches('/'));
        if urls.len() == before {
            return Err(unknown(args, "web seed", url));
        }
    }
    for url in &args.add_web_seed {
        if !urls.contains(url) {
            urls.push(url.clone());
        }
    }
    Ok(Some(urls))
}

fn unknown(args: &Edit, what: &str, url: &str) -> anyhow::Error {
    let path: &Path = &args.torrent;
    failure(Exit::Failed, format!("{} has no {what} {url}; unchoke show lists them", path.display()))
}
