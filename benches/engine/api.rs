//! The engine's API, called one thing after the other.
//!
//! Input: a socket. Output: networks, containers and events of that engine. The client of the command line would take
//! tens of milliseconds for each call, and a thousand endpoints are made by a thousand of them.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use bollard::models::{
    ContainerCreateBody, EndpointIpamConfig, EndpointSettings, EventMessage, EventMessageTypeEnum, HostConfig, Ipam,
    IpamConfig, NetworkConnectRequest, NetworkCreateRequest, NetworkingConfig,
};
use bollard::query_parameters::{CreateContainerOptions, RemoveContainerOptionsBuilder};
use bollard::{API_DEFAULT_VERSION, Docker};
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

/// Longest wait for one answer. Older engines start a container with many networks in some seconds.
const CALL_SECONDS: u64 = 120;
/// Longest wait for an event.
const EVENT_PATIENCE: Duration = Duration::from_secs(30);
/// Containers that are made at the same time.
const AT_ONCE: usize = 4;

/// What a container is made of.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Its name; `None` lets the engine choose one.
    pub(crate) name: Option<String>,
    /// Its labels.
    pub(crate) labels: HashMap<String, String>,
    /// Its process.
    pub(crate) command: Vec<String>,
    /// Its networks, and its address on each if it is not the engine's to choose.
    pub(crate) networks: Vec<(String, Option<Ipv4Addr>)>,
}

/// An event of a container or of its attachment to a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// `connect`, `start` and so on.
    pub(crate) action: String,
    /// The container's full id.
    pub(crate) container: String,
    /// When it was, by the engine: nanoseconds since the beginning of 1970.
    pub(crate) at: i64,
}

/// A client.
pub(crate) struct Api {
    runtime: Runtime,
    docker: Docker,
    events: Receiver<Event>,
}

impl Api {
    /// Follows the engine from now on.
    pub(crate) fn connect(docker_host: &str) -> Api {
        let runtime = Runtime::new().expect("threads can be made");
        let socket = docker_host.strip_prefix("unix://").expect("laboratories have a unix socket");
        let docker = Docker::connect_with_unix(socket, CALL_SECONDS, API_DEFAULT_VERSION).expect("the socket is there");
        let (sender, events) = mpsc::channel();
        let mut stream = docker.events(None).boxed();
        runtime.spawn(async move {
            while let Some(Ok(message)) = stream.next().await {
                // The receiver is gone only when the bench is already ending.
                let _ = read(message).map(|event| sender.send(event));
            }
        });
        Api { runtime, docker, events }
    }

    /// Makes a bridge network.
    pub(crate) fn network(&self, name: &str, subnet: &str) {
        let block = IpamConfig { subnet: Some(subnet.to_owned()), ..IpamConfig::default() };
        let request = NetworkCreateRequest {
            name: name.to_owned(),
            ipam: Some(Ipam { config: Some(vec![block]), ..Ipam::default() }),
            ..NetworkCreateRequest::default()
        };
        let made = self.runtime.block_on(self.docker.create_network(request));
        made.unwrap_or_else(|error| panic!("the network {name} cannot be made: {error}"));
    }

    /// Asks for a network by its name or id, and waits for the whole answer. Returns its id.
    pub(crate) fn inspect(&self, network: &str) -> String {
        let found = self.runtime.block_on(self.docker.inspect_network(network, None)).expect("the network was made");
        found.id.expect("networks have ids")
    }

    /// Makes a container and does not start it.
    pub(crate) fn create(&self, plan: &Plan) -> String {
        self.runtime.block_on(create(&self.docker, plan)).expect("the container can be made")
    }

    /// Makes and starts many containers.
    pub(crate) fn run_all(&self, plans: &[Plan]) {
        let run = async |plan: &Plan| {
            let id = create(&self.docker, plan).await?;
            self.docker.start_container(&id, None).await
        };
        let all = stream::iter(plans).map(run).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>();
        self.runtime.block_on(all).expect("the containers can be started");
    }

    /// Starts a container, and returns at once.
    pub(crate) fn start(&self, id: &str) -> JoinHandle<Result<(), bollard::errors::Error>> {
        let (docker, id) = (self.docker.clone(), id.to_owned());
        self.runtime.spawn(async move { docker.start_container(&id, None).await })
    }

    /// Waits until a container is started.
    pub(crate) fn started(&self, start: JoinHandle<Result<(), bollard::errors::Error>>) {
        let done = self.runtime.block_on(start).expect("the task does not panic");
        done.expect("the container can be started");
    }

    /// Ends and removes a container.
    pub(crate) fn remove(&self, id: &str) {
        let options = RemoveContainerOptionsBuilder::new().force(true).build();
        self.runtime.block_on(self.docker.remove_container(id, Some(options))).expect("the container can be removed");
    }

    /// Waits for an event of a container; those before it are passed over.
    pub(crate) fn event(&self, action: &str, container: &str) -> Event {
        let end = Instant::now() + EVENT_PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let event = self.events.recv_timeout(left);
            let event = event.unwrap_or_else(|_| panic!("no event `{action}` of {container}"));
            if event.action == action && event.container == container {
                return event;
            }
        }
    }
}

async fn create(docker: &Docker, plan: &Plan) -> Result<String, bollard::errors::Error> {
    let options = CreateContainerOptions { name: plan.name.clone(), ..CreateContainerOptions::default() };
    let mut networks = plan.networks.iter();
    let first = networks.next().map(|(name, address)| (name.clone(), endpoint(*address)));
    let body = ContainerCreateBody {
        image: Some(super::support::lab::IMAGE.to_owned()),
        cmd: Some(plan.command.clone()),
        labels: Some(plan.labels.clone()),
        // A process with id 1 handles no signal.
        stop_signal: Some("KILL".to_owned()),
        host_config: first
            .as_ref()
            .map(|(name, _)| HostConfig { network_mode: Some(name.clone()), ..HostConfig::default() }),
        networking_config: Some(NetworkingConfig { endpoints_config: Some(first.into_iter().collect()) }),
        ..ContainerCreateBody::default()
    };
    let id = docker.create_container(Some(options), body).await?.id;
    for (name, address) in networks {
        let request = NetworkConnectRequest { container: id.clone(), endpoint_config: Some(endpoint(*address)) };
        docker.connect_network(name, request).await?;
    }
    Ok(id)
}

fn endpoint(address: Option<Ipv4Addr>) -> EndpointSettings {
    let fixed = |address: Ipv4Addr| EndpointIpamConfig {
        ipv4_address: Some(address.to_string()),
        ..EndpointIpamConfig::default()
    };
    EndpointSettings { ipam_config: address.map(fixed), ..EndpointSettings::default() }
}

fn read(message: EventMessage) -> Option<Event> {
    let actor = message.actor?;
    let container = match message.typ? {
        EventMessageTypeEnum::CONTAINER => actor.id?,
        EventMessageTypeEnum::NETWORK => actor.attributes?.remove("container")?,
        _ => return None,
    };
    Some(Event { action: message.action?, container, at: message.time_nano? })
}
