//! Policy on a real engine, shown with packets.

#[path = "../support/mod.rs"]
mod support;

mod differential;
mod first_packet;
mod lifecycle;
mod main_job;
mod world;
