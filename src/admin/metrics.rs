//! The Prometheus exporter: one recorder for the process.

use std::{sync::OnceLock, time::Duration};

use metrics::gauge;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use crate::telemetry::{self, Kind};

/// Seconds: from a look-up in memory to an agent that takes an hour.
const BUCKETS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0];

const UPKEEP: Duration = Duration::from_secs(5);

static RECORDER: OnceLock<Recorder> = OnceLock::new();

/// Renders the recorded metrics.
#[derive(Clone)]
pub(crate) struct Recorder(PrometheusHandle);

/// The exporter could not be installed.
#[derive(Debug, thiserror::Error)]
#[error("cannot install the metrics recorder: {0}")]
pub(crate) struct MetricsError(#[from] BuildError);

/// Installs the recorder of the process; a second call returns the first one.
pub(crate) fn install() -> Result<Recorder, MetricsError> {
    if let Some(recorder) = RECORDER.get() {
        return Ok(recorder.clone());
    }
    let mut builder = PrometheusBuilder::new();
    for metric in telemetry::ALL.iter().filter(|metric| metric.kind == Kind::Histogram) {
        builder = builder.set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), BUCKETS)?;
    }
    let recorder = Recorder(builder.install_recorder()?);
    telemetry::describe();
    gauge!(telemetry::BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(RECORDER.get_or_init(|| recorder).clone())
}

impl Recorder {
    /// The Prometheus text format.
    pub(crate) fn render(&self) -> String {
        self.0.render()
    }

    /// Drains the histograms periodically, so that the memory of an unscraped process does not grow.
    pub(crate) async fn upkeep(self) {
        loop {
            tokio::time::sleep(UPKEEP).await;
            self.0.run_upkeep();
        }
    }
}
