//! Child processes: environment, spawn, capture, stop.
