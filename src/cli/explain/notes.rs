//! What is worth knowing about a way besides its verdict.
//!
//! Input: the question and one way. Output: sentences. None of them changes the answer.

use crate::verdict::path::{End, Path, Route};

/// What is worth knowing about a way to `to`.
pub(super) fn notes(path: &Path<'_>, to: &End) -> Vec<String> {
    leads_to(path, to).into_iter().collect()
}

/// Who is behind a port of this host, where the host was asked for.
fn leads_to(path: &Path<'_>, to: &End) -> Option<String> {
    let (Route::ThroughPublishedPort { port, container_port, .. }, End::Host(_)) = (&path.route, to) else {
        return None;
    };
    let container = &path.destination.as_ref()?.container.name;
    Some(format!("port {port} of this host leads to port {container_port} of {container}, whose policy decides"))
}
