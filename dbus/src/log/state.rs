//! Who is attached, which connection is which session's client, and who has it forwarded. No bus here.

use std::{collections::BTreeMap, time::Instant};

use super::{
    allowance::{Allowance, LINES, Rate, STATUSES, line_cost},
    event::Event,
};
use crate::{
    constants::{MAX_VERBOSITY, is_shown},
    error::{CallError, Domain},
    names::{self, interface, path},
};

/// Interfaces that one connection announces; a client process needs two.
const MAX_ATTACHMENTS_OF_ONE: usize = 16;
/// Announced interfaces altogether.
const MAX_ATTACHMENTS: usize = 4096;
/// Sessions that one connection has forwarded.
const MAX_PROXIES_OF_ONE: usize = 64;
/// Proxies altogether.
const MAX_PROXIES: usize = 1024;

/// Why the log service does not do what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("Already attached")]
    AlreadyAttached,
    #[error("Not attached")]
    NotAttached,
    #[error("No session available")]
    NoSession,
    #[error("The session has another client process")]
    SessionTaken,
    #[error("This client process has another session")]
    OtherSession,
    #[error("Too many attached interfaces")]
    TooManyAttachments,
    #[error("Too many log proxies")]
    TooManyProxies,
}

impl From<Refusal> for CallError {
    fn from(refusal: Refusal) -> Self {
        Self::new(Domain::Log, refusal.to_string())
    }
}

#[derive(Debug)]
struct Attachment {
    /// What its lines are marked with, if lines are marked.
    tag: u64,
    lines: Allowance,
    statuses: Allowance,
}

/// One connection that has one session forwarded.
#[derive(Debug, Clone)]
pub(super) struct Proxy {
    /// Unique name of the receiver.
    pub(super) target: String,
    /// Its user.
    pub(super) uid: u32,
    pub(super) session: String,
    pub(super) log_level: u32,
}

/// A signal as it came, read.
#[derive(Debug)]
pub(super) struct Incoming<'a> {
    pub(super) sender: &'a str,
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
    pub(super) event: &'a Event,
}

/// What becomes of a signal.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Delivery {
    pub(super) tag: u64,
    pub(super) is_written: bool,
    /// How many of this sender were dropped before.
    pub(super) dropped: u64,
    pub(super) session: Option<String>,
    /// Unique names.
    pub(super) targets: Vec<String>,
}

#[derive(Debug)]
pub(super) struct State {
    /// By unique name and interface.
    attachments: BTreeMap<(String, String), Attachment>,
    /// Session paths by the unique names of the client processes.
    sessions: BTreeMap<String, String>,
    /// By object path.
    proxies: BTreeMap<String, Proxy>,
    session_manager: Option<String>,
    last_tag: u64,
    reports: Allowance,
}

impl State {
    pub(super) fn new(session_manager: Option<String>, now: Instant) -> Self {
        Self {
            attachments: BTreeMap::new(),
            sessions: BTreeMap::new(),
            proxies: BTreeMap::new(),
            session_manager,
            last_tag: 0,
            reports: Allowance::new(
                Rate {
                    burst: 1,
                    per_second: 1,
                },
                now,
            ),
        }
    }

    pub(super) fn set_session_manager(&mut self, owner: Option<&str>) {
        self.session_manager = owner.map(ToOwned::to_owned);
    }

    pub(super) fn is_session_manager(&self, name: &str) -> bool {
        self.session_manager.as_deref() == Some(name)
    }

    /// Tells whether it is time to say again that something goes wrong.
    pub(super) fn may_report(&mut self, now: Instant) -> bool {
        self.reports.spend(1, now).is_some()
    }

    pub(super) fn attach(&mut self, sender: &str, interface: &str, now: Instant) -> Result<u64, Refusal> {
        let key = (sender.to_owned(), interface.to_owned());
        if self.attachments.contains_key(&key) {
            return Err(Refusal::AlreadyAttached);
        }
        let of_one = self.attachments.keys().filter(|(name, _)| name == sender);
        if self.attachments.len() >= MAX_ATTACHMENTS || of_one.count() >= MAX_ATTACHMENTS_OF_ONE {
            return Err(Refusal::TooManyAttachments);
        }
        self.last_tag += 1;
        let attachment = Attachment {
            tag: self.last_tag,
            lines: Allowance::new(LINES, now),
            statuses: Allowance::new(STATUSES, now),
        };
        self.attachments.insert(key, attachment);
        Ok(self.last_tag)
    }

    /// Takes an interface back; the client process that no longer sends as one has no session either.
    pub(super) fn detach(&mut self, sender: &str, interface: &str) -> Result<(), Refusal> {
        let key = (sender.to_owned(), interface.to_owned());
        self.attachments.remove(&key).ok_or(Refusal::NotAttached)?;
        if interface == interface::BACKENDS {
            self.sessions.remove(sender);
        }
        Ok(())
    }

    /// Ties a client process's connection to its session.
    pub(super) fn assign(&mut self, sender: &str, interface: &str, session: &str) -> Result<(), Refusal> {
        let key = (sender.to_owned(), interface.to_owned());
        if !self.attachments.contains_key(&key) {
            return Err(Refusal::NotAttached);
        }
        match self.sessions.get(sender) {
            Some(own) if own == session => return Ok(()),
            Some(_) => return Err(Refusal::OtherSession),
            None => {}
        }
        if self.sessions.values().any(|other| other == session) {
            return Err(Refusal::SessionTaken);
        }
        self.sessions.insert(sender.to_owned(), session.to_owned());
        Ok(())
    }

    /// Has `session` forwarded to `target`; gives the proxy's path, that of the one there is if there is one.
    pub(super) fn proxy(&mut self, target: &str, uid: u32, session: &str) -> Result<String, Refusal> {
        let is_same = |proxy: &Proxy| proxy.target == target && proxy.session == session;
        if let Some((path, _)) = self.proxies.iter().find(|(_, proxy)| is_same(proxy)) {
            return Ok(path.clone());
        }
        if !self.sessions.values().any(|known| known == session) {
            return Err(Refusal::NoSession);
        }
        let of_one = self.proxies.values().filter(|proxy| proxy.target == target);
        if self.proxies.len() >= MAX_PROXIES || of_one.count() >= MAX_PROXIES_OF_ONE {
            return Err(Refusal::TooManyProxies);
        }
        let at = format!("{}/{}", path::LOG_PROXY, names::log_proxy_id());
        let proxy = Proxy {
            target: target.to_owned(),
            uid,
            session: session.to_owned(),
            log_level: MAX_VERBOSITY,
        };
        self.proxies.insert(at.clone(), proxy);
        Ok(at)
    }

    pub(super) fn proxy_at(&self, path: &str) -> Option<&Proxy> {
        self.proxies.get(path)
    }

    pub(super) fn proxy_at_mut(&mut self, path: &str) -> Option<&mut Proxy> {
        self.proxies.get_mut(path)
    }

    pub(super) fn remove_proxy(&mut self, path: &str) -> bool {
        self.proxies.remove(path).is_some()
    }

    pub(super) fn proxy_paths(&self) -> impl Iterator<Item = &String> {
        self.proxies.keys()
    }

    /// A connection has ended: what it announced and what was forwarded to it goes with it. Who listens to the session
    /// of a client process that ended still does, since the session manager has the last word on it.
    pub(super) fn vanish(&mut self, name: &str) -> bool {
        let before = self.attachments.len() + self.proxies.len();
        self.attachments.retain(|(sender, _), _| sender != name);
        self.sessions.remove(name);
        self.proxies.retain(|_, proxy| proxy.target != name);
        self.attachments.len() + self.proxies.len() < before
    }

    /// Nobody hears of a closed session any more.
    pub(super) fn close(&mut self, session: &str) {
        self.proxies.retain(|_, proxy| proxy.session != session);
    }

    /// Tag, unique name and interface of each announced interface.
    pub(super) fn subscribers(&self) -> Vec<(String, String, String, String)> {
        self.attachments
            .iter()
            .map(|((name, interface), attachment)| {
                (
                    attachment.tag.to_string(),
                    name.clone(),
                    interface.clone(),
                    String::new(),
                )
            })
            .collect()
    }

    pub(super) fn attached(&self) -> usize {
        self.attachments.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.attachments.is_empty() && self.proxies.is_empty()
    }

    /// Decides on a signal; `None` is to be forgotten. What is above `log_level` and what nobody listens to costs its
    /// sender nothing.
    pub(super) fn take(&mut self, incoming: &Incoming<'_>, log_level: u32, now: Instant) -> Option<Delivery> {
        let key = (incoming.sender.to_owned(), incoming.interface.to_owned());
        if !self.attachments.contains_key(&key) {
            return None;
        }
        let session = self.session_of(incoming);
        let targets = session
            .as_deref()
            .map(|session| self.targets(session, incoming.event))
            .unwrap_or_default();
        let is_written = is_shown(incoming.event.category() as u32, log_level);
        if targets.is_empty() && !is_written {
            return None;
        }
        let attachment = self.attachments.get_mut(&key)?;
        let dropped = match incoming.event {
            Event::Line { text, .. } => attachment.lines.spend(line_cost(text.len()), now)?,
            Event::Status(_) => attachment.statuses.spend(1, now)?,
        };
        Some(Delivery {
            tag: attachment.tag,
            is_written,
            dropped,
            session,
            targets,
        })
    }

    /// The session whose listeners are to hear of it.
    fn session_of(&self, incoming: &Incoming<'_>) -> Option<String> {
        let Incoming {
            sender,
            path,
            interface,
            event,
        } = incoming;
        if *interface == interface::BACKENDS && *path == path::CLIENT {
            return self.sessions.get(*sender).cloned();
        }
        let is_status_of_session = matches!(event, Event::Status(_))
            && *interface == interface::SESSIONS
            && is_session(path)
            && self.is_session_manager(sender);
        is_status_of_session.then(|| (*path).to_owned())
    }

    fn targets(&self, session: &str, event: &Event) -> Vec<String> {
        let hears = |proxy: &&Proxy| {
            proxy.session == session
                && match event {
                    Event::Line { category, .. } => is_shown(*category as u32, proxy.log_level),
                    Event::Status(_) => true,
                }
        };
        let heard = self.proxies.values().filter(hears);
        heard.map(|proxy| proxy.target.clone()).collect()
    }
}

/// Tells whether that is the path of a session.
pub(super) fn is_session(path: &str) -> bool {
    path.strip_prefix(path::SESSIONS)
        .and_then(|rest| rest.strip_prefix('/'))
        .is_some_and(|id| !id.is_empty() && !id.contains('/'))
}

#[cfg(test)]
mod tests;
