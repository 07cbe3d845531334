//! Small worlds for the tests of this module and of those in it.
//!
//! Input: an inventory and policies as text. Output: what the readers and the compiler make of them, which must find
//! nothing wrong, so that a test with a misspelling does not try something else than it says.

use std::path::PathBuf;

use crate::compile::{self, Compiled, compile};
use crate::inventory::{Inventory, file};
use crate::policy::{Severity, SourceFile, load};

/// Replicas on one network and on two, a database, and a container that is this host.
pub(super) const SHOP: &str = "
apiVersion: dockgate.io/v1alpha1
kind: Inventory
metadata: {name: shop}
spec:
  networks:
    - {name: front, subnets: [10.1.0.0/24], gateways: [10.1.0.1]}
    - {name: back, subnets: [10.2.0.0/24], gateways: [10.2.0.1]}
  containers:
    - {name: web-1, labels: {app: web}, networks: [front], ports: ['8080:80']}
    - {name: web-2, labels: {app: web}, networks: [front], ports: ['8081:80']}
    - {name: api-1, labels: {app: api}, networks: [front, back]}
    - {name: api-2, labels: {app: api, special: 'yes'}, networks: [front, back]}
    - {name: db, labels: {app: db}, networks: [back]}
    - {name: alone, labels: {app: agent}, networkMode: host}
";

/// Names that are, and are not, those of one service; one network of both families and one out of policy's reach.
pub(super) const NAMES: &str = "
apiVersion: dockgate.io/v1alpha1
kind: Inventory
metadata: {name: names}
spec:
  networks:
    - {name: front, subnets: [10.1.0.0/24, 'fd00:1::/64']}
    - {name: back, subnets: [10.2.0.0/24]}
    - {name: lan, driver: macvlan, subnets: [192.0.2.0/24]}
  containers:
    - {name: web-1, labels: {app: web}, networks: [front], ports: ['8080:80']}
    - {name: web-2, labels: {app: web}, networks: [front], ports: ['8081:80']}
    - {name: web-3, labels: {app: web, canary: ''}, networks: [front], ports: ['8082:80']}
    - {name: x-cache-9, labels: {app: cache, com.docker.compose.service: cache}, networks: [front]}
    - {name: host, labels: {app: api}, networks: [front, back]}
    - {name: db_1, labels: {app: db}, networks: [back]}
    - {name: db_2, labels: {app: db}, networks: [back, lan]}
    - {name: batch, labels: {app: batch}, networks: [back]}
    - {name: batch-1, labels: {app: batch}, networks: [back]}
    - {name: batch-2, labels: {app: batch}, networks: [back]}
";

/// The inventory of a text.
pub(super) fn inventory(text: &str) -> Inventory {
    let (inventory, findings) = file::load(&SourceFile::new(PathBuf::from("inventory.yaml"), text));
    assert!(findings.is_empty(), "{findings:#?}");
    inventory
}

/// What policies become in an inventory.
pub(super) fn compiled(policies: &str, inventory: &Inventory) -> Compiled {
    let loaded = load(&[SourceFile::new(PathBuf::from("policies.yaml"), policies)]);
    assert!(loaded.diagnostics.iter().all(|found| found.severity != Severity::Error), "{loaded:#?}");
    compile(&loaded.policies, inventory, &compile::Options::default())
}
