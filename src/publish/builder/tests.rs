use std::{collections::BTreeSet, time::Duration};

use super::*;
use crate::connection::Password;

#[test]
fn every_setting_can_be_set_by_its_name_to_its_default() {
    let names: BTreeSet<_> = SETTINGS.iter().map(|setting| setting.name).collect();
    assert_eq!(names.len(), SETTINGS.len(), "no name twice");
    for setting in SETTINGS {
        assert!(!setting.help.is_empty());
        if let Some(value) = setting.default() {
            Builder::default().set(setting.name, value).unwrap().build().unwrap();
        }
    }
}

#[test]
fn an_unknown_name_and_a_value_of_another_kind_are_refused() {
    let error = Builder::default().set("bootstrap", SettingValue::Number(1)).unwrap_err();
    assert_eq!(error.to_string(), "bootstrap: the producer has no setting of this name");
    let error = Builder::default().set("retries", SettingValue::Text("many".into())).unwrap_err();
    assert_eq!(error.to_string(), "retries: expected a value of the kind number");
}

#[test]
fn a_mistake_in_the_security_has_the_name_of_its_setting() {
    let builder = Builder::default().security_protocol("TLS").sasl_username("user".to_owned());
    let PublishError::Settings(mistakes) = builder.build().err().unwrap() else { panic!("expected mistakes") };
    assert_eq!(mistakes.iter().map(|mistake| mistake.setting.as_str()).collect::<Vec<_>>(), ["security_protocol"]);
}

#[test]
fn a_password_is_not_part_of_debug() {
    let builder = Builder::default()
        .sasl_password(Password::new("hunter2"))
        .property("ssl.key.password", "hunter2")
        .linger_ms(Duration::from_millis(5));
    let shown = format!("{builder:?}");
    assert!(!shown.contains("hunter2") && shown.contains("linger_ms: Millis(5)"), "{shown}");
}
