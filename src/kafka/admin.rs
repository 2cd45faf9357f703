//! A client for requests to the cluster's controller, made when the first one is due.
//!
//! Most processes never create a topic, and a client has four threads that wake all the time.

use std::sync::Arc;

use rdkafka::{
    ClientConfig,
    admin::AdminClient,
    config::FromClientConfigAndContext,
    error::{KafkaError as RdError, KafkaResult},
};
use tokio::sync::OnceCell;

use super::{
    client,
    report::{Reporter, ReportingContext},
    settings::KafkaSettings,
};

/// See the module.
pub(super) struct Admin {
    config: ClientConfig,
    reporter: Arc<Reporter>,
    client: OnceCell<Arc<AdminClient<ReportingContext>>>,
}

impl Admin {
    pub(super) fn new(settings: &KafkaSettings, reporter: &Arc<Reporter>) -> Self {
        Self { config: client::producer(settings), reporter: Arc::clone(reporter), client: OnceCell::new() }
    }

    /// The client, which stays.
    ///
    /// # Errors
    /// It cannot be made, of settings of which a producer was made before.
    pub(super) async fn client(&self) -> KafkaResult<&Arc<AdminClient<ReportingContext>>> {
        let make = async || {
            let context = ReportingContext(Arc::clone(&self.reporter));
            AdminClient::from_config_and_context(&self.config, context).map(Arc::new)
        };
        self.client.get_or_try_init::<RdError, _, _>(make).await
    }
}
