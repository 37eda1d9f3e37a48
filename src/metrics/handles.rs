//! Handles by which a series is changed. They are made once; a change through one is an atomic operation. Without the
//! feature `metrics` they do nothing.

#[cfg(feature = "metrics")]
mod facade {
    use metrics::{Key, Metadata, SharedString, Unit, with_recorder};

    use super::super::series::{Kind, Series};

    pub(crate) use metrics::{Counter, Gauge, Histogram};

    static METADATA: Metadata<'static> =
        Metadata::new("diesel_outbox", metrics::Level::INFO, Some(module_path!()));

    /// The key of a series with these values of its labels, in their order.
    fn key(series: &Series, values: &[&str]) -> Key {
        debug_assert_eq!(series.labels.len(), values.len(), "{}", series.name);
        let labels = series.labels.iter().zip(values);
        let labels =
            labels.map(|(label, value)| metrics::Label::new(label.name, (*value).to_owned()));
        Key::from_parts(series.name, labels.collect::<Vec<_>>())
    }

    pub(crate) fn counter(series: &Series, values: &[&str]) -> Counter {
        debug_assert_eq!(series.kind, Kind::Counter, "{}", series.name);
        with_recorder(|recorder| recorder.register_counter(&key(series, values), &METADATA))
    }

    pub(crate) fn gauge(series: &Series, values: &[&str]) -> Gauge {
        debug_assert_eq!(series.kind, Kind::Gauge, "{}", series.name);
        with_recorder(|recorder| recorder.register_gauge(&key(series, values), &METADATA))
    }

    pub(crate) fn histogram(series: &Series, values: &[&str]) -> Histogram {
        debug_assert_eq!(series.kind, Kind::Histogram, "{}", series.name);
        with_recorder(|recorder| recorder.register_histogram(&key(series, values), &METADATA))
    }

    /// Gives the recorder the help of a series.
    pub(crate) fn describe(series: &Series) {
        let help = SharedString::const_str(series.help);
        with_recorder(|recorder| match series.kind {
            Kind::Counter => recorder.describe_counter(series.name.into(), None, help),
            Kind::Gauge => {
                let unit = series.name.ends_with("_seconds").then_some(Unit::Seconds);
                recorder.describe_gauge(series.name.into(), unit, help);
            }
            Kind::Histogram => {
                recorder.describe_histogram(series.name.into(), Some(Unit::Seconds), help);
            }
        });
    }
}

#[cfg(not(feature = "metrics"))]
mod facade {
    use super::super::series::Series;

    #[derive(Debug, Clone)]
    pub(crate) struct Counter;

    impl Counter {
        pub(crate) fn increment(&self, _: u64) {}
    }

    #[derive(Debug, Clone)]
    pub(crate) struct Gauge;

    impl Gauge {
        pub(crate) fn set(&self, _: f64) {}
        pub(crate) fn increment(&self, _: f64) {}
    }

    #[derive(Debug, Clone)]
    pub(crate) struct Histogram;

    impl Histogram {
        pub(crate) fn record(&self, _: f64) {}
    }

    pub(crate) fn counter(_: &Series, _: &[&str]) -> Counter {
        Counter
    }

    pub(crate) fn gauge(_: &Series, _: &[&str]) -> Gauge {
        Gauge
    }

    pub(crate) fn histogram(_: &Series, _: &[&str]) -> Histogram {
        Histogram
    }

    pub(crate) fn describe(_: &Series) {}
}

pub(crate) use facade::{Counter, Gauge, Histogram, counter, describe, gauge, histogram};
