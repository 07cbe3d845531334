//! An imitation of the Docker engine's API, for worlds larger than a real engine could run on a machine for tests.
//!
//! Input: an [`Inventory`], and containers that come and go. Output: a socket on which dockgate finds what it asks an engine
//! for, and the events of an engine, in an engine's order. There are no containers behind it, and it answers at once, as a
//! busy engine does not: it is for the cost of dockgate's own part, and says nothing about packets.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use dockgate::inventory::{Attachment, Container, Inventory, Network};
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio::runtime::Runtime;
use tokio::sync::broadcast;

/// Events that a reader may be behind.
const BACKLOG: usize = 4096;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The engine that is none. Dropped, it ends all connections.
#[derive(Debug)]
pub(crate) struct Imitation {
    socket: PathBuf,
    world: Arc<Mutex<World>>,
    events: broadcast::Sender<Bytes>,
    /// Its connections end with it.
    _runtime: Runtime,
}

impl Imitation {
    /// Serves a world, all of whose containers run, on a socket that does not exist yet.
    pub(crate) fn serve(socket: PathBuf, inventory: &Inventory) -> Imitation {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a machine that runs benches has threads");
        let world = Arc::new(Mutex::new(World::new(inventory)));
        let (events, _) = broadcast::channel(BACKLOG);
        let listener = {
            let _inside = runtime.enter();
            UnixListener::bind(&socket).unwrap_or_else(|error| panic!("cannot listen on {}: {error}", socket.display()))
        };
        runtime.spawn(accept(listener, Arc::clone(&world), events.clone()));
        Imitation { socket, world, events, _runtime: runtime }
    }

    /// Its address, as `DOCKER_HOST` takes it.
    pub(crate) fn docker_host(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// `docker create`: the container is listed, and has no address yet.
    pub(crate) fn create(&self, container: &Container) {
        self.world().create(container);
        self.tell("container", "create", &container.id.0, &json!({"name": container.name, "image": container.image}));
    }

    /// The first half of `docker start`: the container gets its addresses. Returns the moment at which the event was handed
    /// over to be sent.
    pub(crate) fn connect(&self, container: &Container) -> Instant {
        let names = self.world().connect(container);
        let told = Instant::now();
        self.tell_of_network("connect", container, names);
        told
    }

    /// The second half: its process runs.
    pub(crate) fn start(&self, container: &Container) {
        self.world().set_state(container, State::Running);
        self.tell("container", "start", &container.id.0, &json!({"name": container.name, "image": container.image}));
    }

    /// `docker rm --force`.
    pub(crate) fn remove(&self, container: &Container) {
        self.world().set_state(container, State::Exited);
        self.tell("container", "die", &container.id.0, &json!({"name": container.name, "exitCode": "137"}));
        let names = self.world().disconnect(container);
        self.tell_of_network("disconnect", container, names);
        self.world().containers.remove(&*container.id.0);
        self.tell("container", "destroy", &container.id.0, &json!({"name": container.name}));
    }

    /// From now on it lists like this.
    pub(crate) fn list_in(&self, paging: Paging) {
        self.world().paging = paging;
    }

    fn world(&self) -> MutexGuard<'_, World> {
        lock(&self.world)
    }

    fn tell_of_network(&self, action: &str, container: &Container, names: Vec<(String, String)>) {
        for (id, name) in names {
            let attributes = json!({"container": container.id.0, "name": name, "type": "bridge"});
            self.tell("network", action, &id, &attributes);
        }
    }

    fn tell(&self, kind: &str, action: &str, id: &str, attributes: &Value) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let event = json!({
            "Type": kind,
            "Action": action,
            "Actor": {"ID": id, "Attributes": attributes},
            "scope": "local",
            "time": now.as_secs(),
            "timeNano": u64::try_from(now.as_nanos()).unwrap_or(u64::MAX),
        });
        // Without a reader there is nobody to tell.
        let _ = self.events.send(Bytes::from(format!("{event}\n")));
    }
}

fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How an engine lists containers in pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Paging {
    /// As engines do.
    #[default]
    Good,
    /// The container behind which a page begins has been removed whenever one is asked for.
    Gone,
    /// It does not know the filter for that.
    Deaf,
    /// Nor how many are wanted.
    Whole,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Created,
    Running,
    Exited,
}

/// What the engine's lists show, each entry as it is written: an answer is put together in no time.
#[derive(Debug)]
struct World {
    networks: BTreeMap<String, Listed>,
    containers: BTreeMap<String, String>,
    paging: Paging,
}

#[derive(Debug)]
struct Listed {
    network: Network,
    members: BTreeMap<String, String>,
}

impl World {
    fn new(inventory: &Inventory) -> World {
        let networks = inventory.networks.values();
        let listed = networks
            .map(|network| (network.id.to_string(), Listed { network: network.clone(), members: BTreeMap::new() }));
        let mut world = World { networks: listed.collect(), containers: BTreeMap::new(), paging: Paging::Good };
        for container in inventory.containers.values() {
            world.connect(container);
            world.set_state(container, State::Running);
        }
        world
    }

    fn create(&mut self, container: &Container) {
        self.set_state(container, State::Created);
    }

    /// Returns the networks, by id and name.
    fn connect(&mut self, container: &Container) -> Vec<(String, String)> {
        let mut names = Vec::new();
        for attachment in &container.attachments {
            let Some(listed) = self.networks.get_mut(&*attachment.network.0) else { continue };
            listed.members.insert(container.id.to_string(), member(container, attachment, &listed.network));
            names.push((listed.network.id.to_string(), listed.network.name.clone()));
        }
        names
    }

    fn disconnect(&mut self, container: &Container) -> Vec<(String, String)> {
        let left = self.networks.values_mut().filter_map(|listed| {
            listed.members.remove(&*container.id.0)?;
            Some((listed.network.id.to_string(), listed.network.name.clone()))
        });
        left.collect()
    }

    fn set_state(&mut self, container: &Container, state: State) {
        let summary = self.summary(container, state).to_string();
        self.containers.insert(container.id.to_string(), summary);
    }

    fn summary(&self, container: &Container, state: State) -> Value {
        let name = |attachment: &Attachment| Some(self.networks.get(&*attachment.network.0)?.network.name.clone());
        let networks: BTreeMap<String, Value> = container
            .attachments
            .iter()
            .filter_map(|attachment| Some((name(attachment)?, json!({"NetworkID": attachment.network.0}))))
            .collect();
        let mode = networks.keys().next().map_or("none", String::as_str);
        json!({
            "Id": container.id.0,
            "Names": [format!("/{}", container.name)],
            "Image": container.image,
            "Labels": container.labels,
            "Ports": [],
            "State": match state {
                State::Created => "created",
                State::Running => "running",
                State::Exited => "exited",
            },
            "HostConfig": {"NetworkMode": mode},
            "NetworkSettings": {"Networks": networks},
        })
    }

    /// `GET /networks/{id}`.
    fn network(&self, id: &str) -> Option<String> {
        let listed = self.networks.get(id)?;
        let mut text = described(&listed.network).to_string();
        text.pop();
        text.push_str(",\"Containers\":{");
        for (position, (container, member)) in listed.members.iter().enumerate() {
            text.push_str(if position == 0 { "\"" } else { ",\"" });
            text.push_str(container);
            text.push_str("\":");
            text.push_str(member);
        }
        text.push_str("}}");
        Some(text)
    }

    /// `GET /networks`.
    fn networks(&self) -> String {
        self.networks.values().map(|listed| described(&listed.network)).collect::<Value>().to_string()
    }

    /// `GET /containers/json`, of those that are asked for, the latest first; `None` where the one before them is not there.
    fn list(&self, wanted: &Wanted) -> Option<String> {
        let limit = if self.paging == Paging::Whole { usize::MAX } else { wanted.limit };
        let latest = |before: Option<&String>| -> Vec<&str> {
            let listed = self.containers.iter().rev().skip_while(|(id, _)| before.is_some_and(|before| *id >= before));
            listed.take(limit).map(|(_, listed)| &**listed).collect()
        };
        let listed: Vec<&str> = match (&wanted.ids, &wanted.before, self.paging) {
            (Some(ids), _, _) => ids.iter().filter_map(|id| self.containers.get(id)).map(String::as_str).collect(),
            (None, Some(_), Paging::Gone) => return None,
            (None, Some(before), Paging::Good) => latest(Some(before)),
            (None, _, _) => latest(None),
        };
        Some(format!("[{}]", listed.join(",")))
    }
}

fn described(network: &Network) -> Value {
    let pools: Vec<Value> = network
        .subnets
        .iter()
        .zip(&network.gateways)
        .map(|(subnet, gateway)| json!({"Subnet": subnet.to_string(), "Gateway": gateway.to_string()}))
        .collect();
    let bridge = network.bridge.as_ref().map(ToString::to_string);
    json!({
        "Id": network.id.0,
        "Name": network.name,
        "Driver": network.driver,
        "Scope": "local",
        "EnableIPv6": true,
        "Internal": network.internal,
        "IPAM": {"Driver": "default", "Config": pools},
        "Options": {"com.docker.network.bridge.name": bridge},
        "Labels": {},
    })
}

fn member(container: &Container, attachment: &Attachment, network: &Network) -> String {
    let with_prefix = |address: Option<std::net::IpAddr>| {
        let subnet = network.subnets.iter().find(|subnet| address.is_some_and(|address| subnet.contains(address)));
        match (address, subnet) {
            (Some(address), Some(subnet)) => format!("{address}/{}", subnet.prefix()),
            _ => String::new(),
        }
    };
    json!({
        "Name": container.name,
        "EndpointID": attachment.endpoint_id,
        "MacAddress": attachment.mac.map(|mac| mac.to_string()),
        "IPv4Address": with_prefix(attachment.ipv4),
        "IPv6Address": with_prefix(attachment.ipv6),
    })
    .to_string()
}

async fn accept(listener: UnixListener, world: Arc<Mutex<World>>, events: broadcast::Sender<Bytes>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (world, events) = (Arc::clone(&world), events.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let answered = answer(&request, &world, &events);
            async move { Ok::<_, Infallible>(answered) }
        });
        tokio::spawn(async move {
            // A reader that goes away is its own affair.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

fn answer(request: &Request<Incoming>, world: &Mutex<World>, events: &broadcast::Sender<Bytes>) -> Response<Body> {
    let path: Vec<&str> = request.uri().path().split('/').filter(|part| !part.is_empty()).collect();
    let found = match path[..] {
        ["_ping"] => Some("\"OK\"".to_owned()),
        ["version"] => Some(json!({"Version": "imitation", "ApiVersion": "1.41"}).to_string()),
        ["info"] => Some(json!({"FirewallBackend": {"Driver": "iptables"}, "SecurityOptions": []}).to_string()),
        ["events"] => return response(StatusCode::OK, follow(events.subscribe())),
        ["networks"] => Some(lock(world).networks()),
        ["networks", id] => lock(world).network(id),
        ["containers", "json"] => lock(world).list(&Wanted::of(request.uri().query())),
        ["containers", id, "json"] => lock(world).containers.contains_key(id).then(|| json!({"Id": id}).to_string()),
        _ => None,
    };
    let absent = || json!({"message": format!("no such thing: {}", request.uri().path())}).to_string();
    let status = if found.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND };
    response(status, Full::new(Bytes::from(found.unwrap_or_else(absent))).boxed_unsync())
}

fn response(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static("application/json"));
    response
}

/// The events from now on. A reader that falls too far behind loses some, as with an engine.
fn follow(events: broadcast::Receiver<Bytes>) -> Body {
    let frames = stream::unfold(events, |mut events| async move {
        loop {
            match events.recv().await {
                Ok(event) => return Some((Ok::<_, Infallible>(Frame::data(event)), events)),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    });
    BodyExt::boxed_unsync(StreamBody::new(Box::pin(frames)))
}

/// Which containers are to be listed.
struct Wanted {
    ids: Option<BTreeSet<String>>,
    before: Option<String>,
    limit: usize,
}

impl Wanted {
    fn of(query: Option<&str>) -> Wanted {
        let value = |name: &str| {
            let mut pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
            pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
        };
        let filters: Value = value("filters").and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        let filter = |name: &str| -> Option<BTreeSet<String>> {
            let values = filters.get(name)?;
            // A list, or an object whose keys count: engines take both.
            let listed = values.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
            let keys = values.as_object().into_iter().flat_map(serde_json::Map::keys).cloned();
            Some(listed.chain(keys).collect())
        };
        let limit = value("limit").and_then(|text| text.parse().ok()).filter(|limit| *limit > 0);
        Wanted {
            ids: filter("id"),
            before: filter("before").and_then(|mut ids| ids.pop_first()),
            limit: limit.unwrap_or(usize::MAX),
        }
    }
}
