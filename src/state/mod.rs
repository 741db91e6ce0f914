//! Files this program owns: state directory, session, lock, log, journal.
