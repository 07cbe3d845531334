//! Kubernetes-style network policy for plain Docker hosts.
//!
//! ```text
//! policies/*.yaml ─► api ─► policy ──────┐
//!                                        ├─► compile ─► ruleset ─► dataplane ─► kernel
//! Docker events ───► inventory ──────────┘                 │
//!                                                          └─► verdict ─► explain
//! ```
//!
//! Everything between the two doors (files and Docker on the left, the kernel on the right) is synchronous, pure and
//! deterministic: equal policies and an equal inventory give an equal [`ruleset::Ruleset`], byte for byte.
//!
//! The modules below stand in pipeline order. Each may import only those above it; `tests/layering.rs` holds that.
//! Files, processes and clocks are reached only by the modules that expect the lint which `clippy.toml` configures.

#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

pub mod net;
pub mod selector;
pub mod api;
pub mod policy;
pub mod inventory;
pub mod ruleset;
pub mod compile;
pub mod verdict;
pub mod reach;
pub mod lint;
pub mod policy_test;
pub mod dataplane;
pub mod telemetry;
pub mod controller;
pub mod cli;
