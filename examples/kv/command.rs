//! What a client asks for: argument vectors become [`Command`]s, or the error that Redis would give.
//!
//! Owns: names, arities, options and their errors. Knows nothing of the data, the clock or the connection: a relative
//! expiry stays relative until the store, which is told the time, resolves it.
//!
//! A command goes one of three ways, and the type says which: [`Command::Session`] is answered from the state of the
//! connection alone, [`Command::Info`] by whoever knows the whole server, and [`Command::Read`] and [`Command::Write`]
//! by the shards (`route` says by which).

use bytes::Bytes;

use crate::resp::{Protocol, Reply, parse_integer};

mod table;

pub(crate) use table::{Spec, TABLE, find};

/// A command that is well formed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Answered by the connection's `Session`.
    Session(SessionCommand),
    /// `INFO`, with the sections asked for; none means the usual ones.
    Info(Vec<Bytes>),
    /// Changes nothing.
    Read(Read),
    /// May change data, and is acknowledged only when the standby has the change.
    Write(Write),
}

/// Commands about the connection itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SessionCommand {
    /// `PING`, with the text to give back.
    Ping(Option<Bytes>),
    /// `ECHO`.
    Echo(Bytes),
    /// `HELLO`, with the protocol and the client's name where it gives them.
    Hello { protocol: Option<Protocol>, name: Option<Bytes> },
    /// `SELECT 0`: there is one database.
    Select,
    /// `QUIT`: answer, then close.
    Quit,
    /// `RESET`: as a new connection.
    Reset,
    /// `CLIENT ID`.
    ClientId,
    /// `CLIENT INFO`.
    ClientInfo,
    /// `CLIENT GETNAME`.
    ClientGetName,
    /// `CLIENT SETNAME`; the name has no spaces.
    ClientSetName(Bytes),
    /// `CLIENT SETINFO LIB-NAME`.
    ClientLibName(Bytes),
    /// `CLIENT SETINFO LIB-VER`.
    ClientLibVer(Bytes),
    /// `CLIENT NO-EVICT`, `CLIENT NO-TOUCH`: nothing here to switch.
    ClientSwitch,
    /// `COMMAND COUNT`.
    CommandCount,
    /// `COMMAND`, and `COMMAND INFO` with names.
    CommandInfo(Vec<Bytes>),
    /// `COMMAND DOCS`.
    CommandDocs(Vec<Bytes>),
    /// `CONFIG GET` with patterns.
    ConfigGet(Vec<Bytes>),
}

/// Commands that look at data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// `GET`.
    Get(Bytes),
    /// `STRLEN`.
    Strlen(Bytes),
    /// `TYPE`.
    Type(Bytes),
    /// `TTL`, in whole seconds.
    Ttl(Bytes),
    /// `PTTL`, in milliseconds.
    Pttl(Bytes),
    /// `MGET`.
    Mget(Vec<Bytes>),
    /// `EXISTS`; a key named twice counts twice.
    Exists(Vec<Bytes>),
    /// `DBSIZE`.
    Dbsize,
}

/// Commands that may change data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    /// `SET`.
    Set(Set),
    /// `MSET`; the last of several values for a key stays.
    Mset(Vec<(Bytes, Bytes)>),
    /// `DEL`.
    Del(Vec<Bytes>),
    /// `INCR`, `DECR`, `INCRBY`, `DECRBY`.
    IncrBy(Bytes, i64),
    /// `APPEND`.
    Append(Bytes, Bytes),
    /// `EXPIRE`, `PEXPIRE`.
    Expire(Bytes, Expiry, ExpireIf),
    /// `FLUSHALL`, `FLUSHDB`.
    Clear,
}

/// `SET` and its options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Set {
    /// What to set.
    pub(crate) key: Bytes,
    /// To what.
    pub(crate) value: Bytes,
    /// `NX` or `XX`.
    pub(crate) only_if: Option<SetIf>,
    /// What becomes of the expiry.
    pub(crate) expiry: SetExpiry,
    /// `GET`: answer with the value before.
    pub(crate) get: bool,
}

/// The condition of a `SET`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SetIf {
    /// `NX`.
    Missing,
    /// `XX`.
    Exists,
}

/// What a `SET` does to the expiry of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SetExpiry {
    /// The key stays until it is deleted.
    Never,
    /// `KEEPTTL`.
    Keep,
    /// `EX`, `PX`, `EXAT`, `PXAT`; always after time zero.
    At(Expiry),
}

/// When a key is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expiry {
    /// So many milliseconds from when the store is asked; not after it if negative.
    In(i64),
    /// Milliseconds of the Unix epoch.
    At(i64),
}

/// The condition of an `EXPIRE`. A key without expiry counts as expiring after everything else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ExpireIf {
    /// `NX`: only a key without expiry.
    pub(crate) unset: bool,
    /// `XX`: only a key with one.
    pub(crate) set: bool,
    /// `GT`: only to a later time.
    pub(crate) later: bool,
    /// `LT`: only to an earlier time.
    pub(crate) earlier: bool,
}

type Parsed = Result<Command, Reply>;

const NOT_AN_INTEGER: Reply = Reply::error("ERR value is not an integer or out of range");
const SYNTAX: Reply = Reply::error("ERR syntax error");

impl Command {
    /// Reads a command as the decoder gives it: name first.
    ///
    /// # Errors
    /// The reply to send instead; the connection stays open.
    pub(crate) fn parse(args: Vec<Bytes>) -> Result<Self, Reply> {
        let name = args.first().map_or(&b""[..], |name| name);
        let Some(spec) = find(name) else { return Err(unknown_command(&args)) };
        let given = args.len();
        let wanted = usize::from(spec.arity.unsigned_abs());
        if given < wanted || (spec.arity > 0 && given != wanted) {
            return Err(wrong_arity(spec.name));
        }
        let mut rest = args.into_iter();
        rest.next();
        (spec.parse)(Args { spec, rest })
    }
}

fn wrong_arity(name: &str) -> Reply {
    Reply::Error(format!("ERR wrong number of arguments for '{name}' command").into())
}

/// Names the command and as many arguments as fit, so that a typing mistake can be found in a client's log.
fn unknown_command(args: &[Bytes]) -> Reply {
    const SHOWN: usize = 128;
    let shown = |arg: &Bytes, most: usize| String::from_utf8_lossy(&arg[..arg.len().min(most)]).into_owned();
    let name = args.first().map_or_else(String::new, |name| shown(name, SHOWN));
    let mut listed = String::new();
    for arg in args.iter().skip(1) {
        if listed.len() >= SHOWN {
            break;
        }
        listed += &format!("'{}' ", shown(arg, SHOWN - listed.len()));
    }
    Reply::Error(format!("ERR unknown command '{name}', with args beginning with: {listed}").into())
}

fn unknown_subcommand(parent: &str, given: &[u8]) -> Reply {
    let shown = String::from_utf8_lossy(&given[..given.len().min(128)]);
    Reply::Error(format!("ERR unknown subcommand '{shown}'. Try {parent} HELP.").into())
}

/// What stands behind the name; its number has been checked against the table.
struct Args {
    spec: &'static Spec,
    rest: std::vec::IntoIter<Bytes>,
}

impl Args {
    fn take(&mut self) -> Result<Bytes, Reply> {
        self.rest.next().ok_or_else(|| wrong_arity(self.spec.name))
    }

    fn take_integer(&mut self) -> Result<i64, Reply> {
        parse_integer(&self.take()?).ok_or(NOT_AN_INTEGER)
    }

    /// The value of an option, which its absence makes a syntax error and not one of number.
    fn option_value(&mut self) -> Result<Bytes, Reply> {
        self.rest.next().ok_or(SYNTAX)
    }

    fn all(self) -> Vec<Bytes> {
        self.rest.collect()
    }
}

fn is(word: &[u8], name: &str) -> bool {
    word.eq_ignore_ascii_case(name.as_bytes())
}

fn ping(mut args: Args) -> Parsed {
    let text = args.rest.next();
    if args.rest.len() > 0 {
        return Err(wrong_arity("ping"));
    }
    Ok(Command::Session(SessionCommand::Ping(text)))
}

fn set(mut args: Args) -> Parsed {
    let (key, value) = (args.take()?, args.take()?);
    let mut set = Set { key, value, only_if: None, expiry: SetExpiry::Never, get: false };
    while let Some(option) = args.rest.next() {
        let unconditional = set.only_if.is_none();
        let lasting = set.expiry == SetExpiry::Never;
        match &*option {
            word if is(word, "nx") && unconditional => set.only_if = Some(SetIf::Missing),
            word if is(word, "xx") && unconditional => set.only_if = Some(SetIf::Exists),
            word if is(word, "get") => set.get = true,
            word if is(word, "keepttl") && lasting => set.expiry = SetExpiry::Keep,
            word if lasting => {
                let (unit, expiry) = match word {
                    word if is(word, "ex") => (1000, Expiry::In as fn(i64) -> Expiry),
                    word if is(word, "px") => (1, Expiry::In as _),
                    word if is(word, "exat") => (1000, Expiry::At as _),
                    word if is(word, "pxat") => (1, Expiry::At as _),
                    _ => return Err(SYNTAX),
                };
                let time = parse_integer(&args.option_value()?).ok_or(NOT_AN_INTEGER)?;
                let time = time.checked_mul(unit).filter(|time| *time > 0).ok_or_else(|| bad_expiry("set"))?;
                set.expiry = SetExpiry::At(expiry(time));
            }
            _ => return Err(SYNTAX),
        }
    }
    Ok(Command::Write(Write::Set(set)))
}

fn bad_expiry(name: &str) -> Reply {
    Reply::Error(format!("ERR invalid expire time in '{name}' command").into())
}

fn expire(mut args: Args, unit: i64) -> Parsed {
    let (key, time) = (args.take()?, args.take_integer()?);
    let time = time.checked_mul(unit).ok_or_else(|| bad_expiry(args.spec.name))?;
    let mut only_if = ExpireIf::default();
    for option in args.rest {
        match &*option {
            word if is(word, "nx") => only_if.unset = true,
            word if is(word, "xx") => only_if.set = true,
            word if is(word, "gt") => only_if.later = true,
            word if is(word, "lt") => only_if.earlier = true,
            word => {
                let shown = String::from_utf8_lossy(&word[..word.len().min(128)]);
                return Err(Reply::Error(format!("ERR Unsupported option {shown}").into()));
            }
        }
    }
    if only_if.unset && (only_if.set || only_if.later || only_if.earlier) {
        return Err(Reply::error("ERR NX and XX, GT or LT options at the same time are not compatible"));
    }
    if only_if.later && only_if.earlier {
        return Err(Reply::error("ERR GT and LT options at the same time are not compatible"));
    }
    Ok(Command::Write(Write::Expire(key, Expiry::In(time), only_if)))
}

fn incr_by(mut args: Args) -> Parsed {
    Ok(Command::Write(Write::IncrBy(args.take()?, args.take_integer()?)))
}

fn decr_by(mut args: Args) -> Parsed {
    let (key, by) = (args.take()?, args.take_integer()?);
    let by = by.checked_neg().ok_or(Reply::error("ERR decrement would overflow"))?;
    Ok(Command::Write(Write::IncrBy(key, by)))
}

fn mset(mut args: Args) -> Parsed {
    if !args.rest.len().is_multiple_of(2) {
        return Err(wrong_arity("mset"));
    }
    let mut pairs = Vec::with_capacity(args.rest.len() / 2);
    while let Some(key) = args.rest.next() {
        pairs.push((key, args.take()?));
    }
    Ok(Command::Write(Write::Mset(pairs)))
}

fn clear(mut args: Args) -> Parsed {
    match (args.rest.next(), args.rest.next()) {
        (None, _) => Ok(Command::Write(Write::Clear)),
        (Some(word), None) if is(&word, "async") || is(&word, "sync") => Ok(Command::Write(Write::Clear)),
        _ => Err(SYNTAX),
    }
}

fn select(mut args: Args) -> Parsed {
    match args.take_integer()? {
        0 => Ok(Command::Session(SessionCommand::Select)),
        _ => Err(Reply::error("ERR DB index is out of range")),
    }
}

fn hello(mut args: Args) -> Parsed {
    let protocol = match args.rest.next().map(|version| parse_integer(&version)) {
        None => None,
        Some(None) => return Err(Reply::error("ERR Protocol version is not an integer or out of range")),
        Some(Some(2)) => Some(Protocol::Resp2),
        Some(Some(3)) => Some(Protocol::Resp3),
        Some(Some(_)) => return Err(Reply::error("NOPROTO unsupported protocol version")),
    };
    let mut name = None;
    while let Some(option) = args.rest.next() {
        if is(&option, "auth") && args.rest.len() >= 2 {
            // There is the user `default` without a password, whom any password lets in.
            let (user, _password) = (args.take()?, args.take()?);
            if user != "default" {
                return Err(Reply::error("WRONGPASS invalid username-password pair or user is disabled."));
            }
        } else if is(&option, "setname") && args.rest.len() >= 1 {
            name = Some(client_name(args.take()?)?);
        } else {
            let shown = String::from_utf8_lossy(&option[..option.len().min(128)]);
            return Err(Reply::Error(format!("ERR Syntax error in HELLO option '{shown}'").into()));
        }
    }
    Ok(Command::Session(SessionCommand::Hello { protocol, name }))
}

fn client_name(name: Bytes) -> Result<Bytes, Reply> {
    if name.iter().all(u8::is_ascii_graphic) {
        return Ok(name);
    }
    Err(Reply::error("ERR Client names cannot contain spaces, newlines or special characters."))
}

fn client(mut args: Args) -> Parsed {
    let word = args.take()?.to_ascii_lowercase();
    let sub = str::from_utf8(&word).unwrap_or_default();
    let wanted = match sub {
        "id" | "info" | "getname" => 0,
        "setname" | "no-evict" | "no-touch" => 1,
        "setinfo" => 2,
        _ => return Err(unknown_subcommand("CLIENT", &word)),
    };
    if args.rest.len() != wanted {
        return Err(wrong_arity(&format!("client|{sub}")));
    }
    Ok(Command::Session(match sub {
        "id" => SessionCommand::ClientId,
        "info" => SessionCommand::ClientInfo,
        "getname" => SessionCommand::ClientGetName,
        "setname" => SessionCommand::ClientSetName(client_name(args.take()?)?),
        "setinfo" => {
            let (attribute, value) = (args.take()?, args.take()?);
            let (name, command) = match &*attribute {
                word if is(word, "lib-name") => ("lib-name", SessionCommand::ClientLibName as fn(Bytes) -> _),
                word if is(word, "lib-ver") => ("lib-ver", SessionCommand::ClientLibVer as _),
                word => {
                    let shown = String::from_utf8_lossy(&word[..word.len().min(128)]);
                    return Err(Reply::Error(format!("ERR Unrecognized option '{shown}'").into()));
                }
            };
            if !value.iter().all(u8::is_ascii_graphic) {
                let text = format!("ERR {name} cannot contain spaces, newlines or special characters.");
                return Err(Reply::Error(text.into()));
            }
            command(value)
        }
        _ => {
            let switch = args.take()?;
            if !is(&switch, "on") && !is(&switch, "off") {
                return Err(SYNTAX);
            }
            SessionCommand::ClientSwitch
        }
    }))
}

fn command(mut args: Args) -> Parsed {
    let Some(sub) = args.rest.next() else { return Ok(Command::Session(SessionCommand::CommandInfo(Vec::new()))) };
    Ok(Command::Session(match &*sub {
        word if is(word, "count") && args.rest.len() == 0 => SessionCommand::CommandCount,
        word if is(word, "count") => return Err(wrong_arity("command|count")),
        word if is(word, "info") => SessionCommand::CommandInfo(args.all()),
        word if is(word, "docs") => SessionCommand::CommandDocs(args.all()),
        word => return Err(unknown_subcommand("COMMAND", word)),
    }))
}

fn config(mut args: Args) -> Parsed {
    let sub = args.take()?;
    if !is(&sub, "get") {
        return Err(unknown_subcommand("CONFIG", &sub));
    }
    if args.rest.len() == 0 {
        return Err(wrong_arity("config|get"));
    }
    Ok(Command::Session(SessionCommand::ConfigGet(args.all())))
}

#[cfg(test)]
mod tests;
