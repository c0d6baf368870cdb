//! What a tunnel has told so far: the events, kept as the state they lead to.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::driver::{Event, Handle, Question, State};

/// The state that a tunnel's events have led to; kept up to date by [`Journal::follow`].
#[derive(Debug)]
pub struct Journal {
    told: Mutex<Told>,
}

/// How far a tunnel has come, and since when.
#[derive(Debug, Clone)]
pub struct Told {
    /// When it was started.
    pub started: Instant,
    /// Its state.
    pub state: State,
    /// What belongs to the state: a reason, an address.
    pub detail: String,
    /// When it got there.
    pub since: Instant,
    /// The last announcement of another attempt, until that leads to a connection.
    pub retry: Option<Retry>,
    /// Open questions, the oldest first.
    pub questions: Vec<Question>,
}

/// An announcement of another attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// Why it is needed.
    pub reason: String,
    /// When it begins.
    pub at: Instant,
    /// Where it goes.
    pub next: String,
}

impl Told {
    /// Tells whether the tunnel waits for somebody to resume it.
    pub fn is_paused(&self) -> bool {
        self.state == State::Paused
    }

    /// Time until the next attempt, while it is waited for.
    pub fn until_retry(&self, now: Instant) -> Option<Duration> {
        let retry = self.retry.as_ref()?;
        let left = retry.at.saturating_duration_since(now);
        (self.state == State::Reconnecting && !left.is_zero()).then_some(left)
    }

    fn on_event(&mut self, now: Instant, event: &Event) {
        match event {
            Event::State { state, detail } => {
                (self.state, self.since) = (*state, now);
                detail.clone_into(&mut self.detail);
            }
            Event::Connected(_) => self.retry = None,
            Event::Retry { reason, wait, next } => {
                self.retry = Some(Retry {
                    reason: reason.clone(),
                    at: now + *wait,
                    next: next.clone(),
                });
            }
            Event::Question(question) => self.questions.push(question.clone()),
            Event::QuestionGone(id) => self.questions.retain(|question| question.id != *id),
            Event::Info(_) | Event::Renewed | Event::Ended(_) => {}
        }
    }
}

impl Journal {
    /// Starts to follow `events` on a task of its own, which ends with the tunnel.
    pub fn follow(handle: Handle, events: Receiver<Event>) -> Arc<Self> {
        let now = Instant::now();
        let journal = Arc::new(Self {
            told: Mutex::new(Told {
                started: now,
                state: State::Connecting,
                detail: String::new(),
                since: now,
                retry: None,
                questions: Vec::new(),
            }),
        });
        tokio::spawn(Arc::clone(&journal).run(handle, events));
        journal
    }

    /// What was told so far.
    pub fn told(&self) -> Told {
        self.lock().clone()
    }

    async fn run(self: Arc<Self>, handle: Handle, mut events: Receiver<Event>) {
        loop {
            match events.recv().await {
                Ok(event) => {
                    self.lock().on_event(Instant::now(), &event);
                    if matches!(event, Event::Ended(_)) {
                        return;
                    }
                }
                Err(RecvError::Lagged(_)) => {
                    if let Some(state) = handle.snapshot().state {
                        let mut told = self.lock();
                        (told.state, told.since) = (state, Instant::now());
                        told.detail.clear();
                    }
                }
                Err(RecvError::Closed) => return,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::QuestionKind;

    fn state(state: State, detail: &str) -> Event {
        Event::State {
            state,
            detail: detail.into(),
        }
    }

    #[test]
    fn events_lead_to_a_state() {
        let start = Instant::now();
        let mut told = Told {
            started: start,
            state: State::Connecting,
            detail: String::new(),
            since: start,
            retry: None,
            questions: Vec::new(),
        };
        assert!(!told.is_paused());
        let later = start + Duration::from_secs(5);
        told.on_event(later, &state(State::Reconnecting, "ping-restart"));
        let retry = Event::Retry {
            reason: "no answer".into(),
            wait: Duration::from_secs(4),
            next: "a.test:1194".into(),
        };
        told.on_event(later, &retry);
        assert_eq!(told.until_retry(later), Some(Duration::from_secs(4)));
        assert_eq!(told.until_retry(later + Duration::from_secs(4)), None);
        let question = Question {
            id: 3,
            kind: QuestionKind::Credentials {
                username: None,
                refused: None,
            },
            deadline: later,
        };
        told.on_event(later, &Event::Question(question));
        assert_eq!(told.questions.len(), 1);
        told.on_event(later, &Event::QuestionGone(3));
        assert!(told.questions.is_empty());
        told.on_event(later, &state(State::Paused, ""));
        assert!(told.is_paused() && told.since == later);
    }
}
