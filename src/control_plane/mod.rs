//! The embedded control plane: the other end of the wire.
