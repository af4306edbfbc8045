//! Answers that are streams of portions.
//!
//! A stream lasts as long as its client likes to read, so it holds nothing of the service while it
//! waits: [`Portions::next`] takes a connection, reads a portion and gives the connection back; the
//! next time it goes on after the key of the last row. A client that does not take a portion in time
//! is told so and the stream ends. How many streams there are, in all and for one channel, and how long one may last, is
//! counted by the port ([`crate::server::limits`]).

use std::time::Duration;

use communal_proto::contract::v1::Reason as Common;
use metrics::Counter;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::limits;
use crate::refusal::Refusal;
use crate::telemetry::boundary::belonging;

limits! {
    /// What a stream of answers bears, beside what the port bears.
    PortionLimits, LIMITS: PortionLimitDeclarations {
        portion: time("portion_ms", 30_000, "the time in which a client has to take the next portion of a stream of answers", "DEADLINE_EXCEEDED"),
    }
}

/// Portions that wait for the client: one is read while the one before is sent.
const AHEAD: usize = 1;

/// An answer that is read portion by portion.
pub trait Portions: Send + 'static {
    /// A message of the stream.
    type Message: Send + 'static;

    /// Reads the next portion; returns `None` after the last. When it returns, it holds neither a connection
    /// nor a transaction.
    fn next(&mut self) -> impl Future<Output = Result<Option<Self::Message>, Refusal>> + Send;
}

/// Sends answers in portions.
#[derive(Clone, Debug)]
pub struct Sender {
    patience: Duration,
    late: Counter,
}

impl Sender {
    /// Creates the sender of a service.
    #[must_use]
    pub fn new(service: &'static str, limits: PortionLimits) -> Self {
        let late = LIMITS.portion.reached(service);
        // What is registered begins at zero, so that its first step is seen as one.
        late.increment(0);
        Self { patience: limits.portion, late }
    }

    /// Sends an answer as fast as the client takes it. The task belongs to the trace of its call,
    /// which has been answered by then.
    pub fn stream<P: Portions>(&self, mut portions: P) -> ReceiverStream<Result<P::Message, Status>> {
        let (messages, stream) = mpsc::channel(AHEAD + 1);
        let this = self.clone();
        let sending = async move {
            // The place of a refusal, which cannot wait behind portions that nobody takes.
            let Ok(last) = messages.clone().reserve_owned().await else { return };
            if let Err(refusal) = this.send(&mut portions, &messages).await {
                last.send(Err(refusal.into()));
            }
        };
        tokio::spawn(belonging(sending));
        ReceiverStream::new(stream)
    }

    async fn send<P: Portions>(
        &self,
        portions: &mut P,
        messages: &mpsc::Sender<Result<P::Message, Status>>,
    ) -> Result<(), Refusal> {
        while let Some(portion) = portions.next().await? {
            match timeout(self.patience, messages.reserve()).await {
                Ok(Ok(place)) => place.send(Ok(portion)),
                // The client is gone.
                Ok(Err(_)) => return Ok(()),
                Err(late) => {
                    self.late.increment(1);
                    let text = "读取数据流过慢，已中断，请重新查询";
                    return Err(Refusal::new(Common::DeadlineExceeded, text).cause(late));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures::StreamExt as _;
    use tonic::Code;

    use super::*;

    /// Numbers from 1 to a last one; counts what was read.
    struct Numbers {
        last: u32,
        read: Arc<AtomicU32>,
    }

    impl Portions for Numbers {
        type Message = u32;

        async fn next(&mut self) -> Result<Option<u32>, Refusal> {
            let number = self.read.fetch_add(1, Ordering::Relaxed) + 1;
            Ok((number <= self.last).then_some(number))
        }
    }

    fn sender(portion: Duration) -> Sender {
        Sender::new("test", PortionLimits { portion })
    }

    #[tokio::test]
    async fn every_portion_comes_once_and_in_order() {
        let numbers = Numbers { last: 1_000, read: Arc::default() };
        let taken: Vec<_> = sender(Duration::from_secs(30)).stream(numbers).map(Result::ok).collect().await;
        assert_eq!(taken, (1..=1_000).map(Some).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_told_so_after_what_was_ready() {
        let read = Arc::new(AtomicU32::new(0));
        let mut stream = sender(Duration::from_millis(100)).stream(Numbers { last: 1_000, read: Arc::clone(&read) });
        assert_eq!(stream.next().await.and_then(Result::ok), Some(1));
        tokio::time::sleep(Duration::from_millis(400)).await;
        assert!(read.load(Ordering::Relaxed) <= 3, "not more is read than waits");
        let rest: Vec<_> = stream.collect().await;
        assert_eq!(rest.last().and_then(|end| end.as_ref().err()).map(Status::code), Some(Code::DeadlineExceeded));
        assert_eq!(rest.iter().filter(|r| r.is_ok()).count(), 1);
    }

    #[tokio::test]
    async fn nothing_is_read_for_a_client_that_is_gone() {
        let read = Arc::new(AtomicU32::new(0));
        let stream = sender(Duration::from_secs(30)).stream(Numbers { last: u32::MAX, read: Arc::clone(&read) });
        drop(stream);
        tokio::time::sleep(Duration::from_millis(50)).await;
        let after = read.load(Ordering::Relaxed);
        assert!(after <= 1, "{after}");
    }
}
