//! Metrics as they are written: a name, what it means, and samples.

use std::fmt;

use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelSet, MetricEncoder,
};
use prometheus_client::metrics::MetricType;

use crate::server::calls::ResponseTimes;

/// No labels.
pub(super) const UNLABELLED: [(&str, &str); 0] = [];

/// Writes metrics one after the other.
pub(super) struct Families<'e>(DescriptorEncoder<'e>);

impl<'e> Families<'e> {
    pub(super) const fn new(encoder: DescriptorEncoder<'e>) -> Self {
        Self(encoder)
    }

    /// A number that goes up and down, with samples by their labels.
    pub(super) fn gauge<L: EncodeLabelSet, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (L, V)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Gauge, samples, |metric, value| {
            metric.encode_gauge(value)
        })
    }

    /// A sum that only grows while meshd runs; `_total` is added to its name.
    pub(super) fn counter<L: EncodeLabelSet, V: EncodeCounterValue>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (L, V)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Counter, samples, |metric, value| {
            metric.encode_counter::<[(&str, &str); 0], _, u64>(value, None)
        })
    }

    /// A number under a name that is given, to which nothing is added.
    pub(super) fn unknown<L: EncodeLabelSet, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (L, V)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Unknown, samples, |metric, value| {
            metric.encode_gauge(value)
        })
    }

    /// Times by their length, with samples by their labels.
    pub(super) fn histogram<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (L, ResponseTimes)>,
    ) -> fmt::Result {
        self.family(
            name,
            help,
            MetricType::Histogram,
            samples,
            |metric, times| {
                metric.encode_histogram::<[(&str, &str); 0]>(
                    times.sum_s(),
                    times.count(),
                    &times.buckets(),
                    None,
                )
            },
        )
    }

    fn family<L: EncodeLabelSet, V>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        samples: impl IntoIterator<Item = (L, V)>,
        encode: impl Fn(&mut MetricEncoder<'_>, &V) -> fmt::Result,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, kind)?;
        samples
            .into_iter()
            .try_for_each(|(labels, value)| encode(&mut metric.encode_family(&labels)?, &value))
    }

    /// What does not change while meshd runs, as labels; `_info` is added to its name.
    pub(super) fn info(
        &mut self,
        name: &str,
        help: &str,
        labels: &impl EncodeLabelSet,
    ) -> fmt::Result {
        let mut metric = self
            .0
            .encode_descriptor(name, help, None, MetricType::Info)?;
        metric.encode_info(labels)
    }
}

/// Microseconds in seconds.
pub(super) fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}
