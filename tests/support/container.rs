//! Containers of the laboratory.
//!
//! Input: a description in a chain of calls. Output: a running container, its addresses, its namespace, and servers in
//! it. The container's own process does nothing but sleep: packets come from and go to threads of the test that stand
//! in the container's namespace.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use super::engine::Client;
use super::lab::IMAGE;
use super::namespace::Namespace;
use super::probe::Probe;
use super::responder::Responder;
use super::survey::{Source, Target};

/// A container that is not started yet.
#[derive(Clone, Debug)]
pub(crate) struct Builder {
    client: Client,
    name: String,
    networks: Vec<(String, Vec<String>)>,
    options: Vec<String>,
    ports: Vec<u16>,
}

impl Builder {
    pub(super) fn new(client: &Client, name: &str) -> Builder {
        let client = client.clone();
        Builder { client, name: name.to_owned(), networks: Vec::new(), options: Vec::new(), ports: Vec::new() }
    }

    /// Attaches it to one more network.
    #[must_use]
    pub(crate) fn network(mut self, name: &str) -> Builder {
        self.networks.push((name.to_owned(), Vec::new()));
        self
    }

    /// Fixes its address on the network that was named last.
    #[must_use]
    pub(crate) fn ip(mut self, address: &str) -> Builder {
        let flag = if address.contains(':') { "--ip6" } else { "--ip" };
        let network = self.networks.last_mut().expect("a network is named before an address on it");
        network.1.extend([flag.to_owned(), address.to_owned()]);
        self
    }

    /// Adds a label.
    #[must_use]
    pub(crate) fn label(self, key: &str, value: &str) -> Builder {
        self.option("--label").option(&format!("{key}={value}"))
    }

    /// Publishes a port, as `docker run --publish` takes it.
    #[must_use]
    pub(crate) fn publish(self, mapping: &str) -> Builder {
        self.option("--publish").option(mapping)
    }

    /// Adds one more argument for `docker create`.
    #[must_use]
    pub(crate) fn option(mut self, argument: &str) -> Builder {
        self.options.push(argument.to_owned());
        self
    }

    /// Serves these ports in it, TCP and UDP both.
    #[must_use]
    pub(crate) fn serve(mut self, ports: &[u16]) -> Builder {
        self.ports.extend(ports);
        self
    }

    /// Creates the container, attaches it to its networks, starts it and waits until its addresses and servers answer.
    pub(crate) fn start(self) -> Container {
        let mut arguments = vec!["create", "--name", &self.name];
        arguments.extend(self.options.iter().map(String::as_str));
        let mut networks = self.networks.iter();
        if let Some((network, addresses)) = networks.next() {
            arguments.extend(["--network", network]);
            arguments.extend(addresses.iter().map(String::as_str));
        }
        // A process with id 1 handles no signal; it is killed, never asked, also by an engine that ends.
        arguments.extend(["--stop-signal", "KILL", IMAGE, "sleep", "1000000"]);
        let id = self.client.docker(&arguments);
        for (network, addresses) in networks {
            let mut arguments = vec!["network", "connect"];
            arguments.extend(addresses.iter().map(String::as_str));
            arguments.extend([network.as_str(), id.as_str()]);
            self.client.docker(&arguments);
        }
        let mut container =
            Container { client: self.client, name: self.name, id, ports: self.ports, responder: None, namespace: None };
        container.start();
        container
    }
}

/// A container. It is not removed when the value is dropped; the laboratory ends all of them.
#[derive(Debug)]
pub(crate) struct Container {
    client: Client,
    name: String,
    id: String,
    ports: Vec<u16>,
    responder: Option<Responder>,
    namespace: Option<Namespace>,
}

impl Container {
    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its full id.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The process id of its first process, as the machine sees it.
    pub(crate) fn process_id(&self) -> u32 {
        self.inspect("{{.State.Pid}}").parse().expect("the engine knows the process id")
    }

    /// Its network namespace. Panics when it does not run.
    pub(crate) fn namespace(&self) -> &Namespace {
        self.namespace.as_ref().unwrap_or_else(|| panic!("the container {} does not run", self.name))
    }

    /// Its address on a network. Panics when there is none.
    pub(crate) fn address(&self, network: &str, v6: bool) -> IpAddr {
        let addresses = self.addresses_by_network().remove(network).unwrap_or_default();
        let mut of_family = addresses.into_iter().filter(|address| address.is_ipv6() == v6);
        of_family.next().unwrap_or_else(|| panic!("{} has no such address on {network} (IPv6 {v6})", self.name))
    }

    /// All its addresses, by network.
    pub(crate) fn addresses_by_network(&self) -> BTreeMap<String, Vec<IpAddr>> {
        let json = self.inspect("{{json .NetworkSettings.Networks}}");
        let networks: BTreeMap<String, serde_json::Value> =
            serde_json::from_str(&json).expect("the engine writes JSON");
        let addresses = |network: &serde_json::Value| {
            let texts =
                ["IPAddress", "GlobalIPv6Address"].map(|field| network[field].as_str().unwrap_or_default().to_owned());
            texts.iter().filter_map(|text| text.parse().ok()).collect()
        };
        networks.iter().map(|(name, network)| (name.clone(), addresses(network))).collect()
    }

    /// The container as a source of probes.
    pub(crate) fn source(&self) -> Source {
        Source::new(&self.name, self.namespace())
    }

    /// The container as a target under all of its addresses.
    pub(crate) fn target(&self, probes: &[Probe]) -> Target {
        Target {
            name: self.name.clone(),
            addresses: self.addresses_by_network().into_values().flatten().collect(),
            probes: probes.to_vec(),
            home: Some(self.namespace().clone()),
        }
    }

    /// The container as a target on one network, named `CONTAINER@NETWORK`.
    pub(crate) fn target_on(&self, network: &str, probes: &[Probe]) -> Target {
        Target {
            name: format!("{}@{network}", self.name),
            addresses: self.addresses_by_network().remove(network).unwrap_or_default(),
            probes: probes.to_vec(),
            home: Some(self.namespace().clone()),
        }
    }

    /// Runs a command inside and returns its standard output; panics when it fails.
    pub(crate) fn exec(&self, command: &[&str]) -> String {
        let mut arguments = vec!["exec", self.id.as_str()];
        arguments.extend(command);
        self.client.docker(&arguments)
    }

    /// Starts it (again), and its servers.
    pub(crate) fn start(&mut self) {
        self.client.docker(&["start", &self.id]);
        self.settle();
    }

    /// Ends its process; the container stays.
    pub(crate) fn stop(&mut self) {
        (self.responder, self.namespace) = (None, None);
        self.client.docker(&["stop", "--time", "0", &self.id]);
    }

    /// Stops and starts it in one command of the engine's.
    pub(crate) fn restart(&mut self) {
        (self.responder, self.namespace) = (None, None);
        self.client.docker(&["restart", "--time", "0", &self.id]);
        self.settle();
    }

    /// Lets go of its namespace, which would outlive it otherwise, and with it the port of its bridge.
    pub(crate) fn release(&mut self) {
        (self.responder, self.namespace) = (None, None);
    }

    /// Waits until the engine has started it again, by itself, and starts its servers.
    pub(crate) fn rejoin(&mut self) {
        (self.responder, self.namespace) = (None, None);
        let end = Instant::now() + Duration::from_secs(20);
        while self.inspect("{{.State.Running}} {{.State.Restarting}}") != "true false" {
            assert!(Instant::now() < end, "the engine does not start {} again", self.name);
            thread::sleep(Duration::from_millis(20));
        }
        let namespace = Namespace::of_process(self.process_id()).expect("the container runs");
        // Engine 20.10, after it was killed, can start a container before the one that has its address is ended. The
        // kernel finds the duplicate then, and the address stays mute until the container starts anew.
        let end = Instant::now() + Duration::from_secs(3);
        while namespace.has_tentative_address() && Instant::now() < end {
            thread::sleep(Duration::from_millis(20));
        }
        if namespace.has_tentative_address() {
            eprintln!("{} has an address that is another's; it is started anew", self.name);
            self.client.docker(&["restart", "--time", "0", &self.id]);
        }
        self.settle();
    }

    /// Attaches the running container to one more network.
    pub(crate) fn connect(&self, network: &str) {
        self.client.docker(&["network", "connect", network, &self.id]);
        self.wait_for_addresses();
    }

    /// Detaches the running container from a network.
    pub(crate) fn disconnect(&self, network: &str) {
        self.client.docker(&["network", "disconnect", network, &self.id]);
    }

    /// Removes it, running or not.
    pub(crate) fn remove(mut self) {
        (self.responder, self.namespace) = (None, None);
        self.client.docker(&["rm", "--force", "--volumes", &self.id]);
    }

    fn inspect(&self, format: &str) -> String {
        self.client.docker(&["inspect", "--format", format, &self.id])
    }

    fn settle(&mut self) {
        let namespace = Namespace::of_process(self.process_id()).expect("the container runs");
        self.namespace = Some(namespace);
        self.wait_for_addresses();
        if !self.ports.is_empty() {
            self.responder = Some(Responder::start(self.namespace(), &self.ports));
        }
    }

    /// Older engines let the kernel look for duplicates of a new IPv6 address, during which it is mute.
    fn wait_for_addresses(&self) {
        let end = Instant::now() + Duration::from_secs(10);
        while self.namespace().has_tentative_address() {
            assert!(Instant::now() < end, "the addresses of {} stay tentative", self.name);
            thread::sleep(Duration::from_millis(20));
        }
    }
}
