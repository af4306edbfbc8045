//! Clients at work: each makes its calls one after the other, and counts what came of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use communal_proto::billing::v1::ReceivableLine;
use tokio::task::JoinHandle;

use crate::clients::{Answer, Clients, Door, Item};
use crate::lines::lines_of;
use crate::stage::RETAIL;
use crate::tally::{Key, Tallies, Tally};

/// Clients at work.
#[derive(Debug)]
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    workers: Vec<(&'static str, JoinHandle<Tally>)>,
}

/// Lines of an imported batch.
const LINES_A_BATCH: usize = 40;
/// Pause between the calls of a client: there are other things on this machine.
const PAUSE: Duration = Duration::from_millis(4);
/// Pause before a call of unknown outcome is made again.
const AGAIN: Duration = Duration::from_millis(100);
/// Pause of a refused client: a quarter of what RetryInfo asks for.
const IMPATIENCE: Duration = Duration::from_millis(250);
/// After this time a call is not made again any more.
const PATIENCE: Duration = Duration::from_secs(30);

/// The lines of the batch that an importing client sends under a number.
pub(crate) fn lines_of_batch(number: usize) -> Vec<ReceivableLine> {
    lines_of(RETAIL, number * LINES_A_BATCH, LINES_A_BATCH)
}

impl Load {
    pub(crate) fn new() -> Self {
        Self { stop: Arc::default(), workers: Vec::new() }
    }

    /// Clients that change one item each. With `replay` a call whose outcome is not known is
    /// made again, under the same request id, until it is.
    pub(crate) fn updates(
        &mut self,
        kind: &'static str,
        clients: &Arc<Clients>,
        door: Door,
        items: &[Item],
        replay: bool,
    ) {
        for item in items {
            let (clients, item) = (Arc::clone(clients), item.clone());
            self.worker(kind, replay, &Arc::clone(&clients), move |number, _again| {
                let (clients, item) = (Arc::clone(&clients), item.clone());
                async move {
                    let key = (item.id.clone(), number.to_string());
                    (clients.update(door, &item, number).await, Some(key))
                }
            });
        }
    }

    /// Clients that draft packages.
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

    /// Clients that ask for arrears.
    pub(crate) fn reads(&mut self, kind: &'static str, clients: &Arc<Clients>, door: Door, count: usize) {
        for _ in 0..count {
            let clients = Arc::clone(clients);
            self.worker(kind, false, &Arc::clone(&clients), move |_, _| {
                let clients = Arc::clone(&clients);
                async move { (clients.arrears(door).await, None) }
            });
        }
    }

    /// Clients that import batches of lines.
    pub(crate) fn imports(&mut self, kind: &'static str, clients: &Arc<Clients>, count: usize) {
        for worker in 0..count {
            let clients = Arc::clone(clients);
            self.worker(kind, false, &Arc::clone(&clients), move |number, _| {
                let clients = Arc::clone(&clients);
                async move {
                    let batch = format!("batch-{worker}-{number}");
                    (clients.import(&batch, lines_of_batch(number)).await, Some(("batch".to_owned(), batch)))
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

    /// Lets every client finish its call and gathers what they counted.
    pub(crate) async fn end(self) -> anyhow::Result<Tallies> {
        self.stop.store(true, Ordering::Relaxed);
        let mut tallies = Tallies::new();
        for (kind, worker) in self.workers {
            tallies.entry(kind).or_default().add(worker.await?);
        }
        Ok(tallies)
    }
}
