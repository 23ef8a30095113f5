//! Which start of the system it is.

use std::sync::LazyLock;

/// What the system calls one of its starts: no other one has it.
pub type BootId = [u8; 16];

/// This start of the system; nothing where that is not told.
pub fn boot() -> Option<BootId> {
    static NOW: LazyLock<Option<BootId>> =
        LazyLock::new(|| parse(&std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?));
    *NOW
}

/// From 32 hexadecimal digits with dashes in between.
fn parse(text: &str) -> Option<BootId> {
    let digits: String = text.trim().split('-').collect();
    let is_hex = digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let number = is_hex.then(|| u128::from_str_radix(&digits, 16).ok())?;
    number.map(u128::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_start_of_the_system_is_known_by_its_digits() {
        let id = parse("00112233-4455-6677-8899-aabbccddeeff\n").unwrap();
        assert_eq!((id[0], id[1], id[15]), (0, 0x11, 0xff));
        for wrong in
            ["", "0011", "+0112233-4455-6677-8899-aabbccddeeff", "zz112233-4455-6677-8899-aabbccddeeff"]
        {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
