/// What a tracker counts about one torrent (BEP 48, 15).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrapeCounts {
    /// Peers that have everything.
    pub seeders: u32,
    /// Peers that ever finished.
    pub downloaded: u32,
    /// Peers that do not have everything.
    pub leechers: u32,
}
