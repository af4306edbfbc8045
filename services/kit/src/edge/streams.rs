//! The tasks that carry out the streams of an HTTP/2 connection, each of which can be cut off.
//!
//! An answer that its client does not read waits for flow control, where nothing of ours is asked
//! any more. Dropping the task resets the one stream; the connection's others go on.

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

/// Sets when the stream that this task carries out is cut off, or that it is not.
pub fn cut_off_at(at: Option<Instant>) {
    // Over HTTP/1 there are no streams, and a connection ends with its one answer.
    let _ = CUT_OFF_AT.try_with(|cell| cell.set(at));
}

/// See the module.
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
