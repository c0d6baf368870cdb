//! Quantities for people: bytes, rates, durations, and tables whose columns line up.

use std::time::Duration;

/// Bytes with three digits or so: `0 B`, `999 B`, `1.5 kB`, `12.3 MB`. Powers of ten, as links are measured.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if count < 1000 {
        return format!("{count} B");
    }
    // In tenths, so that no floating point decides about a digit.
    let mut tenths = count.saturating_add(50) / 100;
    let mut unit = "kB";
    for next in UNITS.into_iter().skip(1) {
        if tenths < 10_000 {
            break;
        }
        tenths = (tenths + 500) / 1000;
        unit = next;
    }
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

/// Bytes a second, always in megabytes: a line that is redrawn should not jump.
pub(super) fn rate(count: u64, over: Duration) -> String {
    let millis = u64::try_from(over.as_millis()).unwrap_or(u64::MAX).max(1);
    let tenths = count.saturating_mul(10) / millis / 1000;
    format!("{}.{} MB/s", tenths / 10, tenths % 10)
}

/// `0:07`, `12:34`, `1:02:03`, `3 d 1:02:03`.
pub(super) fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60 % 60, seconds / 3600 % 24, seconds / 86_400);
    let seconds = seconds % 60;
    match (days, hours) {
        (0, 0) => format!("{minutes}:{seconds:02}"),
        (0, hours) => format!("{hours}:{minutes:02}:{seconds:02}"),
        (days, hours) => format!("{days} d {hours}:{minutes:02}:{seconds:02}"),
    }
}

/// Lines with aligned columns: the first row is the heading, the columns named by `right` are numbers.
pub(super) fn table(rows: &[Vec<String>], right: &[usize]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate();
        let cells = cells.map(|(column, (cell, width))| {
            if right.contains(&column) {
                format!("{cell:>width$}")
            } else {
                format!("{cell:<width$}")
            }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_three_digits_or_so() {
        for (count, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (1049, "1.0 kB"),
            (1050, "1.1 kB"),
            (12_345_678, "12.3 MB"),
            (999_999, "1.0 MB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(bytes(count), text, "{count}");
        }
    }

    #[test]
    fn rates_are_in_megabytes_a_second() {
        assert_eq!(rate(6_150_000, Duration::from_millis(500)), "12.3 MB/s");
        assert_eq!(rate(0, Duration::ZERO), "0.0 MB/s");
        assert_eq!(rate(u64::MAX, Duration::from_secs(1)), "1844674407370.9 MB/s");
    }

    #[test]
    fn durations_are_read_at_a_glance() {
        for (seconds, text) in [
            (7, "0:07"),
            (754, "12:34"),
            (3723, "1:02:03"),
            (262_923, "3 d 1:02:03"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn columns_line_up() {
        let row = |cells: &[&str]| cells.iter().map(ToString::to_string).collect::<Vec<_>>();
        let text = table(
            &[
                row(&["id", "target"]),
                row(&["7", "a.test:80"]),
                row(&["12", "é"]),
            ],
            &[0],
        );
        assert_eq!(text, "id  target\n 7  a.test:80\n12  é");
        assert_eq!(table(&[], &[]), "");
    }
}
