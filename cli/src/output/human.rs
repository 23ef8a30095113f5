//! Text for people: sizes, rates, times, labels and colours.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use anstyle::{AnsiColor, Style};

/// Of labels.
pub(crate) const LABEL: Style = Style::new().bold();
/// Of what is right.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// Of what is not.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
/// Of what is less important.
pub(crate) const DIM: Style = Style::new().dimmed();

/// Text in a style; the stream drops the style where it is not wanted.
pub(crate) fn styled(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// Bytes as `700.3 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.95 {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// Bytes as `700.3 MiB (734334976 bytes)`.
pub(crate) fn exact_size(bytes: u64) -> String {
    if bytes < 1024 { count(bytes, "byte") } else { format!("{} ({bytes} bytes)", size(bytes)) }
}

/// Bytes of a piece: whole units, as they are powers of two as a rule.
pub(crate) fn piece_size(bytes: u32) -> String {
    match bytes {
        n if n % (1 << 20) == 0 => format!("{} MiB", n >> 20),
        n if n % (1 << 10) == 0 => format!("{} KiB", n >> 10),
        n => count(u64::from(n), "byte"),
    }
}

/// Bytes per second.
pub(crate) fn rate(bytes: u64) -> String {
    format!("{}/s", size(bytes))
}

/// A number of things: `1 file`, `3 files`.
pub(crate) fn count(n: u64, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

/// Parts of a whole in per cent. It is 100 only when nothing is missing.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    let share = if whole == 0 { 1.0 } else { part as f64 / whole as f64 };
    let cut = (share * 1000.0).floor() / 10.0;
    format!("{cut:.1}%")
}

/// A time span in its two largest units: `2h 05m`, `42s`.
pub(crate) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, m) => format!("{m}m {:02}s", seconds % 60),
        (0, h, m) => format!("{h}h {m:02}m"),
        (d, h, _) => format!("{d}d {h:02}h"),
    }
}

/// How long something took: as a span, with tenths of a second below ten.
pub(crate) fn took(time: Duration) -> String {
    if time < Duration::from_secs(10) { format!("{:.1}s", time.as_secs_f64()) } else { span(time) }
}

/// A moment as `2026-11-22 11:00:00 UTC`.
pub(crate) fn moment(seconds: u64) -> String {
    // The notation has room for four digits of the year.
    const LAST: u64 = 253_402_300_799;
    if seconds > LAST {
        return format!("{seconds} s after 1970");
    }
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let text = humantime::format_rfc3339_seconds(time).to_string();
    format!("{} UTC", text.trim_end_matches('Z').replace('T', " "))
}

/// Text from outside, without what a terminal would obey: control characters, and marks that turn the direction
/// of writing.
pub(crate) fn plain(text: &str) -> String {
    let turns =
        |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if c.is_control() || turns(c) { '\u{fffd}' } else { c }).collect()
}

/// Lines of a label and a text.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    text: String,
    last: String,
}

impl Fields {
    /// Adds a line. The label is not repeated.
    pub(crate) fn add(&mut self, label: &str, value: impl AsRef<str>) {
        const WIDTH: usize = 13;
        let shown = if self.last == label { "" } else { label };
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{LABEL}{shown:WIDTH$}{LABEL:#}{}", plain(value.as_ref()));
        label.clone_into(&mut self.last);
    }

    /// Adds a line if there is a text.
    pub(crate) fn add_some(&mut self, label: &str, value: Option<impl AsRef<str>>) {
        if let Some(value) = value {
            self.add(label, value);
        }
    }

    /// All lines.
    pub(crate) fn finish(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_iec_units() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_048_575, "1.0 MiB"),
            (734_334_976, "700.3 MiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        assert_eq!(exact_size(1), "1 byte");
        assert_eq!(piece_size(1 << 20), "1 MiB");
        assert_eq!(piece_size(16385), "16385 bytes");
    }

    #[test]
    fn nothing_is_rounded_up_to_all() {
        assert_eq!(percent(9999, 10_000), "99.9%");
        assert_eq!(percent(10_000, 10_000), "100.0%");
        assert_eq!(percent(0, 0), "100.0%");
    }

    #[test]
    fn times_are_short() {
        for (seconds, text) in [(0, "0s"), (42, "42s"), (125, "2m 05s"), (7500, "2h 05m"), (90_000, "1d 01h")]
        {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
        assert_eq!(took(Duration::from_millis(1250)), "1.2s");
        assert_eq!(took(Duration::from_secs(125)), "2m 05s");
        assert_eq!(moment(1_700_000_000), "2023-11-14 22:13:20 UTC");
        assert_eq!(moment(u64::MAX), format!("{} s after 1970", u64::MAX));
    }

    #[test]
    fn a_terminal_is_not_told_what_to_do() {
        assert_eq!(plain("a\u{1b}[2J\r\n\u{202e}b日"), "a\u{fffd}[2J\u{fffd}\u{fffd}\u{fffd}b日");
    }
}
