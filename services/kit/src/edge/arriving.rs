//! The minimum rate at which a client must send a request.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

/// The client sent too little in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Late;

/// Watches that at least a number of bytes arrives in each window of time. There is no timer until the
/// first wait.
#[derive(Debug)]
pub struct Progress {
    window: Duration,
    least: u64,
    come: u64,
    end: Option<Pin<Box<Sleep>>>,
}

impl Progress {
    /// Creates a watch for at least `least` bytes in each `window`.
    #[must_use]
    pub fn new(window: Duration, least: u64) -> Self {
        Self { window, least, come: 0, end: None }
    }

    /// Counts bytes that arrived.
    pub fn came(&mut self, bytes: usize) {
        self.come += bytes as u64;
    }

    /// Is ready after a window in which too little arrived. Polled while nothing arrives.
    pub fn poll_late(&mut self, context: &mut Context<'_>) -> Poll<Late> {
        let window = self.window;
        let end = self.end.get_or_insert_with(|| Box::pin(sleep(window)));
        while end.as_mut().poll(context).is_ready() {
            if self.come < self.least {
                return Poll::Ready(Late);
            }
            self.come = 0;
            end.as_mut().reset(Instant::now() + window);
        }
        Poll::Pending
    }

    /// Waits for `more` to arrive.
    ///
    /// # Errors
    /// Returns [`Late`] if too little arrives.
    pub async fn within<T>(&mut self, more: impl Future<Output = T>) -> Result<T, Late> {
        let mut more = pin!(more);
        poll_fn(|context| match more.as_mut().poll(context) {
            Poll::Ready(more) => Poll::Ready(Ok(more)),
            Poll::Pending => self.poll_late(context).map(Err),
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test]
    async fn each_window_needs_its_bytes() {
        let window = Duration::from_millis(200);
        let mut progress = Progress::new(window, 100);
        for _ in 0..6 {
            assert_eq!(progress.within(sleep(Duration::from_millis(100))).await, Ok(()));
            progress.came(1_000);
        }
        // Bytes beyond the minimum do not count for later windows.
        progress.came(1_000_000);
        let began = Instant::now();
        assert_eq!(progress.within(pending::<()>()).await, Err(Late));
        assert!(began.elapsed() >= Duration::from_millis(150), "{:?}", began.elapsed());
    }
}
