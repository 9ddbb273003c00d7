//! One connection's own state, and the commands that are answered from it alone.
//!
//! Owns: the protocol a connection speaks, its name, and what `HELLO`, `CLIENT`, `COMMAND` and `CONFIG GET` say. Knows
//! nothing of data, and of the socket only its peer's name.

use bytes::Bytes;

use crate::command::{SessionCommand, Spec, TABLE, find};
use crate::resp::{Protocol, Reply};

/// The version of Redis whose answers are given here; clients choose by it what they dare to ask.
pub(crate) const REDIS_VERSION: &str = "7.0.15";

/// What to do with the connection when the reply is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Next {
    /// Read on.
    Continue,
    /// Flush and close.
    Close,
}

/// One connection.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    id: u64,
    peer: String,
    protocol: Protocol,
    name: Bytes,
    library: Bytes,
    library_version: Bytes,
}

impl Session {
    /// A new connection: `id` is never given twice, `peer` is its address.
    pub(crate) fn new(id: u64, peer: String) -> Self {
        let (name, library, library_version) = Default::default();
        Self { id, peer, protocol: Protocol::default(), name, library, library_version }
    }

    /// How to encode a reply; ask after [`answer`](Self::answer), since `HELLO` is answered in what it chose.
    pub(crate) fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Carries out a command about the connection.
    pub(crate) fn answer(&mut self, command: SessionCommand) -> (Reply, Next) {
        let reply = match command {
            SessionCommand::Ping(None) => Reply::Simple("PONG"),
            SessionCommand::Ping(Some(text)) | SessionCommand::Echo(text) => Reply::Bulk(text),
            SessionCommand::Hello { protocol, name } => self.hello(protocol, name),
            SessionCommand::Select | SessionCommand::ClientSwitch => Reply::OK,
            SessionCommand::Quit => return (Reply::OK, Next::Close),
            SessionCommand::Reset => {
                *self = Self::new(self.id, std::mem::take(&mut self.peer));
                Reply::Simple("RESET")
            }
            SessionCommand::ClientId => Reply::Integer(self.id as i64),
            SessionCommand::ClientInfo => Reply::Text(self.describe()),
            SessionCommand::ClientGetName if self.name.is_empty() => Reply::Null,
            SessionCommand::ClientGetName => Reply::Bulk(self.name.clone()),
            SessionCommand::ClientSetName(name) => keep(&mut self.name, &name),
            SessionCommand::ClientLibName(name) => keep(&mut self.library, &name),
            SessionCommand::ClientLibVer(version) => keep(&mut self.library_version, &version),
            SessionCommand::CommandCount => Reply::Integer(TABLE.len() as i64),
            SessionCommand::CommandInfo(names) => command_info(&names),
            SessionCommand::CommandDocs(names) => command_docs(&names),
            SessionCommand::ConfigGet(patterns) => config(&patterns),
        };
        (reply, Next::Continue)
    }

    fn hello(&mut self, protocol: Option<Protocol>, name: Option<Bytes>) -> Reply {
        self.protocol = protocol.unwrap_or(self.protocol);
        if let Some(name) = name {
            keep(&mut self.name, &name);
        }
        let number = match self.protocol {
            Protocol::Resp2 => 2,
            Protocol::Resp3 => 3,
        };
        let fields = [
            ("server", Reply::bulk("redis")),
            ("version", Reply::bulk(REDIS_VERSION)),
            ("proto", Reply::Integer(number)),
            ("id", Reply::Integer(self.id as i64)),
            ("mode", Reply::bulk("standalone")),
            ("role", Reply::bulk("master")),
            ("modules", Reply::Array(Vec::new())),
        ];
        Reply::Map(fields.into_iter().map(|(name, value)| (Reply::bulk(name), value)).collect())
    }

    fn describe(&self) -> String {
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        let version = if self.protocol == Protocol::Resp2 { 2 } else { 3 };
        format!(
            "id={} addr={} name={} db=0 resp={version} lib-name={} lib-ver={}\n",
            self.id,
            self.peer,
            text(&self.name),
            text(&self.library),
            text(&self.library_version),
        )
    }
}

/// Keeps a copy: the argument is a slice of the connection's buffer and would hold all of it.
fn keep(field: &mut Bytes, value: &Bytes) -> Reply {
    *field = Bytes::copy_from_slice(value);
    Reply::OK
}

fn command_info(names: &[Bytes]) -> Reply {
    let info = |spec: &Spec| {
        let (first, last, step) = spec.keys;
        let flags = spec.flags.iter().map(|flag| Reply::Simple(flag)).collect();
        let keys = [first, last, step].map(|number| Reply::Integer(number.into()));
        let mut fields = vec![Reply::bulk(spec.name), Reply::Integer(spec.arity.into()), Reply::Array(flags)];
        fields.extend(keys);
        Reply::Array(fields)
    };
    if names.is_empty() {
        return Reply::Array(TABLE.iter().map(info).collect());
    }
    Reply::Array(names.iter().map(|name| find(name).map_or(Reply::Null, info)).collect())
}

/// Names that are no command are left out, as Redis does.
fn command_docs(names: &[Bytes]) -> Reply {
    let docs = |spec: &Spec| {
        let fields = [("summary", spec.summary), ("since", "1.0.0"), ("group", spec.group)];
        let fields = fields.map(|(name, text)| (Reply::bulk(name), Reply::bulk(text)));
        (Reply::bulk(spec.name), Reply::Map(fields.into()))
    };
    if names.is_empty() {
        return Reply::Map(TABLE.iter().map(docs).collect());
    }
    Reply::Map(names.iter().filter_map(|name| find(name)).map(docs).collect())
}

/// What `redis-benchmark` and client libraries ask for at their start.
const CONFIG: [(&str, &str); 5] =
    [("save", ""), ("appendonly", "no"), ("databases", "1"), ("maxmemory", "0"), ("maxmemory-policy", "noeviction")];

fn config(patterns: &[Bytes]) -> Reply {
    let wanted = |name: &str| patterns.iter().any(|pattern| matches(pattern, name.as_bytes()));
    let pairs = CONFIG.iter().filter(|(name, _)| wanted(name));
    Reply::Map(pairs.map(|(name, value)| (Reply::bulk(name), Reply::bulk(value))).collect())
}

/// Whether `text` is matched by a pattern in which `*` stands for anything and `?` for one byte. It goes back to the
/// last `*` only, so its time is the product of the lengths at worst.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut pos) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while pos < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, pos));
                at += 1;
            }
            Some(letter) if *letter == b'?' || letter.eq_ignore_ascii_case(&text[pos]) => {
                at += 1;
                pos += 1;
            }
            _ => match &mut star {
                None => return false,
                Some((star_at, star_pos)) => {
                    *star_pos += 1;
                    (at, pos) = (*star_at + 1, *star_pos);
                }
            },
        }
    }
    pattern[at..].iter().all(|letter| *letter == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> Session {
        Session::new(7, "127.0.0.1:5".into())
    }

    fn get<'a>(reply: &'a Reply, name: &str) -> &'a Reply {
        let Reply::Map(pairs) = reply else { panic!("{reply:?}") };
        &pairs.iter().find(|(key, _)| *key == Reply::bulk(name)).expect("the field is there").1
    }

    #[test]
    fn hello_changes_the_protocol_and_says_so() {
        let mut session = session();
        let (reply, next) = session.answer(SessionCommand::Hello { protocol: None, name: None });
        assert_eq!((get(&reply, "proto"), next), (&Reply::Integer(2), Next::Continue));
        let hello = SessionCommand::Hello { protocol: Some(Protocol::Resp3), name: Some("me".into()) };
        let (reply, _) = session.answer(hello);
        assert_eq!(get(&reply, "proto"), &Reply::Integer(3));
        assert_eq!(get(&reply, "id"), &Reply::Integer(7));
        assert_eq!(session.protocol(), Protocol::Resp3);
        assert_eq!(session.answer(SessionCommand::ClientGetName).0, Reply::bulk("me"));
    }

    #[test]
    fn reset_makes_the_connection_new_and_quit_ends_it() {
        let mut session = session();
        let _ = session.answer(SessionCommand::Hello { protocol: Some(Protocol::Resp3), name: Some("me".into()) });
        assert_eq!(session.answer(SessionCommand::Reset), (Reply::Simple("RESET"), Next::Continue));
        assert_eq!(session.protocol(), Protocol::Resp2);
        assert_eq!(session.answer(SessionCommand::ClientGetName).0, Reply::Null);
        assert_eq!(session.answer(SessionCommand::ClientId).0, Reply::Integer(7));
        assert_eq!(session.answer(SessionCommand::Quit), (Reply::OK, Next::Close));
    }

    #[test]
    fn a_client_is_described_by_what_it_told_of_itself() {
        let mut session = session();
        for command in [
            SessionCommand::ClientSetName("me".into()),
            SessionCommand::ClientLibName("lib".into()),
            SessionCommand::ClientLibVer("1.2".into()),
        ] {
            assert_eq!(session.answer(command).0, Reply::OK);
        }
        let text = "id=7 addr=127.0.0.1:5 name=me db=0 resp=2 lib-name=lib lib-ver=1.2\n";
        assert_eq!(session.answer(SessionCommand::ClientInfo).0, Reply::Text(text.into()));
    }

    #[test]
    fn command_tells_of_every_command_and_of_unknown_ones_nothing() {
        let mut session = session();
        let count = TABLE.len();
        assert_eq!(session.answer(SessionCommand::CommandCount).0, Reply::Integer(count as i64));
        let Reply::Array(all) = session.answer(SessionCommand::CommandInfo(vec![])).0 else { panic!() };
        assert_eq!(all.len(), count);
        let Reply::Array(some) = session.answer(SessionCommand::CommandInfo(vec!["GET".into(), "nope".into()])).0
        else {
            panic!()
        };
        let keys = [1, 1, 1].map(Reply::Integer);
        let flags = Reply::Array(vec![Reply::Simple("readonly"), Reply::Simple("fast")]);
        let get = [vec![Reply::bulk("get"), Reply::Integer(2), flags], keys.to_vec()].concat();
        assert_eq!(some, [Reply::Array(get), Reply::Null]);
        let Reply::Map(docs) = session.answer(SessionCommand::CommandDocs(vec!["nope".into(), "set".into()])).0 else {
            panic!()
        };
        assert_eq!(docs.len(), 1);
    }

    #[test]
    fn config_get_answers_what_redis_benchmark_asks() {
        let mut session = session();
        let (reply, _) = session.answer(SessionCommand::ConfigGet(vec!["save".into(), "APPEND*".into()]));
        let expected = [("save", ""), ("appendonly", "no")].map(|(k, v)| (Reply::bulk(k), Reply::bulk(v)));
        assert_eq!(reply, Reply::Map(expected.into()));
        assert_eq!(session.answer(SessionCommand::ConfigGet(vec!["nope".into()])).0, Reply::Map(vec![]));
    }

    #[test]
    fn patterns_match_as_a_shell_reads_them() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("a*c", "abcbc", true),
            ("a*c", "abcb", false),
            ("?b*", "ab", true),
            ("*max*policy", "maxmemory-policy", true),
            ("a**", "a", true),
            ("ab", "a", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} on {text}");
        }
    }
}
