//! Regular expressions as RE2 reads them, on the automata of the regex crate.
//!
//! Two things differ between the two. In RE2 `\w`, `\d`, `\s` and `\b` know ASCII only, and
//! inside brackets nothing but ranges, names and escapes is special; so patterns are
//! [translated](translate). And tokenisers ask RE2 for the longest of the leftmost matches, not
//! the one that the order of alternatives prefers; so the start is searched first and the
//! farthest end from there second.

mod translate;

use std::fmt;

use regex_automata::hybrid::dfa;
use regex_automata::nfa::thompson;
use regex_automata::util::pool::Pool;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, MatchKind, meta};
use regex_syntax::hir::{Class, Hir, HirKind};
use tract_onnx::prelude::TractResult;
use tract_onnx::tract_hir::internal::*;

use translate::translate;

/// Finds the longest of the leftmost matches.
pub(super) enum Longest {
    /// One or more characters of a set: a table does without automata.
    Run(Set),
    Any(Box<Automata>),
}

pub(super) struct Automata {
    leftmost: meta::Regex,
    farthest: dfa::DFA,
    caches: Pool<dfa::Cache, Box<dyn Fn() -> dfa::Cache + Send + Sync>>,
}

impl fmt::Debug for Longest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Run(_) => "Run",
            Self::Any(_) => "Any",
        })
    }
}

impl Longest {
    pub(super) fn new(pattern: &str) -> TractResult<Self> {
        let hir = parse(&translate(pattern)).with_context(|| format!("the pattern {pattern}"))?;
        if let Some(set) = run(&hir) {
            return Ok(Self::Run(set));
        }
        let automata = || -> TractResult<Automata> {
            let leftmost = meta::Builder::new().build_from_hir(&hir)?;
            let nfa = thompson::Compiler::new().build_from_hir(&hir)?;
            let all = dfa::Config::new().match_kind(MatchKind::All).unicode_word_boundary(true);
            let farthest = dfa::Builder::new().configure(all).build_from_nfa(nfa)?;
            let for_caches = farthest.clone();
            let caches: Box<dyn Fn() -> dfa::Cache + Send + Sync> =
                Box::new(move || for_caches.create_cache());
            Ok(Automata { leftmost, farthest, caches: Pool::new(caches) })
        };
        Ok(Self::Any(Box::new(automata().with_context(|| format!("the pattern {pattern}"))?)))
    }

    /// Where the match that begins first at `from` or later begins and ends.
    pub(super) fn find_at(&self, text: &str, from: usize) -> TractResult<Option<(usize, usize)>> {
        match self {
            Self::Run(set) => Ok(set.find_at(text, from)),
            Self::Any(automata) => automata.find_at(text, from),
        }
    }
}

impl Automata {
    fn find_at(&self, text: &str, from: usize) -> TractResult<Option<(usize, usize)>> {
        let Some(first) = self.leftmost.search(&Input::new(text).range(from..)) else {
            return Ok(None);
        };
        let start = first.start();
        let input = Input::new(text).range(start..).anchored(Anchored::Yes);
        let farthest = self.farthest.try_search_fwd(&mut self.caches.get(), &input)?;
        Ok(Some((start, farthest.map_or(first.end(), |end| end.offset()))))
    }
}

/// Says whether a whole text matches.
#[derive(Debug)]
pub(super) struct Whole(meta::Regex);

impl Whole {
    pub(super) fn new(pattern: &str) -> TractResult<Self> {
        let whole = format!(r"\A(?:{})\z", translate(pattern));
        let build =
            || -> TractResult<_> { Ok(meta::Builder::new().build_from_hir(&parse(&whole)?)?) };
        Ok(Self(build().with_context(|| format!("the pattern {pattern}"))?))
    }

    pub(super) fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

fn parse(translated: &str) -> TractResult<Hir> {
    Ok(syntax::parse(translated)?)
}

/// A set of characters.
#[derive(Debug)]
pub(super) struct Set {
    ascii: [bool; 128],
    /// Ranges of the others, first to last, in order.
    others: Vec<(char, char)>,
}

/// The set that `hir` takes one or more characters of, when that is all it does.
fn run(hir: &Hir) -> Option<Set> {
    let HirKind::Repetition(repeated) = hir.kind() else { return None };
    if (repeated.min, repeated.max, repeated.greedy) != (1, None, true) {
        return None;
    }
    let HirKind::Class(class) = repeated.sub.kind() else { return None };
    let ranges: Vec<(char, char)> = match class {
        Class::Unicode(class) => class.iter().map(|r| (r.start(), r.end())).collect(),
        Class::Bytes(class) if class.is_ascii() => {
            class.iter().map(|r| (char::from(r.start()), char::from(r.end()))).collect()
        }
        Class::Bytes(_) => return None,
    };
    let mut ascii = [false; 128];
    for (code, is_in) in (0u8..).zip(&mut ascii) {
        *is_in = ranges.iter().any(|(first, last)| (*first..=*last).contains(&char::from(code)));
    }
    Some(Set { ascii, others: ranges.into_iter().filter(|r| !r.1.is_ascii()).collect() })
}

impl Set {
    /// How long the character at `at` is, and whether the set has it.
    fn at(&self, text: &str, at: usize) -> Option<(usize, bool)> {
        let byte = *text.as_bytes().get(at)?;
        if let Some(is_in) = self.ascii.get(usize::from(byte)) {
            return Some((1, *is_in));
        }
        let c = text.get(at..)?.chars().next()?;
        let place = self.others.partition_point(|(_, last)| *last < c);
        Some((c.len_utf8(), self.others.get(place).is_some_and(|(first, _)| *first <= c)))
    }

    fn find_at(&self, text: &str, from: usize) -> Option<(usize, usize)> {
        let mut start = from;
        let mut end = loop {
            match self.at(text, start)? {
                (length, true) => break start + length,
                (length, false) => start += length,
            }
        };
        while let Some((length, true)) = self.at(text, end) {
            end += length;
        }
        Some((start, end))
    }
}

#[cfg(test)]
mod tests;
