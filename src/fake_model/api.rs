//! The APIs side by side.

use serde_json::Value;

use crate::fake_model::asked::Request;
use crate::fake_model::event::{Event, Events};
use crate::fake_model::reply::Message;
use crate::fake_model::{anthropic, gemini, openai};

/// A model API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Api {
    Anthropic,
    OpenAi,
    Gemini,
}

/// What a path asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// An answer of the model.
    Answer(Api),
    /// How many tokens a request has.
    Count(Api),
}

impl Route {
    /// The route of a POST. Base addresses with and without a version are fine.
    pub(super) fn of(path: &str) -> Option<Self> {
        let path = path.trim_end_matches('/');
        let ends = |end: &str| path.ends_with(end);
        Some(if ends("/messages") {
            Self::Answer(Api::Anthropic)
        } else if ends("/messages/count_tokens") {
            Self::Count(Api::Anthropic)
        } else if ends("/responses") {
            Self::Answer(Api::OpenAi)
        } else if ends(":generateContent") || ends(":streamGenerateContent") {
            Self::Answer(Api::Gemini)
        } else if ends(":countTokens") {
            Self::Count(Api::Gemini)
        } else {
            return None;
        })
    }
}

impl Api {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::OpenAi => "openai",
            Self::Gemini => "gemini",
        }
    }

    pub(super) fn request(self, path: &str, body: &Value) -> Request {
        match self {
            Self::Anthropic => anthropic::request(body),
            Self::OpenAi => openai::request(body),
            Self::Gemini => gemini::request(path, body),
        }
    }

    pub(super) fn whole(self, message: &Message) -> Value {
        match self {
            Self::Anthropic => anthropic::whole(message),
            Self::OpenAi => openai::whole(message),
            Self::Gemini => gemini::whole(message),
        }
    }

    pub(super) fn events(self, message: &Message) -> Events {
        match self {
            Self::Anthropic => anthropic::events(message),
            Self::OpenAi => openai::events(message),
            Self::Gemini => gemini::events(message),
        }
    }

    /// An error inside a stream.
    pub(super) fn broken(self, kind: &str) -> Event {
        Event::frame(match self {
            Self::Anthropic => anthropic::broken(kind),
            Self::OpenAi => openai::broken(kind),
            Self::Gemini => gemini::broken(kind),
        })
    }

    /// The body of an HTTP error.
    pub(super) fn problem(self, status: u16, message: &str) -> Value {
        match self {
            Self::Anthropic => anthropic::problem(status, message),
            Self::OpenAi => openai::problem(status, message),
            Self::Gemini => gemini::problem(status, message),
        }
    }

    /// The answer to a question for a number of tokens.
    pub(super) fn count(self, tokens: usize) -> Value {
        match self {
            Self::Gemini => serde_json::json!({"totalTokens": tokens}),
            Self::Anthropic | Self::OpenAi => serde_json::json!({"input_tokens": tokens}),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_known_by_their_end() {
        for (path, route) in [
            ("/v1/messages", Some(Route::Answer(Api::Anthropic))),
            ("/messages/", Some(Route::Answer(Api::Anthropic))),
            ("/v1/messages/count_tokens", Some(Route::Count(Api::Anthropic))),
            ("/v1/responses", Some(Route::Answer(Api::OpenAi))),
            (
                "/v1beta/models/m:streamGenerateContent",
                Some(Route::Answer(Api::Gemini)),
            ),
            ("/v1beta/models/m:countTokens", Some(Route::Count(Api::Gemini))),
            ("/v1/chat/completions", None),
        ] {
            assert_eq!(Route::of(path), route, "{path}");
        }
    }
}
