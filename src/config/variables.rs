//! Environment variables that look like a setting and that nothing reads.
//!
//! Owns what counts as a mistake: a name close to a known one, or one in the bridge's own name space. Its invariant: what
//! Kubernetes and other programs set in the same container is passed over in silence. It never sees a value.

use std::collections::BTreeSet;

use super::keys;

/// Variables that are read, but are no setting of the bridge.
pub const OTHERS: &[(&str, &str)] = &[
    ("RUST_LOG", "what is logged: a level such as debug, or directives such as warn,workflow_bridge=debug [info]"),
    ("NO_COLOR", "any value: log lines have no colour; they have none either when stderr is no terminal"),
    ("SSL_CERT_FILE", "PEM file of the authorities that HTTPS agents are checked with, instead of the system's"),
    ("SSL_CERT_DIR", "folder of the same"),
];

/// Variables of publishers, which often share their environment with the bridge.
pub const OF_PUBLISHERS: &[&str] =
    &["WORKFLOW_EVENTS_LISTENER", "WORKFLOW_EVENTS_LISTENER_DAGS", "WORKFLOW_EVENTS_SPOOL_MAX_BYTES"];

/// The name spaces of settings.
const KAFKA: &str = "KAFKA_";
const OWN: [&str; 2] = ["BRIDGE_", "WORKFLOW_EVENTS_"];

/// What other clients call a setting, after `KAFKA_`.
const ALIASES: &[(&str, &str)] = &[
    ("BROKER", "KAFKA_BOOTSTRAP_SERVERS"),
    ("BROKERS", "KAFKA_BOOTSTRAP_SERVERS"),
    ("BROKER_LIST", "KAFKA_BOOTSTRAP_SERVERS"),
    ("URL", "KAFKA_BOOTSTRAP_SERVERS"),
    ("CLIENT_ID", "KAFKA_SERVICE_NAME"),
    ("USER", "KAFKA_SASL_USERNAME"),
];

/// The shortest name that another one may be a misspelling of, whatever its first letters are.
const LONG_NAME: usize = 10;

/// A warning for each variable of the environment that was meant to be a setting, as it seems. `asked` are the names
/// that were looked up; `strict` says that these were all, routing files included.
pub fn unread<'a>(set: impl IntoIterator<Item = &'a str>, asked: &BTreeSet<String>, strict: bool) -> Vec<String> {
    let set: BTreeSet<&str> = set.into_iter().collect();
    let known: BTreeSet<&str> = keys::ALL
        .iter()
        .map(|key| key.env)
        .chain(OTHERS.iter().map(|(name, _)| *name))
        .chain(OF_PUBLISHERS.iter().copied())
        .collect();
    let mut warnings = Vec::new();
    for name in set.iter().filter(|name| !known.contains(*name) && !asked.contains(**name)) {
        if is_service_link(name) {
            continue;
        }
        let own = OWN.iter().any(|space| name.starts_with(space));
        match meant(name, &known, &set) {
            Some(meant) => warnings
                .push(format!("the environment variable {name} is set, and nothing reads it: did you mean {meant}?")),
            None if own && strict => warnings.push(format!(
                "the environment variable {name} is set, and nothing reads it (`workflow-bridge run --help` lists all)"
            )),
            None => {}
        }
    }
    warnings
}

/// The known variable that this one was meant to be.
fn meant<'a>(name: &str, known: &BTreeSet<&'a str>, set: &BTreeSet<&str>) -> Option<&'a str> {
    let Some(space) = [KAFKA, OWN[0], OWN[1]].into_iter().find(|space| name.starts_with(space)) else {
        // In small letters, or with a mistake in its first word.
        let upper = name.to_ascii_uppercase();
        return known
            .iter()
            .filter(|known| known.len() >= LONG_NAME && known.len().abs_diff(upper.len()) <= 2)
            .map(|known| (strsim::damerau_levenshtein(&upper, known), *known))
            .filter(|(distance, _)| *distance <= 2)
            .min()
            .map(|(_, known)| known);
    };
    let rest = &name[space.len()..];
    let of_space = || known.iter().filter_map(|known| Some((known.strip_prefix(space)?, *known)));
    let close = of_space()
        .map(|(wanted, known)| (strsim::damerau_levenshtein(rest, wanted), wanted.len(), known))
        .filter(|(distance, length, _)| *distance <= 1 + length / 6)
        .min()
        .map(|(_, _, known)| known);
    if close.is_some() {
        return close;
    }
    // The words of a name, some left out. Another program's, if the setting is there as well.
    let words: BTreeSet<&str> = rest.split('_').collect();
    let alias = ALIASES.iter().filter(|(alias, _)| space == KAFKA && *alias == rest).map(|(_, known)| *known).next();
    let shortened = || {
        let matches = |wanted: &str| {
            (rest.len() >= 4 && wanted.starts_with(rest))
                || rest.strip_prefix(wanted).is_some_and(|more| !more.contains('_'))
                || words.iter().all(|word| wanted.split('_').any(|w| w == *word))
        };
        of_space().filter(|(wanted, _)| matches(wanted)).min_by_key(|(wanted, _)| wanted.len()).map(|(_, known)| known)
    };
    alias.or_else(shortened).filter(|known| !set.contains(known))
}

/// What Kubernetes and Docker set for each service that is called `kafka` or `bridge`: `KAFKA_PORT_9092_TCP_ADDR`.
fn is_service_link(name: &str) -> bool {
    let words: Vec<&str> = name.split('_').collect();
    let has = |first: &str, second: &str| words.windows(2).any(|pair| pair == [first, second]);
    let numbered = words.windows(3).any(|link| {
        link[0] == "PORT"
            && link[1].bytes().all(|byte| byte.is_ascii_digit())
            && ["TCP", "UDP", "SCTP"].contains(&link[2])
    });
    numbered || has("SERVICE", "HOST") || has("SERVICE", "PORT") || words.last() == Some(&"PORT")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warnings(set: &[&str]) -> Vec<String> {
        unread(set.iter().copied(), &BTreeSet::new(), true)
    }

    #[test]
    fn a_misspelt_variable_is_told_with_the_name_that_was_meant() {
        for (found, wanted) in [
            ("KAFKA_BOOTSTRAP_SERVER", "KAFKA_BOOTSTRAP_SERVERS"),
            ("KAFKA_BOOTSTRAP", "KAFKA_BOOTSTRAP_SERVERS"),
            ("KAFKA_BROKERS", "KAFKA_BOOTSTRAP_SERVERS"),
            ("KAFKA_TOPICS", "KAFKA_TOPIC"),
            ("KAFKA_GROUP_ID", "KAFKA_CONSUMER_GROUP_ID"),
            ("KAFKA_CLIENT_ID", "KAFKA_SERVICE_NAME"),
            ("KAFKA_AUTO_OFFSET_RESET", "KAFKA_CONSUMER_AUTO_OFFSET_RESET"),
            ("KAFKA_SASL_PASWORD", "KAFKA_SASL_PASSWORD"),
            ("KAFKA_SASL_USER", "KAFKA_SASL_USERNAME"),
            ("KAFKA_SSL_CA_FILE", "KAFKA_SSL_CAFILE"),
            ("KAFKA_SECURTY_PROTOCOL", "KAFKA_SECURITY_PROTOCOL"),
            ("BRIDGE_ADMIN_ADDRESS", "BRIDGE_ADMIN_ADDR"),
            ("BRIDGE_ROUTING", "BRIDGE_ROUTING_DIR"),
            ("WORKFLOW_EVENTS_SPOOL_DIRECTORY", "WORKFLOW_EVENTS_SPOOL_DIR"),
            ("WORKFLOW_EVENT_SPOOL_DIR", "WORKFLOW_EVENTS_SPOOL_DIR"),
            ("KAKFA_BOOTSTRAP_SERVERS", "KAFKA_BOOTSTRAP_SERVERS"),
            ("kafka_topic", "KAFKA_TOPIC"),
        ] {
            let told = warnings(&[found]);
            assert!(told.len() == 1 && told[0].ends_with(&format!("did you mean {wanted}?")), "{found}: {told:?}");
        }
        assert!(warnings(&["BRIDGE_COLOUR"])[0].contains("run --help"));
    }

    #[test]
    fn what_others_set_and_what_is_known_or_was_asked_for_is_passed_over() {
        let kubernetes = [
            "KAFKA_PORT",
            "KAFKA_PORT_9092_TCP",
            "KAFKA_PORT_9092_TCP_ADDR",
            "KAFKA_PORT_9092_TCP_PORT",
            "KAFKA_PORT_9092_TCP_PROTO",
            "KAFKA_SERVICE_HOST",
            "KAFKA_SERVICE_PORT",
            "KAFKA_SERVICE_PORT_TCP_CLIENT",
            "KAFKA_BOOTSTRAP_SERVICE_HOST",
            "BRIDGE_SERVICE_HOST",
            "BRIDGE_PORT_9464_TCP",
        ];
        let others =
            ["KAFKA_HOME", "KAFKA_OPTS", "KAFKA_HEAP_OPTS", "KAFKA_NODE_ID", "KAFKA_ADVERTISED_LISTENERS", "PATH"];
        assert_eq!(warnings(&kubernetes), [""; 0]);
        assert_eq!(warnings(&others), [""; 0]);
        assert_eq!(warnings(OF_PUBLISHERS), [""; 0]);
        assert_eq!(warnings(&["KAFKA_URL", "KAFKA_BOOTSTRAP_SERVERS"]), [""; 0], "the setting is there as well");
        let asked = BTreeSet::from(["KAFKA_PASSWORD".to_owned()]);
        assert_eq!(unread(["KAFKA_PASSWORD"], &asked, true), [""; 0]);
        assert_eq!(unread(["BRIDGE_TOKEN"], &BTreeSet::new(), false), [""; 0], "a routing file may name it");
    }
}
