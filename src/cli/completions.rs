//! `tunless completions`: what a shell needs to complete our commands and flags.

use anyhow::anyhow;
use clap::CommandFactory as _;

use super::{
    args::{Cli, Completions},
    output::Output,
};
use crate::cli::exit::Failure;

/// Prints the script of one shell; to be read by it, never JSON.
pub(super) fn run(args: &Completions, output: Output) -> Result<(), Failure> {
    if output.is_json() {
        return Err(Failure::usage(anyhow!(
            "completions are a shell's script; leave --json out"
        )));
    }
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "tunless", &mut script);
    output.print(String::from_utf8_lossy(&script).trim_end());
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;
    use clap_complete::Shell;

    use super::*;

    #[test]
    fn every_shell_completes_every_command() {
        for shell in Shell::value_variants() {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "tunless", &mut script);
            let script = String::from_utf8(script).unwrap();
            for command in Cli::command().get_subcommands() {
                assert!(
                    script.contains(command.get_name()),
                    "{shell}: {}",
                    command.get_name()
                );
            }
            assert!(script.contains("log-level"), "{shell}");
        }
        let refused = run(&Completions { shell: Shell::Bash }, Output::new(true, false));
        assert_eq!(refused.unwrap_err().status, super::super::exit::Status::Usage);
    }
}
