use metainfo::Torrent;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let torrent = Torrent::parse(&std::fs::read("photos.torrent")?)?;
    println!("{} {}", torrent.id(), torrent.name());
    for file in torrent.layout().files() {
        println!("{:>12} {}", file.length, file.path);
    }
    Ok(())
}
