//! Rows over PostgREST: a typed builder with the verbs of the `postgrest` crate.

mod value;

use std::fmt;

use reqwest::Method;
use serde_json::Value;

use crate::backend::client::Client;
use crate::backend::error::BackendError;
use crate::backend::http::{Answer, Body, Request, StreamBody};

/// Tables as seen by one login.
#[derive(Debug, Clone)]
pub struct Rest {
    client: Client,
}

impl Rest {
    pub(crate) const fn new(client: Client) -> Self {
        Self { client }
    }

    /// Whether the backend did not answer lately.
    #[must_use]
    pub fn is_away(&self) -> bool {
        self.client.http().is_away()
    }

    /// Now by the backend's clock, by ours while it has not answered yet.
    #[must_use]
    pub fn server_time(&self) -> jiff::Timestamp {
        self.client.http().server_time()
    }

    /// Begins a request about a table.
    #[must_use]
    pub fn from(&self, table: &str) -> Table {
        Table {
            client: self.client.clone(),
            name: table.to_owned(),
        }
    }

    /// Calls a function of the database with named arguments.
    ///
    /// # Errors
    /// [`BackendError`] as for every request.
    pub async fn rpc(&self, function: &str, arguments: &Value) -> Result<Value, BackendError> {
        let target = format!("rpc/{function}");
        let url = self.client.http().endpoint().at(&format!("/rest/v1/{target}"));
        let request = Request::new(Method::POST, &target, url)
            .header("content-profile", "public")
            .json(arguments.to_string());
        let answer = self.client.send(&request).await?;
        if answer.body.is_empty() {
            return Ok(Value::Null);
        }
        answer.json()
    }
}

/// A table, not yet told what to do.
#[derive(Debug, Clone)]
pub struct Table {
    client: Client,
    name: String,
}

impl Table {
    /// Reads columns: `*`, or names separated by commas without spaces.
    pub fn select(self, columns: &str) -> Query {
        self.query(Method::GET, Body::Empty).with("select", columns)
    }

    /// Inserts one object, or an array of them.
    pub fn insert(self, rows: &Value) -> Query {
        let columns = rows.as_array().map(|rows| value::columns(rows));
        let query = self.query(Method::POST, Body::Json(rows.to_string()));
        match columns {
            Some(columns) => query.with("columns", &columns),
            None => query,
        }
    }

    /// Changes the rows that the filters match.
    pub fn update(self, changes: &Value) -> Query {
        self.query(Method::PATCH, Body::Json(changes.to_string()))
    }

    /// As [`Table::update`], with a body that never exists as a whole.
    pub fn update_stream(self, changes: StreamBody) -> Query {
        self.query(Method::PATCH, Body::Stream(changes))
    }

    /// Deletes the rows that the filters match.
    pub fn delete(self) -> Query {
        self.query(Method::DELETE, Body::Empty)
    }

    fn query(self, method: Method, body: Body) -> Query {
        Query {
            client: self.client,
            table: self.name,
            method,
            parameters: Vec::new(),
            body,
            returning: false,
        }
    }
}

/// A request about a table: filters narrow it, `fetch`, `maybe_one` or `execute` send it.
#[must_use = "a query does nothing until it is sent"]
#[derive(Debug, Clone)]
pub struct Query {
    client: Client,
    table: String,
    method: Method,
    parameters: Vec<(String, String)>,
    body: Body,
    returning: bool,
}

impl Query {
    fn with(mut self, name: &str, value: &str) -> Self {
        self.parameters.push((name.to_owned(), value.to_owned()));
        self
    }

    /// `column = value`.
    pub fn eq(self, column: &str, value: &(impl fmt::Display + ?Sized)) -> Self {
        self.with(column, &format!("eq.{value}"))
    }

    /// `column <> value`.
    pub fn neq(self, column: &str, value: &(impl fmt::Display + ?Sized)) -> Self {
        self.with(column, &format!("neq.{value}"))
    }

    /// `column > value`.
    pub fn gt(self, column: &str, value: &(impl fmt::Display + ?Sized)) -> Self {
        self.with(column, &format!("gt.{value}"))
    }

    /// `column >= value`.
    pub fn gte(self, column: &str, value: &(impl fmt::Display + ?Sized)) -> Self {
        self.with(column, &format!("gte.{value}"))
    }

    /// `column < value`.
    pub fn lt(self, column: &str, value: &(impl fmt::Display + ?Sized)) -> Self {
        self.with(column, &format!("lt.{value}"))
    }

    /// `column <= value`.
    pub fn lte(self, column: &str, value: &(impl fmt::Display + ?Sized)) -> Self {
        self.with(column, &format!("lte.{value}"))
    }

    /// `column is value`: `null`, `true` or `false`.
    pub fn is(self, column: &str, value: &str) -> Self {
        self.with(column, &format!("is.{value}"))
    }

    /// `column in (values)`.
    pub fn in_<T: ToString>(self, column: &str, values: impl IntoIterator<Item = T>) -> Self {
        let list = value::list(values.into_iter().map(|value| value.to_string()));
        self.with(column, &format!("in.({list})"))
    }

    /// Order, such as `created_at.asc,id.asc`.
    pub fn order(self, order: &str) -> Self {
        self.with("order", order)
    }

    /// At most so many rows.
    pub fn limit(self, rows: u32) -> Self {
        self.with("limit", &rows.to_string())
    }

    /// Skips so many rows.
    pub fn offset(self, rows: u32) -> Self {
        if rows == 0 {
            return self;
        }
        self.with("offset", &rows.to_string())
    }

    /// For writes: answers with these columns of the rows that were written.
    pub fn returning(mut self, columns: &str) -> Self {
        self.returning = true;
        self.with("select", columns)
    }

    /// Sends and gives all rows.
    ///
    /// # Errors
    /// [`BackendError`] as for every request.
    pub async fn fetch(self) -> Result<Vec<Value>, BackendError> {
        self.send().await?.json()
    }

    /// Sends and gives the one row, if there is one.
    ///
    /// # Errors
    /// [`BackendError`]; [`BackendError::Unexpected`] for more than one row.
    pub async fn maybe_one(self) -> Result<Option<Value>, BackendError> {
        let answer = self.send().await?;
        let mut rows: Vec<Value> = answer.json()?;
        if rows.len() > 1 {
            return Err(BackendError::unexpected(answer.what, "more than one row"));
        }
        Ok(rows.pop())
    }

    /// Sends a write whose rows nobody wants to see.
    ///
    /// # Errors
    /// [`BackendError`]; that no row matched is not one.
    pub async fn execute(self) -> Result<(), BackendError> {
        self.send().await.map(drop)
    }

    async fn send(self) -> Result<Answer, BackendError> {
        let request = self.request();
        self.client.send(&request).await
    }

    fn request(&self) -> Request {
        let mut url = self.client.http().endpoint().at(&format!("/rest/v1/{}", self.table));
        if !self.parameters.is_empty() {
            url.query_pairs_mut().extend_pairs(&self.parameters);
        }
        let mut request = Request::new(self.method.clone(), &self.table, url);
        request = if self.method == Method::GET {
            request.header("accept-profile", "public")
        } else if self.returning {
            request
                .header("content-profile", "public")
                .header("prefer", "return=representation")
        } else {
            request
                .header("content-profile", "public")
                .header("prefer", "return=minimal")
        };
        request.body = self.body.clone();
        request
    }
}
