//! Whether an agent can be reached, asked with requests that change nothing.
//!
//! A LangGraph server is asked for the assistant with the agent's own key. Of an HTTP endpoint nothing can be asked that it
//! may not take for an event: it is connected to, TLS included, and nothing is sent.

use std::{sync::Arc, time::Duration};

use hyper::{
    Method, Uri,
    header::{CONTENT_TYPE, HeaderMap, HeaderValue},
};
use serde_json::{Value, json};
use tower_service::Service as _;
use uuid::Uuid;

use super::{
    AgentSpec, Endpoint, LangGraphSpec, SystemClock, connector,
    failure::{causes, clean, excerpt},
    gate::Gate,
    langgraph,
    wire::{self, Call, Client, Read, Reply, TEXT_LIMIT, Target},
};
use crate::probe::Probed;

/// Asks the agent, for so long at most.
pub(crate) async fn reach(spec: &AgentSpec, within: Duration) -> Probed {
    let target = format!("agent {}", spec.name);
    let asked = async {
        match &spec.endpoint {
            Endpoint::LangGraph(langgraph) => langgraph_server(&target, spec, langgraph).await,
            Endpoint::Http(_) => http_endpoint(&target, spec).await,
            Endpoint::Handler(_) => Probed::ok(&target, "it is a function of this process"),
        }
    };
    let answer = tokio::time::timeout(within, asked).await;
    let late = || format!("no answer within {}", humantime::format_duration(within));
    answer.unwrap_or_else(|_| no_answer(&target, spec, &late()))
}

/// The scheme, the host and the port: the path of a hook is its secret.
fn server(spec: &AgentSpec) -> String {
    let url = match &spec.endpoint {
        Endpoint::LangGraph(langgraph) => &langgraph.url,
        Endpoint::Http(http) => &http.url,
        Endpoint::Handler(_) => return spec.endpoint.address(),
    };
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}", url.scheme(), url.host_str().unwrap_or_default())
}

fn no_answer(target: &str, spec: &AgentSpec, reason: &str) -> Probed {
    let is_tls = ["certificate", "SSL", "TLS", "ssl"].iter().any(|word| reason.contains(word));
    let remedy = if is_tls {
        "check the server's certificate (who signed it, its host names and dates), and `tls` if a CA of your own signed it"
    } else {
        "check that it runs, `url`, and the network from here"
    };
    Probed::error(target, format!("{} cannot be reached: {reason}", server(spec)), remedy)
}

async fn http_endpoint(target: &str, spec: &AgentSpec) -> Probed {
    let server = server(spec);
    let connected = async {
        let uri: Uri = server.parse().map_err(|error| format!("the URL cannot be used: {error}"))?;
        let mut connector = connector::connector(spec).map_err(|error| format!("TLS cannot be set up: {error}"))?;
        connector.call(uri).await.map(drop).map_err(|error| clean(&causes(&*error), &[]))
    };
    match connected.await {
        Ok(()) => {
            let tls = if server.starts_with("https") { " with TLS" } else { "" };
            Probed::ok(
                target,
                format!("{server} takes connections{tls}; nothing was sent, so its path and its key were not tried"),
            )
        }
        Err(reason) => no_answer(target, spec, &reason),
    }
}

async fn langgraph_server(target: &str, spec: &AgentSpec, langgraph: &LangGraphSpec) -> Probed {
    let headers = match langgraph::authorized(langgraph) {
        Ok(headers) => headers,
        Err(reason) => return Probed::error(target, reason, "correct the secret"),
    };
    let client = match wire::client(spec) {
        Ok(client) => client,
        Err(error) => {
            return Probed::error(target, format!("TLS cannot be set up: {error}"), "check the system's certificates");
        }
    };
    let reply = ask(&client, langgraph, headers.map).await;
    match reply {
        Ok(reply) => judge(target, langgraph, &reply, |text| clean(text, &headers.secrets)),
        Err(lost) => no_answer(target, spec, &clean(&lost.text, &headers.secrets)),
    }
}

/// An assistant by its UUID, or one of a graph.
async fn ask(client: &Client, spec: &LangGraphSpec, mut headers: HeaderMap) -> Result<Reply, wire::NoAnswer> {
    let is_id = Uuid::parse_str(&spec.assistant).is_ok();
    let path: &[&str] = if is_id { &["assistants", &spec.assistant] } else { &["assistants", "search"] };
    let (method, body) = if is_id {
        (Method::GET, None)
    } else {
        headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
        let search = json!({"graph_id": spec.assistant, "limit": 1}).to_string();
        (Method::POST, Some((search.into(), Gate::new(Arc::new(SystemClock), None))))
    };
    let to = Target::new(langgraph::url(&spec.url, path));
    wire::send(client, Call { method, to, headers, body, read: Read::Whole(TEXT_LIMIT) }).await
}

fn judge(target: &str, spec: &LangGraphSpec, reply: &Reply, clean: impl Fn(&str) -> String) -> Probed {
    let assistant = clean(&spec.assistant);
    let found = || clean(&format!("{} {}: {}", reply.asked, reply.answered(), excerpt(&reply.body)));
    let unknown = || {
        let found = format!("the server answers, accepts the key, and shows no assistant of `{assistant}`");
        Probed::error(
            target,
            found,
            "correct `assistant`: the graph's name as in langgraph.json, or an assistant's UUID",
        )
    };
    match reply.status {
        200 => match serde_json::from_slice::<Value>(&reply.body) {
            Ok(Value::Array(list)) if list.is_empty() => unknown(),
            Ok(Value::Array(list)) if list.iter().all(|one| one["assistant_id"].is_string()) => {
                Probed::ok(target, format!("the server answers, accepts the key, and has the graph `{assistant}`"))
            }
            Ok(Value::Object(one)) if one.contains_key("assistant_id") => {
                Probed::ok(target, format!("the server answers, accepts the key, and has the assistant `{assistant}`"))
            }
            _ => Probed::error(target, found(), "check `url`: this is no answer of a LangGraph server"),
        },
        401 | 403 => Probed::error(target, found(), "check `api_key` or `auth`: the server refuses them"),
        404 if Uuid::parse_str(&spec.assistant).is_ok() => {
            Probed::error(target, found(), "check `assistant`, and `url`: the server does not know it")
        }
        // LangGraph's own server names the graph that it does not have.
        404 if String::from_utf8_lossy(&reply.body).contains(&*spec.assistant) => unknown(),
        404 | 405 => Probed::error(target, found(), "check `url`: this is no answer of a LangGraph server"),
        300..=399 => Probed::error(target, found(), "put the final address into `url`"),
        429 | 500.. => Probed::warning(target, found(), "the server is reached and does not work now: see its log"),
        _ => Probed::warning(target, found(), "the assistant could not be looked up: see the server's log"),
    }
}

#[cfg(test)]
mod tests;
