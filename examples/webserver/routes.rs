//! What is asked for: a path and its query become a job, or a refusal with a status of its own.
//!
//! Pure. A job is what needs a bucket; what is refused here has cost none.

use std::time::Duration;

use hyper::{Method, StatusCode};

/// The most that `/work` and `/leak` may ask for. More than any bucket, so that a bucket is what says no.
const MAX_KIB: u64 = 1 << 20;
/// The longest that `/work` may hold what it took.
const MAX_MS: u64 = 60_000;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// For a lane with a bucket.
    Job(Job),
    /// For the connection itself: the page must also be there when no bucket is free.
    Metrics,
}

/// What a request's lane is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Job {
    /// A line of text.
    Plain,
    /// An object, written into the arena.
    Json,
    /// Take so much from the arena, and keep it for so long, as one does that waits for a database.
    Work { kib: u64, hold: Duration },
    /// Take so much from the arena, and forget it.
    Leak { kib: u64 },
    /// Panic.
    Panic,
    /// Go on for ever; `hard` without an await, and for some time only.
    Spin { hard: bool },
}

/// Why a request is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// There is nothing under that path.
    NotFound,
    /// Something is there, to be read only.
    Method,
    /// A parameter is not known, twice there, or makes no sense.
    Query(String),
}

impl Refusal {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Refusal::NotFound => StatusCode::NOT_FOUND,
            Refusal::Method => StatusCode::METHOD_NOT_ALLOWED,
            Refusal::Query(_) => StatusCode::BAD_REQUEST,
        }
    }

    pub(crate) fn text(&self) -> &str {
        match self {
            Refusal::NotFound => "there is nothing here: try /, /json, /work?kib=64, /leak, /panic, /spin, /metrics",
            Refusal::Method => "this can only be read, by GET or HEAD",
            Refusal::Query(why) => why,
        }
    }
}

/// What a request asks for.
///
/// # Errors
/// [`Refusal`].
pub(crate) fn route(method: &Method, path: &str, query: Option<&str>) -> Result<Route, Refusal> {
    let mut query = Query::parse(query.unwrap_or(""))?;
    let route = match path {
        "/" => Route::Job(Job::Plain),
        "/json" => Route::Job(Job::Json),
        "/work" => {
            let kib = query.number("kib", MAX_KIB)?.ok_or_else(|| Refusal::Query("kib is missing".into()))?;
            let hold = Duration::from_millis(query.number("ms", MAX_MS)?.unwrap_or(0));
            Route::Job(Job::Work { kib, hold })
        }
        "/leak" => Route::Job(Job::Leak { kib: query.number("kib", MAX_KIB)?.unwrap_or(64) }),
        "/panic" => Route::Job(Job::Panic),
        "/spin" => Route::Job(Job::Spin { hard: query.number("hard", 1)? == Some(1) }),
        "/metrics" => Route::Metrics,
        _ => return Err(Refusal::NotFound),
    };
    query.end()?;
    if method != Method::GET && method != Method::HEAD {
        return Err(Refusal::Method);
    }
    Ok(route)
}

/// Parameters that nobody has asked for yet.
struct Query<'a>(Vec<(&'a str, &'a str)>);

/// Parameters that are looked at, at most.
const MAX_PARAMETERS: usize = 8;

impl<'a> Query<'a> {
    fn parse(text: &'a str) -> Result<Query<'a>, Refusal> {
        let mut found: Vec<(&str, &str)> = Vec::new();
        for part in text.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            if found.len() == MAX_PARAMETERS {
                return Err(Refusal::Query(format!("more than {MAX_PARAMETERS} parameters")));
            }
            if found.iter().any(|(other, _)| *other == name) {
                return Err(Refusal::Query(format!("{} is there twice", shown(name))));
            }
            found.push((name, value));
        }
        Ok(Query(found))
    }

    fn number(&mut self, name: &str, most: u64) -> Result<Option<u64>, Refusal> {
        let Some(at) = self.0.iter().position(|(other, _)| *other == name) else { return Ok(None) };
        let (_, value) = self.0.swap_remove(at);
        // `u64::from_str` would also take a plus sign.
        let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
        match value.parse::<u64>() {
            Ok(number) if digits && number <= most => Ok(Some(number)),
            _ => Err(Refusal::Query(format!("{name} must be a whole number from 0 to {most}, not `{}`", shown(value)))),
        }
    }

    fn end(self) -> Result<(), Refusal> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(Refusal::Query(format!("{} is not known here", shown(name)))),
        }
    }
}

/// What came, fit to be sent back.
fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(path: &str, query: &str) -> Result<Route, Refusal> {
        route(&Method::GET, path, Some(query))
    }

    #[test]
    fn paths_become_jobs() {
        assert_eq!(route(&Method::GET, "/", None), Ok(Route::Job(Job::Plain)));
        assert_eq!(route(&Method::HEAD, "/json", None), Ok(Route::Job(Job::Json)));
        assert_eq!(get("/work", "kib=64"), Ok(Route::Job(Job::Work { kib: 64, hold: Duration::ZERO })));
        let held = Job::Work { kib: 0, hold: Duration::from_millis(20) };
        assert_eq!(get("/work", "ms=20&kib=0"), Ok(Route::Job(held)));
        assert_eq!(get("/leak", ""), Ok(Route::Job(Job::Leak { kib: 64 })));
        assert_eq!(get("/spin", "hard=1"), Ok(Route::Job(Job::Spin { hard: true })));
        assert_eq!(get("/spin", "hard=0"), Ok(Route::Job(Job::Spin { hard: false })));
        assert_eq!(get("/metrics", ""), Ok(Route::Metrics));
    }

    #[test]
    fn what_makes_no_sense_is_a_refusal_of_its_own() {
        let queries = [
            ("/work", ""),
            ("/work", "kib"),
            ("/work", "kib=abc"),
            ("/work", "kib=-1"),
            ("/work", "kib=+1"),
            ("/work", "kib=1.5"),
            ("/work", "kib=18446744073709551616"),
            ("/work", "kib=18446744073709551615"),
            ("/work", "kib=1&kib=2"),
            ("/work", "kib=1&ms=60001"),
            ("/work", "kib=1&colour=red"),
            ("/spin", "hard=2"),
            ("/", "kib=1"),
            ("/", "a&b&c&d&e&f&g&h&i"),
        ];
        for (path, query) in queries {
            let refusal = get(path, query).expect_err(query);
            assert_eq!(refusal.status(), StatusCode::BAD_REQUEST, "{path}?{query}: {refusal:?}");
        }
        assert_eq!(get("/nowhere", "").unwrap_err().status(), StatusCode::NOT_FOUND);
        assert_eq!(get("/json/", "").unwrap_err().status(), StatusCode::NOT_FOUND);
        assert_eq!(route(&Method::POST, "/", None).unwrap_err().status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(route(&Method::DELETE, "/nowhere", None).unwrap_err().status(), StatusCode::NOT_FOUND);
    }

    #[test]
    fn a_long_value_is_not_sent_back_whole() {
        let refusal = get("/work", &format!("kib={}", "9".repeat(8000))).unwrap_err();
        assert!(refusal.text().len() < 200, "{}", refusal.text());
    }
}
