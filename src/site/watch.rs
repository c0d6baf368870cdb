//! What the pages remember: how much was carried in each of the last seconds, and what happened since the start.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use crate::driver::{Event, Handle, Question, QuestionKind, State, clock};

/// Time between samples.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);
/// Samples that are kept: five minutes.
pub(super) const SAMPLES: usize = 300;

/// Bytes within one interval.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) up_bytes: u64,
    pub(super) down_bytes: u64,
}

/// Why the last attempt or connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Retry {
    pub(super) at: Instant,
    pub(super) reason: String,
    pub(super) next: String,
}

/// Everything that is remembered.
#[derive(Debug, Clone)]
pub(super) struct Memory {
    pub(super) started: Instant,
    pub(super) state: Option<State>,
    pub(super) state_since: Instant,
    /// Times that packets began to go through.
    pub(super) connects: u64,
    /// Times that keys were renewed.
    pub(super) renewals: u64,
    pub(super) retry: Option<Retry>,
    pub(super) questions: Vec<Question>,
    pub(super) samples: VecDeque<Sample>,
    total: Sample,
}

impl Memory {
    fn new(now: Instant) -> Self {
        Self {
            started: now,
            state: None,
            state_since: now,
            connects: 0,
            renewals: 0,
            retry: None,
            questions: Vec::new(),
            samples: VecDeque::with_capacity(SAMPLES),
            total: Sample::default(),
        }
    }

    /// What is asked, and of whom.
    pub(super) fn question(&self) -> Option<String> {
        let open = self.questions.last()?;
        Some(match &open.kind {
            QuestionKind::Credentials { username: None, .. } => {
                "waiting for a user name and a password in the terminal".to_owned()
            }
            QuestionKind::Credentials {
                username: Some(_), ..
            } => "waiting for a password in the terminal".to_owned(),
            QuestionKind::ProxyCredentials { proxy, .. } => {
                format!("waiting for a user name and a password for the proxy {proxy} in the terminal")
            }
            QuestionKind::Passphrase { .. } => {
                "waiting for the private key's passphrase in the terminal".to_owned()
            }
            QuestionKind::Challenge { text, .. } => format!("waiting for an answer in the terminal: {text}"),
            QuestionKind::OpenUrl { url } => format!("open this page to sign in: {url}"),
        })
    }

    fn on_event(&mut self, event: &Event, now: Instant) {
        match event {
            Event::State { state, .. } => {
                if self.state != Some(*state) {
                    self.state = Some(*state);
                    self.state_since = now;
                }
            }
            Event::Connected(_) => {
                self.connects += 1;
                self.retry = None;
            }
            Event::Retry { reason, next, .. } => {
                self.retry = Some(Retry {
                    at: now,
                    reason: reason.clone(),
                    next: next.clone(),
                });
            }
            Event::Question(question) => self.questions.push(question.clone()),
            Event::QuestionGone(id) => self.questions.retain(|open| open.id != *id),
            Event::Renewed => self.renewals += 1,
            Event::Info(_) | Event::Ended(_) => {}
        }
    }

    fn sample(&mut self, total: Sample) {
        if self.samples.len() >= SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample {
            up_bytes: total.up_bytes.saturating_sub(self.total.up_bytes),
            down_bytes: total.down_bytes.saturating_sub(self.total.down_bytes),
        });
        self.total = total;
    }
}

/// The memory, shared with the pages. The lock is held to copy it.
#[derive(Debug)]
pub(super) struct Watch(Mutex<Memory>);

impl Default for Watch {
    fn default() -> Self {
        Self(Mutex::new(Memory::new(clock::now())))
    }
}

impl Watch {
    pub(super) fn memory(&self) -> Memory {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Fills the memory until `shutdown` or the tunnel's end.
pub(super) async fn run(
    watch: Arc<Watch>,
    handle: Handle,
    mut events: Receiver<Event>,
    shutdown: CancellationToken,
) {
    let mut ticks = interval(INTERVAL);
    // Samples stand for seconds: a late one must not be followed by a short one.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            event = events.recv() => match event {
                Ok(event) => watch.lock().on_event(&event, clock::now()),
                Err(RecvError::Closed) => return,
                Err(RecvError::Lagged(missed)) => tracing::debug!(missed, "events missed"),
            },
            _ = ticks.tick() => {
                let device = handle.snapshot().device;
                watch.lock().sample(Sample { up_bytes: device.bytes_out, down_bytes: device.bytes_in });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_what_was_carried_between_and_the_oldest_go() {
        let mut memory = Memory::new(clock::now());
        for at in 1..=SAMPLES as u64 + 5 {
            memory.sample(Sample {
                up_bytes: at * 10,
                down_bytes: at * at,
            });
        }
        assert_eq!(memory.samples.len(), SAMPLES);
        let wanted = Sample {
            up_bytes: 10,
            down_bytes: 2 * 305 - 1,
        };
        assert_eq!(memory.samples.back(), Some(&wanted));
        memory.sample(Sample::default());
        assert_eq!(
            memory.samples.back(),
            Some(&Sample::default()),
            "counters that went back"
        );
    }

    #[test]
    fn questions_are_pending_until_they_are_gone() {
        let now = clock::now();
        let mut memory = Memory::new(now);
        let kind = QuestionKind::Credentials {
            username: Some("ann".into()),
            refused: None,
        };
        memory.on_event(
            &Event::Question(Question {
                id: 7,
                kind,
                deadline: now,
            }),
            now,
        );
        assert_eq!(
            memory.question().unwrap(),
            "waiting for a password in the terminal"
        );
        memory.on_event(&Event::QuestionGone(7), now);
        assert_eq!(memory.question(), None);
    }

    #[test]
    fn a_state_lasts_since_it_was_entered() {
        let start = clock::now();
        let mut memory = Memory::new(start);
        let state = |state| Event::State {
            state,
            detail: String::new(),
        };
        let later = start + Duration::from_secs(5);
        memory.on_event(&state(State::Connected), start);
        memory.on_event(&state(State::Connected), later);
        assert_eq!(memory.state_since, start);
        memory.on_event(&state(State::Reconnecting), later);
        assert_eq!(memory.state_since, later);
    }
}
