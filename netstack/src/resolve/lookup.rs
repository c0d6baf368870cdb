//! The addresses of a name for a connection: both families at once, and within the search domains.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::cache::Found;
use super::question::{Family, Question};
use super::{Owner, name};
use crate::config::Limits;
use crate::error::FlowError;
use crate::slab::{Id, Slab};
use crate::timers::Timers;

/// Wait for the second family once the first has addresses (RFC 8305 §3 has 50 ms; links here are slower).
const SECOND_FAMILY_WAIT: Duration = Duration::from_millis(150);
/// Addresses of one name that are used.
const MAX_ADDRESSES: usize = 16;

/// One family of the current name.
#[derive(Debug)]
struct Part {
    question: Question,
    result: Option<Result<Vec<IpAddr>, FlowError>>,
}

#[derive(Debug)]
struct Lookup {
    /// Names to try if the current one does not exist.
    more_names: VecDeque<String>,
    parts: Vec<Part>,
    owner: Owner,
    deadline: Instant,
    settle_at: Option<Instant>,
    pending: Option<Instant>,
}

impl Lookup {
    fn found(&self) -> Vec<IpAddr> {
        let good = self
            .parts
            .iter()
            .filter_map(|part| part.result.as_ref()?.as_ref().ok());
        good.flatten().copied().take(MAX_ADDRESSES).collect()
    }
}

/// What follows from news about a lookup.
#[derive(Debug)]
pub(super) enum Step {
    /// Nothing yet.
    Wait,
    /// These are to be asked; the answers belong to the parts of that lookup in this order.
    Ask(Id, Vec<Question>),
    /// It is over.
    End(Owner, Result<Vec<IpAddr>, FlowError>),
}

/// All lookups.
#[derive(Debug)]
pub(super) struct Lookups {
    pub(super) search_domains: Vec<String>,
    pub(super) families: Vec<Family>,
    table: Slab<Lookup>,
    timers: Timers,
    timeout: Duration,
}

impl Lookups {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            search_domains: Vec::new(),
            families: Vec::new(),
            table: Slab::new(limits.lookups),
            timers: Timers::default(),
            timeout: limits.resolve_timeout,
        }
    }

    /// Begins; `text` is no literal.
    pub(super) fn start(&mut self, now: Instant, text: &str, owner: Owner) -> Step {
        let more_names = VecDeque::from(name::candidates(text, &self.search_domains));
        if more_names.is_empty() || self.families.is_empty() {
            return Step::End(owner, Err(FlowError::NameNotFound));
        }
        let lookup = Lookup {
            more_names,
            parts: Vec::new(),
            owner,
            deadline: now + self.timeout,
            settle_at: None,
            pending: None,
        };
        match self.table.insert(lookup) {
            Ok(id) => self.next_name(id, FlowError::NameNotFound),
            Err(lookup) => Step::End(lookup.owner, Err(FlowError::TooManyFlows)),
        }
    }

    /// Goes on to the next name, or ends with `error` if there is none.
    fn next_name(&mut self, id: Id, error: FlowError) -> Step {
        let Some(lookup) = self.table.get_mut(id) else {
            return Step::Wait;
        };
        let Some(name) = lookup.more_names.pop_front() else {
            return self.end(id, Err(error));
        };
        let questions: Vec<Question> = self
            .families
            .iter()
            .filter_map(|family| Question::addresses(&name, *family))
            .collect();
        lookup.parts = questions
            .iter()
            .map(|question| Part {
                question: question.clone(),
                result: None,
            })
            .collect();
        lookup.settle_at = None;
        self.reschedule(id);
        Step::Ask(id, questions)
    }

    /// Takes the answer for a part.
    pub(super) fn on_answer(
        &mut self,
        now: Instant,
        id: Id,
        part: usize,
        result: Result<Found, FlowError>,
    ) -> Step {
        let Some(lookup) = self.table.get_mut(id) else {
            return Step::Wait;
        };
        let Some(part) = lookup.parts.get_mut(part) else {
            return Step::Wait;
        };
        let addresses = result.map(|found| found.answer.addresses(&part.question));
        if addresses.as_ref().is_ok_and(|found| !found.is_empty()) {
            lookup.settle_at.get_or_insert(now + SECOND_FAMILY_WAIT);
        }
        part.result = Some(addresses);
        self.advance(now, id)
    }

    /// Ends the lookup if enough is known, goes on to the next name, or waits.
    fn advance(&mut self, now: Instant, id: Id) -> Step {
        let Some(lookup) = self.table.get_mut(id) else {
            return Step::Wait;
        };
        let found = lookup.found();
        let is_all = lookup.parts.iter().all(|part| part.result.is_some());
        let is_time = lookup.settle_at.is_some_and(|at| at <= now) || lookup.deadline <= now;
        if !found.is_empty() && (is_all || is_time) {
            self.end(id, Ok(found))
        } else if is_all {
            // A name that nobody could be asked about may exist: the next one is not tried instead of it.
            let failure = lookup
                .parts
                .iter()
                .find_map(|part| part.result.as_ref()?.as_ref().err());
            match failure.copied() {
                Some(error) => self.end(id, Err(error)),
                None => self.next_name(id, FlowError::NameNotFound),
            }
        } else if lookup.deadline <= now {
            self.end(id, Err(FlowError::TimedOut))
        } else {
            self.reschedule(id);
            Step::Wait
        }
    }

    fn end(&mut self, id: Id, result: Result<Vec<IpAddr>, FlowError>) -> Step {
        match self.table.remove(id) {
            Some(lookup) => Step::End(lookup.owner, result),
            None => Step::Wait,
        }
    }

    fn reschedule(&mut self, id: Id) {
        if let Some(lookup) = self.table.get_mut(id) {
            let at = lookup
                .settle_at
                .map_or(lookup.deadline, |at| at.min(lookup.deadline));
            self.timers.schedule(id, at, &mut lookup.pending);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.timers.earliest()
    }

    /// What follows from the time; nothing once there is no more.
    pub(super) fn poll_due(&mut self, now: Instant) -> Option<Step> {
        let (at, id) = self.timers.pop_due(now)?;
        match self.table.get_mut(id) {
            Some(lookup) if lookup.pending == Some(at) => {
                lookup.pending = None;
                Some(self.advance(now, id))
            }
            Some(_) | None => Some(Step::Wait),
        }
    }

    /// Lookups under way.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }
}
