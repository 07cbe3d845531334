//! Every code that a finding about a policy file can carry.
//!
//! Output: one constant per code and the table [`CODES`] of all of them, from which documentation is made.
//! A code keeps its meaning for ever: pipelines filter by it. A code that is given up is not used again.

use super::Severity;

/// The meaning of one code.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// `DG1xxx` syntax, `DG2xxx` shape, `DG3xxx` meaning, `DG4xxx` enforceability.
    pub id: &'static str,
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
            pub const $name: Code =
                Code { id: $id, severity: Severity::$severity, title: $title, explanation: $explanation };
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
        "The operating system refused to read the file. What it said when it was last readable stays in force.";
    NOT_UTF8 = "DG1005" Error "not UTF-8 text"
        "Policy files are UTF-8. The place is the first byte that is not.";
    TOO_LARGE = "DG1006" Error "file too large"
        "The file is larger than 4 MiB. Split it; the order of files has no meaning.";
    NOT_A_MAPPING = "DG1007" Error "not a resource"
        "A document must be a mapping with `apiVersion`, `kind`, `metadata` and `spec`.";
    TAG = "DG1008" Error "unsupported tag"
        "A value that begins with `!` is a YAML tag unless it is quoted. Selectors that begin with a negation need \
         quotes: `selector: \"!has(role)\"`.";
    EMPTIED = "DG1009" Error "an emptied file"
        "The file held resources and now holds nothing, as one does that is only half written. What it said stays in \
         force. Delete the file to remove its resources.";

    NO_KIND = "DG2001" Error "apiVersion or kind is missing"
        "Without both it is not known what the document is.";
    UNKNOWN_API_VERSION = "DG2002" Error "unknown apiVersion"
        "dockgate reads `projectcalico.org/v3`, `networking.k8s.io/v1`, `dockgate.io/v1alpha1` and `v1` lists.";
    UNKNOWN_KIND = "DG2003" Error "unknown kind"
        "The API group has no such kind, or dockgate does not know it.";
    UNKNOWN_FIELD = "DG2004" Error "unknown field"
        "The kind has no such field. Unknown fields are errors because a misspelt `notSelector` widens a rule.";
    MISSING_FIELD = "DG2005" Error "a required field is missing"
        "The field has no default.";
    WRONG_TYPE = "DG2006" Error "wrong type"
        "The value has another type than the field. Numbers and booleans that are meant as text need quotes.";
    NOT_ALLOWED = "DG2007" Error "not one of the allowed values"
        "The field takes one of a few values, which are case-sensitive.";
    OUT_OF_RANGE = "DG2008" Error "number out of range"
        "The number is below or above what the field takes.";
    LENGTH = "DG2009" Error "text too long or too short"
        "The text is outside the length that the field takes.";
    COUNT = "DG2010" Error "too many or too few items"
        "The list or mapping is outside the size that the field takes.";
    DUPLICATE_ITEM = "DG2011" Error "an item stands twice"
        "The list is a set: every item may stand in it once.";
    PATTERN = "DG2012" Error "text of the wrong form"
        "The text does not have the form that the field takes.";
    SHAPE = "DG2099" Error "does not have the shape of its kind"
        "The document breaks a rule of the kind's schema that has no code of its own.";

    NAME = "DG3001" Error "invalid name"
        "Names are DNS subdomains in lower case. Calico's policies take one label or `label.label`, tiers one label.";
    NAMESPACE = "DG3002" Error "invalid namespace"
        "A namespace is made of letters, digits, `-`, `_` and `.`, so that every Compose project and Swarm stack is one. \
         An empty one is refused: a template that was not filled in would cover the whole host.";
    LABEL = "DG3003" Error "invalid label"
        "Label keys are qualified names, values at most 63 characters of letters, digits, `-`, `_` and `.`.";
    ANNOTATION = "DG3004" Error "invalid annotation"
        "Annotation keys are qualified names; all annotations together take at most 256 KiB.";
    RESERVED_LABEL = "DG3005" Error "reserved label"
        "dockgate sets this label itself, so that a file cannot claim it.";
    SELECTOR = "DG3010" Error "invalid selector"
        "The text is not an expression of Calico's selector language. An invalid selector is never treated as an empty \
         one, which would select everything.";
    GLOBAL = "DG3011" Error "global() is not allowed here"
        "`global()` may stand alone in the `namespaceSelector` of a rule and nowhere else.";
    PROTOCOL = "DG3012" Error "invalid protocol"
        "Protocols are TCP, UDP, ICMP, ICMPv6, SCTP and UDPLite in exactly this case, or a number from 1 to 255.";
    PORT = "DG3013" Error "invalid port"
        "A port is a number from 1 to 65535, a range `first:last`, or a name of at most 15 lower-case letters, digits \
         and dashes with at least one letter.";
    PORT_NEEDS_PROTOCOL = "DG3014" Error "ports without a protocol"
        "Port numbers mean nothing without `protocol`. Only lists of named ports may stand without one, since a name \
         brings its protocol.";
    PROTOCOL_WITHOUT_PORTS = "DG3015" Error "protocol without ports"
        "Only TCP, UDP and SCTP have ports.";
    ICMP_NEEDS_PROTOCOL = "DG3016" Error "ICMP fields without an ICMP protocol"
        "`icmp` and `notICMP` need `protocol: ICMP` or `protocol: ICMPv6`.";
    ICMP = "DG3017" Error "invalid ICMP type or code"
        "A type is 0 to 254, a code 0 to 255, and a code needs a type.";
    IP_VERSION = "DG3018" Error "contradictory IP versions"
        "`ipVersion` is 4 or 6. ICMP is IPv4 only, ICMPv6 is IPv6 only.";
    CIDR = "DG3019" Error "invalid CIDR block"
        "A block is an address and a prefix length, such as `10.0.0.0/8`. In rules the length is required.";
    HOST_BITS = "DG3020" Error "CIDR block with host bits"
        "The address has bits set beyond the prefix, so it is unclear whether the block or the address was meant.";
    MIXED_FAMILIES = "DG3021" Error "IPv4 and IPv6 in one rule"
        "A packet is of one IP version, so the blocks of a rule must all be of one, the same as `ipVersion`.";
    EXCLUDES_EVERYTHING = "DG3022" Error "notNets excludes everything"
        "A rule that excludes every address can never match.";
    PEER = "DG3023" Error "invalid peer"
        "A peer of a Kubernetes policy is an `ipBlock`, or a `podSelector`, a `namespaceSelector` or both of these.";
    EXCEPT = "DG3024" Error "except outside its block"
        "Each block under `except` must lie within `cidr` and be smaller.";
    END_PORT = "DG3025" Error "invalid endPort"
        "`endPort` needs a numeric `port` that is not above it.";
    LABEL_SELECTOR = "DG3026" Error "invalid label selector"
        "`In` and `NotIn` need values; `Exists` and `DoesNotExist` take none.";
    STAGED_DELETE = "DG3027" Error "staged deletion with content"
        "A staged policy with `stagedAction: Delete` may say nothing but its tier.";
    WELL_KNOWN_TIER = "DG3028" Error "well-known tier altered"
        "The tiers `kube-admin`, `default` and `kube-baseline` always exist, with fixed order and default action.";
    UNKNOWN_TIER = "DG3029" Error "unknown tier"
        "No Tier resource has this name. The policy is enforced all the same, after all other tiers and with default \
         Deny, because leaving it out could open what it closes.";
    DUPLICATE_RESOURCE = "DG3030" Error "resource defined twice"
        "Kind, namespace and name identify a resource; the first definition counts.";
    UNKNOWN_NETWORK = "DG3040" Error "unknown network"
        "The inventory has no network of this name under `networks`.";
    NAME_TWICE = "DG3041" Error "a name is taken"
        "Names, ids and bridges tell networks and containers apart, and a container is on a network once.";
    ADDRESS = "DG3042" Error "invalid address"
        "An address must be one that a container can have on its network: within a subnet, of the field's IP version, and \
         neither the network's own, nor its broadcast address, nor a gateway.";
    ADDRESS_TWICE = "DG3043" Error "an address is taken"
        "On one network every address belongs to one container.";
    SUBNET_FULL = "DG3044" Error "no address is left"
        "The subnets of the network have fewer addresses than it has containers.";
    NETWORK_MODE = "DG3045" Error "invalid network mode"
        "A network mode is `host`, `none` or `container:NAME`, and a container that has one is on no network.";
    BRIDGE = "DG3046" Error "invalid bridge"
        "A bridge is a Linux interface of at most 15 characters, and only networks with the driver `bridge` have one.";
    SUBSTITUTION = "DG3060" Error "invalid substitution"
        "In a Compose file `$NAME`, `${NAME}` and `${NAME:-default}` stand for variables. A dollar sign that is meant as one \
         is written twice.";
    VARIABLE_REQUIRED = "DG3061" Error "a required variable is not set"
        "`${NAME:?reason}` says that there is no default. Compose would refuse the file, too.";
    ENVIRONMENT = "DG3062" Error "invalid line in an environment file"
        "A line is `NAME=value`, with the value in quotes where it holds `#` or spans lines.";
    PROJECT_NAME = "DG3063" Error "invalid project name"
        "The name of a project is in the names of its containers and networks. It is made of lower-case letters, digits, \
         `-` and `_`, and begins with a letter or digit.";
    UNKNOWN_SERVICE = "DG3064" Error "unknown service"
        "`extends` and `network_mode: service:NAME` name a service of the same files, or of the one under `file`. For a \
         network mode it must be one that is started: without profiles, or in an active one.";
    CIRCLE = "DG3065" Error "a circle"
        "Services that extend each other and files that include each other would never end.";
    REFERENCED_FILE = "DG3066" Error "a file that is named cannot be read"
        "Paths are relative to the directory of the first Compose file, and in a file that is extended or included to its \
         own. Files are read from this host only; nothing is fetched.";
    CONTRADICTION = "DG3067" Error "keys that exclude each other"
        "Compose would refuse the file: two keys say different things of the same, or one says what another rules out.";
    INERT_RULES = "DG3101" Warning "rules without effect"
        "`types` does not list the direction of these rules, so they are never looked at.";
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
        "Only one container can hold a port of the host; the engine will not start the other.";
    WHOLE_HOST = "DG3201" Note "covers the whole host"
        "Without `metadata.namespace` the resource covers the containers of every namespace, as its Global counterpart \
         does. Set a namespace to restrict it.";
    NOT_POLICY = "DG3202" Note "not a policy"
        "Resources of this kind are used by other commands and ignored where policies are loaded.";

    SERVICE_ACCOUNTS = "DG4001" Error "service accounts are not supported"
        "Docker has no service accounts, so nothing could match. Select by label.";
    SERVICES = "DG4002" Error "services are not supported"
        "Docker has no Kubernetes services. Select the containers behind the service by label.";
    HTTP = "DG4003" Error "HTTP matches are not supported"
        "The kernel's packet filter sees no HTTP requests. Without the match the rule would allow more than it says.";
    HOST_ENDPOINT = "DG4004" Error "host endpoints are not supported"
        "`doNotTrack`, `preDNAT` and `applyOnForward` concern the host's own interfaces, which dockgate does not police.";
    UNSUPPORTED_KIND = "DG4005" Error "kind is not supported"
        "The kind exists in the API group, and dockgate cannot enforce it.";
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
        }
    }
}
