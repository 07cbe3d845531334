//! Broken policy files: each mistake is found, with its code, at its line and column, and nothing else is reported.
//!
//! In the texts below `«DG2004»` stands where a finding with that code is expected, directly before the character at
//! fault. The marks are taken out before the text is loaded, so a row says code, line, column and number of errors at once.

use std::path::PathBuf;

use dockgate::policy::{Diagnostic, Loaded, Severity, SourceFile, load};
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// Code, line and column of an error.
type Place = (String, u32, u32);

/// Takes the marks out of a text; gives the text and what they say.
fn unmark(marked: &str) -> (String, Vec<Place>) {
    let mut text = String::new();
    let mut places = Vec::new();
    let mut pieces = marked.split('«');
    text.push_str(pieces.next().unwrap_or_default());
    for piece in pieces {
        let (code, rest) = piece.split_once('»').expect("a mark is closed");
        let line = text.matches('\n').count() + 1;
        let column = text.chars().rev().take_while(|character| *character != '\n').count() + 1;
        let place = |number: usize| u32::try_from(number).expect("a test file is small");
        places.push((code.to_owned(), place(line), place(column)));
        text.push_str(rest);
    }
    (text, places)
}

fn load_text(text: &str) -> Loaded {
    load(&[SourceFile::new("policy.yaml", text)])
}

fn errors(loaded: &Loaded) -> Vec<Place> {
    let errors = loaded.diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error);
    errors.map(|error| (error.code.to_owned(), error.location.line, error.location.column)).collect()
}

/// Loads marked texts and compares what is found with what is marked. All rows are looked at before it fails.
fn check<'a>(rows: impl IntoIterator<Item = (&'a str, String)>) {
    let mut differing = Vec::new();
    for (name, marked) in rows {
        let (text, expected) = unmark(&marked);
        assert!(!expected.is_empty(), "{name}: a row without a mark");
        let loaded = load_text(&text);
        let found = errors(&loaded);
        if found != expected {
            let told = |d: &Diagnostic| format!("    {} {}: {}", d.code, d.location, d.message);
            let all: Vec<_> = loaded.diagnostics.iter().map(told).collect();
            let all = all.join("\n");
            differing.push(format!("{name}\n  expected {expected:?}\n  found    {found:?}\n{all}\n{text}"));
        }
    }
    assert!(differing.is_empty(), "\n{}", differing.join("\n"));
}

/// A policy of Calico with this line in its spec.
fn policy(line: &str) -> String {
    format!(
        "apiVersion: projectcalico.org/v3\nkind: NetworkPolicy\nmetadata: {{name: web, namespace: shop}}\nspec:\n  {line}\n"
    )
}

/// A GlobalNetworkPolicy with this line in its spec.
fn global(line: &str) -> String {
    format!("apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {{name: web}}\nspec:\n  {line}\n")
}

/// A policy of Calico with one Allow rule that has these fields.
fn rule(fields: &str) -> String {
    policy(&format!("ingress: [{{action: Allow, {fields}}}]"))
}

/// A NetworkPolicy of Kubernetes with these fields beside its `podSelector`.
fn kubernetes(fields: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: web, namespace: shop}}\n\
         spec: {{podSelector: {{}}, {fields}}}\n"
    )
}

/// A resource of `projectcalico.org/v3` with this metadata and spec.
fn calico(kind: &str, metadata: &str, spec: &str) -> String {
    format!("apiVersion: projectcalico.org/v3\nkind: {kind}\nmetadata: {{{metadata}}}\nspec: {{{spec}}}\n")
}

#[test]
#[rustfmt::skip]
fn text_that_is_no_yaml() {
    let bomb = (1..9).fold("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned(), |text, level| {
        let below = vec![format!("*a{}", level - 1); 10].join(", ");
        text + &format!("a{level}: &a{level} [{below}]\n")
    });
    // The place at which a bound is hit is not promised, so these two have no mark.
    let deep = policy(&format!("selector: {}{}", "[".repeat(200), "]".repeat(200)));
    for (name, text) in [("alias bomb", &bomb), ("nesting too deep", &deep)] {
        let found = errors(&load_text(text));
        assert!(matches!(&found[..], [(code, ..)] if code == "DG1003"), "{name}: {found:?}");
    }
    check([
        ("a tab as indentation", policy("ingress:\n\t«DG1001»- action: Allow")),
        ("a quote that is not closed", policy("order: 5\n«DG1001»  selector: \"app == 'web'")),
        ("a bracket that is not closed", policy("types: [Ingress\n  order«DG1001»: 5")),
        ("a colon within a plain value", policy("selector: app«DG1001»: web")),
        ("an alias without an anchor", policy("ingress: «DG1001»*rules")),
        ("a negation without quotes", policy("selector: «DG1008»!has(app)")),
        ("an unknown escape", policy("selector: «DG1001»\"\\q\"")),
        ("a control character", policy("selector: «DG1001»\u{7}")),
        ("a field that stands twice", policy("ingress: [{action: Allow}]\n  order: 5\n  «DG1002»ingress: []")),
        ("a field of a rule that stands twice", rule("protocol: TCP, «DG1002»protocol: UDP")),
        ("a list", "«DG1007»- a\n- b\n".to_owned()),
        ("a word", "«DG1007»policy\n".to_owned()),
        ("a broken document hides no other", format!("{}---\na: «DG1001»]\n---\n{}", policy("«DG2004»selectr: all()"), global("order: «DG2006»first"))),
    ]);
}

#[test]
#[rustfmt::skip]
fn documents_that_are_no_known_resource() {
    check([
        ("no kind", "«DG2001»apiVersion: projectcalico.org/v3\nmetadata: {name: web}\nspec: {}\n".to_owned()),
        ("no apiVersion", "«DG2001»kind: NetworkPolicy\nmetadata: {name: web}\nspec: {}\n".to_owned()),
        ("a kind that is a number", "apiVersion: v1\nkind: «DG2006»5\n".to_owned()),
        ("an unknown version", "apiVersion: «DG2002»projectcalico.org/v2\nkind: NetworkPolicy\nmetadata: {name: web}\nspec: {}\n".to_owned()),
        ("an unknown group", "apiVersion: «DG2002»apps/v1\nkind: Deployment\nmetadata: {name: web}\n".to_owned()),
        ("mistakes beside no apiVersion, of a kind that only one group has", "«DG2001»kind: Tier\nmetadata: {name: «DG3001»A}\nspec: {«DG2004»odrer: 5}\n".to_owned()),
        ("mistakes in an unknown version", "apiVersion: «DG2002»projectcalico.org/v4\nkind: NetworkPolicy\nmetadata: {name: web, namespace: shop}\nspec: {order: «DG2006»first}\n".to_owned()),
        ("mistakes in a kind of another group", "apiVersion: networking.k8s.io/v1\nkind: «DG2003»GlobalNetworkPolicy\nmetadata: {name: web}\nspec: {order: «DG2006»first}\n".to_owned()),
        ("an unknown kind", "apiVersion: projectcalico.org/v3\nkind: «DG2003»NetworkPolcy\nmetadata: {name: web}\nspec: {}\n".to_owned()),
        ("a kind of another group", "apiVersion: networking.k8s.io/v1\nkind: «DG2003»GlobalNetworkPolicy\nmetadata: {name: web}\nspec: {}\n".to_owned()),
        ("an unknown kind within a list", "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: «DG2003»Pod\n".to_owned()),
        ("a list without items", "«DG2005»apiVersion: v1\nkind: List\n".to_owned()),
        ("a list whose item is a word", "apiVersion: v1\nkind: List\nitems: [«DG1007»web]\n".to_owned()),
        ("a HostEndpoint", "apiVersion: projectcalico.org/v3\nkind: «DG4005»HostEndpoint\nmetadata: {name: web}\nspec: {node: a}\n".to_owned()),
        ("a Profile", "apiVersion: projectcalico.org/v3\nkind: «DG4005»Profile\nmetadata: {name: web}\nspec: {}\n".to_owned()),
    ]);
}

#[test]
#[rustfmt::skip]
fn documents_without_the_shape_of_their_kind() {
    check([
        ("no spec", "«DG2005»apiVersion: projectcalico.org/v3\nkind: NetworkPolicy\nmetadata: {name: web, namespace: shop}\n".to_owned()),
        ("no name", calico("NetworkPolicy", "namespace: shop", "").replace("{namespace", "«DG2005»{namespace")),
        ("no action", policy("ingress: [«DG2005»{protocol: TCP}]")),
        ("no cidr in an ipBlock", kubernetes("ingress: [{from: [{ipBlock: «DG2005»{except: []}}]}]")),
        ("an unknown field", policy("«DG2004»selectr: app == 'web'")),
        ("an unknown field of a rule", rule("«DG2004»destinaton: {}")),
        ("an unknown field of a peer", rule("source: {«DG2004»notselector: has(app)}")),
        ("an unknown field of the metadata", calico("NetworkPolicy", "name: web, namespace: shop, «DG2004»lables: {}", "")),
        ("an unknown field beside the spec", policy("order: 1\n«DG2004»spce: {}")),
        ("a field that only a GlobalNetworkPolicy has", policy("«DG2004»namespaceSelector: all()")),
        ("a field of the other API group", kubernetes("«DG2004»selector: all()")),
        ("a namespace for a global kind", calico("GlobalNetworkPolicy", "name: web, «DG2004»namespace: shop", "")),
        ("a number for a selector", policy("selector: «DG2006»5")),
        ("a text for an order", policy("order: «DG2006»first")),
        ("an order that is no number", policy("order: «DG2006».nan")),
        ("a text for a list", rule("source: {nets: «DG2006»10.0.0.0/8}")),
        ("a mapping for a list", policy("ingress: «DG2006»{action: Allow}")),
        ("a list for a mapping", rule("source: «DG2006»[]")),
        ("a word for true", global("applyOnForward: «DG2006»yes")),
        ("an action in lower case", policy("ingress: [{action: «DG2007»allow}]")),
        ("an IP version of 5", rule("ipVersion: «DG2007»5")),
        ("an unknown performance hint", policy("performanceHints: [«DG2007»Fast]")),
        ("a type in lower case", policy("types: [«DG2007»ingress]")),
        ("a protocol in lower case in a Kubernetes policy", kubernetes("ingress: [{ports: [{protocol: «DG2007»tcp}]}]")),
        ("an unknown policy type", kubernetes("policyTypes: [«DG2007»Inbound]")),
        ("an unknown operator", kubernetes("ingress: [{from: [{podSelector: {matchExpressions: [{key: a, operator: «DG2007»Equals}]}}]}]")),
        ("an unknown default action", calico("Tier", "name: first", "defaultAction: «DG2007»Allow")),
        ("an ICMP type beyond the range", rule("protocol: ICMP, icmp: {type: «DG2008»255}")),
        ("an ICMP code beyond the range", rule("protocol: ICMP, icmp: {type: 3, code: «DG2008»256}")),
        ("a protocol of 0", rule("protocol: «DG2008»0")),
        ("a protocol beyond the range", rule("notProtocol: «DG2008»256")),
        ("a port of 0", rule("protocol: TCP, source: {ports: [«DG2008»0]}")),
        ("a port beyond the range", rule("protocol: TCP, destination: {ports: [443, «DG2008»65536]}")),
        ("a selector of 1025 characters", policy(&format!("selector: «DG2009»a == '{}'", "x".repeat(1018)))),
        ("an empty list of types", policy("types: «DG2010»[]")),
        ("51 ports", rule(&format!("protocol: TCP, destination: {{ports: «DG2010»[{}]}}", (1..=51).map(|port| port.to_string()).collect::<Vec<_>>().join(", ")))),
        ("a type that stands twice", policy("types: [Ingress, «DG2011»Ingress]")),
        ("a block that stands twice", rule("source: {nets: [10.0.0.0/8, 10.1.0.0/16, «DG2011»10.0.0.0/8]}")),
    ]);
}

#[test]
#[rustfmt::skip]
fn metadata_that_is_not_valid() {
    check([
        ("a name in upper case", calico("NetworkPolicy", "name: «DG3001»Web, namespace: shop", "")),
        ("a name with an underscore", calico("NetworkSet", "name: «DG3001»my_set, namespace: shop", "")),
        ("a policy's name with two dots", calico("NetworkPolicy", "name: «DG3001»a.b.c, namespace: shop", "")),
        ("the prefix of converted policies on a global one", calico("GlobalNetworkPolicy", "name: «DG3001»knp.default.web", "")),
        ("a tier's name with a dot", calico("Tier", "name: «DG3001»a.b", "")),
        ("a reference to a tier that no tier can have", policy("tier: «DG3001»Platform")),
        ("an empty namespace", calico("NetworkPolicy", "name: web, namespace: «DG3002»''", "")),
        ("a namespace with a blank", calico("NetworkPolicy", "name: web, namespace: «DG3002»my shop", "")),
        ("a label value with a blank", calico("NetworkSet", "name: web, namespace: shop, labels: {a: «DG3003»b c}", "")),
        ("a label key with two slashes", calico("NetworkSet", "name: web, namespace: shop, labels: {«DG3003»a/b/c: d}", "")),
        ("a key of an annotation with a blank", calico("NetworkSet", "name: web, namespace: shop, annotations: {«DG3004»a b: c}", "")),
        ("a set that claims a namespace", calico("GlobalNetworkSet", "name: web, labels: {«DG3005»projectcalico.org/namespace: shop}", "")),
        ("a set that claims to be a container", calico("NetworkSet", "name: web, namespace: shop, labels: {«DG3005»projectcalico.org/orchestrator: docker}", "")),
        ("the tier `default` with another order", calico("Tier", "name: default", "order: «DG3028»5")),
        ("the tier `default` with another end", calico("Tier", "name: default", "order: 1000000, defaultAction: «DG3028»Pass")),
        ("the tier `kube-baseline` with another order", calico("Tier", "name: kube-baseline", "order: «DG3028»1, defaultAction: Pass")),
        ("a policy in an unknown tier", policy("tier: «DG3029»platform")),
        ("two policies of one name", format!("{}---\n{}", policy("order: 1"), policy("order: 2").replace("name: web", "name: «DG3030»web"))),
        ("two tiers of one name", format!("{}---\n{}", calico("Tier", "name: a", ""), calico("Tier", "name: «DG3030»a", ""))),
    ]);
}

#[test]
#[rustfmt::skip]
fn rules_that_say_nothing_enforceable() {
    check([
        ("a selector with one equals sign", policy("selector: app «DG3010»= 'web'")),
        ("a selector without quotes around a value", policy("selector: app == «DG3010»web")),
        ("a selector with a line break", policy("selector: |\n    «DG3010»app == 'web' &&\n    tier == 'db'")),
        ("a quoted selector that ends early", rule("source: {selector: \"app == 'web' &&«DG3010»\"}")),
        ("a negative selector", rule("source: {notSelector: '(«DG3010»)'}")),
        ("global() in a policy's selector", policy("selector: «DG3011»global()")),
        ("global() in a policy's namespaceSelector", global("namespaceSelector: «DG3011»global()")),
        ("global() in a rule's selector", rule("source: {selector: «DG3011»has(a) || global()}")),
        ("global() in a rule's notSelector", rule("source: {notSelector: «DG3011»global()}")),
        ("global() beside something else", rule("source: {namespaceSelector: «DG3011»global() || has(a)}")),
        ("a protocol in lower case", rule("protocol: «DG3012»tcp")),
        ("a protocol that does not exist", rule("protocol: «DG3012»QUIC")),
        ("a port range with a dash", rule("protocol: TCP, destination: {ports: [«DG3013»80-90]}")),
        ("a port range that runs backwards", rule("protocol: TCP, destination: {ports: [80, «DG3013»90:80]}")),
        ("a port's name in upper case", rule("protocol: TCP, destination: {ports: [«DG3013»HTTP]}")),
        ("a port's name of 16 characters", rule("protocol: TCP, destination: {ports: [«DG3013»abcdefghijklmnop]}")),
        ("a port without a protocol", rule("destination: {ports: [«DG3014»80]}")),
        ("a port without a protocol, behind a name", rule("destination: {ports: [http, «DG3014»80]}")),
        ("a negative port without a protocol", rule("source: {notPorts: [«DG3014»80]}")),
        ("a port beside a negative protocol only", rule("notProtocol: UDP, destination: {ports: [«DG3014»80]}")),
        ("ports of ICMP", rule("protocol: ICMP, destination: {«DG3015»ports: [80]}")),
        ("ports of UDPLite", rule("protocol: UDPLite, destination: {«DG3015»ports: [80]}")),
        ("named ports of a protocol by number", rule("protocol: 47, source: {«DG3015»notPorts: [http]}")),
        ("an ICMP type without a protocol", rule("«DG3016»icmp: {type: 8}")),
        ("an ICMP type of TCP", rule("protocol: TCP, «DG3016»icmp: {type: 8}")),
        ("a negative ICMP type without a protocol", rule("«DG3016»notICMP: {type: 8}")),
        ("an ICMP code without a type", rule("protocol: ICMP, icmp: «DG3017»{code: 0}")),
        ("ICMP in IPv6", rule("protocol: ICMP, ipVersion: «DG3018»6")),
        ("ICMPv6 in IPv4", rule("protocol: ICMPv6, ipVersion: «DG3018»4")),
        ("not ICMP in IPv6", rule("notProtocol: ICMP, ipVersion: «DG3018»6")),
        ("ICMPv6 by its number in IPv4", rule("protocol: 58, ipVersion: «DG3018»4")),
        ("an address without a prefix length", rule("source: {nets: [«DG3019»10.0.0.1]}")),
        ("a prefix length beyond the address", rule("source: {nets: [«DG3019»10.0.0.0/33]}")),
        ("a name for a block", rule("destination: {notNets: [«DG3019»example.com]}")),
        ("a block with host bits", rule("source: {nets: [«DG3020»10.0.0.1/24]}")),
        ("an IPv6 block with host bits", rule("source: {nets: [«DG3020»'2001:db8::1/64']}")),
        ("two families in one list", rule("source: {nets: [10.0.0.0/8, «DG3021»'2001:db8::/32']}")),
        ("two families, source and destination", rule("source: {nets: [10.0.0.0/8]}, destination: {notNets: [«DG3021»'2001:db8::/32']}")),
        ("an IPv6 block in an IPv4 rule", rule("ipVersion: 4, source: {nets: [«DG3021»'2001:db8::/32']}")),
        ("an IPv4 block in an ICMPv6 rule", rule("protocol: ICMPv6, source: {nets: [«DG3021»10.0.0.0/8]}")),
        ("all IPv4 excluded", rule("source: {notNets: [«DG3022»0.0.0.0/0]}")),
        ("all IPv6 excluded", rule("destination: {notNets: [«DG3022»'::/0']}")),
        ("a word in a network set", calico("NetworkSet", "name: web, namespace: shop", "nets: [10.0.0.1, «DG3019»web]")),
        ("a staged deletion with rules", calico("StagedNetworkPolicy", "name: web, namespace: shop", "stagedAction: Delete, tier: default, «DG3027»ingress: [{action: Allow}]")),
        ("a staged deletion with a selector", calico("StagedGlobalNetworkPolicy", "name: web", "stagedAction: Delete, «DG3027»selector: all()")),
        ("service accounts of a policy", policy("«DG4001»serviceAccountSelector: has(role)")),
        ("service accounts of a rule", rule("source: {«DG4001»serviceAccounts: {names: [web]}}")),
        ("a service", rule("destination: {«DG4002»services: {name: web, namespace: shop}}")),
        ("HTTP", rule("«DG4003»http: {methods: [GET]}")),
        ("doNotTrack and what it needs", global("«DG4004»doNotTrack: true\n  «DG4004»applyOnForward: true")),
        ("preDNAT and what it needs", global("«DG4004»preDNAT: true\n  «DG4004»applyOnForward: true")),
    ]);
}

#[test]
#[rustfmt::skip]
fn kubernetes_policies_that_are_not_valid() {
    check([
        ("an endPort without a port", kubernetes("ingress: [{ports: [{endPort: «DG3025»90}]}]")),
        ("an endPort behind a name", kubernetes("ingress: [{ports: [{port: http, endPort: «DG3025»90}]}]")),
        ("an endPort below its port", kubernetes("ingress: [{ports: [{port: 90, endPort: «DG3025»80}]}]")),
        ("a port of 0", kubernetes("ingress: [{ports: [{port: «DG2008»0}]}]")),
        ("a port's name with a capital", kubernetes("ingress: [{ports: [{port: «DG3013»Http}]}]")),
        ("mistakes in an ipBlock beside a podSelector", kubernetes("ingress: [{from: [{podSelector: {matchExpressions: [«DG3026»{key: a, operator: In}]}, «DG3023»ipBlock: {cidr: «DG3019»ten}}]}]")),
        ("an ipBlock beside a podSelector", kubernetes("ingress: [{from: [{podSelector: {}, «DG3023»ipBlock: {cidr: 10.0.0.0/8}}]}]")),
        ("a peer of nothing", kubernetes("ingress: [{from: [«DG3023»{}]}]")),
        ("except outside its block", kubernetes("egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16, «DG3024»11.0.0.0/16]}}]}]")),
        ("except as large as its block", kubernetes("egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8, except: [«DG3024»10.0.0.0/8]}}]}]")),
        ("except of the other family", kubernetes("egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8, except: [«DG3024»'2001:db8::/32']}}]}]")),
        ("a cidr that is no block", kubernetes("egress: [{to: [{ipBlock: {cidr: «DG3019»10.0.0.0}}]}]")),
        ("an except that is no block", kubernetes("egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8, except: [«DG3019»ten]}}]}]")),
        ("In without values", kubernetes("ingress: [{from: [{podSelector: {matchExpressions: [«DG3026»{key: a, operator: In}]}}]}]")),
        ("NotIn with an empty list", kubernetes("egress: [{to: [{namespaceSelector: {matchExpressions: [{key: a, operator: NotIn, values: «DG3026»[]}]}}]}]")),
        ("Exists with values", kubernetes("ingress: [{from: [{podSelector: {matchExpressions: [{key: a, operator: Exists, values: «DG3026»[b]}]}}]}]")),
        ("a label key with a blank", kubernetes("ingress: [{from: [{podSelector: {matchLabels: {«DG3003»a b: c}}}]}]")),
        ("a staged deletion with types", calico("StagedKubernetesNetworkPolicy", "name: web, namespace: shop", "stagedAction: Delete, «DG3027»policyTypes: [Ingress]")),
    ]);
}

#[test]
fn all_mistakes_of_a_document_are_reported_at_once() {
    let shapes = "\
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata:
  name: web
  namespace: shop
  «DG2004»lables: {}
spec:
  order: «DG2006»first
  selector: «DG2006»5
  types: [Ingress, «DG2011»Ingress]
  ingress:
  - action: «DG2007»allow
  - «DG2005»protocol: TCP
  - action: Deny
    protocol: ICMP
    icmp: {type: «DG2008»300}
    «DG2004»sourc: {}
  - action: Pass
    source:
      nets: «DG2006»10.0.0.0/8
      «DG2004»notselector: has(a)
";
    let meanings = "\
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata:
  name: «DG3001»Web
  namespace: shop
spec:
  selector: app == «DG3010»web
  ingress:
  - action: Allow
    protocol: «DG3012»tcp
  - action: Allow
    source:
      nets: [«DG3019»10.0.0.1, «DG3020»10.0.0.1/8]
      notSelector: «DG3011»global()
    destination:
      ports: [«DG3014»80]
  - action: Deny
    «DG3016»icmp: {type: 8}
    ipVersion: 4
  - action: Deny
    «DG4003»http: {methods: [GET]}
  egress:
  - action: Deny
    protocol: ICMP
    ipVersion: «DG3018»6
";
    // What a fault of shape makes of the rest is not told: the misspelt `protocol` does not also make the port an error.
    let mixed = "\
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata:
  name: «DG3001»Web
spec:
  «DG2004»selectr: all()
  namespaceSelector: «DG3011»global()
  «DG4004»preDNAT: true
  order: «DG2006»first
  ingress:
  - action: «DG2007»allow
    source: {nets: [«DG3020»10.0.0.1/8]}
  - action: Allow
    «DG2004»protcol: TCP
    source: {selector: app «DG3010»= 'web'}
    destination: {ports: [80]}
  - action: Deny
    protocol: «DG3012»udp
";
    let misnamed = "\
apiVersion: projectcalico.org/v3
kind: «DG2003»NetworkPolcy
metadata: {name: «DG3001»Web, namespace: shop}
spec:
  tier: «DG3029»platform
  «DG2004»selectr: all()
  ingress:
  - action: Allow
    source: {nets: [10.0.0.0/8, «DG3021»'2001:db8::/32', «DG3021»'2001:db9::/32']}
  - action: Deny
    destination: {notNets: [«DG3022»0.0.0.0/0], nets: [«DG3020»10.0.0.1/8]}
";
    check([
        ("mistakes in a document of a misspelt kind", misnamed.to_owned()),
        ("ten mistakes of shape", shapes.to_owned()),
        ("ten mistakes of meaning", meanings.to_owned()),
        ("ten mistakes of both kinds", mixed.to_owned()),
    ]);
}

/// Whatever a fault of shape is, it leaves the others of the document to be seen.
#[test]
#[rustfmt::skip]
fn no_fault_of_shape_hides_other_mistakes() {
    let beside = |spec: &str, rule: &str| {
        format!(
            "apiVersion: projectcalico.org/v3\nkind: NetworkPolicy\nmetadata: {{name: «DG3001»A_b, namespace: x}}\n\
             spec:\n  selector: a «DG3010»= 1\n  {spec}\n  ingress:\n  - {{action: Allow, protocol: «DG3012»TPC}}\n  - {{action: Deny{rule}}}\n"
        )
    };
    check([
        ("a misspelt field whose value does not fit", beside("«DG2004»orders: x", "")),
        ("a misspelt list that is a word", beside("«DG2004»typs: a", "")),
        ("a misspelt list of rules that is a word", beside("«DG2004»egres: a", "")),
        ("a misspelt peer that is a word", beside("order: 1", ", «DG2004»soruce: foo")),
        ("a misspelt peer with a misspelt field", beside("order: 1", ", «DG2004»soruce: {selectr: {}}")),
        ("a selector of Kubernetes", beside("order: 1", ", source: {«DG2004»podSelector: {}}")),
        ("a number beyond what its field can hold", beside("order: 1", ", protocol: «DG2008»70000")),
        ("a port beyond what its field can hold", beside("order: 1", ", protocol: TCP, source: {ports: [«DG2008»1e9]}")),
        ("a version with a fraction", beside("order: 1", ", ipVersion: «DG2006»4.5")),
        ("an item that stands twice beside one that is wrong", rule("source: {nets: [«DG3019»foo, 1.1.1.1/32, «DG2011»\"1.1.1.1/32\"]}")),
        ("more than the allowed ports beside one that is wrong", rule(&format!("protocol: TCP, destination: {{ports: «DG2010»[«DG3013»80-90, {}]}}", (1..=51).map(|port| port.to_string()).collect::<Vec<_>>().join(", ")))),
    ]);
}

#[test]
fn a_whole_number_may_be_written_with_a_fraction_of_nothing() {
    for text in [
        rule("protocol: TCP, source: {ports: [80.0, 1e3]}"),
        rule("ipVersion: 4.0"),
        rule("protocol: ICMP, icmp: {type: 8.0}"),
        kubernetes("ingress: [{ports: [{protocol: TCP, port: 80, endPort: 90.0}]}]"),
    ] {
        assert_eq!(load_text(&text).diagnostics, [], "{text}");
    }
}

#[test]
fn marks_say_where_they_stand() {
    let (text, places) = unmark("a: «X1»b\n«X2»ü«X3»c");
    assert_eq!(text, "a: b\nüc");
    assert_eq!(places, [("X1".to_owned(), 1, 4), ("X2".to_owned(), 2, 1), ("X3".to_owned(), 2, 2)]);
}

/// Valid files to start from: one of each kind.
fn valid() -> Vec<String> {
    let rules = "selector: app == 'web'\n  types: [Ingress, Egress]\n  ingress:\n  - action: Allow\n    protocol: TCP\n    \
                 source: {selector: \"role in {'a', 'b'}\", notNets: [10.0.0.0/8]}\n    destination: {ports: [80, '90:99', http]}\n  \
                 egress:\n  - action: Log\n  - action: Deny\n    protocol: ICMP\n    icmp: {type: 8, code: 0}";
    let peers = "ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}, {podSelector: {matchLabels: {a: b}}}], \
                 ports: [{port: 80, endPort: 90, protocol: TCP}]}]";
    vec![
        policy(rules),
        global(rules),
        kubernetes(peers),
        calico("NetworkSet", "name: web, namespace: shop, labels: {a: b}", "nets: [10.0.0.1, '2001:db8::/32']"),
        calico("Tier", "name: first", "order: 5, defaultAction: Pass"),
        format!("{}---\n{}", policy("order: 1.5"), kubernetes("policyTypes: [Egress]")),
        format!("apiVersion: v1\nkind: List\nitems:\n- {}", policy("tier: default").trim_end().replace('\n', "\n  ")),
    ]
}

/// One change to a text.
#[derive(Clone, Debug)]
enum Mutation {
    Delete(Index, usize),
    Insert(Index, &'static str),
    Repeat(Index, usize),
    Cut(Index),
    SwapLines(Index, Index),
    IndentLine(Index, usize),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let any_index = any::<Index>;
    #[rustfmt::skip]
    let pieces = vec![
        ":", ": ", "- ", "[", "]", "{", "}", ",", "'", "\"", "\n", "\t", " ", "#", "&a ", "*a", "!", "|\n", ">-\n", "---\n", "<<: ",
        "~", "null", "true", "0", "-1", "1e999", ".nan", "99999999999999999999", "ü", "\u{feff}", "\u{0}", "\\", "%", "?", "@",
        "global()", "has(", "&&", "10.0.0.0/0", "::/0", "65536", "spec:", "items:", "kind: List\n",
    ];
    prop_oneof![
        (any_index(), 1..12_usize).prop_map(|(at, length)| Mutation::Delete(at, length)),
        (any_index(), select(pieces)).prop_map(|(at, piece)| Mutation::Insert(at, piece)),
        (any_index(), 1..40_usize).prop_map(|(at, length)| Mutation::Repeat(at, length)),
        any_index().prop_map(Mutation::Cut),
        (any_index(), any_index()).prop_map(|(one, other)| Mutation::SwapLines(one, other)),
        (any_index(), 1..5_usize).prop_map(|(line, by)| Mutation::IndentLine(line, by)),
    ]
}

fn mutate(text: &str, mutation: &Mutation) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    if characters.is_empty() || lines.is_empty() {
        return text.to_owned();
    }
    let span = |at: &Index, length: usize| {
        let start = at.index(characters.len());
        start..(start + length).min(characters.len())
    };
    match mutation {
        Mutation::Delete(at, length) => drop(characters.drain(span(at, *length))),
        Mutation::Insert(at, piece) => drop(characters.splice(span(at, 0), piece.chars())),
        Mutation::Repeat(at, length) => {
            let again = characters[span(at, *length)].to_vec();
            drop(characters.splice(span(at, 0), again));
        }
        Mutation::Cut(at) => characters.truncate(at.index(characters.len())),
        Mutation::SwapLines(one, other) => {
            let (one, other) = (one.index(lines.len()), other.index(lines.len()));
            lines.swap(one, other);
            return lines.join("\n");
        }
        Mutation::IndentLine(line, by) => {
            let line = line.index(lines.len());
            lines[line].insert_str(0, &" ".repeat(*by));
            return lines.join("\n");
        }
    }
    characters.into_iter().collect()
}

#[test]
fn what_the_mutations_start_from_is_valid() {
    for text in valid() {
        assert_eq!(errors(&load_text(&text)), [], "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn mutated_files_are_loaded_or_refused(start in select(valid()), mutations in proptest::collection::vec(mutation(), 1..5)) {
        let text = mutations.iter().fold(start, |text, mutation| mutate(&text, mutation));
        let loaded = load_text(&text);
        prop_assert_eq!(&loaded, &load_text(&text), "loading is deterministic");
        let lines = u32::try_from(text.lines().count().max(1)).unwrap();
        for diagnostic in &loaded.diagnostics {
            prop_assert_eq!(&diagnostic.location.file, &PathBuf::from("policy.yaml"));
            prop_assert!((1..=lines).contains(&diagnostic.location.line), "{:?} of {} lines", diagnostic, lines);
            prop_assert!(diagnostic.location.column >= 1, "{:?}", diagnostic);
        }
        prop_assert!(loaded.diagnostics.is_sorted_by_key(|diagnostic| &diagnostic.location));
    }

    #[test]
    fn any_text_is_loaded_or_refused(text in any::<String>()) {
        load_text(&text);
    }
}
