//! Which endpoint a delivery was sent to, as a number that all processes and versions agree on.
//!
//! An endpoint is its kind and its address, without credentials, query and fragment, or the name that the rules give to what is one
//! server at several addresses. With another key, header or certificate, or for another assistant, it is the same: what it has can be
//! looked up there.

use std::num::NonZeroU64;

use uuid::Uuid;

use super::Endpoint;

/// Set for kinds of endpoint that can be asked for a run. The others get a delivery at least once. It is the highest bit: of two
/// endpoints that may have a delivery the ledger keeps the greater number, and what may have a run has to be asked.
const HAS_RUNS: u64 = 1 << 63;
/// 1, a bit that is set in every number, so that none is 0.
const IS_NUMBER: NonZeroU64 = NonZeroU64::MIN;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EndpointId(NonZeroU64);

impl EndpointId {
    pub(crate) fn of(endpoint: &Endpoint) -> Self {
        let hash = Uuid::new_v5(&Uuid::NAMESPACE_URL, endpoint.identity().as_bytes()).as_u64_pair().0;
        let has_runs = if endpoint.is_found_again() { HAS_RUNS } else { 0 };
        Self(IS_NUMBER | (hash & !HAS_RUNS) | has_runs)
    }

    /// As the ledger keeps it.
    pub(crate) fn number(self) -> NonZeroU64 {
        self.0
    }

    /// Whether the endpoint of this number can be asked for the run of a delivery.
    pub(crate) fn has_runs(number: NonZeroU64) -> bool {
        number.get() & HAS_RUNS != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agents::testing::{NOBODY, http_spec, langgraph_spec};

    #[test]
    fn an_endpoint_is_its_kind_and_its_address() {
        let http = |url: &str| {
            let spec = http_spec(NOBODY).1;
            EndpointId::of(&Endpoint::Http(crate::agents::HttpSpec { url: url.parse().unwrap(), ..spec }))
        };
        assert_eq!(http("http://user:old@agent/events?key=old"), http("http://agent/events?key=new#x"));
        assert_ne!(http("http://agent/events"), http("https://agent/events"));
        assert_ne!(http("http://agent/a"), http("http://agent/b"));
        let langgraph = |url: &str, assistant: &str| {
            let spec = langgraph_spec(NOBODY).1;
            let (url, assistant) = (url.parse().unwrap(), assistant.to_owned());
            EndpointId::of(&Endpoint::LangGraph(crate::agents::LangGraphSpec { url, assistant, ..spec }))
        };
        assert_eq!(langgraph("http://agent/events", "a"), langgraph("http://agent/events", "b"));
        assert_ne!(langgraph("http://agent/events", "a"), http("http://agent/events"));
        let named = |url: &str, name: &str| {
            let spec = langgraph_spec(NOBODY).1;
            let (url, server) = (url.parse().unwrap(), Some(name.to_owned()));
            EndpointId::of(&Endpoint::LangGraph(crate::agents::LangGraphSpec { url, server, ..spec }))
        };
        assert_eq!(named("http://agent/events", "crm"), named("https://moved/", "crm"));
        assert_ne!(named("http://agent/events", "crm"), named("http://agent/events", "erp"));
        assert_ne!(named("http://agent/events", "http://agent/events"), langgraph("http://agent/events", "a"));
        for n in 0..20 {
            let (http, langgraph) = (http(&format!("http://agent/{n}")), langgraph("http://agent/events", "a"));
            assert!(
                langgraph.number() > http.number(),
                "the ledger keeps the greater one of {http:?} and {langgraph:?}"
            );
        }
        // Ledgers have these.
        assert_eq!(http("http://agent/events").number().get(), 4_421_211_865_439_687_569);
        assert_eq!(langgraph("http://agent/events", "a").number().get(), 13_644_583_902_294_463_377);
        assert!(!EndpointId::has_runs(http("http://agent/events").number()));
        assert!(EndpointId::has_runs(langgraph("http://agent/events", "a").number()));
    }
}
