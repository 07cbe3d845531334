//! Acceptance, errors, evaluation and round trips of the selector language.
