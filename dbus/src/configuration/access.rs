//! Who may do what with a profile. Decides alone; nothing is changed here.

use std::collections::BTreeSet;

use crate::error::CallError;

/// A caller as far as rights go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Who {
    /// Their user.
    pub(super) uid: u32,
    /// The user that the services run as.
    pub(super) service: u32,
}

impl Who {
    fn is_service(self) -> bool {
        self.uid == self.service
    }
}

/// What somebody wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Right {
    /// Seal or remove it: the owner, also when it is sealed.
    Own,
    /// Change it by a method: the owner, unless it is sealed.
    Change,
    /// Read its text, which holds keys: never for everybody, and never for the list when it is locked down.
    Fetch,
    /// Find, list and validate it.
    Use,
    /// Learn whose it is.
    ReadOwner,
    /// Read an ordinary property.
    Read,
    /// Read a property that says who has rights.
    ReadRights,
    /// Set a property that only the owner may set.
    Set,
    /// Set a property that those on the list may set, too.
    SetShared,
}

/// What a profile says about rights.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules<'a> {
    /// Whose it is.
    pub(super) owner: u32,
    /// Who else may use it.
    pub(super) acl: &'a BTreeSet<u32>,
    /// Whether everybody may use it.
    pub(super) public: bool,
    /// Whether only its owner may read the text.
    pub(super) locked_down: bool,
    /// Whether nobody may change it any more.
    pub(super) sealed: bool,
}

impl Rules<'_> {
    /// Decides.
    pub(super) fn check(&self, right: Right, who: Who) -> Result<(), CallError> {
        let owner = who.uid == self.owner;
        let listed = owner || self.acl.contains(&who.uid);
        let used = listed || self.public;
        let allowed = match right {
            Right::Own | Right::Change | Right::Set => owner,
            Right::Fetch if self.locked_down => owner || who.is_service(),
            Right::Fetch => listed || who.is_service(),
            Right::Use | Right::ReadRights => used,
            Right::ReadOwner => true,
            Right::Read => used || who.is_service(),
            Right::SetShared => listed,
        };
        match (allowed, right) {
            (false, Right::Set) => Err(CallError::denied(
                "Configuration can only be modified by the profile owner",
            )),
            (false, _) => Err(refused(right, "Access to the configuration profile is denied.")),
            (true, Right::Change | Right::Set | Right::SetShared) if self.sealed => {
                Err(refused(right, "Configuration profile is sealed and read-only"))
            }
            (true, _) => Ok(()),
        }
    }

    /// Tells whether `who` finds it in lists.
    pub(super) fn is_usable_by(&self, who: Who) -> bool {
        self.check(Right::Use, who).is_ok()
    }
}

/// A refusal in the form of a method or of a property.
fn refused(right: Right, text: &str) -> CallError {
    match right {
        Right::Own | Right::Change | Right::Fetch | Right::Use => CallError::method(text),
        Right::ReadOwner | Right::Read | Right::ReadRights | Right::Set | Right::SetShared => {
            CallError::denied(text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: u32 = 1000;
    const LISTED: u32 = 1001;
    const STRANGER: u32 = 1002;
    const SERVICE: u32 = 990;
    const ROOT: u32 = 0;
    const CALLERS: [u32; 5] = [OWNER, LISTED, STRANGER, SERVICE, ROOT];

    /// Who of [`CALLERS`] is let through, as letters: o, l, s, v, r.
    fn allowed(right: Right, public: bool, locked_down: bool, sealed: bool) -> String {
        let acl = BTreeSet::from([LISTED]);
        let rules = Rules {
            owner: OWNER,
            acl: &acl,
            public,
            locked_down,
            sealed,
        };
        let named = CALLERS.into_iter().zip("olsvr".chars());
        named
            .filter(|(uid, _)| {
                let who = Who {
                    uid: *uid,
                    service: SERVICE,
                };
                rules.check(right, who).is_ok()
            })
            .map(|(_, letter)| letter)
            .collect()
    }

    #[test]
    fn rights_are_those_of_the_table() {
        use Right::{Change, Fetch, Own, Read, ReadOwner, ReadRights, Set, SetShared, Use};
        // Right, then who has it: as imported, public, locked down, sealed.
        let table = [
            (Own, ["o", "o", "o", "o"]),
            (Change, ["o", "o", "o", ""]),
            (Fetch, ["olv", "olv", "ov", "olv"]),
            (Use, ["ol", "olsvr", "ol", "ol"]),
            (ReadOwner, ["olsvr", "olsvr", "olsvr", "olsvr"]),
            (Read, ["olv", "olsvr", "olv", "olv"]),
            (ReadRights, ["ol", "olsvr", "ol", "ol"]),
            (Set, ["o", "o", "o", ""]),
            (SetShared, ["ol", "ol", "ol", ""]),
        ];
        for (right, expected) in table {
            let found = [
                allowed(right, false, false, false),
                allowed(right, true, false, false),
                allowed(right, false, true, false),
                allowed(right, false, false, true),
            ];
            assert_eq!(found, expected, "{right:?}");
        }
    }

    #[test]
    fn refusals_have_the_texts_and_forms_that_front_ends_know() {
        let acl = BTreeSet::new();
        let rules = |sealed| Rules {
            owner: OWNER,
            acl: &acl,
            public: true,
            locked_down: false,
            sealed,
        };
        let said = |sealed, right, uid| {
            let who = Who {
                uid,
                service: SERVICE,
            };
            let error = rules(sealed).check(right, who).unwrap_err();
            (error.is_denied(), error.to_string())
        };
        let (denied, sealed) = (
            "Access to the configuration profile is denied.",
            "Configuration profile is sealed and read-only",
        );
        assert_eq!(said(false, Right::Fetch, STRANGER), (false, denied.to_owned()));
        assert_eq!(said(false, Right::SetShared, STRANGER), (true, denied.to_owned()));
        assert_eq!(said(true, Right::Change, OWNER), (false, sealed.to_owned()));
        assert_eq!(said(true, Right::SetShared, OWNER), (true, sealed.to_owned()));
        let text = "Configuration can only be modified by the profile owner";
        assert_eq!(said(false, Right::Set, LISTED), (true, text.to_owned()));
    }
}
