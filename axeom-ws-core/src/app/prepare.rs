//! What a route does for a handshake: it derives the context, and chooses a subprotocol.

use std::sync::Arc;

use async_trait::async_trait;
use http::HeaderValue;

use super::{
    accepted::StartConnection,
    context::{Context, Handshake},
    derive::BuildContext,
    rejection::Rejection,
    route::{Endpoint, Subprotocols},
    ws::Ws,
};
use crate::handshake::{self, Refusal};

/// What a route contributes to an accepted handshake.
pub(super) struct Prepared {
    pub(super) protocol: Option<HeaderValue>,
    pub(super) start: StartConnection,
}

pub(super) enum TurnedDown {
    Rejected(Rejection),
    Refused(Refusal),
}

/// A route's context and endpoint, with their types erased.
#[async_trait]
pub(super) trait RouteEndpoint: Send + Sync {
    /// Runs the derives and guards, and chooses a subprotocol.
    async fn prepare(&self, handshake: &Arc<Handshake>) -> Result<Prepared, TurnedDown>;
}

pub(super) struct ContextAndEndpoint<D, E> {
    context: Arc<dyn BuildContext<D>>,
    protocols: Subprotocols<D>,
    endpoint: Arc<E>,
}

impl<D, E> ContextAndEndpoint<D, E> {
    pub(super) fn new(
        context: Arc<dyn BuildContext<D>>,
        protocols: Subprotocols<D>,
        endpoint: E,
    ) -> Self {
        Self { context, protocols, endpoint: Arc::new(endpoint) }
    }
}

#[async_trait]
impl<D, E> RouteEndpoint for ContextAndEndpoint<D, E>
where
    D: Clone + Send + Sync + 'static,
    E: Endpoint<D>,
{
    async fn prepare(&self, handshake: &Arc<Handshake>) -> Result<Prepared, TurnedDown> {
        match self.context.build(handshake).await {
            Ok(data) => self.finish(handshake, data),
            Err(rejection) => Err(TurnedDown::Rejected(rejection)),
        }
    }
}

impl<D, E> ContextAndEndpoint<D, E>
where
    D: Clone + Send + Sync + 'static,
    E: Endpoint<D>,
{
    /// Chooses a subprotocol, and prepares the start of the connection.
    fn finish(&self, handshake: &Arc<Handshake>, data: D) -> Result<Prepared, TurnedDown> {
        let offered =
            handshake::offered_protocols(&handshake.request).map_err(TurnedDown::Refused)?;
        let context = Context::new(Arc::clone(handshake), data.clone());
        let chosen = self.protocols.choose(&context, &offered);
        let chosen = chosen.map_err(|()| TurnedDown::Refused(Refusal::ProtocolRequired))?;
        // Offered subprotocols are tokens, so this conversion does not fail.
        let protocol = chosen.and_then(|chosen| HeaderValue::try_from(chosen).ok());
        let endpoint = Arc::clone(&self.endpoint);
        let start: StartConnection = Box::new(move |connection, info| {
            let member = Arc::clone(connection.driver.member());
            endpoint.run(connection, Ws::new(member, info, data))
        });
        Ok(Prepared { protocol, start })
    }
}
