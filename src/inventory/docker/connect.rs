//! Where the engine is: `DOCKER_HOST` and its companions, as the docker command reads them.
//!
//! Input: environment variables. Output: a client. Nothing is sent yet.

#![expect(clippy::disallowed_methods, reason = "part of the Docker door: looks for the socket and the certificates")]

use std::path::{Path, PathBuf};

use bollard::{API_DEFAULT_VERSION, Docker};

use super::{CALL_TIMEOUT, Error};

/// The docker command's default.
const DEFAULT_SOCKET: &str = "/var/run/docker.sock";

/// A client for the engine that `DOCKER_HOST`, `DOCKER_TLS_VERIFY` and `DOCKER_CERT_PATH` name, as the docker command reads
/// them: without `DOCKER_HOST` the socket `/var/run/docker.sock`; certificates in `~/.docker` by default.
///
/// A TCP engine that cannot be reached shows at the first call, a socket that does not exist at once.
pub fn connect() -> Result<Docker, Error> {
    let variable = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    Target::from_variables(variable, std::env::home_dir().as_deref())?.open()
}

/// Where and how an engine is reached.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    /// A unix socket.
    Socket(PathBuf),
    /// `HOST:PORT` in clear text.
    Plain(String),
    /// `HOST:PORT` with mutual TLS.
    Tls {
        /// `HOST:PORT`.
        address: String,
        /// Directory of `ca.pem`, `cert.pem` and `key.pem`.
        certificates: PathBuf,
    },
}

impl Target {
    /// Reads the variables. One that is empty counts as absent, as it does for the docker command.
    fn from_variables(variable: impl Fn(&str) -> Option<String>, home: Option<&Path>) -> Result<Target, Error> {
        let set = |name: &str| variable(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let verified = set("DOCKER_TLS_VERIFY").is_some();
        let host = match set("DOCKER_HOST") {
            Some(host) => host,
            None if verified => "tcp://".to_owned(),
            None => "unix://".to_owned(),
        };
        // The docker command takes `HOST:PORT` for `tcp://HOST:PORT`.
        let (scheme, rest) = host.split_once("://").unwrap_or(("tcp", &host));
        match scheme {
            "unix" => Ok(Target::Socket(PathBuf::from(if rest.is_empty() { DEFAULT_SOCKET } else { rest }))),
            "tcp" => {
                if !verified && set("DOCKER_TLS").is_some() {
                    return Err(Error::UnverifiedTls);
                }
                let default_port = if verified { 2376 } else { 2375 };
                let address = address(rest, default_port).ok_or_else(|| Error::Host { host: host.clone() })?;
                if !verified {
                    return Ok(Target::Plain(address));
                }
                let certificates = set("DOCKER_CERT_PATH")
                    .or_else(|| set("DOCKER_CONFIG"))
                    .map(PathBuf::from)
                    .or_else(|| home.map(|home| home.join(".docker")))
                    .ok_or(Error::NoCertificateDirectory)?;
                Ok(Target::Tls { address, certificates })
            }
            _ => Err(Error::Host { host }),
        }
    }

    fn open(self) -> Result<Docker, Error> {
        let timeout = CALL_TIMEOUT.as_secs();
        match self {
            Target::Socket(path) => {
                if !path.exists() {
                    return Err(Error::NoSocket { path });
                }
                Ok(Docker::connect_with_unix(&path.to_string_lossy(), timeout, API_DEFAULT_VERSION)?)
            }
            Target::Plain(address) => Ok(Docker::connect_with_http(&address, timeout, API_DEFAULT_VERSION)?),
            Target::Tls { address, certificates } => {
                let [ca, certificate, key] = ["ca.pem", "cert.pem", "key.pem"].map(|name| certificates.join(name));
                for path in [&ca, &certificate, &key] {
                    std::fs::File::open(path).map_err(|source| Error::Certificate { path: path.clone(), source })?;
                }
                // An error means that the process has a provider already, which serves as well.
                let _ = rustls::crypto::ring::default_provider().install_default();
                Ok(Docker::connect_with_ssl(&address, &key, &certificate, &ca, timeout, API_DEFAULT_VERSION)?)
            }
        }
    }
}

/// `HOST:PORT` with the docker command's defaults for an absent host or port; `None` for anything with a path or a user.
fn address(text: &str, default_port: u16) -> Option<String> {
    let text = text.strip_suffix('/').unwrap_or(text);
    if text.contains(['/', '@', '?', '#', ' ']) {
        return None;
    }
    // An IPv6 address has colons of its own and stands in brackets.
    let host_end = text.find(']').map_or(0, |bracket| bracket + 1);
    let (host, port) = match text[host_end..].split_once(':') {
        Some((rest, port)) => (&text[..host_end + rest.len()], port.parse().ok()?),
        None => (text, default_port),
    };
    Some(format!("{}:{port}", if host.is_empty() { "localhost" } else { host }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Target, Error> {
        let variable =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Target::from_variables(variable, Some(Path::new("/home/me")))
    }

    /// One row: its name, the variables, what they mean.
    type Row = (&'static str, &'static [(&'static str, &'static str)], Target);

    const VERIFY: (&str, &str) = ("DOCKER_TLS_VERIFY", "1");

    #[test]
    fn the_environment_is_read_as_the_docker_command_reads_it() {
        let socket = |path: &str| Target::Socket(PathBuf::from(path));
        let plain = |address: &str| Target::Plain(address.to_owned());
        let tls = |address: &str, certificates: &str| Target::Tls {
            address: address.to_owned(),
            certificates: PathBuf::from(certificates),
        };
        let rows: [Row; 14] = [
            ("nothing set", &[], socket("/var/run/docker.sock")),
            ("empty", &[("DOCKER_HOST", "")], socket("/var/run/docker.sock")),
            ("blanks", &[("DOCKER_HOST", " unix:///run/d.sock ")], socket("/run/d.sock")),
            ("bare unix", &[("DOCKER_HOST", "unix://")], socket("/var/run/docker.sock")),
            ("TLS does not concern sockets", &[("DOCKER_HOST", "unix:///run/d.sock"), VERIFY], socket("/run/d.sock")),
            ("tcp", &[("DOCKER_HOST", "tcp://10.0.0.1:2375")], plain("10.0.0.1:2375")),
            ("tcp without a port", &[("DOCKER_HOST", "tcp://engine")], plain("engine:2375")),
            ("tcp without a host", &[("DOCKER_HOST", "tcp://:4243/")], plain("localhost:4243")),
            ("without a scheme", &[("DOCKER_HOST", "engine:4243")], plain("engine:4243")),
            ("IPv6", &[("DOCKER_HOST", "tcp://[::1]:2375")], plain("[::1]:2375")),
            ("IPv6 without a port", &[("DOCKER_HOST", "tcp://[fd00::1]"), VERIFY], {
                tls("[fd00::1]:2376", "/home/me/.docker")
            }),
            ("TLS alone", &[VERIFY], tls("localhost:2376", "/home/me/.docker")),
            ("TLS with a directory", &[("DOCKER_HOST", "tcp://e:1"), VERIFY, ("DOCKER_CERT_PATH", "/certs")], {
                tls("e:1", "/certs")
            }),
            ("TLS with a configuration directory", &[VERIFY, ("DOCKER_CONFIG", "/etc/d")], {
                tls("localhost:2376", "/etc/d")
            }),
        ];
        for (name, variables, expected) in rows {
            assert_eq!(read(variables).expect(name), expected, "{name}");
        }
    }

    #[test]
    fn other_schemes_and_shapes_are_refused_by_name() {
        for host in
            ["ssh://me@engine", "npipe:////./pipe/docker_engine", "fd://", "http://engine", "tcp://e:1/base", "e:x"]
        {
            match read(&[("DOCKER_HOST", host)]) {
                Err(Error::Host { host: named }) => assert_eq!(named, host),
                other => panic!("{host}: {other:?}"),
            }
        }
    }

    #[test]
    fn tls_that_trusts_anyone_is_refused() {
        let read = read(&[("DOCKER_HOST", "tcp://engine:2376"), ("DOCKER_TLS", "1")]);
        assert!(matches!(read, Err(Error::UnverifiedTls)), "{read:?}");
    }

    #[test]
    fn what_is_missing_is_named() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("docker.sock");
        let missing = Target::Socket(path.clone()).open().expect_err("there is no socket");
        assert!(missing.to_string().contains(&path.display().to_string()), "{missing}");
        let certificates = directory.path().to_owned();
        let missing = Target::Tls { address: "localhost:1".to_owned(), certificates }.open().expect_err("no file");
        assert!(missing.to_string().contains("ca.pem"), "{missing}");
    }
}
