use super::*;

fn parse(line: &str) -> Result<Command, Reply> {
    Command::parse(line.split(' ').map(|word| Bytes::copy_from_slice(word.as_bytes())).collect())
}

fn error(line: &str) -> String {
    match parse(line) {
        Err(Reply::Error(text)) => text.into_owned(),
        other => panic!("{line} gave {other:?}"),
    }
}

fn key() -> Bytes {
    Bytes::from_static(b"k")
}

#[test]
fn names_are_read_in_any_case() {
    assert_eq!(parse("gEt k"), Ok(Command::Read(Read::Get(key()))));
    assert_eq!(parse("DECRBY k 5"), Ok(Command::Write(Write::IncrBy(key(), -5))));
    assert_eq!(parse("FlushAll async"), Ok(Command::Write(Write::Clear)));
}

#[test]
fn every_command_refuses_a_wrong_number_of_arguments_by_its_name() {
    for spec in TABLE {
        let least = usize::from(spec.arity.unsigned_abs());
        let wrong = |words: usize| {
            let mut args = vec![Bytes::from_static(spec.name.as_bytes())];
            args.resize(words, key());
            assert_eq!(Command::parse(args), Err(wrong_arity(spec.name)), "{} with {words} words", spec.name);
        };
        if least > 1 {
            wrong(least - 1);
        }
        if spec.arity > 0 {
            wrong(least + 1);
        }
    }
    assert_eq!(error("get"), "ERR wrong number of arguments for 'get' command");
    assert_eq!(error("ping a b"), "ERR wrong number of arguments for 'ping' command");
    assert_eq!(error("MSET a b c"), "ERR wrong number of arguments for 'mset' command");
    assert_eq!(error("CLIENT SETNAME"), "ERR wrong number of arguments for 'client|setname' command");
    assert_eq!(error("CONFIG GET"), "ERR wrong number of arguments for 'config|get' command");
}

#[test]
fn unknown_commands_are_named_with_the_start_of_their_arguments() {
    assert_eq!(error("foo"), "ERR unknown command 'foo', with args beginning with: ");
    assert_eq!(error("Foo a b"), "ERR unknown command 'Foo', with args beginning with: 'a' 'b' ");
    let long = "x".repeat(200);
    let cut = "x".repeat(128);
    assert_eq!(
        error(&format!("{long} {long} y")),
        format!("ERR unknown command '{cut}', with args beginning with: '{cut}' ")
    );
    assert_eq!(error("CLIENT foo"), "ERR unknown subcommand 'foo'. Try CLIENT HELP.");
    assert_eq!(error("CONFIG SET a b"), "ERR unknown subcommand 'SET'. Try CONFIG HELP.");
    assert_eq!(error("COMMAND GETKEYS"), "ERR unknown subcommand 'GETKEYS'. Try COMMAND HELP.");
}

#[test]
fn set_reads_each_option() {
    let set = |options: &str| match parse(&format!("SET k v{options}")) {
        Ok(Command::Write(Write::Set(set))) => (set.only_if, set.expiry, set.get),
        other => panic!("{options} gave {other:?}"),
    };
    let at = SetExpiry::At;
    assert_eq!(set(""), (None, SetExpiry::Never, false));
    assert_eq!(set(" ex 10 nx"), (Some(SetIf::Missing), at(Expiry::In(10_000)), false));
    assert_eq!(set(" XX PX 10 GET"), (Some(SetIf::Exists), at(Expiry::In(10)), true));
    assert_eq!(set(" EXAT 10"), (None, at(Expiry::At(10_000)), false));
    assert_eq!(set(" PXAT 10"), (None, at(Expiry::At(10)), false));
    assert_eq!(set(" KEEPTTL"), (None, SetExpiry::Keep, false));
}

#[test]
fn set_refuses_what_contradicts_itself() {
    for options in ["NX XX", "NX NX", "EX 1 PX 1", "EX 1 KEEPTTL", "KEEPTTL EX 1", "EX", "what", "GET what"] {
        assert_eq!(error(&format!("SET k v {options}")), "ERR syntax error", "{options}");
    }
    for options in ["EX 0", "PX -1", "EX 9223372036854775807", "PXAT 0"] {
        assert_eq!(error(&format!("SET k v {options}")), "ERR invalid expire time in 'set' command", "{options}");
    }
    for options in ["EX x", "EX 1.5", "PX 99999999999999999999"] {
        assert_eq!(error(&format!("SET k v {options}")), "ERR value is not an integer or out of range", "{options}");
    }
}

#[test]
fn numbers_that_are_none_are_refused() {
    for line in ["INCRBY k x", "DECRBY k 1.0", "EXPIRE k x", "PEXPIRE k ", "SELECT x"] {
        assert_eq!(error(line), "ERR value is not an integer or out of range", "{line}");
    }
    assert_eq!(error("DECRBY k -9223372036854775808"), "ERR decrement would overflow");
    assert_eq!(error("EXPIRE k 9223372036854775807"), "ERR invalid expire time in 'expire' command");
    assert_eq!(error("SELECT 1"), "ERR DB index is out of range");
}

#[test]
fn expire_reads_its_conditions() {
    let later = ExpireIf { set: true, later: true, ..ExpireIf::default() };
    assert_eq!(parse("EXPIRE k 2 XX GT"), Ok(Command::Write(Write::Expire(key(), Expiry::In(2000), later))));
    assert_eq!(parse("PEXPIRE k -2"), Ok(Command::Write(Write::Expire(key(), Expiry::In(-2), ExpireIf::default()))));
    assert_eq!(error("EXPIRE k 2 NX LT"), "ERR NX and XX, GT or LT options at the same time are not compatible");
    assert_eq!(error("EXPIRE k 2 GT LT"), "ERR GT and LT options at the same time are not compatible");
    assert_eq!(error("EXPIRE k 2 foo"), "ERR Unsupported option foo");
}

#[test]
fn hello_reads_version_user_and_name() {
    let hello = |protocol, name: Option<&'static str>| {
        Ok(Command::Session(SessionCommand::Hello { protocol, name: name.map(Bytes::from) }))
    };
    assert_eq!(parse("HELLO"), hello(None, None));
    assert_eq!(parse("HELLO 3"), hello(Some(Protocol::Resp3), None));
    assert_eq!(parse("HELLO 2 AUTH default x SETNAME me"), hello(Some(Protocol::Resp2), Some("me")));
    assert_eq!(error("HELLO 4"), "NOPROTO unsupported protocol version");
    assert_eq!(error("HELLO x"), "ERR Protocol version is not an integer or out of range");
    assert_eq!(error("HELLO 3 AUTH default"), "ERR Syntax error in HELLO option 'AUTH'");
    assert_eq!(error("HELLO 3 AUTH you x"), "WRONGPASS invalid username-password pair or user is disabled.");
}

#[test]
fn client_names_have_no_spaces() {
    let name = |name: &'static [u8]| Command::parse(vec!["CLIENT".into(), "SETNAME".into(), Bytes::from_static(name)]);
    assert_eq!(name(b""), Ok(Command::Session(SessionCommand::ClientSetName(Bytes::new()))));
    assert_eq!(
        name(b"a b"),
        Err(Reply::error("ERR Client names cannot contain spaces, newlines or special characters."))
    );
    assert_eq!(error("CLIENT SETINFO what x"), "ERR Unrecognized option 'what'");
    assert_eq!(parse("CLIENT setinfo LIB-VER 1.2"), Ok(Command::Session(SessionCommand::ClientLibVer("1.2".into()))));
}
