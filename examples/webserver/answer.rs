//! What a client is told.
//!
//! An answer leaves its request's lane by value, and is written when the lane is dead. Its bytes were the lane's, and as much of
//! the lane's bucket stays reserved until they are freed; so whoever reads slowly has memory of nobody else.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};

use crate::routes::Refusal;

/// Status, body and the fields that matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    kind: &'static str,
    body: Bytes,
    /// When to come again, where that makes sense.
    retry: Option<Duration>,
}

impl Answer {
    pub(crate) fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
        Answer { status, kind: "text/plain; charset=utf-8", body: body.into(), retry: None }
    }

    pub(crate) fn json(body: impl Into<Bytes>) -> Answer {
        Answer { kind: "application/json", ..Answer::text(StatusCode::OK, body) }
    }

    /// A page of metrics.
    pub(crate) fn exposition(body: String) -> Answer {
        Answer { kind: "text/plain; version=0.0.4; charset=utf-8", ..Answer::text(StatusCode::OK, body) }
    }

    pub(crate) fn refusal(refusal: &Refusal) -> Answer {
        Answer::text(refusal.status(), format!("{}\n", refusal.text()))
    }

    /// Not now.
    pub(crate) fn busy(why: &'static str, retry: Duration) -> Answer {
        Answer { retry: Some(retry), ..Answer::text(StatusCode::SERVICE_UNAVAILABLE, why) }
    }

    /// As hyper sends it; `last` where the connection ends with it.
    pub(crate) fn into_response(self, last: bool) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.kind));
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        if let Some(retry) = self.retry {
            // In whole seconds, and never at once.
            headers.insert(RETRY_AFTER, HeaderValue::from(retry.as_millis().div_ceil(1000).max(1) as u64));
        }
        if last {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_refused_is_told_what_to_do() {
        let busy = Answer::busy("no", Duration::from_millis(1200)).into_response(true);
        assert_eq!(busy.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(
            (&busy.headers()[RETRY_AFTER], &busy.headers()[CONNECTION]),
            (&"2".parse().unwrap(), &"close".parse().unwrap())
        );
        let method = Answer::refusal(&Refusal::Method).into_response(false);
        assert_eq!(method.headers()[ALLOW], "GET, HEAD");
        assert!(!method.headers().contains_key(CONNECTION));
    }
}
