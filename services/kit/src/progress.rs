//! Long work: answered by a stream of how far it is after each step and last of all what it did, and done by several workers
//! at once.

use std::future::Future;
use std::pin::Pin;
use std::task::Poll;

use futures::channel::mpsc;
use futures::{FutureExt as _, Stream, StreamExt as _, stream};
use tokio::task::JoinSet;
use tonic::Status;

use crate::refusal::Refusal;
use crate::telemetry::boundary::belonging;

/// A stream of answers.
pub type Answers<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send + 'static>>;

/// Tells the caller how far the work is.
#[derive(Clone, Debug)]
pub struct Teller<S>(mpsc::UnboundedSender<S>);

impl<S> Teller<S> {
    /// Tells a state. Returns false if the caller has gone away.
    #[must_use]
    pub fn tell(&self, state: S) -> bool {
        self.0.unbounded_send(state).is_ok()
    }
}

/// Begins work, and answers each state that it tells, and the one that it returns. It is a task of its own: a caller who goes
/// away stops the work where it asks whether to go on, and never within a step.
pub fn answers<S, M, W>(work: impl FnOnce(Teller<S>) -> W, message: impl Fn(S) -> M + Send + 'static) -> Answers<M>
where
    S: Send + 'static,
    M: 'static,
    W: Future<Output = Result<S, Refusal>> + Send + 'static,
{
    let (states, mut incoming) = mpsc::unbounded();
    let mut running = Some(tokio::spawn(belonging(work(Teller(states)))));
    Box::pin(stream::poll_fn(move |context| {
        match incoming.poll_next_unpin(context) {
            Poll::Ready(Some(state)) => return Poll::Ready(Some(Ok(message(state)))),
            Poll::Pending => return Poll::Pending,
            Poll::Ready(None) => {}
        }
        let Some(task) = running.as_mut() else { return Poll::Ready(None) };
        task.poll_unpin(context).map(|outcome| {
            running = None;
            let outcome = outcome.map_err(Refusal::internal).and_then(|outcome| outcome);
            Some(outcome.map(&message).map_err(Status::from))
        })
    }))
}

/// Does the same work by several workers at once, each a task of its own, so that they use as many processors. The first one that
/// fails ends the others, and so does who drops this.
///
/// # Errors
/// Returns the first refusal.
pub async fn at_once<W>(workers: usize, work: impl Fn() -> W) -> Result<(), Refusal>
where
    W: Future<Output = Result<(), Refusal>> + Send + 'static,
{
    let mut running: JoinSet<_> = (0..workers).map(|_| belonging(work())).collect();
    while let Some(ended) = running.join_next().await {
        ended.map_err(Refusal::internal)??;
    }
    Ok(())
}
