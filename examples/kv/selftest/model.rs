//! What a client knows of its own keys, and whether an answer can be true.
//!
//! Owns: the judgement. A client alone writes its keys, so it knows their values, except where an answer never came: then
//! the write was carried out or it was not. So a key has a set of values that it may have; each answer narrows it, and an
//! answer that fits none of them is a fault of the server.
//!
//! Pure: times come in, in milliseconds of the client's clock.

use std::collections::VecDeque;
use std::fmt;

/// Values that a key had before, kept to tell a write that was lost from a value that never was.
const PAST: usize = 64;
/// How far the clocks of server and client may be apart over the life of a key, in milliseconds.
const SLACK: u64 = 100;

/// A value, or none.
pub(crate) type Value = Option<Vec<u8>>;

/// What a client does to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// `SET`, also as a part of `MSET`.
    Set(Vec<u8>),
    /// `INCR`.
    Incr,
    /// `APPEND`.
    Append(Vec<u8>),
    /// `DEL`.
    Del,
}

/// What the server answered to a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// `OK`.
    Ok,
    /// A number.
    Number(i64),
}

/// The server did what it must not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The answer is that of an earlier state: a write that was acknowledged is gone.
    Lost(String),
    /// The answer is that of no state that ever was.
    Wrong(String),
}

impl Change {
    fn apply(&self, value: &Value) -> Value {
        match self {
            Self::Set(to) => Some(to.clone()),
            Self::Incr => Some((number(value) + 1).to_string().into_bytes()),
            Self::Append(tail) => Some([value.as_deref().unwrap_or_default(), tail].concat()),
            Self::Del => None,
        }
    }

    /// What the server says when the key had this value.
    fn answer(&self, before: &Value) -> Answer {
        match self {
            Self::Set(_) => Answer::Ok,
            Self::Incr => Answer::Number(number(before) + 1),
            Self::Append(tail) => Answer::Number((before.as_ref().map_or(0, Vec::len) + tail.len()) as i64),
            Self::Del => Answer::Number(i64::from(before.is_some())),
        }
    }
}

fn number(value: &Value) -> i64 {
    value.as_deref().and_then(|text| std::str::from_utf8(text).ok()?.parse().ok()).unwrap_or(0)
}

/// The values that a key may have.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    name: String,
    /// Empty after a fault, when nothing is known.
    may_be: Vec<Value>,
    past: VecDeque<Value>,
}

impl Key {
    /// A key that nobody has written.
    pub(crate) fn new(name: String) -> Self {
        Self { name, may_be: vec![None], past: VecDeque::new() }
    }

    /// What the server calls it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The longest value that it may have, in bytes.
    pub(crate) fn longest(&self) -> usize {
        self.may_be.iter().flatten().map(Vec::len).max().unwrap_or(0)
    }

    /// The server said that a change was made.
    pub(crate) fn acknowledge(&mut self, change: &Change, answer: &Answer) -> Result<(), Fault> {
        let fits = |before: &&Value| change.answer(before) == *answer;
        let after = self.may_be.iter().filter(fits).map(|before| change.apply(before)).collect::<Vec<_>>();
        let is_known = !self.may_be.is_empty();
        let was_so_once = self.past.iter().any(|before| change.answer(before) == *answer);
        let told = format!("{}: {change} was answered by {answer:?}, not as from {}", self.name, self.show());
        self.narrow(after);
        match is_known && self.may_be.is_empty() {
            false => Ok(()),
            true if was_so_once => Err(Fault::Lost(told)),
            true => Err(Fault::Wrong(told)),
        }
    }

    /// No answer came: the change was made or it was not.
    pub(crate) fn doubt(&mut self, change: &Change) {
        for value in self.may_be.clone() {
            let after = change.apply(&value);
            if !self.may_be.contains(&after) {
                self.may_be.push(after);
            }
        }
    }

    /// The server said what the value is.
    pub(crate) fn read(&mut self, value: Value) -> Result<(), Fault> {
        let fits = self.may_be.is_empty() || self.may_be.contains(&value);
        let told = || format!("{}: read as {}, not as {}", self.name, show(&value), self.show());
        let fault = match fits {
            true => None,
            false if self.past.contains(&value) || value.is_none() => Some(Fault::Lost(told())),
            false => Some(Fault::Wrong(told())),
        };
        self.narrow(vec![value]);
        fault.map_or(Ok(()), Err)
    }

    fn narrow(&mut self, mut to: Vec<Value>) {
        to.sort_unstable();
        to.dedup();
        let before = std::mem::replace(&mut self.may_be, to);
        for value in before {
            if !self.may_be.contains(&value) && self.past.back() != Some(&value) {
                self.past.push_back(value);
            }
        }
        let too_many = self.past.len().saturating_sub(PAST);
        self.past.drain(..too_many);
    }

    fn show(&self) -> String {
        self.may_be.iter().map(show).collect::<Vec<_>>().join(" or ")
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set(to) => write!(f, "SET {}", to.escape_ascii()),
            Self::Incr => f.write_str("INCR"),
            Self::Append(tail) => write!(f, "APPEND {}", tail.escape_ascii()),
            Self::Del => f.write_str("DEL"),
        }
    }
}

fn show(value: &Value) -> String {
    const SHOWN: usize = 64;
    match value {
        None => "nothing".into(),
        Some(text) if text.len() <= SHOWN => format!("\"{}\"", text.escape_ascii()),
        Some(text) => {
            format!("\"…{}\" ({} bytes)", text[text.len() - SHOWN..].escape_ascii(), text.len())
        }
    }
}

/// A key that is only ever written with `SET … PX`.
#[derive(Clone, Debug)]
pub(crate) struct BriefKey {
    name: String,
    /// `None` is a key that is not there.
    may_be: Vec<Option<Life>>,
}

/// A value and when it goes: not before the one, not after the other.
#[derive(Clone, Debug)]
struct Life {
    value: Vec<u8>,
    earliest_end: u64,
    latest_end: u64,
}

impl BriefKey {
    /// A key that nobody has written.
    pub(crate) fn new(name: String) -> Self {
        Self { name, may_be: vec![None] }
    }

    /// What the server calls it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The server said that it was set; the command was sent and answered at these times.
    pub(crate) fn acknowledge(&mut self, value: Vec<u8>, millis: u64, sent: u64, answered: u64) {
        self.may_be = vec![Some(Life { value, earliest_end: sent + millis, latest_end: answered + millis })];
    }

    /// No answer came. Where it was set, that may have been late, so nothing is known of its end.
    pub(crate) fn doubt(&mut self, value: Vec<u8>, millis: u64, sent: u64) {
        self.may_be.push(Some(Life { value, earliest_end: sent + millis, latest_end: u64::MAX }));
    }

    /// The server said what the value is, to a question that was sent and answered at these times.
    pub(crate) fn read(&mut self, value: Value, sent: u64, answered: u64) -> Result<(), Fault> {
        let known = self.may_be.iter().rposition(|life| match (life, &value) {
            (None, None) => true,
            (Some(life), None) => answered + SLACK >= life.earliest_end,
            (Some(life), Some(read)) => life.value == *read && sent <= life.latest_end.saturating_add(SLACK),
            (None, Some(_)) => false,
        });
        let told = || {
            let times = format!("between {sent} and {answered}");
            let may_be: Vec<_> = self.may_be.iter().map(show_life).collect();
            format!("{}: read as {} {times}, not as {}", self.name, show(&value), may_be.join(" or "))
        };
        let fault = match (known, &value) {
            (Some(_), _) => Ok(()),
            (None, None) => Err(Fault::Lost(told())),
            (None, Some(_)) => Err(Fault::Wrong(told())),
        };
        let life = known.and_then(|at| self.may_be.swap_remove(at));
        self.may_be = vec![life.filter(|_| value.is_some())];
        fault
    }
}

fn show_life(life: &Option<Life>) -> String {
    match life {
        None => "nothing".into(),
        Some(life) => {
            let Life { value, earliest_end, latest_end } = life;
            format!("{} until {earliest_end} to {latest_end}", show(&Some(value.clone())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Some(text.into())
    }

    fn key() -> Key {
        Key::new("k".into())
    }

    #[test]
    fn a_write_in_doubt_leaves_both_values_possible_until_one_is_read() {
        let mut key = key();
        key.acknowledge(&Change::Set(b"5".into()), &Answer::Ok).unwrap();
        key.doubt(&Change::Incr);
        let mut made = key.clone();
        assert_eq!(key.read(text("5")), Ok(()));
        assert_eq!(made.acknowledge(&Change::Incr, &Answer::Number(7)), Ok(()));
        assert_eq!(made.read(text("7")), Ok(()));
        assert!(matches!(made.read(text("6")), Err(Fault::Lost(_) | Fault::Wrong(_))));
    }

    #[test]
    fn an_answer_of_an_earlier_state_is_a_lost_write() {
        let mut key = key();
        for number in 1..4 {
            key.acknowledge(&Change::Incr, &Answer::Number(number)).unwrap();
        }
        assert!(matches!(key.clone().acknowledge(&Change::Incr, &Answer::Number(3)), Err(Fault::Lost(_))));
        assert!(matches!(key.clone().acknowledge(&Change::Incr, &Answer::Number(5)), Err(Fault::Wrong(_))));
        assert!(matches!(key.clone().read(None), Err(Fault::Lost(_))));
        assert!(matches!(key.read(text("2")), Err(Fault::Lost(_))));
        assert_eq!(key.read(text("2")), Ok(()), "one fault is told once");
    }

    #[test]
    fn a_value_that_never_was_is_wrong() {
        let mut key = key();
        key.acknowledge(&Change::Append(b"ab".into()), &Answer::Number(2)).unwrap();
        key.doubt(&Change::Append(b"cd".into()));
        assert_eq!(key.longest(), 4);
        assert!(matches!(key.clone().read(text("cd")), Err(Fault::Wrong(_))));
        assert_eq!(key.acknowledge(&Change::Del, &Answer::Number(1)), Ok(()));
        assert_eq!(key.acknowledge(&Change::Del, &Answer::Number(0)), Ok(()));
    }

    #[test]
    fn a_brief_key_goes_neither_early_nor_late() {
        let set = || {
            let mut key = BriefKey::new("k".into());
            key.acknowledge(b"v".into(), 1000, 0, 10);
            key
        };
        assert_eq!(set().read(text("v"), 500, 501), Ok(()));
        assert_eq!(set().read(None, 1000, 1001), Ok(()));
        assert!(matches!(set().read(None, 500, 501), Err(Fault::Lost(_))));
        assert!(matches!(set().read(text("v"), 1200, 1201), Err(Fault::Wrong(_))));
        let mut again = set();
        assert!(matches!(again.clone().read(Some(b"x".into()), 5, 6), Err(Fault::Wrong(_))));
        assert_eq!(again.read(None, 1000, 1001), Ok(()));
        assert!(matches!(again.read(text("v"), 1002, 1003), Err(Fault::Wrong(_))), "what is gone stays away");
    }

    #[test]
    fn a_brief_key_in_doubt_has_either_value() {
        let mut key = BriefKey::new("k".into());
        key.acknowledge(b"v".into(), 1000, 0, 10);
        key.doubt(b"w".into(), 5000, 100);
        assert_eq!(key.clone().read(text("v"), 500, 501), Ok(()));
        assert_eq!(key.clone().read(None, 1500, 1501), Ok(()), "the second was never set");
        assert_eq!(key.read(text("w"), 9000, 9001), Ok(()), "it may have been set late");
    }
}
