//! The resources as a person writes them, and the list of their kinds.
//!
//! Input: a document's `apiVersion` and `kind`. Output: the type of that document, its JSON Schema and its CRD. What is
//! written is not checked here beyond its shape: the meaning of a document is [`crate::policy`]'s and
//! [`crate::inventory`]'s business.

pub mod calico;
pub mod dockgate;
pub mod int_or_string;
pub mod kubernetes;
mod schema;
