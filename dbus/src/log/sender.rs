//! How the other services log: to the log service, and to this process's own log.

use std::sync::Arc;

use crate::{
    bus::{Body, Bus},
    constants::{LogCategory, LogGroup},
    names::{interface, path, printable, service},
};

/// Longest text that is sent, in bytes; the log service cuts longer ones, too.
const MAX_TEXT_BYTES: usize = 4096;

/// Logs of one service: each line goes to the log service as a signal and to `tracing`.
#[derive(Clone, Debug)]
pub struct LogSender {
    bus: Bus,
    path: Arc<str>,
    interface: &'static str,
    group: LogGroup,
}

impl LogSender {
    /// Logs as the object at `path` with `interface`; every line belongs to `group`.
    pub fn new(bus: &Bus, path: impl Into<String>, interface: &'static str, group: LogGroup) -> Self {
        Self {
            bus: bus.clone(),
            path: path.into().into(),
            interface,
            group,
        }
    }

    /// Announces us at the log service, which takes nothing from strangers.
    ///
    /// To be called once the service has its name, and again when the log service has a new owner. A log service
    /// that is not there is no failure: the lines still reach `tracing`.
    pub async fn attach(&self) {
        let body = Body::of((self.interface.to_owned(),));
        let called = self
            .bus
            .call(service::LOG, path::LOG, interface::LOG, "Attach", body);
        if let Err(error) = called.await {
            tracing::debug!(%error, interface = self.interface, "the log service does not take our lines");
        }
    }

    /// Logs a line: signal `Log` `(uus)` to the log service alone, and `tracing`.
    pub async fn log(&self, category: LogCategory, text: &str) {
        let text = bounded(printable(text));
        trace(self.group, category, &text);
        let body = Body::of((self.group as u32, category as u32, text));
        self.bus
            .signal(Some(service::LOG), &self.path, self.interface, "Log", body)
            .await;
    }
}

fn bounded(mut text: String) -> String {
    if text.len() > MAX_TEXT_BYTES {
        text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
    }
    text
}

fn trace(group: LogGroup, category: LogCategory, text: &str) {
    match category {
        LogCategory::Debug | LogCategory::Verb2 => tracing::trace!(?group, "{text}"),
        LogCategory::Verb1 => tracing::debug!(?group, "{text}"),
        LogCategory::Info => tracing::info!(?group, "{text}"),
        LogCategory::Warn => tracing::warn!(?group, "{text}"),
        LogCategory::Error | LogCategory::Crit | LogCategory::Fatal => tracing::error!(?group, "{text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_cut_between_letters() {
        let text = bounded("é".repeat(MAX_TEXT_BYTES));
        assert_eq!(text.len(), MAX_TEXT_BYTES);
        let text = bounded(format!("a{}", "é".repeat(MAX_TEXT_BYTES)));
        assert_eq!(text.len(), MAX_TEXT_BYTES - 1);
        assert_eq!(bounded("short".to_owned()), "short");
    }
}
