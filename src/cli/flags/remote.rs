//! `-R`: ports inside the tunnel that lead to the host.

use clap::Args;

use crate::front::remote::Forward;

/// Flags about ports inside the tunnel.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = crate::cli::args::PROXY)]
pub struct Flags {
    /// Let the far side connect to PORT of the inner address and lead it to HOST:PORT, or the Unix socket /PATH,
    /// dialled by this host outside the tunnel; 0 takes any free port; may be repeated
    #[arg(
        short = 'R',
        long = "remote-forward",
        value_name = "PORT:HOST:PORT|PORT:/PATH",
        value_parser = parse,
        value_delimiter = ',',
        env = "TUNLESS_REMOTE_FORWARD"
    )]
    pub remote_forward: Vec<Forward>,
}

fn parse(text: &str) -> Result<Forward, String> {
    text.parse().map_err(|error| format!("{error}"))
}
