//! `unchoke demo`
use anyhow::Result;

use crate::exit::Exit;
use crate::flags::Demo;
use crate::output::Console;

pub(crate) fn run(_args: &Demo, _console: &Console) -> Result<Exit> {
    Ok(Exit::Done)
}
