//! The tasks of the streams of an HTTP/2 connection, each of which can be cut off.
//!
//! An answer that its client does not read waits for flow control inside hyper, where none of our code
//! is polled. Dropping the task resets this stream only; the connection's other streams continue.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use hyper::rt::Executor;
use metrics::Counter;
use tokio::time::{Instant, Sleep, sleep_until};

use super::Connection;

tokio::task_local! {
    static CUT_OFF_AT: Cell<Option<Instant>>;
}

/// Sets the instant at which the stream of this task is cut off, or `None` for never.
pub fn cut_off_at(at: Option<Instant>) {
    // HTTP/1 has no streams; its connection ends after one answer.
    let _ = CUT_OFF_AT.try_with(|cell| cell.set(at));
}

/// The executor of the streams of a connection.
#[derive(Debug)]
pub struct Streams<S> {
    connection: Arc<Connection<S>>,
    stalled: Counter,
}

impl<S> Clone for Streams<S> {
    fn clone(&self) -> Self {
        Self { connection: Arc::clone(&self.connection), stalled: self.stalled.clone() }
    }
}

impl<S> Streams<S> {
    pub(super) fn new(connection: Arc<Connection<S>>, stalled: Counter) -> Self {
        Self { connection, stalled }
    }
}

impl<S, F> Executor<F> for Streams<S>
where
    S: Send + Sync + 'static,
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, stream: F) {
        let (open, stalled) = (self.connection.begin(), self.stalled.clone());
        tokio::spawn(async move {
            let _open = open;
            let mut stream = pin!(stream);
            let mut at = None;
            let mut alarm: Option<Pin<Box<Sleep>>> = None;
            poll_fn(|context| {
                let (ready, now_at) = CUT_OFF_AT.sync_scope(Cell::new(at), || {
                    (stream.as_mut().poll(context).is_ready(), CUT_OFF_AT.with(Cell::get))
                });
                if ready {
                    return Poll::Ready(());
                }
                at = now_at;
                let Some(at) = at else {
                    alarm = None;
                    return Poll::Pending;
                };
                let alarm = alarm.get_or_insert_with(|| Box::pin(sleep_until(at)));
                if alarm.deadline() != at {
                    alarm.as_mut().reset(at);
                }
                if alarm.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                stalled.increment(1);
                Poll::Ready(())
            })
            .await;
        });
    }
}
