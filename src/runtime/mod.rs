//! The daemon: composes everything, owns tasks and shutdown.
