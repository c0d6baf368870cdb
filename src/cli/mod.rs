//! What a person types and reads: arguments, commands, result lines.
//!
//! Standard output carries results, standard error everything else. Commands use the driver's handle and know
//! nothing of sessions.

pub mod args;
mod beside;
mod check;
mod completions;
mod connect;
mod credentials;
mod ctl;
mod dbus;
mod demo;
mod doctor;
pub mod exit;
pub mod flags;
mod front;
mod genkey;
mod limits;
mod listen;
mod man;
pub mod output;
mod profile;
mod prompt;
mod serve;
mod status;
mod status_line;
mod terminal;
mod units;

use std::{
    ffi::{OsStr, OsString},
    future::Future,
};

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser as _, builder::TypedValueParser as _, error::ErrorKind};

use self::{
    args::{Cli, Command, with_command},
    output::Output,
};
use crate::{
    cli::exit::{Failure, Status},
    log::{self, Verbosity},
    memory,
};

/// Runs the command that `args` name, program name first; prints errors itself.
pub fn run(args: Vec<OsString>) -> Status {
    let json = wants_json(&args, std::env::var_os("TUNLESS_JSON").as_deref());
    let cli = match Cli::try_parse_from(with_command(args)) {
        Ok(cli) => cli,
        Err(error) => return on_usage(&error, json),
    };
    let global = cli.global;
    log::start(Verbosity {
        verbose: global.verbose,
        quiet: global.quiet,
        json: global.json,
    });
    let output = Output::new(global.json, global.quiet).aside(cli.command.owns_stdout());
    match dispatch(&cli.command, output) {
        Ok(status) => status,
        Err(failure) => {
            output.error(&format!("{:#}", failure.error), failure.status.code());
            failure.status
        }
    }
}

fn dispatch(command: &Command, output: Output) -> Result<Status, Failure> {
    match command {
        Command::Connect(args) => block_on(connect::run(args, output)),
        Command::Serve(args) => block_on(serve::run(args, output)),
        Command::Demo(args) => block_on(demo::run(args, output)),
        Command::Doctor(args) => block_on(doctor::run(args, output)),
        Command::Check(args) => Ok(check::run(args, output)),
        Command::Genkey(args) => genkey::run(args, output).map(|()| Status::Done),
        Command::Status(args) => status::run(args, output),
        Command::Ctl(args) => ctl::run(args, output),
        Command::Dbus(args) => block_on(dbus::run(args, output)),
        Command::Configs(args) => wait_for(front::configs(args, output)),
        Command::Sessions(args) => block_on(front::sessions(args, output)),
        Command::Completions(args) => completions::run(args, output).map(|()| Status::Done),
        Command::Man(args) => man::run(args, output).map(|()| Status::Done),
    }
}

fn block_on(command: impl Future<Output = Result<Status, Failure>>) -> Result<Status, Failure> {
    limits::raise_open_files();
    memory::return_large_buffers();
    wait_for(command)
}

/// Waits for something short.
fn wait_for<T>(command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot set up the runtime")?.block_on(command)
}

/// Help and version are results; everything else is wrong usage.
fn on_usage(error: &clap::Error, json: bool) -> Status {
    let status = if error.use_stderr() {
        Status::Usage
    } else {
        Status::Done
    };
    if json && status == Status::Usage {
        Output::new(true, false).error(&usage_message(error), status.code());
    } else {
        // A closed terminal leaves nobody to tell.
        let _closed = error.print();
    }
    status
}

/// Tells whether JSON is asked for, of arguments that could not be read.
fn wants_json(args: &[OsString], variable: Option<&OsStr>) -> bool {
    let mut flags = args.iter().take_while(|arg| *arg != "--");
    let by_variable = |text| {
        args::switch()
            .parse_ref(&Cli::command(), None, text)
            .unwrap_or(true)
    };
    flags.any(|arg| arg == "--json") || variable.is_some_and(by_variable)
}

/// What is wrong, without the help that follows it.
fn usage_message(error: &clap::Error) -> String {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return "no command is given; see `tunless --help`".into();
    }
    let text = error.to_string();
    let what = text.split("\n\nUsage:").next().unwrap_or(&text);
    let what = what.split("\n\nFor more information").next().unwrap_or(what);
    what.trim_start_matches("error: ").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_recognised_in_arguments_that_cannot_be_read() {
        let args = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        assert!(wants_json(&args("tunless --no-such --json"), None));
        assert!(!wants_json(&args("tunless check -- --json"), None));
        assert!(wants_json(&args("tunless"), Some("1".as_ref())));
        assert!(!wants_json(&args("tunless"), Some("0".as_ref())));
    }

    #[test]
    fn usage_errors_say_what_is_wrong_without_the_help() {
        let error = Cli::try_parse_from(["tunless", "--no-such"]).unwrap_err();
        let message = usage_message(&error);
        assert!(
            message.contains("--no-such") && !message.contains("Usage"),
            "{message}"
        );
        assert!(!message.starts_with("error"), "{message}");
    }
}
