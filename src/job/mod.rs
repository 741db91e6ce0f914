//! Where queue, worker, handlers, process and report meet.
