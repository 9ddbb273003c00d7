//! Every command there is: what `COMMAND` tells of it, how many arguments it takes and who reads them.

use super::{Args, Command, Parsed, Read, SessionCommand, Write};

/// One command.
#[derive(Debug)]
pub(crate) struct Spec {
    /// In small letters.
    pub(crate) name: &'static str,
    /// Number of words with the name; at least so many if negative.
    pub(crate) arity: i8,
    /// As in `COMMAND INFO`.
    pub(crate) flags: &'static [&'static str],
    /// First key, last key (from the end if negative) and step; zeros if it has none.
    pub(crate) keys: (i8, i8, i8),
    /// As in `COMMAND DOCS`.
    pub(crate) group: &'static str,
    /// As in `COMMAND DOCS`.
    pub(crate) summary: &'static str,
    pub(super) parse: fn(Args) -> Parsed,
}

/// The command of that name, in whatever case.
pub(crate) fn find(name: &[u8]) -> Option<&'static Spec> {
    TABLE.iter().find(|spec| name.eq_ignore_ascii_case(spec.name.as_bytes()))
}

const FAST_READ: &[&str] = &["readonly", "fast"];
const FAST_WRITE: &[&str] = &["write", "denyoom", "fast"];
const SLOW_WRITE: &[&str] = &["write", "denyoom"];
const CONNECTION: &[&str] = &["noscript", "loading", "stale", "fast"];
const ADMIN: &[&str] = &["loading", "stale"];
const NO_KEYS: (i8, i8, i8) = (0, 0, 0);
const ONE_KEY: (i8, i8, i8) = (1, 1, 1);
const ALL_KEYS: (i8, i8, i8) = (1, -1, 1);

macro_rules! table {
    ($($name:literal $arity:literal $flags:ident $keys:expr, $group:literal $summary:literal => $parse:expr;)*) => {
        /// All commands, those that are asked for most first.
        pub(crate) const TABLE: &[Spec] = &[$(Spec {
            name: $name,
            arity: $arity,
            flags: $flags,
            keys: $keys,
            group: $group,
            summary: $summary,
            parse: $parse,
        }),*];
    };
}

table! {
    "get" 2 FAST_READ ONE_KEY, "string" "Returns the string value of a key."
        => |mut args| Ok(Command::Read(Read::Get(args.take()?)));
    "set" -3 SLOW_WRITE ONE_KEY, "string" "Sets the string value of a key."
        => super::set;
    "ping" -1 CONNECTION NO_KEYS, "connection" "Returns the server's liveliness response."
        => super::ping;
    "incr" 2 FAST_WRITE ONE_KEY, "string" "Increments the integer value of a key by one."
        => |mut args| Ok(Command::Write(Write::IncrBy(args.take()?, 1)));
    "mset" -3 SLOW_WRITE (1, -1, 2), "string" "Sets the string values of one or more keys, each shard at once."
        => super::mset;
    "mget" -2 FAST_READ ALL_KEYS, "string" "Returns the string values of one or more keys."
        => |args| Ok(Command::Read(Read::Mget(args.all())));
    "del" -2 SLOW_WRITE ALL_KEYS, "generic" "Deletes one or more keys."
        => |args| Ok(Command::Write(Write::Del(args.all())));
    "exists" -2 FAST_READ ALL_KEYS, "generic" "Determines whether one or more keys exist."
        => |args| Ok(Command::Read(Read::Exists(args.all())));
    "decr" 2 FAST_WRITE ONE_KEY, "string" "Decrements the integer value of a key by one."
        => |mut args| Ok(Command::Write(Write::IncrBy(args.take()?, -1)));
    "incrby" 3 FAST_WRITE ONE_KEY, "string" "Increments the integer value of a key by a number."
        => super::incr_by;
    "decrby" 3 FAST_WRITE ONE_KEY, "string" "Decrements the integer value of a key by a number."
        => super::decr_by;
    "append" 3 FAST_WRITE ONE_KEY, "string" "Appends a string to the value of a key."
        => |mut args| Ok(Command::Write(Write::Append(args.take()?, args.take()?)));
    "strlen" 2 FAST_READ ONE_KEY, "string" "Returns the length of a string value."
        => |mut args| Ok(Command::Read(Read::Strlen(args.take()?)));
    "expire" -3 FAST_WRITE ONE_KEY, "generic" "Sets the expiration time of a key in seconds."
        => |args| super::expire(args, 1000);
    "pexpire" -3 FAST_WRITE ONE_KEY, "generic" "Sets the expiration time of a key in milliseconds."
        => |args| super::expire(args, 1);
    "ttl" 2 FAST_READ ONE_KEY, "generic" "Returns the expiration time in seconds of a key."
        => |mut args| Ok(Command::Read(Read::Ttl(args.take()?)));
    "pttl" 2 FAST_READ ONE_KEY, "generic" "Returns the expiration time in milliseconds of a key."
        => |mut args| Ok(Command::Read(Read::Pttl(args.take()?)));
    "type" 2 FAST_READ ONE_KEY, "generic" "Determines the type of value stored at a key."
        => |mut args| Ok(Command::Read(Read::Type(args.take()?)));
    "dbsize" 1 FAST_READ NO_KEYS, "server" "Returns the number of keys in the database."
        => |_| Ok(Command::Read(Read::Dbsize));
    "flushall" -1 SLOW_WRITE NO_KEYS, "server" "Removes all keys from all databases."
        => super::clear;
    "flushdb" -1 SLOW_WRITE NO_KEYS, "server" "Removes all keys from the current database."
        => super::clear;
    "info" -1 ADMIN NO_KEYS, "server" "Returns information and statistics about the server."
        => |args| Ok(Command::Info(args.all()));
    "echo" 2 CONNECTION NO_KEYS, "connection" "Returns the given string."
        => |mut args| Ok(Command::Session(SessionCommand::Echo(args.take()?)));
    "hello" -1 CONNECTION NO_KEYS, "connection" "Handshakes with the server."
        => super::hello;
    "select" 2 CONNECTION NO_KEYS, "connection" "Changes the selected database."
        => super::select;
    "client" -2 CONNECTION NO_KEYS, "connection" "A container for client connection commands."
        => super::client;
    "command" -1 ADMIN NO_KEYS, "server" "Returns detailed information about all commands."
        => super::command;
    "config" -2 ADMIN NO_KEYS, "server" "A container for server configuration commands."
        => super::config;
    "reset" 1 CONNECTION NO_KEYS, "connection" "Resets the connection."
        => |_| Ok(Command::Session(SessionCommand::Reset));
    "quit" -1 CONNECTION NO_KEYS, "connection" "Closes the connection."
        => |_| Ok(Command::Session(SessionCommand::Quit));
}
