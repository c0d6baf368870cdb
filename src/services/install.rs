//! Files that let the system bus start the services for every user of a host: policies, activation, their user.
//!
//! Each file begins with a line that says whose it is; what does not carry it is another program's and is left alone.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::host::Kind;

/// What tells our files from others.
const MARKER: &str = "Written by `tunless dbus install`; `tunless dbus uninstall` removes it.";
const POLICIES: &str = "usr/share/dbus-1/system.d";
const ACTIVATION: &str = "usr/share/dbus-1/system-services";
const SYSUSERS: &str = "usr/lib/sysusers.d/tunless.conf";
const TMPFILES: &str = "usr/lib/tmpfiles.d/tunless.conf";

/// Policy files by their names.
const TEMPLATES: [(&str, &str); 6] = [
    (
        "net.openvpn.v3.configuration.conf",
        include_str!("../../dbus/data/net.openvpn.v3.configuration.conf"),
    ),
    (
        "net.openvpn.v3.sessions.conf",
        include_str!("../../dbus/data/net.openvpn.v3.sessions.conf"),
    ),
    (
        "net.openvpn.v3.log.conf",
        include_str!("../../dbus/data/net.openvpn.v3.log.conf"),
    ),
    (
        "net.openvpn.v3.backends.conf",
        include_str!("../../dbus/data/net.openvpn.v3.backends.conf"),
    ),
    (
        "net.openvpn.v3.client.conf",
        include_str!("../../dbus/data/net.openvpn.v3.client.conf"),
    ),
    (
        "net.openvpn.v3.netcfg.conf",
        include_str!("../../dbus/data/net.openvpn.v3.netcfg.conf"),
    ),
];

/// What is placed where.
#[derive(Debug, Clone)]
pub struct Installation {
    /// Folder that stands for the root of the host.
    pub root: PathBuf,
    /// User that the services run as, by name: the bus knows no others.
    pub user: String,
    /// The program.
    pub exec: PathBuf,
    /// Where the services keep what they keep.
    pub state_dir: PathBuf,
}

/// Why nothing was placed, or not everything.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// A text that would not stay what it is in a file.
    #[error("{what} {value:?} cannot be used: it must be one word without quotes and angle brackets")]
    Word {
        /// What it is.
        what: &'static str,
        /// The text.
        value: String,
    },
    /// A file of somebody else.
    #[error("{} is another program's (OpenVPN 3 Linux?): remove that, or replace its files with --replace", .0.display())]
    Foreign(PathBuf),
    /// The system refuses.
    #[error("cannot write {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The user of the services.
    #[error("cannot make the system user {0}; make it yourself, or name another with --user")]
    User(String),
}

impl Installation {
    /// Every file with its text.
    ///
    /// # Errors
    /// [`InstallError::Word`].
    pub fn files(&self) -> Result<Vec<(PathBuf, String)>, InstallError> {
        let (exec, state) = (
            self.exec.display().to_string(),
            self.state_dir.display().to_string(),
        );
        for (what, value) in [
            ("the user", &self.user),
            ("the program", &exec),
            ("the folder", &state),
        ] {
            if value.is_empty()
                || value.contains(|letter: char| letter.is_whitespace() || "\"'<>&%".contains(letter))
            {
                return Err(InstallError::Word {
                    what,
                    value: value.clone(),
                });
            }
        }
        let render = |template: &str| {
            template
                .replace("@MARKER@", MARKER)
                .replace("@USER@", &self.user)
                .replace("@EXEC@", &exec)
                .replace("@STATE@", &state)
        };
        let mut files = Vec::new();
        for (name, template) in TEMPLATES {
            files.push((self.root.join(POLICIES).join(name), render(template)));
        }
        let activation = include_str!("../../dbus/data/activation.service");
        for kind in Kind::ALL {
            let text = render(activation)
                .replace("@NAME@", kind.bus_name())
                .replace("@SERVICE@", kind.word());
            let name = format!("{}.service", kind.bus_name());
            files.push((self.root.join(ACTIVATION).join(name), text));
        }
        files.push((
            self.root.join(SYSUSERS),
            render(include_str!("../../dbus/data/sysusers.conf")),
        ));
        files.push((
            self.root.join(TMPFILES),
            render(include_str!("../../dbus/data/tmpfiles.conf")),
        ));
        Ok(files)
    }

    /// Places the files; nothing is written where one of them is another program's, unless `replace`.
    ///
    /// # Errors
    /// See [`InstallError`].
    pub fn place(&self, replace: bool) -> Result<Vec<PathBuf>, InstallError> {
        let files = self.files()?;
        if !replace && let Some((path, _)) = files.iter().find(|(path, _)| is_foreign(path)) {
            return Err(InstallError::Foreign(path.clone()));
        }
        let mut placed = Vec::new();
        for (path, text) in files {
            write(&path, &text).map_err(|source| InstallError::File {
                path: path.clone(),
                source,
            })?;
            placed.push(path);
        }
        Ok(placed)
    }

    /// Makes user and folder on this host.
    ///
    /// # Errors
    /// [`InstallError::User`], [`InstallError::File`].
    pub fn prepare_host(&self) -> Result<(), InstallError> {
        let failed = || InstallError::User(self.user.clone());
        let find = || nix::unistd::User::from_name(&self.user).map_err(|_error| failed());
        if find()?.is_none() {
            let state = self.state_dir.display().to_string();
            let arguments = [
                "--system",
                "--home-dir",
                &state,
                "--shell",
                "/usr/sbin/nologin",
                &self.user,
            ];
            let made = Command::new("useradd")
                .args(arguments)
                .stdin(Stdio::null())
                .status();
            if !made.is_ok_and(|status| status.success()) {
                return Err(failed());
            }
        }
        let user = find()?.ok_or_else(failed)?;
        let file = |source| InstallError::File {
            path: self.state_dir.clone(),
            source,
        };
        super::host::make_private(&self.state_dir).map_err(file)?;
        nix::unistd::chown(&self.state_dir, Some(user.uid), Some(user.gid))
            .map_err(|error| file(error.into()))
    }
}

/// Removes our files below `root`; gives those that were there.
///
/// # Errors
/// [`InstallError::File`].
pub fn remove(root: &Path) -> Result<Vec<PathBuf>, InstallError> {
    let all = Installation {
        root: root.to_owned(),
        user: "x".into(),
        exec: "x".into(),
        state_dir: "x".into(),
    };
    let mut removed = Vec::new();
    for (path, _) in all.files()? {
        if path.exists() && !is_foreign(&path) {
            fs::remove_file(&path).map_err(|source| InstallError::File {
                path: path.clone(),
                source,
            })?;
            removed.push(path);
        }
    }
    Ok(removed)
}

/// Tells whether there is a file that is not ours.
fn is_foreign(path: &Path) -> bool {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => fs::read_to_string(path).map_or(true, |text| !text.contains(MARKER)),
        // A link, a folder: nothing that we would have made.
        Ok(_) => true,
        Err(_) => false,
    }
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let new = path.with_extension("tunless-new");
    fs::write(&new, text)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o644))?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use tunless_dbus::{
        bus::interface::Interface,
        sessions::{MANAGER, SESSION},
    };

    use super::*;

    fn at(root: &Path) -> Installation {
        Installation {
            root: root.to_owned(),
            user: "openvpn".into(),
            exec: "/usr/bin/tunless".into(),
            state_dir: "/var/lib/tunless".into(),
        }
    }

    fn policy(name: &str) -> String {
        let files = at(Path::new("/")).files().unwrap();
        files
            .into_iter()
            .find(|(path, _)| path.ends_with(name))
            .unwrap()
            .1
    }

    fn names_all(policy: &str, interfaces: &[&Interface]) {
        for method in interfaces.iter().flat_map(|interface| interface.methods) {
            let wanted = format!("send_member=\"{}\"", method.name);
            assert!(policy.contains(&wanted), "{} is not in the policy", method.name);
        }
    }

    #[test]
    fn policies_name_every_method_and_leave_no_blank() {
        names_all(&policy("net.openvpn.v3.sessions.conf"), &[&MANAGER, &SESSION]);
        names_all(
            &policy("net.openvpn.v3.backends.conf"),
            &[&tunless_dbus::backends::STARTER],
        );
        for (path, text) in at(Path::new("/")).files().unwrap() {
            assert!(!text.contains('@') && text.contains(MARKER), "{}", path.display());
            let (opened, closed) = (
                text.matches("<policy ").count(),
                text.matches("</policy>").count(),
            );
            assert_eq!(opened, closed, "{}", path.display());
        }
    }

    #[test]
    fn files_of_others_are_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let installation = at(root.path());
        let placed = installation.place(false).unwrap();
        assert_eq!(placed.len(), 13);
        installation.place(false).unwrap();
        let foreign = root.path().join(POLICIES).join("net.openvpn.v3.sessions.conf");
        fs::write(&foreign, "<busconfig/>").unwrap();
        let error = installation.place(false).unwrap_err().to_string();
        assert!(error.contains("--replace"), "{error}");
        assert_eq!(remove(root.path()).unwrap().len(), 12);
        assert!(foreign.exists());
        installation.place(true).unwrap();
        assert_eq!(remove(root.path()).unwrap().len(), 13);
    }

    #[test]
    fn words_that_would_break_a_file_are_refused() {
        let mut installation = at(Path::new("/"));
        installation.exec = "/opt/my programs/tunless".into();
        assert!(installation.files().unwrap_err().to_string().contains("one word"));
        installation.exec = "/usr/bin/tunless".into();
        installation.user = "a\"/><allow".into();
        assert!(installation.files().is_err());
    }
}
