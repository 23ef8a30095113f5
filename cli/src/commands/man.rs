//! `unchoke man`

use anyhow::Result;

use crate::exit::{Exit, failure, of_io};
use crate::flags::{self, Man};
use crate::output::Console;

pub(super) fn run(args: &Man, console: &Console) -> Result<Exit> {
    let Some(folder) = &args.output else {
        let mut page = Vec::new();
        clap_mangen::Man::new(flags::command()).render(&mut page)?;
        console.print(&String::from_utf8_lossy(&page))?;
        return Ok(Exit::Done);
    };
    let written =
        std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(flags::command(), folder));
    written.map_err(|error| {
        failure(of_io(&error), format!("cannot write pages to {}: {error}", folder.display()))
    })?;
    console.note(&format!("wrote the pages to {}", folder.display()));
    Ok(Exit::Done)
}
