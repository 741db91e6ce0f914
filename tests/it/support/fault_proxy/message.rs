//! HTTP/1.1 as far as a proxy has to understand it: where a message ends.

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::TcpStream;

/// One side of a conversation, with what was read of it too early.
#[derive(Debug)]
pub(super) struct Peer<S = TcpStream> {
    pub(super) stream: S,
    pub(super) held: Vec<u8>,
}

/// A message, byte for byte.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) bytes: Vec<u8>,
    head: usize,
}

impl Message {
    fn lines(&self) -> impl Iterator<Item = &str> {
        str::from_utf8(&self.bytes[..self.head]).unwrap().lines()
    }

    pub(super) fn first_line(&self) -> &str {
        self.lines().next().unwrap_or_default()
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.lines().filter_map(|line| line.split_once(':'));
        let (_, value) = headers.find(|(header, _)| header.eq_ignore_ascii_case(name))?;
        Some(value.trim())
    }

    pub(super) fn is_upgrade(&self) -> bool {
        self.header("upgrade").is_some()
    }

    pub(super) fn body_len(&self) -> usize {
        self.bytes.len() - self.head
    }

    /// Answers end with the connection where they do not say otherwise.
    fn ends_with_connection(&self) -> bool {
        let status = self.first_line().split(' ').nth(1).unwrap_or_default();
        let is_answer = self.first_line().starts_with("HTTP/");
        is_answer && !status.starts_with('1') && !matches!(status, "204" | "304")
    }
}

impl Peer {
    pub(super) const fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            held: Vec::new(),
        }
    }

    /// Ends the connection as a dying path does.
    pub(super) fn reset(self) {
        self.stream.set_zero_linger().unwrap();
    }
}

impl<S: AsyncRead + Unpin> Peer<S> {
    /// The next request, if there is one.
    pub(super) async fn request(&mut self) -> Option<Message> {
        let head = self.head().await?;
        self.with_body(head).await
    }

    /// The answer to `request`.
    pub(super) async fn answer(&mut self, request: &Message) -> Option<Message> {
        let head = self.head().await?;
        if request.first_line().starts_with("HEAD ") {
            return Some(head);
        }
        self.with_body(head).await
    }

    pub(super) async fn head(&mut self) -> Option<Message> {
        let end = self.until(|held| find(held, b"\r\n\r\n")).await? + 4;
        let bytes = self.held.drain(..end).collect();
        Some(Message { bytes, head: end })
    }

    async fn with_body(&mut self, mut message: Message) -> Option<Message> {
        let length = message.header("content-length").map(|text| text.parse().unwrap());
        let end = match length {
            Some(length) => self.until(|held| (held.len() >= length).then_some(length)).await?,
            None if message.header("transfer-encoding").is_some() => self.until(end_of_chunks).await?,
            None if message.ends_with_connection() => {
                while self.more().await.is_some() {}
                self.held.len()
            }
            None => 0,
        };
        message.bytes.extend(self.held.drain(..end));
        Some(message)
    }

    /// Reads on until `end` finds one.
    pub(super) async fn until(&mut self, end: impl Fn(&[u8]) -> Option<usize>) -> Option<usize> {
        loop {
            if let Some(end) = end(&self.held) {
                return Some(end);
            }
            self.more().await?;
        }
    }

    /// Reads on; `None` at the end.
    pub(super) async fn more(&mut self) -> Option<()> {
        let read = self.stream.read_buf(&mut self.held).await.ok()?;
        (read > 0).then_some(())
    }
}

/// Where the last chunk ends; there are no trailers here.
fn end_of_chunks(held: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let line = find(&held[at..], b"\r\n")?;
        let size = chunk_size(str::from_utf8(&held[at..at + line]).ok()?);
        at += line + 2 + size + 2;
        if held.len() < at {
            return None;
        }
        if size == 0 {
            return Some(at);
        }
    }
}

fn chunk_size(line: &str) -> usize {
    let digits = line.split_once(';').map_or(line, |(digits, _)| digits);
    usize::from_str_radix(digits.trim(), 16).unwrap()
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

#[test]
fn chunks_end_with_the_empty_one() {
    let whole = b"5\r\nhello\r\n3;x=y\r\n\r\n0\r\n0\r\n\r\nnext";
    assert_eq!(end_of_chunks(whole), Some(whole.len() - 4));
    assert_eq!(end_of_chunks(&whole[..whole.len() - 6]), None);
}
