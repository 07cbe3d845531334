//! What is to be measured, where somebody does not want all of it.
//!
//! Input: environment variables. Output: their values. One that is not understood is an error that names what is known, before
//! anything is measured: a run takes minutes, and one that left something out would look like one that did not.

#![allow(dead_code, reason = "each bench compiles this module and uses a part of it")]

use std::io;

/// What a number has to be.
pub(crate) const NUMBER: &str = "a number above 0";

/// A number of something that has to be there.
pub(crate) fn number(text: &str) -> Option<usize> {
    text.parse().ok().filter(|number| *number > 0)
}

/// The value of a variable; `None` where it is not set. `known` says what it can be.
pub(crate) fn value<T>(variable: &str, read: impl Fn(&str) -> Option<T>, known: &str) -> io::Result<Option<T>> {
    text(variable)?.map(|text| understood(variable, &text, read, known)).transpose()
}

/// The values of a variable, which commas separate, at least one; `None` where it is not set.
pub(crate) fn values<T>(variable: &str, read: impl Fn(&str) -> Option<T>, known: &str) -> io::Result<Option<Vec<T>>> {
    let Some(text) = text(variable)? else { return Ok(None) };
    text.split(',').map(|part| understood(variable, part, &read, known)).collect::<io::Result<_>>().map(Some)
}

fn text(variable: &str) -> io::Result<Option<String>> {
    let no_text = |_| io::Error::other(format!("{variable} is no text"));
    std::env::var_os(variable).map(|value| value.into_string().map_err(no_text)).transpose()
}

fn understood<T>(variable: &str, part: &str, read: impl Fn(&str) -> Option<T>, known: &str) -> io::Result<T> {
    read(part.trim()).ok_or_else(|| io::Error::other(format!("{variable}: `{part}` is not {known}")))
}
