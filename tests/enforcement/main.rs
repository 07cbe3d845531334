//! Policy on a real engine, shown with packets.

#![expect(clippy::print_stdout, reason = "measurements are told to whoever runs the tests")]

#[path = "../support/mod.rs"]
mod support;

mod differential;
mod first_packet;
mod lifecycle;
mod main_job;
mod out_of_reach;
mod published_ports;
mod remote;
#[path = "../docs/steps.rs"]
#[expect(dead_code, reason = "a host can do what every line of a page asks")]
mod steps;
mod tutorial;
mod without_nft;
mod without_sctp;
