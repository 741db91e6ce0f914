//! Agent CLIs: find, probe, describe.
