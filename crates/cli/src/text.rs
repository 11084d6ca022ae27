//! Text for a terminal: what others wrote made harmless, numbers, times, styles.

use std::borrow::Cow;
use std::fmt::{self, Display, Write};

use anstyle::{AnsiColor, Effects, Style};

/// Nothing special.
pub(crate) const PLAIN: Style = Style::new();
/// What holds a line together.
pub(crate) const STRONG: Style = Style::new().effects(Effects::BOLD);
/// What is there for reference.
pub(crate) const FAINT: Style = Style::new().effects(Effects::DIMMED);
/// As it should be.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// Worth a look.
pub(crate) const WARN: Style = AnsiColor::Yellow.on_default();
/// Not as it should be.
pub(crate) const WRONG: Style = AnsiColor::Red.on_default().effects(Effects::BOLD);

/// `text` in `style`. Colours are taken out again where the output is no terminal.
pub(crate) fn styled(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}

/// `text` on one line, with everything that could move the cursor, colour, hide or reorder it made
/// visible: control characters (line ends too) and the marks that change the direction of writing.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    if text.chars().any(is_dangerous) {
        let escape = |c: char| {
            if is_dangerous(c) { c.escape_default().to_string() } else { c.to_string() }
        };
        Cow::Owned(text.chars().map(escape).collect())
    } else {
        Cow::Borrowed(text)
    }
}

/// As [`visible`], but the lines of `text` stay lines.
pub(crate) fn visible_lines(text: &str) -> String {
    text.lines().map(visible).collect::<Vec<_>>().join("\n")
}

/// A line of JSON with the same characters escaped as JSON does; its meaning stays.
///
/// They stand only inside strings: outside of them JSON has no such character but white space.
pub(crate) fn visible_json(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    for c in line.chars() {
        if is_dangerous(c) && !c.is_ascii_whitespace() {
            write!(out, "\\u{:04x}", u32::from(c)).expect("a String takes all");
        } else {
            out.push(c);
        }
    }
    out
}

fn is_dangerous(c: char) -> bool {
    // Arabic letter mark; left-to-right and right-to-left marks, embeddings, overrides, isolates;
    // line and paragraph separators.
    let reorders = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || reorders
}

/// `count` with its thousands apart: `1,234,567`.
pub(crate) fn number(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `count` of `thing`, in the plural where that is due: `1 start`, `2 starts`.
pub(crate) fn counted(count: u64, thing: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{} {thing}{ending}", number(count))
}

/// A span of `ns` nanoseconds, three digits or so: `812 ns`, `14.2 µs`, `50.0 ms`, `2.10 s`.
pub(crate) fn span(ns: u64) -> String {
    let scaled = |unit: u64, decimals: u32, name: &str| {
        let steps = 10_u64.pow(decimals);
        let rounded =
            (u128::from(ns) * u128::from(steps) + u128::from(unit / 2)) / u128::from(unit);
        let (whole, part) = (rounded / u128::from(steps), rounded % u128::from(steps));
        match decimals {
            0 => format!("{whole} {name}"),
            _ => format!("{whole}.{part:0width$} {name}", width = decimals as usize),
        }
    };
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..99_950 => scaled(1_000, 1, "µs"),
        99_950..999_500 => scaled(1_000, 0, "µs"),
        999_500..99_950_000 => scaled(1_000_000, 1, "ms"),
        99_950_000..999_500_000 => scaled(1_000_000, 0, "ms"),
        _ => scaled(1_000_000_000, 2, "s"),
    }
}

/// `count` bytes, three digits or so: `812 B`, `14.2 MiB`, `1.5 GiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [(u32, &str); 3] = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    match UNITS.iter().find(|(shift, _)| bytes >> shift > 0) {
        Some((shift, unit)) => {
            let tenths = (u128::from(bytes) * 10 + (1 << (shift - 1))) >> shift;
            match tenths {
                0..1000 => format!("{}.{} {unit}", tenths / 10, tenths % 10),
                _ => format!("{} {unit}", (tenths + 5) / 10),
            }
        }
        None => format!("{bytes} B"),
    }
}

/// `part` of 1,000 in per cent: `7.1 %`, `84 %`.
pub(crate) fn percent(per_mille: u64) -> String {
    match per_mille {
        0..100 => format!("{}.{} %", per_mille / 10, per_mille % 10),
        _ => format!("{} %", number((per_mille + 5) / 10)),
    }
}

/// How long something runs already: `42 s`, `3 min 5 s`, `4 h 10 min`, `12 d 3 h`.
pub(crate) fn uptime(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{minutes} min {} s", seconds % 60),
        3600..86_400 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// A moment, `ms` milliseconds since 1970 in UTC.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment(pub(crate) u64);

impl Moment {
    /// The time of day, to the millisecond.
    pub(crate) fn time(self) -> String {
        let seconds = self.0 / 1000 % 86_400;
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        format!("{hour:02}:{minute:02}:{second:02}.{:03}", self.0 % 1000)
    }
}

impl Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil(self.0 / 86_400_000);
        write!(f, "{year:04}-{month:02}-{day:02} {} UTC", self.time())
    }
}

/// The calendar day `days` days after 1970-01-01. Years are counted from March, so that a leap day
/// is a year's last (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_others_moves_the_cursor() {
        assert_eq!(visible("a\u{1b}[2Jb\nc\u{9b}d\u{202e}e"), "a\\u{1b}[2Jb\\nc\\u{9b}d\\u{202e}e");
        assert_eq!(visible("/tmp/Grüße"), "/tmp/Grüße");
        assert_eq!(visible_lines("a\tb\nc"), "a\\tb\nc");
    }

    #[test]
    fn json_keeps_its_meaning_when_it_is_made_visible() {
        let line = "{\"path\":\"a\u{9b}b\u{202e}c\u{7f}\"}";

        let shown = visible_json(line);

        assert_eq!(shown, "{\"path\":\"a\\u009bb\\u202ec\\u007f\"}");
        let parse = |text| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
        assert_eq!(parse(&shown), parse(line));
    }

    #[test]
    fn numbers_have_their_thousands_apart() {
        assert_eq!(number(0), "0");
        assert_eq!(number(999), "999");
        assert_eq!(number(1_000), "1,000");
        assert_eq!(number(u64::MAX), "18,446,744,073,709,551,615");
        assert_eq!(counted(1, "start"), "1 start");
        assert_eq!(counted(1000, "start"), "1,000 starts");
    }

    #[test]
    fn spans_show_about_three_digits() {
        assert_eq!(span(0), "0 ns");
        assert_eq!(span(999), "999 ns");
        assert_eq!(span(14_249), "14.2 µs");
        assert_eq!(span(99_949), "99.9 µs");
        assert_eq!(span(99_950), "100 µs");
        assert_eq!(span(999_500), "1.0 ms");
        assert_eq!(span(50_000_000), "50.0 ms");
        assert_eq!(span(500_000_000), "500 ms");
        assert_eq!(span(2_104_000_000), "2.10 s");
        assert_eq!(span(u64::MAX), "18446744073.71 s");
    }

    #[test]
    fn sizes_and_shares_show_about_three_digits() {
        assert_eq!(size(812), "812 B");
        assert_eq!(size(14_889_779), "14.2 MiB");
        assert_eq!(size(1 << 30), "1.0 GiB");
        assert_eq!(size(500 << 20), "500 MiB");
        assert_eq!(size(u64::MAX), "17179869184 GiB");
        assert_eq!(percent(0), "0.0 %");
        assert_eq!(percent(71), "7.1 %");
        assert_eq!(percent(844), "84 %");
        assert_eq!(percent(1_996), "200 %");
    }

    #[test]
    fn moments_follow_the_calendar() {
        assert_eq!(Moment(0).to_string(), "1970-01-01 00:00:00.000 UTC");
        assert_eq!(Moment(951_782_399_999).to_string(), "2000-02-28 23:59:59.999 UTC");
        assert_eq!(Moment(951_868_799_000).to_string(), "2000-02-29 23:59:59.000 UTC");
        assert_eq!(Moment(1_721_362_140_001).to_string(), "2024-07-19 04:09:00.001 UTC");
        assert_eq!(Moment(4_107_542_400_000).to_string(), "2100-03-01 00:00:00.000 UTC");
    }

    #[test]
    fn uptimes_show_their_two_largest_units() {
        assert_eq!(uptime(59), "59 s");
        assert_eq!(uptime(185), "3 min 5 s");
        assert_eq!(uptime(15_000), "4 h 10 min");
        assert_eq!(uptime(86_400 * 12 + 3 * 3600), "12 d 3 h");
    }
}
