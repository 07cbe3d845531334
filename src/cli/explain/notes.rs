//! What is worth knowing about a way besides its verdict.
//!
//! Input: the question and one way. Output: sentences. None of them changes the answer.

use crate::verdict::path::{End, Path, Route, Traffic};

/// What is worth knowing about a way to `to`.
pub(super) fn notes(path: &Path<'_>, to: &End, traffic: Traffic) -> Vec<String> {
    leads_to(path, to).into_iter().chain(unpublished(path, traffic)).collect()
}

/// Who is behind a port of this host, where the host was asked for.
fn leads_to(path: &Path<'_>, to: &End) -> Option<String> {
    let (Route::ThroughPublishedPort { port, container_port, .. }, End::Host(_)) = (&path.route, to) else {
        return None;
    };
    let container = &path.destination.as_ref()?.container.name;
    Some(format!("port {port} of this host leads to port {container_port} of {container}, whose policy decides"))
}

/// How somebody outside comes to what is not published, if at all.
fn unpublished(path: &Path<'_>, traffic: Traffic) -> Option<String> {
    let (Route::FromOutside { internal: false, .. }, Some(endpoint)) = (&path.route, &path.destination) else {
        return None;
    };
    path.closed_by_docker()?;
    let what = match traffic {
        Traffic::Ports { protocol, destination, .. } => {
            format!("{} does not publish {protocol} port {destination} to the outside", endpoint.container.name)
        }
        Traffic::EchoRequest => "a ping is not published".to_owned(),
    };
    Some(format!(
        "{what}: whoever is there has to be routed to {} itself, which Docker's own rules stop where nobody has changed them",
        path.packet.destination
    ))
}
