use super::*;

const SMALL: Limits = Limits { bulk: 100, args: 4, line: 32, query: 200 };

fn decode_all(limits: Limits, input: &[u8]) -> (Vec<Vec<Vec<u8>>>, Option<String>) {
    let mut decoder = Decoder::new(limits);
    let mut buffer = BytesMut::from(input);
    let mut commands = Vec::new();
    loop {
        match decoder.decode(&mut buffer) {
            Ok(Some(args)) => commands.push(args.iter().map(|arg| arg.to_vec()).collect()),
            Ok(None) => return (commands, None),
            Err(error) => return (commands, Some(format!("ERR {error}"))),
        }
    }
}

fn words(command: &[&str]) -> Vec<Vec<u8>> {
    command.iter().map(|word| word.as_bytes().to_vec()).collect()
}

fn refusal(input: &[u8]) -> String {
    let (commands, error) = decode_all(SMALL, input);
    assert!(commands.is_empty(), "{commands:?}");
    error.expect("the decoder refuses this")
}

fn wire(reply: &Reply, protocol: Protocol) -> String {
    let mut out = BytesMut::from("before|");
    encode(reply, protocol, &mut out);
    assert!(out.len() - 7 <= reply.encoded_bound());
    String::from_utf8(out.to_vec()).unwrap().strip_prefix("before|").unwrap().to_owned()
}

#[test]
fn pipelined_commands_come_out_in_order_wherever_the_bytes_are_cut() {
    let input = b"*1\r\n$4\r\nPING\r\n*0\r\n\r\n*-1\r\nget a\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$4\r\n\r\n\xff*\r\n*2\r\n$4\r\nECHO\r\n$0\r\n\r\n";
    let expected = vec![
        words(&["PING"]),
        words(&["get", "a"]),
        vec![b"SET".to_vec(), b"k".to_vec(), b"\r\n\xff*".to_vec()],
        words(&["ECHO", ""]),
    ];
    assert_eq!(decode_all(SMALL, input), (expected.clone(), None));
    for step in 1..input.len() {
        let mut decoder = Decoder::new(SMALL);
        let mut buffer = BytesMut::new();
        let mut got = Vec::new();
        for piece in input.chunks(step) {
            buffer.extend_from_slice(piece);
            while let Some(args) = decoder.decode(&mut buffer).unwrap() {
                got.push(args.iter().map(|arg| arg.to_vec()).collect::<Vec<_>>());
            }
        }
        assert_eq!(got, expected, "in pieces of {step} bytes");
        assert!(buffer.is_empty(), "in pieces of {step} bytes");
    }
}

#[test]
fn a_bad_header_gets_the_error_of_redis() {
    for (input, error) in [
        (&b"*x\r\n"[..], "ERR Protocol error: invalid multibulk length"),
        (b"*5\r\n", "ERR Protocol error: invalid multibulk length"),
        (b"*99999999999999999999\r\n", "ERR Protocol error: invalid multibulk length"),
        (b"*+1\r\n", "ERR Protocol error: invalid multibulk length"),
        (b"*01\r\n", "ERR Protocol error: invalid multibulk length"),
        (b"*1\rx", "ERR Protocol error: invalid multibulk length"),
        (b"*1\r\nx", "ERR Protocol error: expected '$', got 'x'"),
        (b"*1\r\n\0", "ERR Protocol error: expected '$', got '?'"),
        (b"*1\r\n*1\r\n$4\r\nPING\r\n", "ERR Protocol error: expected '$', got '*'"),
        (b"*1\r\n$\r\n", "ERR Protocol error: invalid bulk length"),
        (b"*1\r\n$-1\r\n", "ERR Protocol error: invalid bulk length"),
        (b"*1\r\n$101\r\n", "ERR Protocol error: invalid bulk length"),
        (b"*1\r\n$4 \r\nPING\r\n", "ERR Protocol error: invalid bulk length"),
    ] {
        assert_eq!(refusal(input), error, "{}", input.escape_ascii());
    }
}

#[test]
fn a_line_without_end_is_refused_at_the_limit_and_not_before() {
    let long = |first: &str, length: usize| [first.as_bytes(), &vec![b'1'; length]].concat();
    assert_eq!(decode_all(SMALL, &long("*", 31)), (Vec::new(), None));
    assert_eq!(refusal(&long("*", 32)), "ERR Protocol error: too big mbulk count string");
    assert_eq!(decode_all(SMALL, &long("*1\r\n$", 31)), (Vec::new(), None));
    assert_eq!(refusal(&long("*1\r\n$", 32)), "ERR Protocol error: too big bulk count string");
    assert_eq!(decode_all(SMALL, &long("", 32)), (Vec::new(), None));
    assert_eq!(refusal(&long("", 33)), "ERR Protocol error: too big inline request");
    assert_eq!(refusal(&[long("", 33), b"\n".to_vec()].concat()), "ERR Protocol error: too big inline request");
}

#[test]
fn a_command_larger_than_the_query_limit_is_refused_before_it_arrives() {
    let first = [&b"*3\r\n$100\r\n"[..], &[b'a'; 100], b"\r\n"].concat();
    assert_eq!(decode_all(SMALL, &[&first[..], b"$50\r\n"].concat()), (Vec::new(), None));
    assert_eq!(refusal(&[&first[..], b"$90\r\n"].concat()), "ERR Protocol error: too big query");
}

#[test]
fn a_promised_length_allocates_nothing() {
    let mut decoder = Decoder::new(Limits::default());
    let mut buffer = BytesMut::from(&b"*1048576\r\n$67108864\r\nabc"[..]);
    let capacity = buffer.capacity();
    assert_eq!(decoder.decode(&mut buffer), Ok(None));
    assert_eq!(buffer.capacity(), capacity);
}

#[test]
fn a_broken_connection_stays_broken() {
    let mut decoder = Decoder::new(SMALL);
    let mut buffer = BytesMut::from(&b"*x\r\n"[..]);
    let error = decoder.decode(&mut buffer).unwrap_err();
    assert_eq!(error.reply(), Reply::error("ERR Protocol error: invalid multibulk length"));
    let mut sane = BytesMut::from(&b"PING\r\n"[..]);
    assert_eq!(decoder.decode(&mut sane), Err(error));
}

#[test]
fn commands_before_the_error_are_still_served() {
    let (commands, error) = decode_all(SMALL, b"PING\r\n*1\r\n$4\r\nPING\r\n*1\r\n:1\r\n");
    assert_eq!(commands, [words(&["PING"]), words(&["PING"])]);
    assert_eq!(error.as_deref(), Some("ERR Protocol error: expected '$', got ':'"));
}

#[test]
fn inline_commands_know_quotes_and_escapes() {
    for (line, expected) in [
        (&b"  set   k\tv  \r\n"[..], vec![&b"set"[..], b"k", b"v"]),
        (b"set k \"a b\\x41\\n\\\"\"\n", vec![b"set", b"k", b"a bA\n\""]),
        (b"set k 'a \\' \\n'\n", vec![b"set", b"k", b"a ' \\n"]),
        (b"echo \"\"\n", vec![b"echo", b""]),
        (b"echo \"\\xzz\"\n", vec![b"echo", b"xzz"]),
    ] {
        let expected: Vec<_> = expected.into_iter().map(<[u8]>::to_vec).collect();
        assert_eq!(decode_all(SMALL, line), (vec![expected], None), "{}", line.escape_ascii());
    }
    for line in [&b"echo \"a\n"[..], b"echo 'a\n", b"echo \"a\"b\n", b"echo \"a\\\n"] {
        assert_eq!(refusal(line), "ERR Protocol error: unbalanced quotes in request");
    }
    assert_eq!(refusal(b"a b c d e\n"), "ERR Protocol error: invalid multibulk length");
}

#[test]
fn integers_are_read_as_strictly_as_redis_reads_them() {
    assert_eq!(parse_integer(b"0"), Some(0));
    assert_eq!(parse_integer(b"-9223372036854775808"), Some(i64::MIN));
    assert_eq!(parse_integer(b"9223372036854775807"), Some(i64::MAX));
    for text in ["", "-", "-0", "+1", "01", "-01", " 1", "1 ", "1.0", "0x1", "9223372036854775808", "1\u{0664}"] {
        assert_eq!(parse_integer(text.as_bytes()), None, "{text:?}");
    }
}

#[test]
fn every_reply_has_its_bytes_in_both_protocols() {
    let map =
        Reply::Map(vec![(Reply::bulk("proto"), Reply::Integer(3)), (Reply::bulk("modules"), Reply::Array(vec![]))]);
    let list = Reply::Array(vec![Reply::bulk("a"), Reply::Null, Reply::error("ERR no"), Reply::Integer(-7)]);
    for (reply, resp2, resp3) in [
        (Reply::OK, "+OK\r\n", "+OK\r\n"),
        (Reply::error("ERR a\r\nb"), "-ERR a  b\r\n", "-ERR a  b\r\n"),
        (Reply::bulk(""), "$0\r\n\r\n", "$0\r\n\r\n"),
        (Reply::Null, "$-1\r\n", "_\r\n"),
        (Reply::Text("a:1\r\n".into()), "$5\r\na:1\r\n\r\n", "=9\r\ntxt:a:1\r\n\r\n"),
        (list, "*4\r\n$1\r\na\r\n$-1\r\n-ERR no\r\n:-7\r\n", "*4\r\n$1\r\na\r\n_\r\n-ERR no\r\n:-7\r\n"),
        (
            map,
            "*4\r\n$5\r\nproto\r\n:3\r\n$7\r\nmodules\r\n*0\r\n",
            "%2\r\n$5\r\nproto\r\n:3\r\n$7\r\nmodules\r\n*0\r\n",
        ),
    ] {
        assert_eq!(wire(&reply, Protocol::Resp2), resp2);
        assert_eq!(wire(&reply, Protocol::Resp3), resp3);
    }
}

#[test]
fn numbers_at_the_powers_of_ten_leave_no_stray_byte() {
    let mut power: i64 = 1;
    loop {
        for number in [power - 1, power, power + 1, -power, 1 - power] {
            assert_eq!(wire(&Reply::Integer(number), Protocol::Resp2), format!(":{number}\r\n"));
        }
        match power.checked_mul(10) {
            Some(next) => power = next,
            None => break,
        }
    }
    assert_eq!(wire(&Reply::Integer(i64::MIN), Protocol::Resp3), ":-9223372036854775808\r\n");
    assert_eq!(wire(&Reply::Integer(i64::MAX), Protocol::Resp2), ":9223372036854775807\r\n");
}
