//! Secrets made ready for searching: where they stand in a text, whole, or in half where the text was cut.

use std::ops::Range;

use memchr::memmem;

use super::forms::{self, Form, Met, follow};
use super::scan::Scanner;

/// So much of a secret at the edge of a text is half a secret.
pub(super) const EDGE: usize = 5;
/// What stands where the middle of an output was left out, behind a line break and `[`.
const LEFT_OUT: &[u8] = b" bytes left out]\n";
/// What stands where the rest of a text was cut off.
const DOTS: &[u8] = b"...";

/// The forms of all secrets, and what finds them.
#[derive(Clone, Default)]
pub(super) struct Set {
    forms: Vec<Form>,
    scanner: Scanner,
    longest: usize,
    /// By byte: the forms that begin with it, and those that end with it.
    outermost: Vec<(Vec<usize>, Vec<usize>)>,
}

impl Set {
    pub(super) fn of<'a>(secrets: impl Iterator<Item = &'a str>) -> Self {
        let forms: Vec<Form> = secrets.flat_map(forms::of).collect();
        let mut outermost = vec![(Vec::new(), Vec::new()); 256];
        for (number, form) in forms.iter().enumerate() {
            let at = |byte: Option<&u8>| usize::from(byte.copied().unwrap_or_default());
            if let Some((first, _)) = outermost.get_mut(at(form.bytes.first())) {
                first.push(number);
            }
            if let Some((_, last)) = outermost.get_mut(at(form.bytes.last())) {
                last.push(number);
            }
        }
        Self {
            outermost,
            scanner: Scanner::new(forms.iter().map(|form| form.bytes.as_slice())),
            longest: forms.iter().map(|form| form.bytes.len()).max().unwrap_or_default(),
            forms,
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.forms.is_empty()
    }

    /// Where secrets stand in a text, in order and apart; halves at its edges and cuts included.
    pub(super) fn found(&self, text: &[u8]) -> Vec<Range<usize>> {
        if self.is_empty() {
            return Vec::new();
        }
        let mut found = self.whole(text);
        let cuts = memmem::find_iter(text, LEFT_OUT).filter_map(|end| {
            let begin = memmem::rfind(text.get(..end)?, b"\n[")?;
            Some(begin..end + LEFT_OUT.len())
        });
        let mut begin = 0;
        for cut in cuts.chain(std::iter::once(text.len()..text.len())) {
            found.extend(self.halves(text, begin..cut.start));
            begin = cut.end;
        }
        merged(found)
    }

    /// Where whole secrets stand.
    pub(super) fn whole(&self, text: &[u8]) -> Vec<Range<usize>> {
        let hits = self.scanner.hits(text).into_iter();
        let whole = hits.filter_map(|hit| {
            let form = self.forms.get(hit.form)?;
            let (left, right) = (form.bytes.get(..hit.offset)?, form.bytes.get(hit.offset + hit.width..)?);
            let (before, behind) = (text.get(..hit.at)?, text.get(hit.at + hit.width..)?);
            let before = follow(bytes(left).rev(), bytes(before).rev(), form.wraps);
            let behind = follow(bytes(right), bytes(behind), form.wraps);
            match (before, behind) {
                (Met::Whole(before), Met::Whole(behind)) => Some(hit.at - before..hit.at + hit.width + behind),
                (Met::Whole(_) | Met::Begun(_) | Met::Apart, Met::Whole(_) | Met::Begun(_) | Met::Apart) => None,
            }
        });
        merged(whole.collect())
    }

    /// Where the beginning of a secret stands at the end of the text.
    pub(super) fn begun(&self, text: &[u8]) -> Option<usize> {
        let earliest = text.len().saturating_sub(self.reach());
        let latest = (text.len() + 1).saturating_sub(EDGE);
        (earliest..latest).find(|at| {
            let rest = text.get(*at..).unwrap_or_default();
            let begun = |form: &Form| is_half(&follow(bytes(&form.bytes), bytes(rest), form.wraps));
            let likely = self.outermost(rest.first()).map(|(first, _)| first);
            self.forms(likely).any(begun)
        })
    }

    /// Where the end of a secret, with which the text begins, is over.
    fn ended(&self, text: &[u8]) -> Option<usize> {
        (EDGE..=text.len().min(self.reach())).rev().find(|end| {
            let rest = text.get(..*end).unwrap_or_default();
            let ended = |form: &Form| is_half(&follow(bytes(&form.bytes).rev(), bytes(rest).rev(), form.wraps));
            let likely = self.outermost(rest.last()).map(|(_, last)| last);
            self.forms(likely).any(ended)
        })
    }

    fn outermost(&self, byte: Option<&u8>) -> Option<&(Vec<usize>, Vec<usize>)> {
        self.outermost.get(usize::from(*byte?))
    }

    fn forms<'a>(&'a self, numbers: Option<&'a Vec<usize>>) -> impl Iterator<Item = &'a Form> {
        let numbers = numbers.into_iter().flatten();
        numbers.filter_map(|number| self.forms.get(*number))
    }

    fn halves(&self, text: &[u8], part: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let inside = text.get(part.clone()).unwrap_or_default();
        let first = self.ended(inside).map(|end| part.start..part.start + end);
        let cut = inside.strip_suffix(DOTS);
        let ends = std::iter::once(inside).chain(cut);
        let last = ends.filter_map(move |end| {
            let at = self.begun(end)?;
            Some(part.start + at..part.start + end.len())
        });
        first.into_iter().chain(last)
    }

    /// How far from an edge half a secret may reach, ends of lines included.
    const fn reach(&self) -> usize {
        self.longest + self.longest / 16 + 2
    }
}

fn bytes(text: &[u8]) -> impl DoubleEndedIterator<Item = u8> {
    text.iter().copied()
}

const fn is_half(met: &Met) -> bool {
    match met {
        Met::Begun(matched) => *matched >= EDGE,
        Met::Whole(_) | Met::Apart => false,
    }
}

fn merged(mut found: Vec<Range<usize>>) -> Vec<Range<usize>> {
    found.sort_by_key(|range| (range.start, range.end));
    let mut apart: Vec<Range<usize>> = Vec::new();
    for range in found {
        match apart.last_mut() {
            Some(last) if range.start < last.end => last.end = last.end.max(range.end),
            Some(_) | None => apart.push(range),
        }
    }
    apart
}
