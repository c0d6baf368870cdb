//! One session: whose it is, who else may use it, and what is known of its client process. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use serde::{Deserialize, Serialize};

use crate::{
    bus::Caller,
    client::Users,
    constants::{Status, StatusMinor},
    error::CallError,
};

/// Users that may be granted access.
const MAX_ACL: usize = 256;
/// Connections that are remembered.
const MAX_CONNECTIONS: usize = 64;
/// Verbosity of a session whose profile asks for none.
pub(super) const DEFAULT_VERBOSITY: u32 = 4;

/// What outlives the session manager's process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Object path.
    pub(super) path: String,
    /// What ties the client process to it.
    pub(super) token: String,
    /// Bus name of the client process.
    pub(super) client: String,
    /// Profile.
    pub(super) config_path: String,
    /// The profile's name when the session was made.
    pub(super) config_name: String,
    /// Unix time of its making.
    pub(super) created: u64,
    /// Whose it is.
    pub(super) owner: u32,
    /// Who else may use it.
    pub(super) acl: BTreeSet<u32>,
    /// Everybody may.
    pub(super) public_access: bool,
    /// The log is the owner's alone.
    pub(super) restrict_log_access: bool,
    /// How much of the log is forwarded.
    pub(super) log_verbosity: u32,
    /// A crashed client process is replaced (`automatic-restart`).
    pub(super) automatic_restart: bool,
}

/// How far a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Its client process is about to register.
    Starting,
    /// It is there.
    Open,
    /// Its client process has crashed and is being replaced.
    Replacing,
    /// It is being removed.
    Closing,
}

/// A session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) record: Record,
    pub(super) stage: Stage,
    /// Unique name of the client process; none while there is none.
    pub(super) unique: Option<String>,
    pub(super) status: Status,
    /// Group, category and text of the last log line.
    pub(super) last_log: Option<(u32, u32, String)>,
    /// Connections that have used it; bounded.
    pub(super) users: BTreeSet<String>,
    /// Log proxies by the unique name of who listens.
    pub(super) forwards: BTreeMap<String, String>,
    /// Counts statuses; a deadline belongs to one of them.
    pub(super) statuses: u64,
    /// Since when packets go through.
    pub(super) connected: Option<Instant>,
    /// Replacements of the client process in a row.
    pub(super) replaced: u32,
}

/// What is to be done to a session or read of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Right {
    /// Change who may use it.
    Own,
    /// Follow its log.
    Log,
    /// Use it, or find it.
    Use,
    /// Read its properties.
    Read,
    /// Set properties that users may set.
    Set,
}

impl Session {
    pub(super) fn new(record: Record) -> Self {
        Self {
            record,
            stage: Stage::Starting,
            unique: None,
            status: Status::unset(),
            last_log: None,
            users: BTreeSet::new(),
            forwards: BTreeMap::new(),
            statuses: 0,
            connected: None,
            replaced: 0,
        }
    }

    /// Tells whether `uid` has a right (reference section 6.1); `service` is the user of the services themselves.
    pub(super) fn may(&self, uid: u32, right: Right, service: u32) -> bool {
        let record = &self.record;
        let owns = uid == record.owner;
        let listed = record.acl.contains(&uid);
        match right {
            Right::Own => owns,
            Right::Log => owns || (!record.restrict_log_access && (listed || record.public_access)),
            Right::Use => owns || listed || record.public_access,
            Right::Read => owns || listed || uid == 0 || uid == service,
            Right::Set => owns || listed,
        }
    }

    /// Refuses a caller without the right.
    pub(super) fn check(&self, caller: &Caller, right: Right) -> Result<(), CallError> {
        if self.may(caller.uid, right, nix::unistd::geteuid().as_raw()) {
            Ok(())
        } else {
            Err(CallError::method("Access denied"))
        }
    }

    /// Remembers a connection that uses it.
    pub(super) fn used_by(&mut self, caller: &Caller) {
        if self.users.len() >= MAX_CONNECTIONS {
            self.users.clear();
        }
        self.users.insert(caller.name.clone());
    }

    /// Lets another user use it.
    pub(super) fn grant(&mut self, uid: u32) -> Result<(), CallError> {
        if self.record.acl.len() >= MAX_ACL {
            return Err(CallError::method(format!("{MAX_ACL} users have access already")));
        }
        if uid == self.record.owner || !self.record.acl.insert(uid) {
            return Err(CallError::method("UID already granted access"));
        }
        Ok(())
    }

    /// Lets another user use it no more.
    pub(super) fn revoke(&mut self, uid: u32) -> Result<(), CallError> {
        if self.record.acl.remove(&uid) {
            Ok(())
        } else {
            Err(CallError::method("UID not granted access"))
        }
    }

    /// Gives it to another user.
    pub(super) fn transfer(&mut self, uid: u32) {
        self.record.acl.remove(&uid);
        self.record.owner = uid;
    }

    /// Whose programs may use what the tunnel offers on this host.
    pub(super) fn allowed(&self) -> Users {
        if self.record.public_access {
            return Users::Everybody;
        }
        let all = self.record.acl.iter().copied().chain([self.record.owner]);
        Users::Only(all.collect())
    }

    /// Takes a status of the client process.
    pub(super) fn on_status(&mut self, now: Instant, status: Status) {
        self.statuses += 1;
        if status.minor == StatusMinor::ConnConnected {
            self.connected.get_or_insert(now);
        } else if status.minor != StatusMinor::ConnReconnecting {
            self.connected = None;
        }
        self.status = status;
    }
}

#[cfg(test)]
pub(super) fn example() -> Session {
    Session::new(Record {
        path: "/net/openvpn/v3/sessions/1".into(),
        token: "t".into(),
        client: "net.openvpn.v3.backends.be1".into(),
        config_path: "/net/openvpn/v3/configuration/1".into(),
        config_name: "work".into(),
        created: 1,
        owner: 1000,
        acl: BTreeSet::from([1001]),
        public_access: false,
        restrict_log_access: true,
        log_verbosity: DEFAULT_VERBOSITY,
        automatic_restart: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_those_of_the_reference() {
        use Right::{Log, Own, Read, Set, Use};
        const ALL: [Right; 5] = [Own, Log, Use, Read, Set];
        let (owner, listed, stranger, root, service) = (1000, 1001, 1002, 0, 77);
        let mut session = example();
        let rights = |session: &Session, uid| ALL.map(|right| session.may(uid, right, service));
        assert_eq!(rights(&session, owner), [true; 5]);
        assert_eq!(rights(&session, listed), [false, false, true, true, true]);
        assert_eq!(rights(&session, stranger), [false; 5]);
        // Root reads and nothing else.
        assert_eq!(rights(&session, root), [false, false, false, true, false]);
        assert_eq!(rights(&session, service), [false, false, false, true, false]);
        session.record.public_access = true;
        // Public access lets use it, but not read its properties.
        assert_eq!(rights(&session, stranger), [false, false, true, false, false]);
        session.record.restrict_log_access = false;
        assert_eq!(rights(&session, stranger), [false, true, true, false, false]);
        assert_eq!(rights(&session, listed), [false, true, true, true, true]);
    }

    #[test]
    fn the_list_of_users_is_changed_with_the_reference_s_words() {
        let mut session = example();
        assert_eq!(
            session.grant(1001).unwrap_err().to_string(),
            "UID already granted access"
        );
        session.grant(1002).unwrap();
        session.revoke(1001).unwrap();
        assert_eq!(
            session.revoke(1001).unwrap_err().to_string(),
            "UID not granted access"
        );
        assert_eq!(session.allowed(), Users::Only(vec![1002, 1000]));
        for uid in 2000..2000 + u32::try_from(MAX_ACL).unwrap() - 1 {
            session.grant(uid).unwrap();
        }
        assert!(session.grant(1).is_err());
        session.record.public_access = true;
        assert_eq!(session.allowed(), Users::Everybody);
    }
}
