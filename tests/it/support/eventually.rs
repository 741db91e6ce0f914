//! Waiting on a condition, never for a time.

use std::time::Duration;

/// How long a condition may take on a slow, loaded machine before the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
const STEP: Duration = Duration::from_millis(20);

/// Polls `probe` until it gives a value, and fails the test after [`PATIENCE`] naming `what` was awaited.
pub(crate) async fn eventually<T, F, Fut>(what: &str, probe: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    within(PATIENCE, what, probe).await
}

/// The same under a bound of the product's own.
pub(crate) async fn within<T, F, Fut>(limit: Duration, what: &str, mut probe: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let attempt = async {
        let mut step = tokio::time::interval(STEP);
        loop {
            step.tick().await;
            if let Some(value) = probe().await {
                return value;
            }
        }
    };
    tokio::time::timeout(limit, attempt)
        .await
        .unwrap_or_else(|_| panic!("gave up waiting after {limit:?}: {what}"))
}

#[tokio::test]
async fn eventually_returns_the_first_value() {
    let mut left = 3;
    let value = eventually("countdown", || {
        left -= 1;
        std::future::ready((left == 0).then_some("done"))
    })
    .await;
    assert_eq!(value, "done");
}
