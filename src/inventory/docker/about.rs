//! What the engine says of itself: `GET /info`.
//!
//! Input: a client. Output: an [`Engine`]. An engine that does not answer, as when a proxy before its socket forbids the
//! question, is an answer too: what is not known must not look enforced.

use bollard::Docker;
use bollard::models::SystemInfo;

use super::super::Engine;
use super::answer;

/// Asks.
pub(super) async fn engine(docker: &Docker) -> Engine {
    match answer(docker.info()).await {
        Ok(info) => describe(info),
        Err(error) => Engine { silent: Some(super::follow::reason(&error)), ..Engine::default() },
    }
}

fn describe(info: SystemInfo) -> Engine {
    let options = info.security_options.unwrap_or_default();
    Engine {
        firewall: info.firewall_backend.and_then(|backend| backend.driver).filter(|driver| !driver.is_empty()),
        // `name=rootless`, perhaps with `,key=value` behind it.
        rootless: options.iter().any(|option| option.split(',').any(|part| part == "name=rootless")),
        silent: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_never_tested_is_told() {
        let iptables =
            r#"{"FirewallBackend": {"Driver": "iptables"}, "SecurityOptions": ["name=seccomp,profile=builtin"]}"#;
        for (name, info, told) in [
            ("engine before 28", "{}", None),
            ("iptables", iptables, None),
            ("with firewalld", r#"{"FirewallBackend": {"Driver": "iptables+firewalld"}}"#, None),
            ("an empty word", r#"{"FirewallBackend": {"Driver": ""}}"#, None),
            ("nftables", r#"{"FirewallBackend": {"Driver": "nftables"}}"#, Some("`nftables`")),
            (
                "nftables with firewalld",
                r#"{"FirewallBackend": {"Driver": "nftables+firewalld"}}"#,
                Some("never tested"),
            ),
            ("one that is not known yet", r#"{"FirewallBackend": {"Driver": "ebpf"}}"#, Some("`ebpf`")),
            ("rootless", r#"{"SecurityOptions": ["name=seccomp", "name=rootless"]}"#, Some("rootless")),
        ] {
            let info: SystemInfo = serde_json::from_str(info).expect("the engine writes JSON");
            let trouble = describe(info).trouble();
            match told {
                None => assert_eq!(trouble, Vec::<String>::new(), "{name}"),
                Some(text) => assert!(trouble.len() == 1 && trouble[0].contains(text), "{name}: {trouble:?}"),
            }
        }
        let silent = Engine { silent: Some("403".to_owned()), ..Engine::default() };
        assert!(silent.trouble()[0].ends_with("403"), "{silent:?}");
    }
}
