//! The finished program from outside, against real peers, on hosts in network namespaces.
//!
//! The lab: [`netns`] makes the hosts, [`process`] runs programs on them, [`runner`] takes their privileges,
//! [`pki`] and [`server`] set up Debian's OpenVPN, [`inner`] and [`names`] are what lies behind it, [`fetch`]
//! gets it, [`tunnel`] starts the program. [`stock`] proves the lab with OpenVPN on both sides; the other files
//! test the program: [`interop`], [`upstream`], [`bulk`], [`plain_http`], [`datagrams`] and [`endurance`] as a client,
//! [`reconnect`] when the network or the server goes away, [`serve`] as a server, [`dns_service`] as a name service,
//! [`confined`] in a container's confines, [`forwards`], [`remote_forward`] and [`owners`] what it offers on its host and to
//! whom, [`control`] asked and told while it runs, [`dbus`] through the front ends of OpenVPN 3 Linux, [`errors`] where
//! things go wrong, [`cli`] the command line, [`pac`] and [`browser`] what browsers see. [`corpus`] replays what the fuzz
//! targets start from. [`architecture`] holds the source to its own rules.

#![expect(clippy::print_stderr, reason = "a failing test shows the logs of what it ran")]

mod architecture;
mod browser;
mod bulk;
mod cli;
mod confined;
mod control;
mod corpus;
mod datagrams;
mod dbus;
mod dns_service;
mod doctor;
mod endurance;
mod errors;
mod fetch;
mod forwards;
mod inner;
mod interop;
mod load;
mod losses;
mod names;
mod netns;
mod owners;
mod pac;
mod pki;
mod plain_http;
mod process;
mod programs;
mod questions;
mod reconnect;
mod remote_forward;
mod route;
mod runner;
mod serve;
mod server;
mod stock;
mod tunnel;
mod upstream;
