//! What is legal and unwise in a policy: warnings for whoever edits it.
//!
//! A policy that is running needs none of this, so only `check` asks for it. The texts are read once more, because a compiled
//! policy no longer knows where its parts stood.

use crate::diagnostic::Source;

use super::tree::{Key, Kind, Node, Tree, read};

/// The files of a policy as they were written.
#[derive(Debug)]
pub struct Text {
    trees: Vec<Tree>,
}

impl Text {
    /// Reads the files.
    pub fn of(sources: &[Source]) -> Self {
        Self { trees: sources.iter().map(read).collect() }
    }

    /// How many names a section defines.
    pub fn count(&self, section: &str) -> usize {
        self.section(section).count()
    }

    /// The names of a section, with what stands under them.
    fn section(&self, name: &str) -> impl Iterator<Item = (&Key, &Node)> {
        let roots = self.trees.iter().filter_map(|tree| tree.root.as_ref());
        roots.filter_map(move |root| child(root, name)).flat_map(entries).map(|(key, node)| (key, node))
    }
}

fn entries(node: &Node) -> &[(Key, Node)] {
    match &node.kind {
        Kind::Map(entries) => entries,
        _ => &[],
    }
}

fn child<'t>(node: &'t Node, name: &str) -> Option<&'t Node> {
    entries(node).iter().find(|(key, _)| key.text == name).map(|(_, value)| value)
}
