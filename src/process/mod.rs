//! Child processes: environment, spawn, capture, stop.
//!
//! A child leads its own session and process group, reads nothing from us or our terminal, holds no descriptor of ours
//! beyond 0-2 and starts with fresh signal dispositions. The end of the foreground process is the end of the work; its pipes get a moment to
//! drain. Whoever started a child awaits its end: the ladder of signals is part of [`spawn::Child::wait`], and a
//! child that is dropped unawaited takes its group with it. What carries a job's mark is held in a cgroup of that job
//! as well, where cgroups are to be had: nothing leaves that, whatever it does to its group or environment.
//!
//! A process of a job begins only after its [`hold::Registrar`] has written it down.
//!
//! Commands of std or tokio cannot hold a child before it execs without a fork, which copies our memory; a wrapper
//! crate would wait for the whole group, which is exactly what a finished command must not do here.

pub mod capture;
mod cgroup;
pub mod containment;
pub mod daemon;
pub mod descriptors;
pub mod env;
pub mod exit;
pub mod failure;
mod fence;
mod group;
pub mod guardian;
pub mod hold;
pub mod identity;
mod image;
pub mod interactive;
pub mod lines;
pub mod mark;
mod owned;
pub mod patience;
mod pipes;
mod running;
pub mod signals;
pub mod spawn;
pub mod spec;
mod sys;
