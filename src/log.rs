//! Tracing to standard error: plain lines, with time and place once somebody wants to look closer.

use std::{io, sync::OnceLock};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    EnvFilter, Layer, Registry, fmt, layer::SubscriberExt as _, reload, util::SubscriberInitExt as _,
};

type Filter = reload::Handle<EnvFilter, Registry>;

/// The filter in force, so that it can be changed while a tunnel runs.
static FILTER: OnceLock<Filter> = OnceLock::new();

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
    let output = fmt::layer().with_writer(io::stderr).with_ansi(false);
    let started = if verbosity.json {
        let layer = output.json().flatten_event(true).with_filter(filter);
        tracing_subscriber::registry().with(layer).try_init()
    } else if verbosity.verbose > 0 {
        tracing_subscriber::registry()
            .with(output.with_filter(filter))
            .try_init()
    } else {
        let plain = output.without_time().with_target(false).with_filter(filter);
        tracing_subscriber::registry().with(plain).try_init()
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

#[cfg(test)]
mod tests {
    use super::*;

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
