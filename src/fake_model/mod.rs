//! A scripted model API on loopback, so that agent CLIs run with no account and no network.
//!
//! It speaks Anthropic Messages, OpenAI Responses and Gemini `generateContent`, whole and streamed, and checks no
//! credential. What the "model" does stands in the prompt ([`DIRECTIVES`]); a prompt without directives is answered
//! with `fake(TURN): PROMPT`, so that a resumed session is seen. Nothing but counters is kept between requests.

mod anthropic;
mod api;
mod asked;
mod brain;
mod event;
mod gemini;
mod instance;
mod openai;
mod reply;
mod script;
mod seen;
mod server;
mod stream;
mod tools;

pub use script::DIRECTIVES;
pub use seen::{Asked, Ended, How, Observer, Seen};
pub use server::{ServeError, ServeOptions, serve};
