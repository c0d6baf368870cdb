//! Reads profiles, server configurations and the files that they name.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use tunless_core::{
    config::{ClientConfig, ConfigErrors, Directives, Note, ServerConfig},
    wire::Role,
};

/// Largest file that is read: core's limit for a configuration.
const MAX_FILE_BYTES: u64 = 8 << 20;

/// What a file held.
#[derive(Debug)]
pub(super) enum Profile {
    /// A client's.
    Client(Box<ClientConfig>),
    /// A server's.
    Server(Box<ServerConfig>),
}

/// Why a file is of no use.
#[derive(Debug)]
pub(super) enum ProfileError {
    /// It cannot be read at all.
    Unreadable {
        /// Its line, from 1; 0 when it is about none in particular.
        line: usize,
        /// The file with that line.
        place: String,
        /// Why; goes on from the place.
        why: String,
    },
    /// What it says cannot be used.
    Errors(ConfigErrors),
}

impl From<ProfileError> for anyhow::Error {
    fn from(error: ProfileError) -> Self {
        match error {
            ProfileError::Unreadable { place, why, .. } => anyhow!("{place}: {why}"),
            // Each line names its file already.
            ProfileError::Errors(errors) => Self::msg(errors.to_string()),
        }
    }
}

/// Reads a configuration, whichever side it is for.
pub(super) fn read(path: &Path) -> Result<(Profile, Vec<Note>), ProfileError> {
    let text = read_text(path)?;
    let (directives, errors) = Directives::parse_partly(&path.display().to_string(), &text);
    let folder = folder_of(path, directives.directory());
    let mut files = |name: &str| read_named(&folder, name);
    let resolved = match directives.role() {
        Role::Client => ClientConfig::resolve(&directives, &mut files)
            .map(|(config, notes)| (Profile::Client(Box::new(config)), notes)),
        Role::Server => ServerConfig::resolve(&directives, &mut files)
            .map(|(config, notes)| (Profile::Server(Box::new(config)), notes)),
    };
    // All that is wrong is told at once, whether in the words or in what they mean.
    match resolved {
        Ok(profile) if errors.is_empty() => Ok(profile),
        Ok(_) => Err(ProfileError::Errors(errors)),
        Err(others) if errors.is_empty() => Err(ProfileError::Errors(others)),
        Err(others) => Err(ProfileError::Errors(errors.and_in_lines(others))),
    }
}

/// Reads a client's profile.
pub(super) fn read_client(path: &Path) -> anyhow::Result<(ClientConfig, Vec<Note>)> {
    match read(path)? {
        (Profile::Client(config), notes) => Ok((*config, notes)),
        (Profile::Server(_), _) => Err(anyhow!(
            "{0} is a server's configuration; run it with `tunless serve {0}`",
            path.display()
        )),
    }
}

/// Reads a server's configuration.
pub(super) fn read_server(path: &Path) -> anyhow::Result<(ServerConfig, Vec<Note>)> {
    match read(path)? {
        (Profile::Server(config), notes) => Ok((*config, notes)),
        (Profile::Client(_), _) => Err(anyhow!(
            "{0} is a client's profile; run it with `tunless connect {0}`",
            path.display()
        )),
    }
}

fn read_text(path: &Path) -> Result<String, ProfileError> {
    let name = path.display();
    let bytes = read_limited(path).map_err(|error| ProfileError::Unreadable {
        line: 0,
        place: name.to_string(),
        why: format!("cannot be read: {error}"),
    })?;
    String::from_utf8(bytes).map_err(|error| {
        let line = error
            .as_bytes()
            .iter()
            .take(error.utf8_error().valid_up_to())
            .filter(|b| **b == b'\n')
            .count();
        ProfileError::Unreadable {
            line: line + 1,
            place: format!("{name}:{}", line + 1),
            why: "is not text in UTF-8; is it an OpenVPN profile?".into(),
        }
    })
}

/// A profile's text and the folder that its files are relative to.
pub(super) fn text_and_folder(path: &Path) -> anyhow::Result<(String, PathBuf)> {
    let text = read_text(path)?;
    let (directives, _errors) = Directives::parse_partly(&path.display().to_string(), &text);
    let folder = folder_of(path, directives.directory());
    Ok((text, folder))
}

/// Files are relative to the profile's folder (as graphical clients do), or to the folder that `cd` names.
fn folder_of(path: &Path, directory: Option<&str>) -> PathBuf {
    let own = path.parent().unwrap_or_else(|| Path::new("."));
    directory.map_or_else(|| own.to_owned(), |directory| own.join(directory))
}

pub(super) fn read_named(folder: &Path, name: &str) -> Result<Vec<u8>, String> {
    let path = folder.join(name);
    read_limited(&path).map_err(|error| {
        if Path::new(name).is_absolute() {
            error.to_string()
        } else {
            format!("{error} (looked for {})", path.display())
        }
    })
}

fn read_limited(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let why = format!("it is larger than {} MiB", MAX_FILE_BYTES >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    Ok(bytes)
}

/// Reads the first two lines of a file: a user's name and a password.
pub(super) fn two_lines(path: &Path) -> anyhow::Result<(String, zeroize::Zeroizing<String>)> {
    let bytes = read_limited(path).with_context(|| format!("cannot read {}", path.display()))?;
    let bytes = zeroize::Zeroizing::new(bytes);
    let text = std::str::from_utf8(&bytes).map_err(|_| anyhow!("{} is not text in UTF-8", path.display()))?;
    let mut lines = text.lines();
    match (lines.next(), lines.next()) {
        (Some(first), Some(second)) if !first.is_empty() => {
            Ok((first.to_owned(), zeroize::Zeroizing::new(second.to_owned())))
        }
        _ => Err(anyhow!(
            "{}: wants the user name on the first line and the password on the second",
            path.display()
        )),
    }
}
