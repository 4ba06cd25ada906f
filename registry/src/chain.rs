//! The hash chain over the audit trail.
//!
//! # The links
//!
//! The link of an event is `SHA-256(link before ‖ "\n" ‖ text of the event)`, the link before
//! as 64 hexadecimal digits and 64 zeros for the first event. The text is a JSON array without
//! spaces: `[sequence, at, actor, actor_name, action, model, version, from, to]`, where `from`
//! and `to` are the stored texts as strings. So anybody can recompute it with the rows alone.
//!
//! A release that kept no chain leaves the `hash` of its events empty. Their links are
//! computed all the same and the next stored one rests on them: they are covered by content
//! from then on, those of before the chain existed by its first stored link.
//!
//! # What is proved
//!
//! That a chain is whole proves that nobody has altered, removed, inserted or swapped events
//! up to the last stored link without computing all later links anew. It does not prove
//! that nobody did compute them anew, nor that nothing was cut off at the end, nor anything
//! about events without a stored link after them (unless a model shows that it stood at a
//! later revision than the last event). Who has noted a link somewhere else, such as from a
//! webhook or a log, can compare it and has proved everything up to it.

use serde::{Deserialize, Serialize};
use weighbridge_config::Digest;

use crate::error::{Error, Result};
use crate::model::{Millis, Revision};

/// What came of recomputing the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChainReport {
    /// The first event that has a link of its own; `None` when there is none yet.
    pub first: Option<Revision>,
    /// The last such event.
    pub last: Option<Revision>,
    /// The link of `last`: worth noting down somewhere else.
    pub hash: Option<Digest>,
    /// How many events the chain covers, those without a link of their own included.
    pub events: u64,
    /// How many events after `last` no link covers.
    pub uncovered: u64,
    /// The first place where the chain and the events disagree.
    pub broken_at: Option<BrokenLink>,
}

/// Where and how the chain is broken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BrokenLink {
    /// The event at which it was found.
    pub sequence: Revision,
    /// What was found, for people.
    pub reason: String,
}

/// An event as its link sees it: the very texts of the row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EventText<'a> {
    pub(crate) sequence: Revision,
    pub(crate) at: Millis,
    pub(crate) actor: &'a str,
    pub(crate) actor_name: &'a str,
    pub(crate) action: &'a str,
    pub(crate) model: Option<&'a str>,
    pub(crate) version: Option<u32>,
    pub(crate) from: Option<&'a str>,
    pub(crate) to: Option<&'a str>,
}

impl EventText<'_> {
    /// The link of this event after the link `before`.
    pub(crate) fn link_after(&self, before: &Digest) -> Result<Digest> {
        let Self { sequence, at, actor, actor_name, action, model, version, from, to } = self;
        let fields = (sequence, at, actor, actor_name, action, model, version, from, to);
        let text = serde_json::to_string(&fields).map_err(|e| Error::corrupt("an event", e))?;
        Ok(Digest::of(format!("{before}\n{text}").as_bytes()))
    }
}

/// The link before the first event.
pub(crate) fn origin() -> Digest {
    Digest::from_bytes([0; 32])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with another program from the words of the documentation above: a file's links
    /// must be the same in every release.
    #[test]
    fn links_are_what_the_documentation_says() {
        let first = EventText {
            sequence: 1,
            at: 1_700_000_000_000,
            actor: "key:wbk_ada",
            actor_name: "Ada \"L\"",
            action: "version.registered",
            model: Some("fraud"),
            version: Some(1),
            from: None,
            to: Some(r#"{"state":"checking"}"#),
        };
        let second = EventText {
            sequence: 2,
            at: 1_700_000_000_001,
            actor: "system",
            actor_name: "weighbridge",
            action: "rollouts.frozen",
            model: None,
            version: None,
            from: Some(r#"{"frozen":false}"#),
            to: Some(r#"{"frozen":true,"reason":"größer\n"}"#),
        };
        let one = first.link_after(&origin()).expect("a link");
        assert_eq!(
            one.to_string(),
            "aef3767d616f022b4079e4e43485169b368fbfd549f7156104005d860aa76d21"
        );
        let two = second.link_after(&one).expect("a link");
        assert_eq!(
            two.to_string(),
            "4b5a5344a43ca5f4ec9cf6645f389afcb87227c376f3b064be332e597a0d1943"
        );
    }
}
