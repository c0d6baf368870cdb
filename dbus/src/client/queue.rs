//! The user-input queue: what is asked, and what was answered. Pure.
//!
//! Slots are numbered per type and group from 0, in the order in which they are added. A group that is asked again
//! starts anew, so that an old answer is never taken for a new one.

use super::program::Secret;
use crate::{
    constants::{AttentionGroup, AttentionType},
    error::{CallError, Domain},
};

/// Longest answer in bytes; OpenVPN's own fields hold less.
const MAX_ANSWER_BYTES: usize = 4096;

/// One thing that is asked.
#[derive(Debug)]
pub(super) struct Slot {
    attention: AttentionType,
    group: AttentionGroup,
    id: u32,
    name: &'static str,
    description: String,
    hidden: bool,
    value: Option<Secret>,
}

/// What one slot asks for.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) name: &'static str,
    pub(super) description: String,
    pub(super) hidden: bool,
}

/// A slot as it travels: type, group, id, name, description, hidden.
pub(super) type Fetched = (u32, u32, u32, String, String, bool);

/// All slots in order.
#[derive(Debug, Default)]
pub(super) struct Queue {
    slots: Vec<Slot>,
}

impl Queue {
    /// Asks for something; what the group asked for before is gone.
    pub(super) fn ask(&mut self, group: AttentionGroup, asks: &[Ask]) {
        self.withdraw(group);
        for (id, ask) in (0..).zip(asks) {
            self.slots.push(Slot {
                attention: AttentionType::Credentials,
                group,
                id,
                name: ask.name,
                description: ask.description.clone(),
                hidden: ask.hidden,
                value: None,
            });
        }
    }

    /// Asks for nothing in a group any more.
    pub(super) fn withdraw(&mut self, group: AttentionGroup) {
        self.slots.retain(|slot| slot.group != group);
    }

    /// Tells whether something is still open.
    pub(super) fn is_open(&self) -> bool {
        self.slots.iter().any(|slot| slot.value.is_none())
    }

    /// Tells whether everything in a group has been answered; not where nothing was asked.
    pub(super) fn is_answered(&self, group: AttentionGroup) -> bool {
        let mut slots = self.slots.iter().filter(|slot| slot.group == group).peekable();
        slots.peek().is_some() && slots.all(|slot| slot.value.is_some())
    }

    /// The answer to a slot.
    pub(super) fn answer(&self, group: AttentionGroup, id: u32) -> Option<Secret> {
        let slot = self
            .slots
            .iter()
            .find(|slot| slot.group == group && slot.id == id)?;
        slot.value.clone()
    }

    /// Type and group of everything that is open, each once.
    pub(super) fn groups(&self) -> Vec<(u32, u32)> {
        let mut groups = Vec::new();
        for slot in self.slots.iter().filter(|slot| slot.value.is_none()) {
            let group = (slot.attention as u32, slot.group as u32);
            if !groups.contains(&group) {
                groups.push(group);
            }
        }
        groups
    }

    /// Ids that are open in a group.
    pub(super) fn check(&self, attention: u32, group: u32) -> Vec<u32> {
        let open = self
            .slots
            .iter()
            .filter(|slot| slot.is(attention, group) && slot.value.is_none());
        open.map(|slot| slot.id).collect()
    }

    /// What a slot asks for.
    ///
    /// # Errors
    /// Where there is no such slot, or it has been answered.
    pub(super) fn fetch(&self, attention: u32, group: u32, id: u32) -> Result<Fetched, CallError> {
        let slot = self
            .slots
            .iter()
            .find(|slot| slot.is(attention, group) && slot.id == id);
        let slot = slot.ok_or_else(|| {
            CallError::request("net.openvpn.v3.element-not-found: No requires queue element found")
        })?;
        if slot.value.is_some() {
            let text = "net.openvpn.v3.already-provided: User input already provided";
            return Err(CallError::request(text));
        }
        Ok((
            attention,
            group,
            id,
            slot.name.to_owned(),
            slot.description.clone(),
            slot.hidden,
        ))
    }

    /// Takes an answer.
    ///
    /// # Errors
    /// For an empty or overlong one, for a slot that has one already or does not exist.
    pub(super) fn provide(
        &mut self,
        attention: u32,
        group: u32,
        id: u32,
        value: Secret,
    ) -> Result<(), CallError> {
        if self.check(attention, group).is_empty() {
            let answered = self
                .slots
                .iter()
                .any(|slot| slot.is(attention, group) && slot.id == id);
            return Err(if answered {
                provided(id)
            } else {
                CallError::request("User input not required")
            });
        }
        let slot = self
            .slots
            .iter_mut()
            .find(|slot| slot.is(attention, group) && slot.id == id);
        let slot = slot.ok_or_else(|| {
            CallError::request("net.openvpn.v3.invalid-input: No matching entry found in the request queue")
        })?;
        if slot.value.is_some() {
            return Err(provided(id));
        }
        if value.is_empty() {
            return Err(CallError::request(format!(
                "net.openvpn.v3.error.invalid-input: No value provided for RequiresSlot ID {id}"
            )));
        }
        if value.len() > MAX_ANSWER_BYTES {
            return Err(CallError::request(format!(
                "net.openvpn.v3.error.invalid-input: the value for slot {id} is longer than {MAX_ANSWER_BYTES} bytes"
            )));
        }
        slot.value = Some(value);
        Ok(())
    }

    /// What `Ready` says.
    ///
    /// # Errors
    /// Where something is open; `is_web` where a page has to be used first.
    pub(super) fn ready(&self, is_web: bool) -> Result<(), CallError> {
        if is_web {
            Err(CallError::new(Domain::Ready, "Pending web authentication"))
        } else if self.is_open() {
            Err(CallError::new(Domain::Ready, "Missing user credentials"))
        } else {
            Ok(())
        }
    }
}

fn provided(id: u32) -> CallError {
    CallError::request(format!(
        "net.openvpn.v3.error.input-already-provided: Request ID {id} has already been provided"
    ))
}

impl Slot {
    fn is(&self, attention: u32, group: u32) -> bool {
        self.attention as u32 == attention && self.group as u32 == group
    }
}

/// What is asked for user name and password. Front ends keep answers under these descriptions.
pub(super) fn user_password() -> [Ask; 2] {
    [
        ask("username", "Auth User name", false),
        ask("password", "Auth Password", true),
    ]
}

/// What is asked for a proxy.
pub(super) fn proxy_credentials() -> [Ask; 2] {
    [
        ask("http_proxy_user", "HTTP proxy username", false),
        ask("http_proxy_pass", "HTTP proxy password", true),
    ]
}

/// One thing to ask for.
pub(super) fn ask(name: &'static str, description: &str, hidden: bool) -> Ask {
    Ask {
        name,
        description: description.to_owned(),
        hidden,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use AttentionGroup::{ChallengeStatic, UserPassword};

    fn provide(queue: &mut Queue, group: AttentionGroup, id: u32, value: &str) -> Result<(), String> {
        let provided = queue.provide(1, group as u32, id, Secret::new(value.to_owned()));
        provided.map_err(|error| error.to_string())
    }

    #[test]
    fn slots_are_listed_until_they_are_answered() {
        let mut queue = Queue::default();
        queue.ask(UserPassword, &user_password());
        queue.ask(ChallengeStatic, &[ask("static_challenge", "PIN", true)]);
        assert_eq!(queue.groups(), [(1, 1), (1, 4)]);
        assert_eq!(queue.check(1, 1), [0, 1]);
        assert_eq!(queue.fetch(1, 1, 0).unwrap().3, "username");
        assert_eq!(
            queue.ready(false).unwrap_err().to_string(),
            "Missing user credentials"
        );
        provide(&mut queue, UserPassword, 0, "ann").unwrap();
        assert_eq!(queue.check(1, 1), [1]);
        provide(&mut queue, UserPassword, 1, "secret").unwrap();
        assert_eq!(queue.groups(), [(1, 4)]);
        assert!(queue.is_answered(UserPassword) && !queue.is_answered(ChallengeStatic));
        provide(&mut queue, ChallengeStatic, 0, "1").unwrap();
        assert!(queue.ready(false).is_ok());
        assert!(queue.ready(true).unwrap_err().to_string().contains("web"));
        assert_eq!(queue.answer(UserPassword, 1).unwrap().as_str(), "secret");
    }

    #[test]
    fn refusals_have_the_texts_that_front_ends_look_for() {
        let mut queue = Queue::default();
        assert_eq!(
            provide(&mut queue, UserPassword, 0, "x").unwrap_err(),
            "User input not required"
        );
        queue.ask(UserPassword, &user_password());
        let empty = provide(&mut queue, UserPassword, 0, "").unwrap_err();
        assert!(
            empty.contains("No value provided for RequiresSlot ID 0"),
            "{empty}"
        );
        let unknown = provide(&mut queue, UserPassword, 7, "x").unwrap_err();
        assert!(unknown.contains("No matching entry found"), "{unknown}");
        provide(&mut queue, UserPassword, 0, "ann").unwrap();
        let again = provide(&mut queue, UserPassword, 0, "bob").unwrap_err();
        assert!(
            again.contains("Request ID 0 has already been provided"),
            "{again}"
        );
        let fetched = queue.fetch(1, 1, 0).unwrap_err().to_string();
        assert!(fetched.contains("already provided"), "{fetched}");
        assert!(
            queue
                .fetch(2, 1, 0)
                .unwrap_err()
                .to_string()
                .contains("element-not-found")
        );
        let long = "x".repeat(MAX_ANSWER_BYTES + 1);
        assert!(provide(&mut queue, UserPassword, 1, &long).is_err());
    }

    #[test]
    fn a_group_that_is_asked_again_forgets_its_answers() {
        let mut queue = Queue::default();
        queue.ask(UserPassword, &user_password());
        provide(&mut queue, UserPassword, 0, "ann").unwrap();
        queue.ask(UserPassword, &user_password());
        assert_eq!(queue.check(1, 1), [0, 1]);
        assert_eq!(queue.answer(UserPassword, 0), None);
    }
}
