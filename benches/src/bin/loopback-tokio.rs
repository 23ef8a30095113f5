//! A leecher for `loopback`: the engine on tokio. `loopback-tokio leech FILE.torrent DIR PORT`

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, bail};
use metainfo::Torrent;
use unchoke_benches::tokio_driver::Driver;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [role, file, dir, port] = &args[..] else { bail!("expected: leech FILE DIR PORT") };
    if role != "leech" {
        bail!("it can only leech");
    }
    let torrent = Arc::new(Torrent::parse(&std::fs::read(file)?)?);
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port.parse()?));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    runtime.block_on(async {
        Driver::new(torrent, Path::new(dir), listen).await?.run().await;
        println!(r#"{{"event":"complete"}}"#);
        Ok(())
    })
}
