//! What the runtime writes by `tracing`, for tests to read.

use std::fmt::Write as _;
use std::sync::{Mutex, OnceLock};

use tracing::field::{Field, Visit};
use tracing::span;

/// Collects what is reported: the text of each warning.
pub(crate) struct Reports(Mutex<Vec<String>>);

impl Reports {
    pub(crate) fn installed() -> &'static Reports {
        static REPORTS: OnceLock<&'static Reports> = OnceLock::new();
        REPORTS.get_or_init(|| {
            let reports: &'static Reports = Box::leak(Box::new(Reports(Mutex::default())));
            tracing::subscriber::set_global_default(reports).expect("no other subscriber in this program");
            reports
        })
    }

    pub(crate) fn of(&self, lane: laneway::Id) -> Vec<String> {
        let named = format!("lane={lane};");
        self.0.lock().unwrap().iter().filter(|report| report.contains(&named)).cloned().collect()
    }
}

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, "{}={value:?};", field.name()).expect("a string takes all");
    }
}

impl tracing::Subscriber for &'static Reports {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::WARN
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut fields = Fields(String::new());
        event.record(&mut fields);
        self.0.lock().unwrap().push(fields.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}
