//! The client side of the wire: HTTP, session refresh, PostgREST, functions, Realtime.
