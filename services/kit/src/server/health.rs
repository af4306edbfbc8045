//! The health protocol of gRPC. A name that is not known has a state of its own, which a watcher sees change when the
//! name becomes known; an update is sent only when a state changes.

use std::collections::HashMap;
use std::sync::Arc;

use futures::stream::{self, BoxStream, StreamExt as _};
use tokio::sync::watch::Sender;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

/// The states of names. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct HealthStates(Arc<Sender<HashMap<&'static str, ServingStatus>>>);

impl HealthStates {
    /// Sets the state of names.
    pub(super) fn set<'n>(&self, names: impl IntoIterator<Item = &'n &'static str>, serving: bool) {
        let state = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        self.0.send_if_modified(|states| {
            let mut changed = false;
            for name in names {
                changed |= states.insert(*name, state) != Some(state);
            }
            changed
        });
    }

    /// The service that tells them.
    pub(super) fn service(&self) -> HealthServer<impl Health> {
        HealthServer::new(self.clone())
    }
}

fn state_of(states: &HashMap<&'static str, ServingStatus>, name: &str) -> ServingStatus {
    states.get(name).copied().unwrap_or(ServingStatus::ServiceUnknown)
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

#[tonic::async_trait]
impl Health for HealthStates {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        let name = request.into_inner().service;
        match state_of(&self.0.borrow(), &name) {
            ServingStatus::ServiceUnknown => Err(Status::not_found("this server has no service of that name")),
            known => Ok(Response::new(response(known))),
        }
    }

    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let name = request.into_inner().service;
        let updates = stream::unfold((self.0.subscribe(), name, None), |(mut states, name, told)| async move {
            loop {
                let now = state_of(&states.borrow_and_update(), &name);
                if told != Some(now) {
                    return Some((Ok(response(now)), (states, name, Some(now))));
                }
                states.changed().await.ok()?;
            }
        });
        Ok(Response::new(updates.boxed()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use super::*;

    async fn watch(states: &HealthStates, name: &str) -> <HealthStates as Health>::WatchStream {
        states.watch(Request::new(HealthCheckRequest { service: name.into() })).await.unwrap().into_inner()
    }

    async fn next(updates: &mut <HealthStates as Health>::WatchStream) -> Option<ServingStatus> {
        let update = tokio::time::timeout(Duration::from_millis(50), updates.next()).await.ok()?;
        Some(update.unwrap().unwrap().status())
    }

    #[tokio::test]
    async fn a_watcher_of_an_unknown_name_waits_until_it_is_known() {
        let states = HealthStates::default();
        let mut updates = watch(&states, "later").await;
        assert_eq!(next(&mut updates).await, Some(ServingStatus::ServiceUnknown));
        states.set(&["other"], true);
        assert_eq!(next(&mut updates).await, None);
        states.set(&["later"], true);
        assert_eq!(next(&mut updates).await, Some(ServingStatus::Serving));
    }

    #[tokio::test]
    async fn an_update_comes_only_when_the_state_changes() {
        let states = HealthStates::default();
        states.set(&["", "a"], true);
        let mut updates = watch(&states, "a").await;
        assert_eq!(next(&mut updates).await, Some(ServingStatus::Serving));
        states.set(&["", "a"], true);
        states.set(&["", "b"], false);
        assert_eq!(next(&mut updates).await, None);
        states.set(&["", "a", "b"], false);
        assert_eq!(next(&mut updates).await, Some(ServingStatus::NotServing));
        assert!(states.check(Request::new(HealthCheckRequest { service: "c".into() })).await.is_err());
    }
}
