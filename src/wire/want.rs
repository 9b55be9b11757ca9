//! What a dialect wants of a JSON document: a tree over its members, as constants.

/// Where a captured value belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    /// The usage object.
    Usage,
    /// A second usage object: Anthropic's first count, Groq's copy.
    SideUsage,
    /// The model that answered.
    Model,
    /// The service tier.
    Tier,
    /// Why the answer ended.
    Finish,
    /// An error, unless null.
    Error,
    /// The kind of an event.
    Kind,
    /// The `choices` of a chunk.
    Choices,
}

/// What is wanted of a value.
#[derive(Debug)]
pub(crate) enum Want {
    /// To capture it.
    Slot(Slot),
    /// To count the bytes of its strings as output.
    Text,
    /// To look into it, an object: these members are wanted.
    Members(&'static [(&'static str, Self)]),
    /// To look into it, an array: this is wanted of every element.
    Elements(&'static Self),
}
