//! `/rest/v1`
