//! The finished program from outside, against real peers, on hosts in network namespaces.
//!
//! The lab: [`netns`] makes the hosts, [`process`] runs programs on them, [`runner`] takes their privileges,
//! [`pki`] and [`server`] set up Debian's OpenVPN, [`inner`] and [`names`] are what lies behind it, [`fetch`]
//! gets it, [`tunnel`] starts the program. [`stock`] proves the lab with OpenVPN on both sides; the other files
//! test the program: [`interop`], [`bulk`] and [`endurance`] as a client, [`serve`] as a server, [`confined`] in a
//! container's confines, [`errors`] where things go wrong, [`cli`] the command line. [`corpus`] replays what the fuzz targets start from. [`architecture`] holds the
//! source to its own rules.

#![expect(clippy::print_stderr, reason = "a failing test shows the logs of what it ran")]

mod architecture;
mod bulk;
mod cli;
mod confined;
mod corpus;
mod endurance;
mod errors;
mod fetch;
mod inner;
mod interop;
mod names;
mod netns;
mod pki;
mod process;
mod runner;
mod serve;
mod server;
mod stock;
mod tunnel;
