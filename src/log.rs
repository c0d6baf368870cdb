//! Tracing to standard error: plain lines, with time and place once somebody wants to look closer.

use std::{
    collections::VecDeque,
    fmt::{self as text, Write as _},
    io,
    sync::{Mutex, OnceLock, PoisonError},
    time::Instant,
};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
};
use tracing_subscriber::{
    EnvFilter, Layer, Registry, filter::filter_fn, fmt, layer::Context, layer::SubscriberExt as _,
    registry::LookupSpan, reload, util::SubscriberInitExt as _,
};

use crate::{driver::clock, screen};

type Filter = reload::Handle<EnvFilter, Registry>;

/// Lines that are kept for the status page; the oldest go first.
const RECENT_LINES: usize = 200;
/// Longest of them, in bytes; what is longer is cut.
const RECENT_BYTES: usize = 400;

/// The last lines of our own at INFO or above, whatever the flags say.
static RECENT: Mutex<VecDeque<Line>> = Mutex::new(VecDeque::new());

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When it was written.
    pub at: Instant,
    /// How bad it is.
    pub level: Level,
    /// What it says, with its fields.
    pub text: String,
}

/// The last lines, the oldest first.
pub fn recent() -> Vec<Line> {
    let lines = RECENT.lock().unwrap_or_else(PoisonError::into_inner);
    lines.iter().cloned().collect()
}

/// The filter in force, so that it can be changed while a tunnel runs.
static FILTER: OnceLock<Filter> = OnceLock::new();

/// Standard error, a log line at a time, so that none mixes with what is drawn there.
struct Lines;

impl io::Write for Lines {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        screen::around(|| io::stderr().write(buf))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verbosity {
    /// `-v` given so many times.
    pub verbose: u8,
    /// `-q`: errors alone.
    pub quiet: bool,
    /// JSON lines in place of text.
    pub json: bool,
}

/// Starts logging; a second call changes nothing. `RUST_LOG` overrides what the flags say.
pub fn start(verbosity: Verbosity) {
    let level = level_of(verbosity);
    let directives = std::env::var("RUST_LOG").ok();
    let filter = directives
        .and_then(|text| EnvFilter::try_new(text).ok())
        .unwrap_or_else(|| filter(level));
    let (filter, handle) = reload::Layer::new(filter);
    let output = fmt::layer().with_writer(|| Lines).with_ansi(false);
    let started = if verbosity.json {
        let layer = output.json().flatten_event(true).with_filter(filter);
        tracing_subscriber::registry()
            .with(layer)
            .with(keep_recent())
            .try_init()
    } else if verbosity.verbose > 0 {
        tracing_subscriber::registry()
            .with(output.with_filter(filter))
            .with(keep_recent())
            .try_init()
    } else {
        let plain = output.without_time().with_target(false).with_filter(filter);
        tracing_subscriber::registry()
            .with(plain)
            .with(keep_recent())
            .try_init()
    };
    if started.is_ok() {
        // Only one call gets here.
        let _first = FILTER.set(handle);
    }
}

/// Changes how much is logged, on OpenVPN's scale of `verb`: 0 to 11.
pub fn set_verbosity(verb: u8) {
    let level = match verb {
        0 => LevelFilter::ERROR,
        1 | 2 => LevelFilter::WARN,
        3 => LevelFilter::INFO,
        4..=6 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    if let Some(handle) = FILTER.get()
        && let Err(error) = handle.reload(filter(level))
    {
        tracing::warn!(%error, "the log level stays as it is");
    }
}

fn level_of(verbosity: Verbosity) -> LevelFilter {
    match (verbosity.quiet, verbosity.verbose) {
        (true, _) => LevelFilter::ERROR,
        (false, 0) => LevelFilter::WARN,
        (false, 1) => LevelFilter::INFO,
        (false, 2) => LevelFilter::DEBUG,
        (false, _) => LevelFilter::TRACE,
    }
}

/// Our own packages at `level`, the libraries' never above INFO.
fn filter(level: LevelFilter) -> EnvFilter {
    let libraries = level.min(LevelFilter::WARN);
    let text = ["tunless", "tunless_core", "tunless_netstack", "tunless_proxy"]
        .map(|package| format!("{package}={level}"))
        .join(",");
    EnvFilter::new(format!("{libraries},{text}"))
}

/// Keeps what our own packages say at INFO or above.
fn keep_recent<S>() -> impl Layer<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    Recent.with_filter(
        filter_fn(|of| of.target().starts_with("tunless") && *of.level() <= Level::INFO)
            .with_max_level_hint(LevelFilter::INFO),
    )
}

#[derive(Debug)]
struct Recent;

impl<S: Subscriber> Layer<S> for Recent {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut text = LineText::default();
        event.record(&mut text);
        let line = Line {
            at: clock::now(),
            level: *event.metadata().level(),
            text: text.finish(),
        };
        let mut lines = RECENT.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() >= RECENT_LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }
}

/// A line under construction: the message, then the fields.
#[derive(Debug, Default)]
struct LineText {
    message: String,
    fields: String,
}

impl LineText {
    fn finish(self) -> String {
        let mut text = self.message;
        text.push_str(&self.fields);
        if text.len() > RECENT_BYTES {
            let end = (0..=RECENT_BYTES).rev().find(|at| text.is_char_boundary(*at));
            text.truncate(end.unwrap_or(0));
            text.push('…');
        }
        text
    }
}

impl Visit for LineText {
    fn record_debug(&mut self, field: &Field, value: &dyn text::Debug) {
        // Writing to a string cannot fail.
        if field.name() == "message" {
            write!(self.message, "{value:?}").unwrap_or_default();
        } else {
            write!(self.fields, " {field}={value:?}").unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recent_lines_are_ours_few_short_and_not_below_info() {
        let subscriber = tracing_subscriber::registry().with(keep_recent());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(target: "h2", "of a library");
            tracing::debug!("too small");
            tracing::warn!(server = "a.test", "long {}", "ü".repeat(RECENT_BYTES));
            for number in 0..RECENT_LINES {
                tracing::info!(number, state = %"CONNECTED", "state");
            }
        });
        let lines = recent();
        assert_eq!(lines.len(), RECENT_LINES);
        let last = lines.last().unwrap();
        assert_eq!(
            (last.level, last.text.as_str()),
            (Level::INFO, "state number=199 state=CONNECTED")
        );
        tracing::subscriber::with_default(tracing_subscriber::registry().with(keep_recent()), || {
            tracing::warn!("long {}", "ü".repeat(RECENT_BYTES));
        });
        let lines = recent();
        let long = &lines.last().unwrap().text;
        assert!(long.ends_with("ü…") && long.len() <= RECENT_BYTES + 3, "{long}");
        assert!(
            lines
                .iter()
                .all(|line| !line.text.contains("library") && !line.text.contains("small"))
        );
    }

    #[test]
    fn flags_say_how_much_is_logged() {
        let flags = |verbose, quiet| {
            level_of(Verbosity {
                verbose,
                quiet,
                json: false,
            })
        };
        assert_eq!(flags(0, false), LevelFilter::WARN);
        assert_eq!(flags(1, false), LevelFilter::INFO);
        assert_eq!(flags(9, false), LevelFilter::TRACE);
        assert_eq!(flags(9, true), LevelFilter::ERROR);
    }
}
