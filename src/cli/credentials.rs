//! Where user name, password and passphrase come from without asking anybody: profile, file, variables, systemd.

use std::{
    env,
    ffi::OsString,
    fs,
    io::{self, IsTerminal as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use tunless_core::{client::Credentials, config::CredentialSource, secret::SecretString};
use zeroize::Zeroizing;

use super::profile;
use crate::cli::exit::Failure;

/// What is known without asking anybody.
#[derive(Debug)]
pub(super) enum Known {
    /// All.
    Both(Credentials),
    /// Some, and there is a terminal to ask for the rest.
    Part {
        /// The user's name.
        username: Option<String>,
        /// The password.
        password: Option<SecretString>,
    },
}

/// Looks a variable up.
type Variables<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Variables for the user's name, the first that is set counts.
const USERNAME: [&str; 4] = [
    "TUNLESS_USERNAME",
    "OVPN_USERNAME",
    "OPENVPN_USERNAME",
    "OPENVPN_USER",
];
/// Variables for the password.
const PASSWORD: [&str; 3] = ["TUNLESS_PASSWORD", "OVPN_PASSWORD", "OPENVPN_PASSWORD"];
/// Variables for a file with the password.
const PASSWORD_FILE: [&str; 3] = [
    "TUNLESS_PASSWORD_FILE",
    "OVPN_PASSWORD_FILE",
    "OPENVPN_PASSWORD_FILE",
];
/// Names in `$CREDENTIALS_DIRECTORY` (systemd's `LoadCredential=`): both in one file, or each in its own.
const SYSTEMD_BOTH: &str = "auth-user-pass";
const SYSTEMD_USERNAME: &str = "username";
const SYSTEMD_PASSWORD: &str = "password";
const SYSTEMD_PASSPHRASE: &str = "key-passphrase";
/// Variable for the passphrase of the private key.
const PASSPHRASE: &str = "TUNLESS_KEY_PASSPHRASE";

/// Collects what is known without asking anybody; only what is missing without a terminal is status 3.
pub(super) fn gather(source: &CredentialSource, file: Option<&Path>) -> Result<Known, Failure> {
    gather_from(source, file, &|name| env::var_os(name), io::stdin().is_terminal())
}

fn gather_from(
    source: &CredentialSource,
    file: Option<&Path>,
    variables: Variables<'_>,
    terminal: bool,
) -> Result<Known, Failure> {
    let known_name = match source {
        CredentialSource::Given { username, password } if file.is_none() => {
            return Ok(Known::Both(credentials(username.clone(), password.clone())));
        }
        CredentialSource::PromptPassword { username } => Some(username.clone()),
        CredentialSource::Given { .. } | CredentialSource::Prompt => None,
    };
    if let Some(file) = file {
        return Ok(Known::Both(pair(file)?));
    }
    let folder = first_of(&["CREDENTIALS_DIRECTORY"], variables).map(PathBuf::from);
    let both = folder
        .as_ref()
        .map(|folder| folder.join(SYSTEMD_BOTH))
        .filter(|path| path.exists());
    let username = text_of(&USERNAME, variables);
    let password = match text_of(&PASSWORD, variables) {
        Some(password) => Some(SecretString::new(password)),
        None => password_file(folder.as_deref(), variables)?,
    };
    if let (None, None, Some(both)) = (&username, &password, both) {
        return Ok(Known::Both(pair(&both)?));
    }
    let username = match username.or(known_name) {
        Some(username) => Some(username),
        None => folder
            .map(|folder| folder.join(SYSTEMD_USERNAME))
            .filter(|path| path.exists())
            .map(|path| read_line(&path).map(|line| line.to_string()))
            .transpose()?,
    };
    match (username, password) {
        (Some(username), Some(password)) => Ok(Known::Both(credentials(username, password))),
        (username, password) if terminal => Ok(Known::Part { username, password }),
        (Some(username), None) => Err(missing(&format!("the password of {username:?}"))),
        (None, Some(_)) => Err(missing("the user name")),
        (None, None) => Err(missing("a user name and a password")),
    }
}

fn missing(what: &str) -> Failure {
    Failure::auth(anyhow!(
        "the server wants {what}, and there is no terminal to ask on; give `--auth-user-pass FILE` (name and \
         password on a line each), or set TUNLESS_USERNAME and TUNLESS_PASSWORD or TUNLESS_PASSWORD_FILE, or \
         let systemd pass the credential `{SYSTEMD_BOTH}`"
    ))
}

fn password_file(systemd: Option<&Path>, variables: Variables<'_>) -> anyhow::Result<Option<SecretString>> {
    let named = first_of(&PASSWORD_FILE, variables).map(PathBuf::from);
    let passed = systemd
        .map(|folder| folder.join(SYSTEMD_PASSWORD))
        .filter(|path| path.exists());
    let line = named.or(passed).map(|path| read_line(&path)).transpose()?;
    Ok(line.map(|line| SecretString::new(line.as_str())))
}

fn read_line(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let text = Zeroizing::new(text);
    Ok(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned()))
}

fn pair(path: &Path) -> anyhow::Result<Credentials> {
    let (username, password) = profile::two_lines(path)?;
    Ok(credentials(username, SecretString::new(password.as_str())))
}

fn credentials(username: String, password: SecretString) -> Credentials {
    Credentials {
        username,
        password,
        is_token: false,
    }
}

/// The first variable that is set to something.
fn first_of(names: &[&str], variables: Variables<'_>) -> Option<OsString> {
    names
        .iter()
        .find_map(|name| variables(name).filter(|value| !value.is_empty()))
}

fn text_of(names: &[&str], variables: Variables<'_>) -> Option<String> {
    first_of(names, variables)?.into_string().ok()
}

/// Reads the private key's passphrase where it is known without asking anybody: file, variables, systemd.
pub(super) fn passphrase(file: Option<&Path>) -> Result<Option<SecretString>, Failure> {
    let variables = |name: &str| env::var_os(name);
    if let Some(text) = text_of(&[PASSPHRASE], &variables).filter(|_| file.is_none()) {
        return Ok(Some(SecretString::new(text)));
    }
    let folder = variables("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    let passed = folder
        .map(|folder| folder.join(SYSTEMD_PASSPHRASE))
        .filter(|path| path.exists());
    let line = file
        .map(Path::to_owned)
        .or(passed)
        .map(|path| read_line(&path))
        .transpose()?;
    Ok(line.map(|line| SecretString::new(line.as_str())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::exit::Status;

    fn both(known: Result<Known, Failure>) -> Credentials {
        match known.unwrap() {
            Known::Both(credentials) => credentials,
            Known::Part { .. } => panic!("something is missing"),
        }
    }

    #[test]
    fn half_of_it_is_kept_where_the_rest_can_be_asked_for() {
        let variables = |name: &str| match name {
            "TUNLESS_USERNAME" => Some("".into()),
            "OVPN_USERNAME" => Some("ann".into()),
            _ => None,
        };
        let known = gather_from(&CredentialSource::Prompt, None, &variables, true).unwrap();
        let Known::Part { username, password } = known else {
            panic!("nothing is missing")
        };
        assert!(username.as_deref() == Some("ann") && password.is_none());
        let missing = gather_from(&CredentialSource::Prompt, None, &variables, false).unwrap_err();
        assert_eq!(missing.status, Status::AuthFailed);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_no_question_of_who_we_are() {
        let file = Path::new("no-such-file");
        let failure = gather_from(&CredentialSource::Prompt, Some(file), &|_| None, false).unwrap_err();
        assert_eq!(failure.status, Status::Failed);
    }

    #[test]
    fn the_profile_s_own_credentials_need_nothing_else() {
        let source = CredentialSource::Given {
            username: "ann".into(),
            password: "secret".into(),
        };
        let known = both(gather(&source, None));
        assert_eq!(
            (known.username.as_str(), known.password.expose()),
            ("ann", "secret")
        );
    }

    #[test]
    fn a_file_goes_before_the_profile() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("auth");
        fs::write(&file, "bob\r\nhunter2\n").unwrap();
        let source = CredentialSource::Given {
            username: "ann".into(),
            password: "secret".into(),
        };
        let known = both(gather(&source, Some(&file)));
        assert_eq!(
            (known.username.as_str(), known.password.expose()),
            ("bob", "hunter2")
        );
        fs::write(&file, "bob\n").unwrap();
        let error = gather(&source, Some(&file)).unwrap_err().error.to_string();
        assert!(error.contains("password on the second"), "{error}");
    }
}
