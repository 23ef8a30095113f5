//! A torrent as a file again.

use std::collections::BTreeMap;

use bencode::{EncodeError, Encoder};
use metainfo::Torrent;

/// The torrent file of a torrent: its info dictionary byte for byte, and of what is around it all that is needed to run it.
pub(in crate::session) fn torrent_file(torrent: &Torrent) -> Result<Vec<u8>, EncodeError> {
    let mut out = Vec::new();
    let mut encoder = Encoder::new(&mut out);
    encoder.dict(|d| {
        d.raw("info", torrent.info_bytes());
        // Names of files depend on it.
        if let Some(encoding) = torrent.encoding() {
            d.bytes("encoding", encoding);
        }
        if let Some(first) = torrent.trackers().iter().flatten().next() {
            d.bytes("announce", first);
            d.list("announce-list", |l| {
                torrent
                    .trackers()
                    .iter()
                    .for_each(|tier| l.list(|l| tier.iter().for_each(|url| l.bytes(url))));
            });
        }
        for (key, urls) in [("url-list", torrent.web_seeds()), ("httpseeds", torrent.http_seeds())] {
            if !urls.is_empty() {
                d.list(key, |l| urls.iter().for_each(|url| l.bytes(url)));
            }
        }
        if !torrent.nodes().is_empty() {
            d.list("nodes", |l| {
                for (host, port) in torrent.nodes() {
                    l.list(|l| {
                        l.bytes(host);
                        l.int(*port);
                    });
                }
            });
        }
        let files = torrent.layout().files().iter().enumerate();
        let layers = files.filter_map(|(index, file)| {
            Some((file.root.as_deref()?, torrent.piece_layer(index).filter(|layer| !layer.is_empty())?))
        });
        // Files of equal content have one layer.
        let layers: BTreeMap<_, _> = layers.collect();
        if torrent.info_hashes().v2().is_some() {
            d.dict("piece layers", |d| {
                layers.iter().for_each(|(root, layer)| d.bytes(root, layer.as_flattened()));
            });
        }
    });
    encoder.finish()?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use metainfo::{Builder, Version};

    #[test]
    fn names_in_an_old_encoding_stay_what_they_were() {
        let mut file =
            b"d8:encoding3:GBK4:infod6:lengthi1e4:name8:\xce\xc4\xd7\xd6.txt12:piece lengthi16384e".to_vec();
        file.extend(b"6:pieces20:aaaaaaaaaaaaaaaaaaaaee");
        let torrent = Torrent::parse(&file).unwrap();
        assert_eq!(torrent.name(), "\u{6587}\u{5b57}.txt");
        assert_eq!(Torrent::parse(&torrent_file(&torrent).unwrap()).unwrap().name(), torrent.name());
    }

    #[test]
    fn a_torrent_survives_as_far_as_it_is_needed_to_run() {
        for version in [Version::V1, Version::V2, Version::Hybrid] {
            let builder = Builder::folder("t").piece_length(32768).file(["a"], 100_000).file(["b"], 5);
            let builder =
                builder.version(version).tracker("http://one.example/a").tracker("udp://two.example:1/");
            let builder = builder.web_seed("http://seed.example/").node("node.example", 6881);
            let mut feed = builder.prepare().unwrap().feed();
            feed.update(&[7; 100_005]);
            let torrent = Torrent::parse(&feed.finish().unwrap()).unwrap();
            let again = Torrent::parse(&torrent_file(&torrent).unwrap()).unwrap();
            assert_eq!(again.info_hashes(), torrent.info_hashes());
            assert_eq!(again.info_bytes(), torrent.info_bytes());
            assert_eq!(again.trackers(), torrent.trackers());
            assert_eq!(again.web_seeds(), torrent.web_seeds());
            assert_eq!(again.nodes(), torrent.nodes());
            assert_eq!(again.has_piece_layers(), torrent.has_piece_layers());
            assert!(torrent.geometry().pieces().all(|p| again.piece_check(p) == torrent.piece_check(p)));
        }
    }
}
