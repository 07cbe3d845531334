//! How the values of two Compose files become one.
//!
//! Input: two trees of the same form, as [`super::form`] leaves them: what Compose takes as a list or a mapping is a
//! mapping. Output: one tree, in which every value keeps the place where it stood.

use serde_json::Value as Json;

use super::node::{Content, Entry, Map, Mode, Node};
use crate::policy::{Diagnostic, codes};

/// Merges a later file over an earlier one: mappings key by key, lists one after the other, scalars replaced.
pub(super) fn merge(earlier: Node, later: Node, findings: &mut Vec<Diagnostic>) -> Node {
    Merger { findings, keeps_modes: false }.nodes(earlier, later)
}

/// Merges a service over the one that it extends, or a file over what it includes. What it resets or overrides is still to
/// meet the files before it.
pub(super) fn extend(base: Node, own: Node, findings: &mut Vec<Diagnostic>) -> Node {
    Merger { findings, keeps_modes: true }.nodes(settled(base), own)
}

struct Merger<'f> {
    findings: &'f mut Vec<Diagnostic>,
    keeps_modes: bool,
}

impl Merger<'_> {
    fn nodes(&mut self, earlier: Node, later: Node) -> Node {
        if later.is_null() {
            return earlier;
        }
        let (location, field) = (later.location, later.field);
        let content = match (earlier.content, later.content) {
            (Content::Map(map), Content::Map(over)) => Content::Map(self.maps(map, over)),
            (Content::List(list), Content::List(over)) if field.to_string().ends_with(".ipam.config") => {
                Content::List(self.pools(&list, over))
            }
            (Content::List(list), Content::List(over)) => Content::List(list.into_iter().chain(over).collect()),
            (Content::Scalar(_), content @ Content::Scalar(_)) | (Content::Scalar(Json::Null), content) => content,
            (other, content) => {
                let place = format!("{}:{}", earlier.location.file.display(), earlier.location.line);
                let message = format!("{} cannot be merged with {} in {place}", form(&content), form(&other));
                self.findings.push(Diagnostic::new(&codes::WRONG_TYPE, location.clone(), &field, message));
                content
            }
        };
        Node { content, location, field }
    }

    fn maps(&mut self, mut map: Map, over: Map) -> Map {
        for (name, entry) in over {
            let earlier = map.remove(&name);
            let merged = match (entry.mode, earlier) {
                (Mode::Reset, _) if !self.keeps_modes => continue,
                (Mode::Merge, Some(earlier)) => Entry { value: self.nodes(earlier.value, entry.value), ..entry },
                _ if self.keeps_modes => entry,
                _ => Entry { value: settled(entry.value), key: entry.key, mode: Mode::Merge },
            };
            map.insert(name, merged);
        }
        map
    }

    /// Of the pools of a network, those of the later file stay; an earlier one with the same subnet completes them.
    fn pools(&mut self, earlier: &[Node], later: Vec<Node>) -> Vec<Node> {
        let subnet = |node: &Node| node.get("subnet").and_then(Node::text);
        later
            .into_iter()
            .map(|pool| match earlier.iter().find(|earlier| subnet(earlier) == subnet(&pool)) {
                Some(earlier) => self.nodes(earlier.clone(), pool),
                None => pool,
            })
            .collect()
    }
}

/// A value that meets no earlier one: what it resets is not there.
pub(super) fn settled(node: Node) -> Node {
    let content = match node.content {
        Content::Map(map) => Content::Map(
            map.into_iter()
                .filter(|(_, entry)| entry.mode != Mode::Reset)
                .map(|(name, entry)| (name, Entry { value: settled(entry.value), key: entry.key, mode: Mode::Merge }))
                .collect(),
        ),
        Content::List(list) => Content::List(list.into_iter().map(settled).collect()),
        scalar @ Content::Scalar(_) => scalar,
    };
    Node { content, location: node.location, field: node.field }
}

/// What a value is, in words.
pub(super) fn form(content: &Content) -> &'static str {
    match content {
        Content::Scalar(Json::Null) => "nothing",
        Content::Scalar(Json::String(_)) => "text",
        Content::Scalar(Json::Number(_)) => "a number",
        Content::Scalar(_) => "a boolean",
        Content::List(_) => "a list",
        Content::Map(_) => "a mapping",
    }
}
