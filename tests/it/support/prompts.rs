//! Prompts, and what becomes of them.

use crate::support::stage::Stage;

/// Words of which no two are the same: an agent takes endless repetition for a model that has lost its way.
pub(crate) fn long(characters: usize) -> String {
    let words = (0_u32..).map(|number| format!("{:x}ß ", number.wrapping_mul(0x9e37_79b9)));
    let mut text: String = words.take(characters / 4).collect();
    let end = text.char_indices().nth(characters - 1).unwrap().0;
    text.truncate(end);
    text.push('.');
    text
}

/// What the model was asked last, the agent's own additions left out.
pub(crate) fn arrived(stage: &Stage) -> String {
    let asked = stage.model.asked();
    asked.last().unwrap().user.last().unwrap().clone()
}
