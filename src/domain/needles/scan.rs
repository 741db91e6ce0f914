//! Finds any of many short anchors in a long text, in steps almost as wide as an anchor (Wu and Manber, 1994).

/// Bytes that decide about a step.
const BLOCK: usize = 3;
const SLOT_BITS: u32 = 13;
/// Longest and shortest anchor.
const WIDTHS: (usize, usize) = (6, 16);

/// A piece of a form.
#[derive(Clone)]
struct Anchor {
    bytes: Vec<u8>,
    form: usize,
    offset: usize,
}

/// See the module's head.
#[derive(Clone, Default)]
pub(super) struct Scanner {
    width: usize,
    /// By the block at a window's end: how far the window may move, none when an anchor may end here.
    steps: Vec<u8>,
    anchors: Vec<Anchor>,
}

/// An anchor was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hit {
    /// Where in the text.
    pub(super) at: usize,
    /// Of which form.
    pub(super) form: usize,
    /// Where in the form.
    pub(super) offset: usize,
    /// Its length.
    pub(super) width: usize,
}

impl Scanner {
    /// Two anchors each, side by side at the form's end: one is whole wherever a line ends. Tokens of one kind begin
    /// alike and end differently.
    pub(super) fn new<'a>(forms: impl Iterator<Item = &'a [u8]> + Clone) -> Self {
        let shortest = forms.clone().map(<[u8]>::len).min().unwrap_or_default();
        let width = (shortest / 2).clamp(WIDTHS.0, WIDTHS.1);
        let mut anchors = Vec::new();
        for (form, bytes) in forms.enumerate() {
            for back in [2 * width, width] {
                let offset = bytes.len().saturating_sub(back);
                let bytes = bytes.get(offset..offset + width).unwrap_or_default().to_vec();
                anchors.push(Anchor { bytes, form, offset });
            }
        }
        let farthest = u8::try_from(width - BLOCK + 1).unwrap_or(1);
        let mut steps = vec![farthest; 1 << SLOT_BITS];
        for anchor in &anchors {
            for (step, block) in (0..farthest).rev().zip(anchor.bytes.windows(BLOCK)) {
                if let Some(known) = steps.get_mut(slot(block)) {
                    *known = step.min(*known);
                }
            }
        }
        Self { width, steps, anchors }
    }

    /// Where an anchor stands in the text.
    pub(super) fn hits(&self, text: &[u8]) -> Vec<Hit> {
        let mut hits = Vec::new();
        let mut at = 0;
        while let Some(window) = text.get(at..at + self.width).filter(|_| !self.anchors.is_empty()) {
            let block = window.get(self.width - BLOCK..).unwrap_or_default();
            let step = self.steps.get(slot(block)).copied().unwrap_or(1);
            if step == 0 {
                let here = self.anchors.iter().filter(|anchor| anchor.bytes == window);
                hits.extend(here.map(|anchor| Hit {
                    at,
                    form: anchor.form,
                    offset: anchor.offset,
                    width: self.width,
                }));
            }
            at += usize::from(step.max(1));
        }
        hits
    }
}

fn slot(block: &[u8]) -> usize {
    let number = block.iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
    let slot = number.wrapping_mul(0x9e37_79b1) >> (u32::BITS - SLOT_BITS);
    usize::try_from(slot).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_anchor_is_found_wherever_it_stands() {
        let forms = ["0123456789abcdefghij", "the quick brown fox jumps over"];
        let scanner = Scanner::new(forms.iter().map(|form| form.as_bytes()));
        for before in 0..40 {
            let text = format!("{}{}{}", "x".repeat(before), forms[0], forms[1]);
            let found = scanner.hits(text.as_bytes());
            assert_eq!(found.len(), 4, "{before}");
            for hit in found {
                let anchor = &forms[hit.form].as_bytes()[hit.offset..hit.offset + hit.width];
                assert_eq!(&text.as_bytes()[hit.at..hit.at + hit.width], anchor);
            }
        }
    }

    #[test]
    fn nothing_is_found_without_needles_or_text() {
        assert_eq!(Scanner::default().hits(b"anything"), []);
        assert_eq!(Scanner::new([b"0123456789ab".as_slice()].into_iter()).hits(b"0123"), []);
    }
}
