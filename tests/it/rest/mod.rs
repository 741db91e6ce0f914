//! The control plane's REST half on both engines, over real sockets.

mod changes;
mod model;
mod plane;
mod reads;
mod roles;
mod storage;
mod writes;
