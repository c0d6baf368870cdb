//! Lines as they are written.

use std::{
    fmt::Write as _,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::event::{Event, group_name};
use crate::constants::{LogCategory, StatusMinor};

const SECONDS_OF_DAY: u64 = 86_400;

/// What stands before a line.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Prefix<'a> {
    pub(super) at: Option<SystemTime>,
    /// Tag of the sender.
    pub(super) tag: Option<u64>,
    /// Sender, path and interface.
    pub(super) origin: Option<(&'a str, &'a str, &'a str)>,
}

/// One line, without its end.
pub(super) fn render(prefix: &Prefix<'_>, event: &Event) -> String {
    // Writing to a string cannot fail.
    let mut line = String::new();
    if let Some(at) = prefix.at {
        line.push_str(&timestamp(at.duration_since(UNIX_EPOCH).unwrap_or_default()));
        line.push(' ');
    }
    if let Some(tag) = prefix.tag {
        let _written = write!(line, "{{tag:{tag}}} ");
    }
    if let Some((sender, path, interface)) = prefix.origin {
        let _written = write!(line, "[sender={sender} path={path} interface={interface}] ");
    }
    match event {
        Event::Line {
            group,
            category,
            text,
        } => {
            let name = group_name(*group).unwrap_or_default();
            if !name.is_empty() {
                line.push_str(name);
                line.push(' ');
            }
            let _written = write!(line, "{}: {text}", category_name(*category));
        }
        Event::Status(status) => {
            let _written = write!(line, "Status {:?}, {:?}", status.major, status.minor);
            // The address of a login page lets whoever reads it log in.
            if status.minor != StatusMinor::SessAuthUrl && !status.message.is_empty() {
                line.push_str(": ");
                line.push_str(&status.message);
            }
        }
    }
    line
}

/// How a category is printed.
fn category_name(category: LogCategory) -> &'static str {
    match category {
        LogCategory::Debug => "DEBUG",
        LogCategory::Verb2 => "VERB2",
        LogCategory::Verb1 => "VERB1",
        LogCategory::Info => "INFO",
        LogCategory::Warn => "WARNING",
        LogCategory::Error => "-- ERROR --",
        LogCategory::Crit => "!! CRITICAL !!",
        LogCategory::Fatal => "**!! FATAL !!**",
    }
}

/// `2026-11-27 16:57:54.123Z`, from the time since 1970.
fn timestamp(since: Duration) -> String {
    let seconds = since.as_secs();
    let (year, month, day) = date(seconds / SECONDS_OF_DAY);
    let second = seconds % SECONDS_OF_DAY;
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}.{:03}Z",
        second / 3600,
        second / 60 % 60,
        second % 60,
        since.subsec_millis()
    )
}

/// Year, month and day of the day that many days after 1970-01-01. Years begin in March here, so that the leap day is
/// the last day of one.
fn date(days: u64) -> (u64, u64, u64) {
    // Days from 0000-03-01 to 1970-01-01.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00.000Z"),
            (951_782_399, "2000-02-28 23:59:59.000Z"),
            (951_782_400, "2000-02-29 00:00:00.000Z"),
            (1_795_798_674, "2026-11-27 16:57:54.000Z"),
            (4_107_542_400, "2100-03-01 00:00:00.000Z"),
        ] {
            assert_eq!(timestamp(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn prefixes_are_as_chosen() {
        let event = Event::line(7, 6, "no route").unwrap();
        assert_eq!(render(&Prefix::default(), &event), "Client -- ERROR --: no route");
        let prefix = Prefix {
            at: Some(UNIX_EPOCH),
            tag: Some(3),
            origin: Some((":1.5", "/a", "b.c")),
        };
        assert_eq!(
            render(&prefix, &event),
            "1970-01-01 00:00:00.000Z {tag:3} [sender=:1.5 path=/a interface=b.c] Client -- ERROR --: no route"
        );
    }

    #[test]
    fn the_address_of_a_login_page_is_not_written() {
        let event = Event::status(3, 22, "https://vpn.example/login?secret").unwrap();
        assert_eq!(render(&Prefix::default(), &event), "Status Session, SessAuthUrl");
        let event = Event::status(2, 10, "TLS version too low").unwrap();
        assert_eq!(
            render(&Prefix::default(), &event),
            "Status Connection, ConnFailed: TLS version too low"
        );
    }
}
