//! Whether packets go through, asked at most once at a time and remembered for a moment.

use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tunless_netstack::StackHandle;

use crate::{
    driver::{Handle, State, chain, clock},
    front::probe::probe,
};

/// How long an answer holds, so that nobody can make us send more than this.
const HOLDS: Duration = Duration::from_secs(5);

/// The last answer. The lock is held while a probe runs: that is what makes it one at a time, and everybody who waits
/// takes its answer. A probe has a time-out.
#[derive(Debug, Default)]
pub(super) struct Readiness {
    last: Mutex<Option<Answer>>,
}

#[derive(Debug, Clone)]
struct Answer {
    at: Instant,
    result: Result<Duration, String>,
}

impl Readiness {
    /// The time that a packet takes there and back, or why there is none.
    pub(super) async fn check(&self, handle: &Handle, stack: &StackHandle) -> Result<Duration, String> {
        let snapshot = handle.snapshot();
        let up = match (snapshot.state, handle.up()) {
            (Some(State::Connected), Some(up)) => up,
            (state, _) => {
                let state = state.map_or_else(|| "not started".to_owned(), |state| state.to_string());
                return Err(format!("not connected ({state})"));
            }
        };
        let mut last = self.last.lock().await;
        let now = clock::now();
        let fresh = last.as_ref().filter(|answer| {
            // An answer from before this connection says nothing about it.
            answer.at >= up.since && now.duration_since(answer.at) < HOLDS
        });
        if let Some(answer) = fresh {
            return answer.result.clone();
        }
        let result = probe(stack, &up).await.map_err(|error| chain(&error));
        *last = Some(Answer {
            at: clock::now(),
            result: result.clone(),
        });
        result
    }
}
