//! One line at the bottom of the terminal that says how the tunnel fares, redrawn twice a second at the most.
//!
//! It is drawn on a thread of its own: a terminal that is held (Ctrl-S) must not hold anything else.

use std::{
    env,
    ffi::OsString,
    io::{self, IsTerminal as _},
    sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel},
    thread,
    time::{Duration, Instant},
};

use super::{output::Output, units};
use crate::{control::Subject, driver::State, screen};

/// Time between two drawings.
const PERIOD: Duration = Duration::from_millis(500);
/// Width where the terminal does not tell.
const COLUMNS: usize = 80;

/// The line, until this is dropped.
#[derive(Debug)]
pub(super) struct StatusLine {
    stop: SyncSender<()>,
}

impl StatusLine {
    /// Starts to draw, where there is a terminal that can and a person who wants to see it.
    pub(super) fn start(subject: Subject, output: Output) -> Option<Self> {
        let term = env::var_os("TERM");
        if output.is_json() || output.is_quiet() || !io::stderr().is_terminal() || !can_redraw(term) {
            return None;
        }
        let (stop, stopped) = sync_channel(1);
        let mut drawing = Drawing {
            subject,
            utf8: speaks_utf8(&|name| env::var_os(name)),
            last: None,
        };
        let draw = move || {
            while stopped.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
                let columns = columns();
                screen::show(&drawing.line(Instant::now(), columns), columns);
            }
            screen::show("", columns());
        };
        let spawned = thread::Builder::new().name("tunless-status".into()).spawn(draw);
        if let Err(error) = spawned {
            tracing::debug!(%error, "no status line");
            return None;
        }
        Some(Self { stop })
    }
}

impl Drop for StatusLine {
    fn drop(&mut self) {
        // Taken off at once, so that nothing follows it; the thread finds nothing left to do.
        screen::show("", columns());
        let _ended = self.stop.try_send(());
    }
}

/// What is drawn, and what it was drawn from the last time.
struct Drawing {
    subject: Subject,
    utf8: bool,
    last: Option<(Instant, u64, u64)>,
}

impl Drawing {
    fn line(&mut self, now: Instant, columns: usize) -> String {
        let told = self.subject.journal.told();
        let device = self.subject.handle.snapshot().device;
        let count = (now, device.bytes_in, device.bytes_out);
        let (before, received, sent) = self.last.replace(count).unwrap_or(count);
        let over = now.saturating_duration_since(before);
        let up = self
            .subject
            .handle
            .up()
            .filter(|_| told.state == State::Connected);
        let parts = if let Some(up) = up {
            let inner = up.inner.first().map(|net| net.addr().to_string());
            let (down_arrow, up_arrow) = if self.utf8 { ("↓", "↑") } else { ("down", "up") };
            vec![
                "connected".into(),
                format!(
                    "{down_arrow} {} {up_arrow} {}",
                    units::rate(device.bytes_in.saturating_sub(received), over),
                    units::rate(device.bytes_out.saturating_sub(sent), over)
                ),
                inner.unwrap_or_default(),
                units::duration(now.saturating_duration_since(up.since).as_secs()),
                connections(self.subject.connections.count()),
            ]
        } else {
            let since = units::duration(now.saturating_duration_since(told.since).as_secs());
            let left = told.until_retry(now).map(|left| left.as_secs() + 1);
            vec![words(told.state, &told.detail, left), since]
        };
        fit(&parts, self.utf8, columns)
    }
}

/// A state in words.
fn words(state: State, detail: &str, left: Option<u64>) -> String {
    match state {
        State::Paused => "paused".into(),
        State::Connecting => "connecting".into(),
        State::Resolve => "looking the server up".into(),
        State::TcpConnect | State::Session(_) if detail.is_empty() => "connecting".into(),
        State::TcpConnect | State::Session(_) => format!("connecting to {detail}"),
        State::AssignIp | State::Connected => "connected".into(),
        State::Reconnecting => left.map_or_else(
            || "reconnecting".into(),
            |left| format!("reconnecting in {left} s"),
        ),
        State::Exiting => "leaving".into(),
    }
}

fn connections(count: usize) -> String {
    match count {
        1 => "1 connection".into(),
        count => format!("{count} connections"),
    }
}

/// The parts in one line that leaves the last column free, so that no terminal wraps it.
fn fit(parts: &[String], utf8: bool, columns: usize) -> String {
    let line = parts.join(if utf8 { " · " } else { " | " });
    let shown = |c: char| !c.is_control() && (utf8 || c.is_ascii());
    line.chars()
        .filter(|c| shown(*c))
        .take(columns.saturating_sub(1))
        .collect()
}

fn columns() -> usize {
    terminal_size::terminal_size_of(io::stderr()).map_or(COLUMNS, |(width, _)| width.0.into())
}

/// Tells whether the terminal can go back in a line.
fn can_redraw(term: Option<OsString>) -> bool {
    term.is_some_and(|term| !term.is_empty() && term != "dumb")
}

/// The locale's encoding, by the first variable that counts (`locale(7)`).
fn speaks_utf8(variable: &dyn Fn(&str) -> Option<OsString>) -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .find_map(|name| variable(name).filter(|value| !value.is_empty()));
    let locale = locale.unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_told_in_words() {
        assert_eq!(words(State::Paused, "", None), "paused");
        assert_eq!(
            words(State::TcpConnect, "192.0.2.1:443", None),
            "connecting to 192.0.2.1:443"
        );
        assert_eq!(
            words(State::Reconnecting, "ping-restart", Some(4)),
            "reconnecting in 4 s"
        );
        assert_eq!(words(State::Reconnecting, "ping-restart", None), "reconnecting");
    }

    #[test]
    fn a_line_never_fills_the_terminal_and_holds_no_control_characters() {
        let parts = ["connected".to_owned(), "a\x1b[2Jb".to_owned(), "é".to_owned()];
        assert_eq!(fit(&parts, true, 80), "connected · a[2Jb · é");
        assert_eq!(fit(&parts, false, 80), "connected | a[2Jb | ");
        assert_eq!(fit(&parts, true, 5), "conn");
        assert_eq!(fit(&parts, true, 0), "");
    }

    #[test]
    fn the_locale_says_whether_arrows_can_be_shown() {
        let speaks = |name: &'static str, value: &'static str| {
            speaks_utf8(&move |asked| (asked == name).then(|| OsString::from(value)))
        };
        assert!(speaks("LANG", "en_US.UTF-8") && speaks("LC_ALL", "C.utf8"));
        assert!(!speaks("LANG", "C") && !speaks("LC_TIME", "C.UTF-8"));
        assert!(can_redraw(Some("xterm".into())) && !can_redraw(Some("dumb".into())) && !can_redraw(None));
    }
}
