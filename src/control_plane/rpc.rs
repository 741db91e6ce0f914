//! `/rest/v1/rpc`
