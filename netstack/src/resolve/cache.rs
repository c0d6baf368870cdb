//! Answers that are still fresh, by question: bounded in number and bytes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::answer::Answer;
use super::question::Question;

const MAX_ENTRIES: usize = 1024;
const MAX_BYTES: usize = 1024 * 1024;
/// A longer answer is not kept.
const MAX_ANSWER_BYTES: usize = 16 * 1024;

#[derive(Debug)]
struct Entry {
    answer: Arc<Answer>,
    since: Instant,
    until: Instant,
}

/// An answer and how long ago it came.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) answer: Arc<Answer>,
    pub(crate) age: Duration,
}

/// The answers. Where there is no room, those go first that end first.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    entries: BTreeMap<Question, Entry>,
    bytes: usize,
}

impl Cache {
    pub(crate) fn find(&self, now: Instant, question: &Question) -> Option<Found> {
        let entry = self.entries.get(question).filter(|entry| entry.until > now)?;
        Some(Found {
            answer: Arc::clone(&entry.answer),
            age: now.saturating_duration_since(entry.since),
        })
    }

    pub(crate) fn keep(&mut self, now: Instant, question: &Question, answer: &Arc<Answer>) {
        let size = answer.memory_bytes();
        let Some(lifetime) = answer.lifetime().filter(|_| size <= MAX_ANSWER_BYTES) else {
            return;
        };
        self.remove(question);
        while self.entries.len() >= MAX_ENTRIES || self.bytes + size > MAX_BYTES {
            let first = self.entries.iter().min_by_key(|(_, entry)| entry.until);
            let Some(first) = first.map(|(question, _)| question.clone()) else {
                return;
            };
            self.remove(&first);
        }
        self.bytes += size;
        let entry = Entry {
            answer: Arc::clone(answer),
            since: now,
            until: now + lifetime,
        };
        self.entries.insert(question.clone(), entry);
    }

    fn remove(&mut self, question: &Question) {
        if let Some(entry) = self.entries.remove(question) {
            self.bytes = self.bytes.saturating_sub(entry.answer.memory_bytes());
        }
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }

    #[cfg(test)]
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.entries.len(), self.bytes)
    }
}
