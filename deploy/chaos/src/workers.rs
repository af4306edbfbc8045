//! Working clients: each makes its calls one after the other and counts the outcomes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use communal_proto::billing::v1::ReceivableLine;
use tokio::task::JoinHandle;

use crate::accounts::lines_of;
use crate::clients::{Answer, Clients, Item, Protocol};
use crate::tally::{Key, Tallies, Tally};
use communal_fixtures::credentials::billing::RETAIL;

/// Working clients.
#[derive(Debug)]
pub(crate) struct Workers {
    stop: Arc<AtomicBool>,
    workers: Vec<(&'static str, JoinHandle<Tally>)>,
}

/// Lines of an imported batch.
const LINES_A_BATCH: usize = 40;
/// Pause between the calls of a client, which leaves CPU time to the processes under test.
const PAUSE: Duration = Duration::from_millis(4);
/// Pause before a call of unknown outcome is repeated.
const AGAIN: Duration = Duration::from_millis(100);
/// Pause of a refused client: a quarter of the delay in RetryInfo.
const IMPATIENCE: Duration = Duration::from_millis(250);
/// Time after which a call is not repeated any more.
const PATIENCE: Duration = Duration::from_secs(30);

/// The lines of the batch with this number.
pub(crate) fn lines_of_batch(number: usize) -> anyhow::Result<Vec<ReceivableLine>> {
    lines_of(RETAIL, number * LINES_A_BATCH, LINES_A_BATCH)
}

impl Workers {
    pub(crate) fn new() -> Self {
        Self { stop: Arc::default(), workers: Vec::new() }
    }

    /// Adds clients that change one item each. With `replay` a call of unknown outcome is repeated under the same request
    /// id until its outcome is known.
    pub(crate) fn updates(
        &mut self,
        kind: &'static str,
        clients: &Arc<Clients>,
        protocol: Protocol,
        items: &[Item],
        replay: bool,
    ) {
        for item in items {
            let (clients, item) = (Arc::clone(clients), item.clone());
            self.worker(kind, replay, &Arc::clone(&clients), move |number, _again| {
                let (clients, item) = (Arc::clone(&clients), item.clone());
                async move {
                    let key = (item.id.clone(), number.to_string());
                    (clients.update(protocol, &item, number).await, Some(key))
                }
            });
        }
    }

    /// Adds clients that draft packages.
    pub(crate) fn packages(&mut self, kind: &'static str, clients: &Arc<Clients>, count: usize, replay: bool) {
        for worker in 0..count {
            let clients = Arc::clone(clients);
            self.worker(kind, replay, &Arc::clone(&clients), move |number, again| {
                let clients = Arc::clone(&clients);
                async move {
                    let name = format!("套餐{worker}-{number}");
                    let answer = clients.add_package(&name, again).await;
                    (answer, Some(("package".to_owned(), name)))
                }
            });
        }
    }

    /// Adds clients that query arrears.
    pub(crate) fn reads(&mut self, kind: &'static str, clients: &Arc<Clients>, protocol: Protocol, count: usize) {
        for _ in 0..count {
            let clients = Arc::clone(clients);
            self.worker(kind, false, &Arc::clone(&clients), move |_, _| {
                let clients = Arc::clone(&clients);
                async move { (clients.arrears(protocol).await, None) }
            });
        }
    }

    /// Adds clients that import batches of lines.
    pub(crate) fn imports(&mut self, kind: &'static str, clients: &Arc<Clients>, count: usize) {
        for worker in 0..count {
            let clients = Arc::clone(clients);
            self.worker(kind, false, &Arc::clone(&clients), move |number, _| {
                let clients = Arc::clone(&clients);
                async move {
                    let batch = format!("batch-{worker}-{number}");
                    let answer = match lines_of_batch(number) {
                        Ok(lines) => clients.import(&batch, &lines).await,
                        Err(error) => Answer::Refused(error.to_string()),
                    };
                    (answer, Some(("batch".to_owned(), batch)))
                }
            });
        }
    }

    fn worker<F: Future<Output = (Answer, Option<Key>)> + Send>(
        &mut self,
        kind: &'static str,
        replay: bool,
        clients: &Arc<Clients>,
        call: impl Fn(usize, bool) -> F + Send + Sync + 'static,
    ) {
        let (stop, clients) = (Arc::clone(&self.stop), Arc::clone(clients));
        let worker = tokio::spawn(async move {
            let mut tally = Tally::default();
            while !stop.load(Ordering::Relaxed) {
                let (first, number) = (Instant::now(), clients.number());
                let mut pause = PAUSE;
                let mut again = false;
                loop {
                    let began = Instant::now();
                    let (answer, key) = call(number, again).await;
                    tally.count(&answer, began.elapsed());
                    if matches!(answer, Answer::Overloaded(_)) {
                        pause = IMPATIENCE;
                    }
                    let open = matches!(answer, Answer::Unavailable(_) | Answer::Unknown(_));
                    if answer == Answer::Done
                        && let Some(key) = key
                    {
                        if again {
                            tally.replayed.push(key.clone());
                        }
                        tally.acknowledge(key);
                    }
                    if !(open && replay) || first.elapsed() > PATIENCE {
                        break;
                    }
                    again = true;
                    tokio::time::sleep(AGAIN).await;
                }
                tokio::time::sleep(pause).await;
            }
            tally
        });
        self.workers.push((kind, worker));
    }

    /// Waits for the running call of each client and returns their counts.
    pub(crate) async fn end(self) -> anyhow::Result<Tallies> {
        self.stop.store(true, Ordering::Relaxed);
        let mut tallies = Tallies::new();
        for (kind, worker) in self.workers {
            tallies.entry(kind).or_default().add(worker.await?);
        }
        Ok(tallies)
    }
}
