use super::values::Size;

/// Run a whole swarm on this machine: a tracker, a seeder and three leechers
///
/// It needs no network and no file. Everything is in a temporary folder that is removed at the end.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Demo {
    /// How much content to move to each leecher
    #[arg(long, env = "UNCHOKE_SIZE", value_name = "N", default_value = "64M")]
    pub size: Size,
}
