//! Warnings about environment variables that look like a setting but are not read.
//!
//! Owns what counts as a mistake: a name close to a known one, or one with a prefix of the bridge. Invariant: variables
//! that Kubernetes and other programs set in the same container cause no warning. It never sees a value.

use std::collections::BTreeSet;

use super::keys;

/// Variables that are read, but are not settings of the bridge.
pub(crate) const OTHERS: &[(&str, &str)] = &[
    ("RUST_LOG", "what is logged: a level such as debug, or directives such as warn,workflow_bridge=debug [info]"),
    ("NO_COLOR", "any value: no colour in log lines; without a terminal there is none either"),
    ("SSL_CERT_FILE", "PEM file of the certificate authorities for HTTPS agents, instead of the system's"),
    ("SSL_CERT_DIR", "folder of certificate authorities for HTTPS agents"),
];

/// Variables of publishers, which often share the bridge's environment.
pub(crate) const OF_PUBLISHERS: &[&str] =
    &["WORKFLOW_EVENTS_LISTENER", "WORKFLOW_EVENTS_LISTENER_DAGS", "WORKFLOW_EVENTS_SPOOL_MAX_BYTES"];

/// The prefixes of settings.
const KAFKA: &str = "KAFKA_";
const OWN: [&str; 2] = ["BRIDGE_", "WORKFLOW_EVENTS_"];

/// Names of settings in other clients, after `KAFKA_`.
const ALIASES: &[(&str, &str)] = &[
    ("BROKER", "KAFKA_BOOTSTRAP_SERVERS"),
    ("BROKERS", "KAFKA_BOOTSTRAP_SERVERS"),
    ("BROKER_LIST", "KAFKA_BOOTSTRAP_SERVERS"),
    ("URL", "KAFKA_BOOTSTRAP_SERVERS"),
    ("CLIENT_ID", "KAFKA_SERVICE_NAME"),
    ("USER", "KAFKA_SASL_USERNAME"),
];

/// The shortest known name for which a misspelt prefix is recognized.
const LONG_NAME: usize = 10;

/// A warning for each variable that was probably meant to be a setting. `asked` are the names that were looked up;
/// `strict` says that these are all, including those in routing files.
pub(crate) fn unread<'a>(
    set: impl IntoIterator<Item = &'a str>,
    asked: &BTreeSet<String>,
    strict: bool,
) -> Vec<String> {
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
        let own = OWN.iter().any(|prefix| name.starts_with(prefix));
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
    let Some(prefix) = [KAFKA, OWN[0], OWN[1]].into_iter().find(|prefix| name.starts_with(prefix)) else {
        // In lower case, or with a misspelt prefix.
        let upper = name.to_ascii_uppercase();
        return known
            .iter()
            .filter(|known| known.len() >= LONG_NAME && known.len().abs_diff(upper.len()) <= 2)
            .map(|known| (strsim::damerau_levenshtein(&upper, known), *known))
            .filter(|(distance, _)| *distance <= 2)
            .min()
            .map(|(_, known)| known);
    };
    let rest = &name[prefix.len()..];
    let with_prefix = || known.iter().filter_map(|known| Some((known.strip_prefix(prefix)?, *known)));
    let close = with_prefix()
        .map(|(wanted, known)| (strsim::damerau_levenshtein(rest, wanted), wanted.len(), known))
        .filter(|(distance, length, _)| *distance <= 1 + length / 6)
        .min()
        .map(|(_, _, known)| known);
    if close.is_some() {
        return close;
    }
    // Some words of a known name. If that setting is there as well, the variable belongs to another program.
    let words: BTreeSet<&str> = rest.split('_').collect();
    let alias = ALIASES.iter().filter(|(alias, _)| prefix == KAFKA && *alias == rest).map(|(_, known)| *known).next();
    let shortened = || {
        let matches = |wanted: &str| {
            (rest.len() >= 4 && wanted.starts_with(rest))
                || rest.strip_prefix(wanted).is_some_and(|more| !more.contains('_'))
                || words.iter().all(|word| wanted.split('_').any(|w| w == *word))
        };
        with_prefix()
            .filter(|(wanted, _)| matches(wanted))
            .min_by_key(|(wanted, _)| wanted.len())
            .map(|(_, known)| known)
    };
    alias.or_else(shortened).filter(|known| !set.contains(known))
}

/// Whether Kubernetes or Docker set the variable for a service called `kafka` or `bridge`: `KAFKA_PORT_9092_TCP_ADDR`.
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
    fn a_misspelt_variable_is_reported_with_the_name_that_was_meant() {
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
            let warned = warnings(&[found]);
            assert!(
                warned.len() == 1 && warned[0].ends_with(&format!("did you mean {wanted}?")),
                "{found}: {warned:?}"
            );
        }
        assert!(warnings(&["BRIDGE_COLOUR"])[0].contains("run --help"));
    }

    #[test]
    fn variables_of_other_programs_and_known_ones_cause_no_warning() {
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
