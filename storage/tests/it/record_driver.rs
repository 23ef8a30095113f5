//! Bytes as sheets of a record: nothing panics, and what is read is written the same.

use storage::record::{Source, State, Summary};

pub(crate) fn run(bytes: &[u8]) {
    if let Ok(summary) = Summary::decode(bytes) {
        assert_eq!(summary.encode(), bytes);
    }
    if let Ok(state) = State::decode(bytes) {
        assert_eq!(state.encode(), bytes);
    }
    if let Ok(source) = Source::decode(bytes) {
        assert_eq!(source.encode(), bytes);
    }
    // A fuzzer does not find checksums: the same payload in an envelope that fits.
    let Some((kind, payload)) = bytes.split_first() else { return };
    let mut sheet = b"unchoke".to_vec();
    sheet.extend([kind % 3 + 1, 1]);
    sheet.extend((payload.len() as u32).to_le_bytes());
    sheet.extend(payload);
    sheet.extend(crc32c::crc32c(&sheet).to_le_bytes());
    let again = match kind % 3 {
        0 => Summary::decode(&sheet).map(|summary| summary.encode()),
        1 => State::decode(&sheet).map(|state| state.encode()),
        _ => Source::decode(&sheet).map(|source| source.encode()),
    };
    assert!(again.is_err() || again == Ok(sheet));
}
