//! The `tunless` program: hands its arguments over and ends with the status that comes back.

use std::process::ExitCode;

fn main() -> ExitCode {
    tunless::cli::run(std::env::args_os().collect()).into()
}
