//! The rules of com.microsoft's Tokenizer, without tensors.

use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::TractResult;
use tract_onnx::tract_hir::internal::*;

use super::super::attributes;
use super::pattern::Longest;

/// How a text becomes tokens.
#[derive(Debug)]
pub(super) struct Rule {
    kind: Kind,
    /// Shorter tokens are dropped; in code points, 1 or more.
    shortest: usize,
}

#[derive(Debug)]
enum Kind {
    Characters,
    /// What matches is a token.
    Matches(Longest),
    /// What lies between matches is a token, pattern after pattern.
    Between(Vec<Longest>),
}

impl Rule {
    pub(super) fn read(node: &NodeProto) -> TractResult<Self> {
        let separators = node.get_attr_opt_vec::<String>("separators")?;
        let shortest: i64 = node.get_attr_opt("mincharnum")?.unwrap_or(1);
        let shortest = usize::try_from(shortest).ok().filter(|n| *n > 0);
        let shortest = shortest.context("mincharnum must be 1 or more")?;
        let kind = match separators.as_deref() {
            Some([]) => bail!("the list of separators is empty"),
            Some([one]) if one.is_empty() => Kind::Characters,
            Some(several) => {
                Kind::Between(several.iter().map(|s| Longest::new(s)).collect::<TractResult<_>>()?)
            }
            None => match attributes::text(node, "tokenexp", "")? {
                "" => bail!("separators or a tokenexp are needed"),
                "." => Kind::Characters,
                pattern => Kind::Matches(Longest::new(pattern)?),
            },
        };
        ensure!(
            shortest == 1 || !matches!(kind, Kind::Characters),
            "mincharnum is {shortest} though tokens are single characters"
        );
        Ok(Self { kind, shortest })
    }

    /// Calls `take` for each token of `text`, in order.
    pub(super) fn each<'a>(&self, text: &'a str, mut take: impl FnMut(&'a str)) -> TractResult<()> {
        match &self.kind {
            Kind::Characters => {
                let ends = text.char_indices().map(|(at, c)| (at, at + c.len_utf8()));
                ends.for_each(|(from, to)| take(&text[from..to]));
                Ok(())
            }
            Kind::Matches(pattern) => self.matches(pattern, text, take),
            Kind::Between(patterns) => {
                let mut parts = vec![text];
                for pattern in patterns {
                    let mut cut = Vec::with_capacity(parts.len());
                    for part in parts {
                        self.between(pattern, part, &mut cut)?;
                    }
                    parts = cut;
                }
                parts.into_iter().for_each(take);
                Ok(())
            }
        }
    }

    fn is_long_enough(&self, token: &str) -> bool {
        // Most tokens are counted by their bytes alone: a code point has four at the most.
        let bytes = token.len();
        bytes >= 4 * self.shortest
            || (bytes >= self.shortest && token.chars().count() >= self.shortest)
    }

    fn matches<'a>(
        &self,
        pattern: &Longest,
        text: &'a str,
        mut take: impl FnMut(&'a str),
    ) -> TractResult<()> {
        let mut from = 0;
        while let Some((start, end)) = pattern.find_at(text, from)? {
            let token = piece(text, start, end)?;
            if self.is_long_enough(token) {
                take(token);
                from = end;
            } else {
                // A short match is sought again one character on.
                from = start + first_character(text, start);
            }
            if from > text.len() {
                break;
            }
        }
        Ok(())
    }

    fn between<'a>(
        &self,
        pattern: &Longest,
        text: &'a str,
        parts: &mut Vec<&'a str>,
    ) -> TractResult<()> {
        let mut from = 0;
        while let Some((start, end)) = pattern.find_at(text, from)? {
            let part = piece(text, from, start)?;
            if self.is_long_enough(part) {
                parts.push(part);
            }
            from = if end > start { end } else { start + first_character(text, start) };
            if from > text.len() {
                return Ok(());
            }
        }
        let last = piece(text, from, text.len())?;
        if self.is_long_enough(last) {
            parts.push(last);
        }
        Ok(())
    }
}

fn piece(text: &str, from: usize, to: usize) -> TractResult<&str> {
    text.get(from..to).with_context(|| format!("a match cuts a character of \"{text}\""))
}

/// The length in bytes of the character at `at`; 1 behind the end.
fn first_character(text: &str, at: usize) -> usize {
    text.get(at..).and_then(|rest| rest.chars().next()).map_or(1, char::len_utf8)
}
