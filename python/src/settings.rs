//! The settings of the publish client, for Python: their declaration, and the keywords of the native class.

use std::{collections::BTreeMap, path::PathBuf};

use pyo3::{
    exceptions::PyTypeError,
    prelude::*,
    types::{PyDict, PyString},
};
use workflow_bridge::publish::{Builder, Publisher, SETTINGS, SettingKind, SettingValue};

/// A setting of the producer, as Rust declares it (src/publish/builder/settings.rs).
///
/// name: the keyword.
/// kind: "text", "secret", "path", "number" or "properties".
/// variable: the environment variable that stands in for the keyword, if any.
/// default: what it is when neither is given; None: nothing.
/// most: the largest accepted number.
/// help: what it is, in Markdown.
#[pyclass(frozen, get_all, module = "workflow_events._native")]
pub struct Setting {
    name: &'static str,
    kind: &'static str,
    variable: Option<&'static str>,
    default: Option<Py<PyAny>>,
    most: Option<u64>,
    help: &'static str,
}

/// Every setting, in the order of the documentation.
pub fn declared(py: Python<'_>) -> PyResult<Vec<Setting>> {
    let declare = |setting: &workflow_bridge::publish::Setting| {
        let default = match setting.default() {
            Some(SettingValue::Text(text)) => Some(PyString::new(py, &text).into_any().unbind()),
            Some(SettingValue::Number(number)) => Some(number.into_pyobject(py)?.into_any().unbind()),
            Some(SettingValue::Path(_) | SettingValue::Properties(_)) | None => None,
        };
        Ok(Setting {
            name: setting.name,
            kind: setting.kind.name(),
            variable: setting.variable,
            default,
            most: setting.range.as_ref().map(|range| *range.end()),
            help: setting.help,
        })
    };
    SETTINGS.iter().map(declare).collect()
}

/// A builder with these keywords. Raises TypeError for one that is no setting, or is of another type.
pub fn builder(keywords: Option<&Bound<'_, PyDict>>) -> PyResult<Builder> {
    let mut builder = Publisher::builder();
    for (name, value) in keywords.into_iter().flatten() {
        let name: String = name.extract()?;
        let Some(setting) = SETTINGS.iter().find(|setting| setting.name == name) else {
            return Err(PyTypeError::new_err(format!("Publisher() got an unexpected keyword argument '{name}'")));
        };
        let value = match setting.kind {
            SettingKind::Text | SettingKind::Secret => SettingValue::Text(value.extract()?),
            SettingKind::Path => SettingValue::Path(value.extract::<PathBuf>()?),
            SettingKind::Number => SettingValue::Number(value.extract()?),
            SettingKind::Properties => SettingValue::Properties(value.extract::<BTreeMap<String, String>>()?),
        };
        builder = builder.set(&name, value).map_err(|error| PyTypeError::new_err(error.to_string()))?;
    }
    Ok(builder)
}
