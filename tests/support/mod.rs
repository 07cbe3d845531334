//! The laboratory: a real Docker engine, containers, an outside host and packet probes, all in namespaces of their own.
//!
//! Input: what a test asks for (`Lab::start`, containers, `Survey`). Output: a world that behaves as a real host does,
//! and measurements of who reaches whom in it. Nothing here touches the machine's own firewall, interfaces or engine,
//! and nothing stays behind: `Drop` removes a laboratory, and the next start removes what a killed test could not.
//!
//! Include it with `mod support;`. It needs root; `make test` takes care of that and of the packages.

#![allow(dead_code, reason = "each test binary compiles this module and uses a part of it")]
#![expect(clippy::print_stderr, reason = "what a laboratory has to say belongs to the output of the test")]
#![allow(unused_imports, reason = "each test binary compiles this module and uses a part of it")]

pub(crate) mod command;
pub(crate) mod container;
pub(crate) mod controller;
pub(crate) mod conversation;
pub(crate) mod engine;
pub(crate) mod evidence;
pub(crate) mod flow;
pub(crate) mod frame;
pub(crate) mod lab;
pub(crate) mod leftovers;
pub(crate) mod matrix;
pub(crate) mod namespace;
pub(crate) mod policies;
pub(crate) mod probe;
pub(crate) mod responder;
pub(crate) mod sabotage;
pub(crate) mod sender;
pub(crate) mod survey;
pub(crate) mod tap;
pub(crate) mod tools;
pub(crate) mod wire;
pub(crate) mod vigil;
pub(crate) mod world;

pub(crate) use container::Container;
pub(crate) use controller::Controller;
pub(crate) use conversation::{Conversation, Transport};
pub(crate) use engine::{Engine, Iptables, Options};
pub(crate) use evidence::assert_by_packets;
pub(crate) use flow::Flow;
pub(crate) use lab::Lab;
pub(crate) use matrix::{Cell, Matrix};
pub(crate) use namespace::Namespace;
pub(crate) use probe::{Outcome, Probe};
pub(crate) use responder::Responder;
pub(crate) use sabotage::Protection;
pub(crate) use sender::Sender;
pub(crate) use survey::{Source, Survey, Target};
pub(crate) use tap::{Count, Delivery, Tap};
pub(crate) use vigil::Vigil;
