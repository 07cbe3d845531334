//! Every code that a finding about a policy file can carry.
//!
//! Output: one constant per code and the table [`CODES`] of all of them, from which documentation is made.
//! A code keeps its meaning for ever: pipelines filter by it. A code that is given up is not used again.

use std::fmt::Write as _;

use super::Severity;

/// The meaning of one code.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// `DG1xxx` syntax, `DG2xxx` shape, `DG3xxx` meaning, `DG4xxx` enforceability, `DG5xxx` lints, `DG9xxx` what is ignored.
    pub id: &'static str,
    /// Its constant here, e.g. `UNKNOWN_FIELD`.
    pub name: &'static str,
    /// How grave every finding with this code is.
    pub severity: Severity,
    /// What it is about, in a few words.
    pub title: &'static str,
    /// Why it is a finding and what to do, in whole sentences.
    pub explanation: &'static str,
}

macro_rules! codes {
    ($($name:ident = $id:literal $severity:ident $title:literal $explanation:literal;)*) => {
        $(
            #[doc = concat!($id, ": ", $title, ".")]
            pub const $name: Code = Code {
                id: $id,
                name: stringify!($name),
                severity: Severity::$severity,
                title: $title,
                explanation: $explanation,
            };
        )*

        /// All codes, in ascending order.
        pub const CODES: &[Code] = &[$($name),*];
    };
}

codes! {
    SYNTAX = "DG1001" Error "not valid YAML"
        "The text cannot be parsed. The place is where the parser gave up; the mistake is there or shortly before it. \
         The other documents of the file are checked all the same.";
    DUPLICATE_KEY = "DG1002" Error "a key stands twice"
        "A mapping holds the same key twice. YAML forbids it, and tools differ in which one they keep: a second \
         `ingress:` would silently replace the rules of the first.";
    LIMIT = "DG1003" Error "document beyond the limits"
        "The document is nested too deeply, has too many values, or expands too many aliases. The limits are far above \
         what a policy needs; they keep a hostile file from exhausting the host.";
    UNREADABLE = "DG1004" Error "file cannot be read"
        "The operating system refused to read the file or to list the directory, or a link leads to nothing. `dockgate validate` \
         reports about all else and ends with exit code 2. A controller keeps what was in force when all could be read.";
    NOT_UTF8 = "DG1005" Error "not UTF-8 text"
        "Policy files are UTF-8. The place is the first byte that is not; save the file in this encoding.";
    TOO_LARGE = "DG1006" Error "file too large"
        "The file is larger than 4 MiB, which is more than is read. Split it; the order of files has no meaning.";
    NOT_A_MAPPING = "DG1007" Error "not a resource"
        "A document must be a mapping with `apiVersion`, `kind`, `metadata` and `spec`. A list of resources is one too: \
         `kind: List` with `items`.";
    TAG = "DG1008" Error "unsupported tag"
        "A value that begins with `!` is a YAML tag unless it is quoted. Selectors that begin with a negation need \
         quotes: `selector: \"!has(role)\"`.";
    EMPTIED = "DG1009" Error "an emptied file"
        "The file held resources and now holds nothing, as one does that is only half written. What it said stays in \
         force. Delete the file to remove its resources.";

    NO_KIND = "DG2001" Error "apiVersion or kind is missing"
        "Without both it is not known what the document is, and nothing of it is used.";
    UNKNOWN_API_VERSION = "DG2002" Error "unknown apiVersion"
        "dockgate reads `projectcalico.org/v3`, `networking.k8s.io/v1`, `dockgate.io/v1alpha1` and `v1` lists. Other versions of \
         these groups have other fields, so they are not guessed at.";
    UNKNOWN_KIND = "DG2003" Error "unknown kind"
        "The API group has no such kind, or dockgate does not know it. Where it is clear what was meant, the rest of the \
         document is checked as that kind; it is not used.";
    UNKNOWN_FIELD = "DG2004" Error "unknown field"
        "The kind has no such field. Unknown fields are errors because a misspelt `notSelector` widens a rule.";
    MISSING_FIELD = "DG2005" Error "a required field is missing"
        "The field has no default, so it is not known what is meant without it. The place is the mapping that lacks it.";
    WRONG_TYPE = "DG2006" Error "wrong type"
        "The value has another type than the field. Numbers and booleans that are meant as text need quotes.";
    NOT_ALLOWED = "DG2007" Error "not one of the allowed values"
        "The field takes one of a few values, which are case-sensitive. The finding lists them.";
    OUT_OF_RANGE = "DG2008" Error "number out of range"
        "The number is below or above what the field takes; the finding names the limit. The kernel could not match a packet \
         with it.";
    LENGTH = "DG2009" Error "text too long or too short"
        "The text is outside the length that the field takes, which is Calico's or Kubernetes' own. A long selector can be \
         split: give the containers one label for what it says.";
    COUNT = "DG2010" Error "too many or too few items"
        "The list or mapping is outside the size that the field takes. Leave an empty list out; split a long one over \
         several rules, or name many blocks by a network set.";
    DUPLICATE_ITEM = "DG2011" Error "an item stands twice"
        "The list is a set: every item may stand in it once. The second one adds nothing, and another item was probably meant.";
    PATTERN = "DG2012" Error "text of the wrong form"
        "The text does not have the form that the field takes; the finding shows the form as a regular expression.";
    SHAPE = "DG2099" Error "does not have the shape of its kind"
        "The document breaks a rule of the kind's schema that has no code of its own. `dockgate schema` prints the schema.";

    NAME = "DG3001" Error "invalid name"
        "Names are DNS subdomains in lower case. Calico's policies take one label or `label.label`, tiers one label.";
    NAMESPACE = "DG3002" Error "invalid namespace"
        "A namespace is made of letters, digits, `-`, `_` and `.`, so that every Compose project and Swarm stack is one. \
         An empty one is refused: a template that was not filled in would cover the whole host.";
    LABEL = "DG3003" Error "invalid label"
        "Label keys are qualified names, such as `role` or `example.com/role`; values are at most 63 letters, digits, `-`, `_` \
         and `.`. Kubernetes would refuse the resource as well.";
    ANNOTATION = "DG3004" Error "invalid annotation"
        "Annotation keys are qualified names, such as `owner` or `example.com/owner`; all annotations together take at most \
         256 KiB.";
    RESERVED_LABEL = "DG3005" Error "reserved label"
        "dockgate sets this label itself. A network set that carried it would pass for a container of a namespace and be let \
         in wherever that namespace is.";
    SELECTOR = "DG3010" Error "invalid selector"
        "The text is not an expression of Calico's selector language. An invalid selector is never treated as an empty \
         one, which would select everything.";
    GLOBAL = "DG3011" Error "global() is not allowed here"
        "`global()` may stand alone in the `namespaceSelector` of a rule and nowhere else. It means network sets without a \
         namespace, which no policy can select.";
    PROTOCOL = "DG3012" Error "invalid protocol"
        "Protocols are TCP, UDP, ICMP, ICMPv6, SCTP and UDPLite in exactly this case, or a number from 1 to 255.";
    PORT = "DG3013" Error "invalid port"
        "A port is a number from 1 to 65535, a range `first:last`, or a name of at most 15 lower-case letters, digits \
         and dashes with at least one letter.";
    PORT_NEEDS_PROTOCOL = "DG3014" Error "ports without a protocol"
        "Port numbers mean nothing without `protocol`. Only lists of named ports may stand without one, since a name \
         brings its protocol.";
    PROTOCOL_WITHOUT_PORTS = "DG3015" Error "protocol without ports"
        "Only TCP, UDP and SCTP have ports. Beside another protocol the rule could never match, so either the protocol or the \
         ports are not what was meant.";
    ICMP_NEEDS_PROTOCOL = "DG3016" Error "ICMP fields without an ICMP protocol"
        "`icmp` and `notICMP` need `protocol: ICMP` or `protocol: ICMPv6`: types have other numbers in the two, and packets of \
         other protocols have none.";
    ICMP = "DG3017" Error "invalid ICMP type or code"
        "A type is 0 to 254, a code 0 to 255, and a code needs a type, because codes are numbered anew for each type.";
    IP_VERSION = "DG3018" Error "contradictory IP versions"
        "`ipVersion` is 4 or 6. ICMP is IPv4 only, ICMPv6 is IPv6 only. A rule that says otherwise could never match.";
    CIDR = "DG3019" Error "invalid CIDR block"
        "A block is an address and a prefix length, such as `10.0.0.0/8`. In rules the length is required.";
    HOST_BITS = "DG3020" Error "CIDR block with host bits"
        "The address has bits set beyond the prefix, so it is unclear whether the block or the address was meant.";
    MIXED_FAMILIES = "DG3021" Error "IPv4 and IPv6 in one rule"
        "A packet is of one IP version, so the blocks of a rule must all be of one, the same as `ipVersion`.";
    EXCLUDES_EVERYTHING = "DG3022" Error "notNets excludes everything"
        "A rule that excludes every address can never match. Leave the rule out, or exclude a smaller block.";
    PEER = "DG3023" Error "invalid peer"
        "A peer of a Kubernetes policy is an `ipBlock`, or a `podSelector`, a `namespaceSelector` or both of these.";
    EXCEPT = "DG3024" Error "except outside its block"
        "Each block under `except` must lie within `cidr` and be smaller. One outside excludes nothing, one as large \
         excludes everything.";
    END_PORT = "DG3025" Error "invalid endPort"
        "`endPort` needs a numeric `port` that is not above it: the two are the ends of a range.";
    LABEL_SELECTOR = "DG3026" Error "invalid label selector"
        "`In` and `NotIn` need values; `Exists` and `DoesNotExist` take none, as in Kubernetes. What was meant cannot be \
         guessed.";
    STAGED_DELETE = "DG3027" Error "staged deletion with content"
        "A staged policy with `stagedAction: Delete` may say nothing but its tier. It stands for the removal of a policy, \
         and its rules would mislead whoever reads it.";
    WELL_KNOWN_TIER = "DG3028" Error "well-known tier altered"
        "The tiers `kube-admin`, `default` and `kube-baseline` always exist, with fixed order and default action.";
    UNKNOWN_TIER = "DG3029" Error "unknown tier"
        "No Tier resource has this name. The policy is enforced all the same, after all other tiers and with default \
         Deny, because leaving it out could open what it closes.";
    DUPLICATE_RESOURCE = "DG3030" Error "resource defined twice"
        "Kind, namespace and name identify a resource; the first definition counts, in the order of file names. Remove one, or \
         give it another name.";
    UNKNOWN_NETWORK = "DG3040" Error "unknown network"
        "The inventory or the Compose file has no network of this name under its top-level `networks`. Add it there, or correct \
         the name. A Compose file that a service extends gives the service, and not the networks that it declares.";
    NAME_TWICE = "DG3041" Error "a name is taken"
        "Names, ids and bridges tell networks and containers apart, so each is there once; and a container is on a network once.";
    ADDRESS = "DG3042" Error "invalid address"
        "An address must be one that a container can have on its network: within a subnet, of the field's IP version, and \
         neither the network's own, nor its broadcast address, nor a gateway.";
    ADDRESS_TWICE = "DG3043" Error "an address is taken"
        "On one network every address belongs to one container. Leave the address out, and a free one is taken.";
    SUBNET_FULL = "DG3044" Error "no address is left"
        "The subnets of the network have fewer addresses than it has containers. Give it a larger subnet, or one more.";
    NETWORK_MODE = "DG3045" Error "invalid network mode"
        "A network mode is `host`, `none` or `container:NAME`, and a container that has one is on no network. In a Compose file \
         it may also be `bridge` or `service:NAME`.";
    BRIDGE = "DG3046" Error "invalid bridge"
        "A bridge is a Linux interface of at most 15 characters, and only networks with the driver `bridge` have one.";
    SUBSTITUTION = "DG3060" Error "invalid substitution"
        "In a Compose file `$NAME`, `${NAME}` and `${NAME:-default}` stand for variables. A dollar sign that is meant as one \
         is written twice.";
    VARIABLE_REQUIRED = "DG3061" Error "a required variable is not set"
        "`${NAME:?reason}` says that there is no default for a variable that is neither in the environment nor in `.env`. \
         Compose would refuse the file, too.";
    ENVIRONMENT = "DG3062" Error "invalid line in an environment file"
        "A line is `NAME=value`, with the value in quotes where it holds `#` or spans lines.";
    PROJECT_NAME = "DG3063" Error "invalid project name"
        "The name of a project is in the names of its containers and networks. It is made of lower-case letters, digits, \
         `-` and `_`, and begins with a letter or digit.";
    UNKNOWN_SERVICE = "DG3064" Error "unknown service"
        "`extends` and `network_mode: service:NAME` name a service of the same files, or of the one under `file`. For a \
         network mode it must be one that is started: without profiles, or in an active one.";
    CIRCLE = "DG3065" Error "a circle"
        "Services that extend each other and files that include each other would never end; of services that use each other's \
         network by `network_mode: service:NAME`, none could start first.";
    REFERENCED_FILE = "DG3066" Error "a file that is named cannot be read"
        "Paths are relative to the directory of the first Compose file, and in a file that is extended or included to its \
         own. Files are read from this host only; nothing is fetched.";
    CONTRADICTION = "DG3067" Error "keys that exclude each other"
        "Compose would refuse the file: two keys say different things of the same, or one says what another rules out.";
    TEST_END = "DG3080" Error "invalid end of a connection"
        "In a PolicyTest an end is `host`, `outside`, a group, a container, CONTAINER@NETWORK, or an address, as text; or a \
         selector as an object, `{selector: \"app == 'web'\"}`, so that it is never taken for a name.";
    TEST_WORLD = "DG3081" Error "not one world"
        "A PolicyTest judges in one world: an Inventory file, Compose files, or one that stands in the test itself. Leave the \
         field out if `--inventory` or `--compose` always says which.";
    TEST_EMPTY = "DG3082" Error "a test that tests nothing"
        "A PolicyTest without a case, a matrix or an invariant would always pass. Remove it, or say what is expected.";
    TEST_MATRIX = "DG3083" Error "invalid matrix"
        "The first line of a table is `from/to` and the names of the columns, whom to connect to; every other line begins with who connects and has \
         `yes`, `no`, `-` or `.` under each column. A name with blanks in it needs a group.";
    TEST_RULE = "DG3084" Error "invalid name of a rule"
        "`by` names what must decide: a policy as NAMESPACE/NAME, or NAME for one without a namespace, and after it \
         `ingress`, `egress`, or a rule such as `ingress[0]`, counted from 0 as in the kernel's comments.";
    INERT_RULES = "DG3101" Warning "rules without effect"
        "`types` does not list the direction of these rules, so they are never looked at. Add the direction, or remove the \
         rules.";
    SHARES_UNKNOWN = "DG3103" Warning "shares the network of an unknown container"
        "No container of the inventory has this name. It may be gone, or the name is misspelt; the container is out of reach \
         of policy either way.";
    REMOVAL_WAITS = "DG3104" Warning "a removal waits"
        "While any file is broken, a resource that is no longer defined stays in force: the broken file may be the one \
         that it was moved to. It goes as soon as every file is valid.";
    OUT_OF_REACH = "DG3105" Warning "selects a container that policy cannot reach"
        "A packet filter of the host does not see the packets of this container, or judges them as another container's: the \
         policy is not in force for it. Select it no longer, move it to a bridge network, or accept this for the whole \
         host: `dockgate run --accept-out-of-reach CONTAINER`.";
    VARIABLE_UNSET = "DG3150" Warning "a variable is not set"
        "Compose takes the text as empty and goes on. Set the variable, or write the default: `${NAME:-default}`.";
    HOST_PORT_TWICE = "DG3151" Warning "a host port is published twice"
        "Only one container can hold a port of the host at an address; the engine will not start the other. Several containers \
         of one service need a range of ports, as `8080-8082:80`, or none that is stated: `80`.";
    WHOLE_HOST = "DG3201" Note "covers the whole host"
        "Without `metadata.namespace` the resource covers the containers of every namespace, as its Global counterpart \
         does. Set a namespace to restrict it.";
    NOT_POLICY = "DG3202" Note "not a policy"
        "Resources of this kind are used by other commands and ignored where policies are loaded. `validate` checks \
         Inventories and PolicyTests, too.";

    SERVICE_ACCOUNTS = "DG4001" Error "service accounts are not supported"
        "Docker has no service accounts, so nothing could match. Select the containers by label.";
    SERVICES = "DG4002" Error "services are not supported"
        "Docker has no Kubernetes services. Select the containers behind the service by label.";
    HTTP = "DG4003" Error "HTTP matches are not supported"
        "The kernel's packet filter sees no HTTP requests. Without the match the rule would allow more than it says.";
    HOST_ENDPOINT = "DG4004" Error "host endpoints are not supported"
        "`doNotTrack`, `preDNAT` and `applyOnForward` concern the host's own interfaces, which dockgate does not police.";
    UNSUPPORTED_KIND = "DG4005" Error "kind is not supported"
        "The kind exists in the API group, and dockgate cannot enforce it. Were it let pass, what it denies would be open.";

    NEVER_SELECTS = "DG5001" Warning "selector that can never match"
        "The selector contradicts itself, as `a == 'x' && a == 'y'` does, or asks for what nothing on a Docker host has: \
         `projectcalico.org/orchestrator` is `docker` on every container, so `== 'k8s'` of a copied policy matches none. \
         A policy with such a selector protects nothing, and a rule is never used. No inventory is needed to see this.";
    SELECTS_NOTHING = "DG5002" Warning "selector that matches nothing"
        "No container of the world that was named, and for a rule no network set either, has the labels that are asked for. A policy \
         that selects nothing closes nothing. Mostly a label or a namespace is misspelt, or the label stands under \
         `deploy.labels` of a Compose file, which containers do not get. If the containers come later, ignore it.";
    ALWAYS_SELECTS = "DG5003" Warning "selector that always matches"
        "Whatever the labels are, this part of the selector holds, as `a != 'x' || a == 'x'` does. Usually `&&` was meant \
         where `||` stands: `a != 'x' || a != 'y'` excludes nothing. Write `all()` if everything is meant.";
    MATCHES_UNLABELLED = "DG5004" Note "Allow rule for whatever has no label"
        "A missing label makes `!=` and `not in` true, so `role != 'db'` allows every container without `role`: also the one \
         that somebody starts tomorrow and does not label. Where that is not meant, ask for the label, too: \
         `has(role) && role != 'db'`. With an inventory this is said only if there is such a container.";
    MATCHES_STRANGERS = "DG5005" Warning "Allow rule for every unknown address"
        "`notSelector` without `selector` excludes the addresses of the containers and network sets that it matches and no \
         others: every address of the outside remains allowed. Use `selector: \"!(...)\"` to allow containers and network \
         sets only.";
    EMPTY_PEER = "DG5006" Warning "empty condition on the peer"
        "An empty `selector`, `notSelector` or `namespaceSelector` of a rule is no condition, and neither is an empty `from` or \
         `to`: where the rule has no other condition on its peer, it is about every address, the outside included. Often a \
         template was not filled in, or the items of a list are comments. `all()` in Calico's kinds and `podSelector: {}` in \
         Kubernetes' stand for containers only; where every address is meant, leave the field out.";

    SHADOWED = "DG5010" Warning "rule shadowed by an earlier one"
        "An earlier rule matches every packet that this one could match, and decides about it, so this rule has no effect; or \
         several earlier rules do so together, as rules about the ports 80 and 81 do for one about `80:81`. \
         If both do the same, one of them can go; if not, the narrower one belongs first. An earlier rule is one further up in \
         the same policy, or one of a policy that comes before and selects at least the same containers.";
    REDUNDANT = "DG5011" Note "rule that another policy makes superfluous"
        "A policy that comes before, and selects at least the same containers, does the same with every packet that this rule \
         could match, or several do so together. Harmless; but whoever changes or removes this rule to change what is allowed changes nothing.";
    NEVER_MATCHES = "DG5012" Warning "rule that can never match"
        "No packet meets all conditions of the rule: what one of them lets through another excludes, or the rule asks the \
         policy's own containers for labels that they cannot have. In an ingress rule `destination` is the container that the \
         policy selects, in an egress rule `source` is; the other side is the peer.";
    NAME_DECIDES = "DG5013" Warning "policies of equal order that disagree"
        "Two policies of one tier and one order (or both without one) select the same containers, and one allows what the \
         other does not. Policies of equal order are asked in the order of their names, so a renaming changes what is \
         allowed. Give one of them a lower `order`: lower ones come first.";
    PASS_IN_LAST_TIER = "DG5014" Warning "Pass in the last tier"
        "`Pass` hands a packet to the next tier that has a policy for the container. Where there is none, the packet is \
         allowed. Write `Allow` if that is meant; otherwise add a policy to a later tier.";

    NO_NAMES = "DG5020" Warning "way out without DNS"
        "The containers may connect to addresses outside, but to no name server: no rule allows UDP port 53, or an \
         earlier one denies it. On a network that \
         a user or Compose has made, Docker's embedded resolver runs inside the container's own network namespace and still \
         answers for names of containers; it forwards every other query from the container's own address, so that egress \
         policy drops it. Exempt are queries that go to a resolver on a loopback address of the host, as `127.0.0.53` in \
         the host's /etc/resolv.conf: these are sent by the host. On the default network `bridge` there is no embedded resolver, \
         and every query is the container's own.";
    ONE_FAMILY = "DG5021" Warning "rule for one IP version on a dual-stack network"
        "The containers have addresses of both IP versions, and the rule is about one of them, by `ipVersion`, by a block of \
         every address, or by blocks of the containers' own network. Packets of the other version are left to the rest of the \
         policy: what an Allow rule allows is closed there, and what a Deny rule denies may be open. Add the same rule for the \
         other version, or use selectors, which cover both.";
    HOST_PORT = "DG5022" Warning "host port where the container port counts"
        "A published port is a port of the host that leads to a port of the container. Policy judges the container's port, also \
         for a client that came by the published one: with `ports: [\"8080:80\"]`, rules are about 80.";
    UNDECLARED_PORT = "DG5023" Warning "named port that nobody declares"
        "A port name means the ports that containers declare with the label `dockgate.io/ports`, such as \
         `http=8080/tcp,dns=53/udp`. None of the containers in question declares this name for the rule's protocol, so it \
         stands for no port at all. Names of images and of Compose services are not port names.";
    OPEN_DATABASE = "DG5024" Warning "database port open to every address"
        "The rule lets any address connect to a port on which a database or a store listens by default. Whether Docker lets the \
         outside come that far depends on what is published today. Name the clients with a selector or with blocks.";

    OVERLAPPING_NETS = "DG5030" Note "blocks that overlap"
        "One block of the list lies within another, or stands there twice, and adds nothing. Where it was meant to be an \
         exception, it belongs into `notNets`; where the wider one is too wide, its prefix is probably mistyped.";
    HOST_BITS_CLEARED = "DG5031" Warning "block with host bits"
        "The address has bits set beyond the prefix. In network sets and in `ipBlock` they are cleared, as Calico and \
         Kubernetes do: `10.0.0.5/8` is all of `10.0.0.0/8`. If the one address was meant, this is far too wide.";

    IGNORED_WITHOUT_REASON = "DG9001" Warning "ignored without a reason"
        "A comment `# dockgate:ignore CODE` says after the code why the finding is all right. Without a reason it has no \
         effect: whoever reads it later could not tell whether it still holds.";
    IGNORES_UNKNOWN_CODE = "DG9002" Warning "no code to ignore"
        "A comment `# dockgate:ignore CODE reason` names a code that does not exist, or none at all. `dockgate \
         explain-code` lists the codes.";
    IGNORES_ERROR = "DG9003" Warning "an error cannot be ignored"
        "Only warnings and notes can be ignored. An error says that a resource is not usable, and no comment makes it \
         usable.";
    IGNORES_NOTHING = "DG9004" Note "a comment that ignores nothing"
        "There is no such finding on this line, on the one below, or in the document that follows. Remove the comment: it \
         would hide a later finding that nobody has looked at.";
    BASELINE_SHRINKS = "DG9005" Note "the baseline can shrink"
        "A finding of the baseline is gone. Write the baseline anew with `dockgate validate --write-baseline`, so that the \
         finding is told when it comes back.";
}

/// What a group of codes is about, by the digit after `DG`.
const GROUPS: [(char, &str); 6] = [
    ('1', "Syntax"),
    ('2', "Shape"),
    ('3', "Meaning"),
    ('4', "Enforceability"),
    ('5', "Lints"),
    ('9', "What is ignored"),
];

/// The code of this id, in whatever case.
pub fn find(id: &str) -> Option<&'static Code> {
    CODES.iter().find(|code| code.id.eq_ignore_ascii_case(id))
}

/// All codes with their explanations as a page in Markdown, `docs/diagnostics.md`.
pub fn reference() -> String {
    let mut page = "<!-- Made from src/policy/codes.rs by `UPDATE_DIAGNOSTICS=1 cargo test --test diagnostics`. -->\n\n\
        # Diagnostics\n\n\
        Every finding about a policy file carries one of these codes. A code keeps its meaning for ever, and one that is \
        given up\nis not used again, so pipelines can filter by it. `dockgate explain-code CODE` prints the same text.\n\n\
        - **error**: the resource is not usable. `dockgate validate` ends with exit code 1.\n\
        - **warning**: it is usable and probably not what was meant. With `--strict` the exit code is 1.\n\
        - **note**: something worth knowing.\n\n\
        Warnings and notes can be ignored where they are meant, by a comment on the line, directly above it, or above\nthe \
        whole document: `# dockgate:ignore CODE[,CODE...] reason`. Errors cannot.\n"
        .to_owned();
    for (digit, group) in GROUPS {
        let codes: Vec<_> = CODES.iter().filter(|code| code.id[2..].starts_with(digit)).collect();
        if !codes.is_empty() {
            let _ = write!(page, "\n## {group}\n");
        }
        for Code { id, severity, title, explanation, .. } in codes {
            let _ = write!(page, "\n### {id}: {title}\n\n*{severity}*. {explanation}\n");
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_ascend_and_their_texts_are_sentences() {
        assert!(CODES.is_sorted_by(|a, b| a.id < b.id), "codes are unique and in order");
        for code in CODES {
            assert!(code.id.len() == 6 && code.id.starts_with("DG"), "{}", code.id);
            assert!(code.explanation.ends_with('.') && !code.title.ends_with('.'), "{}", code.id);
            assert!(GROUPS.iter().any(|(digit, _)| code.id[2..].starts_with(*digit)), "{}", code.id);
        }
    }

    #[test]
    fn every_explanation_says_more_than_its_title() {
        for code in CODES {
            let words = |text: &str| text.split_whitespace().count();
            assert!(words(code.explanation) >= words(code.title) + 8, "{}: {}", code.id, code.explanation);
        }
    }

    #[test]
    fn codes_are_found_in_any_case() {
        assert_eq!(find("dg2004"), Some(&UNKNOWN_FIELD));
        assert_eq!((find("DG200"), find("")), (None, None));
    }
}
