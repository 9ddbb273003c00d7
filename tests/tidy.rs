//! Rules of the house that neither rustc nor clippy minds. Each rule is a function from sources to findings, so that one
//! test runs it over the tree and another over a small source that breaks it: a rule that cannot fail is no rule.
//!
//! The lists below are meant to be edited, in the change that makes it necessary and with a word in its message.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::fs;
use std::path::Path;

/// The only files that may say `unsafe`. One that no longer does must leave the list.
const UNSAFE_FILES: &[&str] = &[
    // Memory that is handed out: allocators, and text that is known to be text.
    "runtime/src/arena/heap.rs",
    "runtime/src/arena/scratch.rs",
    "runtime/src/arena/string.rs",
    // A global allocator cannot be written without.
    "runtime/src/alloc.rs",
    "runtime/src/alloc/tests.rs",
    "runtime/src/context.rs",
    "runtime/src/lane/frame.rs",
    "runtime/src/lane/memory.rs",
    "runtime/src/lane/pooled.rs",
    "runtime/src/lane/waker.rs",
    "runtime/src/mailbox/node.rs",
    "runtime/src/mailbox/node/pack.rs",
    "runtime/src/model/pack.rs",
    // A message is copied from the future of its send into its node without being taken out first.
    "runtime/src/mailbox/sending.rs",
    "runtime/src/region.rs",
    "runtime/src/reply/cell.rs",
    // The owner's half of the lane that has its turn, which each turn would else ask for twice.
    "runtime/src/sched/run.rs",
    "runtime/src/sched/watchdog/stack/snapshot.rs",
    "runtime/src/slot.rs",
    // A lock that hands out `&mut T` cannot be written without; its cell alone has it.
    "runtime/src/sync/guarded.rs",
    "runtime/src/vat.rs",
    "runtime/src/vat/mapping.rs",
    // What was written to chunks is read again.
    "runtime/src/vat/tests.rs",
];

/// The only files of the four crates that may lift the bans of `clippy.toml`, `tests.rs` files aside.
const WORLD_FILES: &[&str] = &["runtime/src/env/os.rs"];

/// Longest file, in lines. Past it, a file is split where its idea divides.
const MAX_LINES: usize = 700;

/// Files that are longer all the same, with the length they may not pass: it only ever goes down.
const LONG_FILES: &[(&str, usize)] = &[];

/// Each package of the workspace by its folder, and the packages of the workspace it may name.
const LAYERS: &[(&str, &[&str])] = &[
    ("runtime", &[]),
    ("actors", &["laneway-runtime"]),
    ("supervisor", &["laneway-runtime", "laneway-actors"]),
    ("net", &["laneway-runtime", "laneway-actors"]),
    ("", &["laneway-runtime", "laneway-actors", "laneway-supervisor", "laneway-net"]),
    ("benches", &["laneway", "laneway-runtime", "laneway-actors", "laneway-supervisor", "laneway-net"]),
];

/// Words that may not land, in parts so that this file does not hold them, and what to do instead.
const BANNED: &[(&str, &str, &str)] = &[
    (concat!("to", "do!"), ".rs", "write it, or leave it out"),
    (concat!("unimpl", "emented!"), ".rs", "write it, or leave it out"),
    (concat!("db", "g!"), ".rs", "use `tracing`"),
    (concat!("FIX", "ME"), "", "mend it before it lands"),
    (concat!("/wo", "rk/"), "", "name no machine's folders"),
];

#[test]
fn unsafe_lives_only_in_the_named_files() {
    report(misplaced_unsafe(&tree(), UNSAFE_FILES));
}

#[test]
fn every_crate_but_runtime_forbids_unsafe_code() {
    report(crates_without_forbid(&tree()));
}

#[test]
fn the_bans_of_clippy_are_lifted_only_in_the_named_files() {
    report(lifted_bans(&tree(), WORLD_FILES));
}

#[test]
fn banned_words_do_not_land() {
    report(banned_words(&tree()));
}

#[test]
fn files_stay_short() {
    report(long_files(&tree(), LONG_FILES));
}

#[test]
fn crates_use_only_the_layers_below_them() {
    report(wrong_layers(&tree()));
}

#[test]
fn every_module_begins_with_a_header() {
    report(modules_without_header(&tree()));
}

#[test]
fn the_code_map_and_the_tree_name_the_same_files() {
    report(code_map_errors(&tree(), &|path| Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists()));
}

#[test]
fn the_readme_shows_a_program_that_is_built() {
    report(readme_errors(&tree()));
}

/// One text file, its path relative to the root of the workspace.
struct Source {
    path: String,
    text: String,
}

/// Where a rule is broken, and how.
struct Finding {
    path: String,
    line: usize,
    what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

fn finding(path: &str, line: usize, what: impl Into<String>) -> Finding {
    Finding { path: path.to_owned(), line, what: what.into() }
}

#[track_caller]
fn report(findings: Vec<Finding>) {
    let mut all = String::new();
    for one in &findings {
        writeln!(all, "{one}").expect("a string takes all");
    }
    assert!(findings.is_empty(), "{} findings\n{all}", findings.len());
}

fn misplaced_unsafe(sources: &[Source], allowed: &[&str]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut seen = Vec::new();
    for source in rust(sources) {
        for (line, code) in numbered(&code_only(&source.text)) {
            if !has_word(code, "unsafe") {
                continue;
            }
            if allowed.contains(&source.path.as_str()) {
                seen.push(source.path.as_str());
            } else {
                findings.push(finding(&source.path, line, "`unsafe` outside the files of `UNSAFE_FILES`"));
            }
        }
    }
    for path in allowed.iter().filter(|path| !seen.contains(path)) {
        findings.push(finding(path, 1, "no `unsafe` here: take it off `UNSAFE_FILES`"));
    }
    findings
}

fn crates_without_forbid(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (folder, _) in LAYERS.iter().filter(|(folder, _)| *folder != "runtime") {
        let roots = [in_folder(folder, "src/lib.rs"), in_folder(folder, "src/main.rs")];
        let mut found = 0;
        for root in sources.iter().filter(|source| roots.contains(&source.path)) {
            found += 1;
            if !code_only(&root.text).contains("#![forbid(unsafe_code)]") {
                findings.push(finding(&root.path, 1, "lacks `#![forbid(unsafe_code)]`"));
            }
        }
        if found == 0 {
            findings.push(finding(&roots[0], 1, "this package has no root module"));
        }
    }
    findings
}

fn lifted_bans(sources: &[Source], allowed: &[&str]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let four = ["runtime/src/", "actors/src/", "supervisor/src/", "net/src/"];
    for source in rust(sources).filter(|source| four.iter().any(|crate_| source.path.starts_with(crate_))) {
        if allowed.contains(&source.path.as_str()) || source.path.ends_with("/tests.rs") {
            continue;
        }
        for (line, code) in numbered(&code_only(&source.text)) {
            if code.contains("clippy::disallowed_") {
                findings.push(finding(&source.path, line, "go through the env, or name this file in `WORLD_FILES`"));
            }
        }
    }
    findings
}

fn banned_words(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        for (line, text) in numbered(&source.text) {
            for (word, ending, instead) in BANNED.iter().filter(|(word, ..)| text.contains(word)) {
                if source.path.ends_with(ending) {
                    findings.push(finding(&source.path, line, format!("`{word}`: {instead}")));
                }
            }
        }
    }
    findings
}

fn long_files(sources: &[Source], exceptions: &[(&str, usize)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in rust(sources) {
        let lines = source.text.lines().count();
        match exceptions.iter().find(|(path, _)| *path == source.path) {
            None if lines > MAX_LINES => {
                findings.push(finding(&source.path, lines, format!("{lines} lines, more than {MAX_LINES}")));
            }
            Some((_, most)) if lines > *most => {
                findings.push(finding(
                    &source.path,
                    lines,
                    format!("{lines} lines; it had {most} and may only shrink"),
                ));
            }
            Some(_) if lines <= MAX_LINES => {
                findings.push(finding(&source.path, lines, "short enough now: take it off `LONG_FILES`"));
            }
            None | Some(_) => {}
        }
    }
    for (path, _) in exceptions.iter().filter(|(path, _)| !sources.iter().any(|source| source.path == *path)) {
        findings.push(finding(path, 1, "no such file: take it off `LONG_FILES`"));
    }
    findings
}

fn wrong_layers(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let manifests = || sources.iter().filter(|source| Path::new(&source.path).ends_with("Cargo.toml"));
    let root = manifests().find(|source| source.path == "Cargo.toml").expect("the workspace has a manifest");
    let short_names = dependencies(&root.text, |section| section == "[workspace.dependencies]")
        .into_iter()
        .map(|(_, key, package)| (key, package))
        .collect::<BTreeMap<_, _>>();
    for manifest in manifests() {
        let folder = manifest.path.trim_end_matches("Cargo.toml").trim_end_matches('/');
        let Some((_, below)) = LAYERS.iter().find(|(layer, _)| *layer == folder) else {
            findings.push(finding(&manifest.path, 1, "this package has no place in `LAYERS`"));
            continue;
        };
        let of_package = |section: &str| section.ends_with("dependencies]") && !section.starts_with("[workspace");
        for (line, key, package) in dependencies(&manifest.text, of_package) {
            let package = if package == key { short_names.get(&key).cloned().unwrap_or(package) } else { package };
            let local = package == "laneway" || package.starts_with("laneway-");
            if local && !below.contains(&package.as_str()) {
                findings.push(finding(&manifest.path, line, format!("`{package}` is not below `{folder}`")));
            }
        }
    }
    findings
}

/// Line, key and package of each dependency in the sections that `wanted` takes. One dependency a line, as we write them.
fn dependencies(manifest: &str, wanted: impl Fn(&str) -> bool) -> Vec<(usize, String, String)> {
    let mut section = "";
    let mut found = Vec::new();
    for (line, text) in numbered(manifest) {
        let text = text.trim();
        if text.starts_with('[') {
            section = text;
        } else if wanted(section)
            && let Some((key, value)) = text.split_once('=')
            && !key.starts_with('#')
        {
            let key = key.trim().trim_end_matches(".workspace").to_owned();
            let package = value.split_once("package = \"").and_then(|(_, rest)| rest.split('"').next());
            let package = package.map_or_else(|| key.clone(), str::to_owned);
            found.push((line, key, package));
        }
    }
    found
}

fn modules_without_header(sources: &[Source]) -> Vec<Finding> {
    let modules = rust(sources).filter(|source| is_module(&source.path) && !source.path.ends_with("/tests.rs"));
    let begins_well = |text: &str| {
        let first = text.lines().find(|line| !line.trim().is_empty() && !line.starts_with("#!["));
        first.and_then(|line| line.strip_prefix("//!")).is_some_and(|header| !header.trim().is_empty())
    };
    modules
        .filter(|source| !begins_well(&source.text))
        .map(|source| finding(&source.path, 1, "begin with `//!`: what this module owns and what always holds"))
        .collect()
}

/// Every path that the code map cites exists, and every module at the top of a package is cited.
fn code_map_errors(sources: &[Source], exists: &dyn Fn(&str) -> bool) -> Vec<Finding> {
    const FILE: &str = "ARCHITECTURE.md";
    let Some(architecture) = sources.iter().find(|source| source.path == FILE) else {
        return vec![finding(FILE, 1, "no such file")];
    };
    let mut findings = Vec::new();
    let mut cited = Vec::new();
    let (mut inside, mut heading) = (false, 1);
    for (line, text) in numbered(&architecture.text) {
        if text.starts_with("## ") {
            inside = text == "## Code map";
            heading = if inside { line } else { heading };
        }
        // Every second piece between backticks is code; what has a slash and no space is a path.
        for path in text.split('`').skip(1).step_by(2).filter(|_| inside) {
            if path.contains('/') && !path.contains(' ') {
                cited.push(path);
                if !exists(path) {
                    findings.push(finding(FILE, line, format!("`{path}` does not exist")));
                }
            }
        }
    }
    let faces = rust(sources).filter(|source| is_module(&source.path) && !source.path.ends_with("/tests.rs"));
    for face in faces.filter(|source| source.path.split("src/").nth(1).is_some_and(|name| !name.contains('/'))) {
        if !cited.contains(&face.path.as_str()) {
            findings.push(finding(FILE, heading, format!("the code map does not name `{}`", face.path)));
        }
    }
    findings
}

/// The first program of the README stands in `examples/hello.rs`, word for word, so it cannot rot.
fn readme_errors(sources: &[Source]) -> Vec<Finding> {
    const HELLO: &str = "examples/hello.rs";
    let text = |path: &str| sources.iter().find(|source| source.path == path).map(|source| source.text.as_str());
    let Some(readme) = text("README.md") else {
        return vec![finding("README.md", 1, "no such file")];
    };
    let Some((before, rest)) = readme.split_once("```rust\n") else {
        return vec![finding("README.md", 1, "shows no program")];
    };
    let program = rest.split("```").next().unwrap_or_default().trim();
    if text(HELLO).is_some_and(|hello| hello.contains(program)) {
        return Vec::new();
    }
    vec![finding("README.md", before.lines().count() + 1, format!("this program is not in `{HELLO}`"))]
}

/// Every text file of the tree that a rule reads; folders that tools fill are passed over.
fn tree() -> Vec<Source> {
    fn walk(folder: &Path, root: &Path, into: &mut Vec<Source>) {
        for entry in fs::read_dir(folder).expect("a folder of the tree can be read") {
            let path = entry.expect("an entry of the tree can be read").path();
            let name = path.file_name().expect("an entry has a name").to_string_lossy();
            if path.is_dir() {
                if name == ".ci" || !(name.starts_with('.') || name.starts_with("target")) {
                    walk(&path, root, into);
                }
            } else if [".rs", ".md", ".toml", ".sh"].iter().any(|end| name.ends_with(end)) || path.ends_with(".ci/run")
            {
                let text = fs::read_to_string(&path).expect("a source is UTF-8 text");
                let path = path.strip_prefix(root).expect("the walk stays below its root");
                into.push(Source { path: path.to_string_lossy().into_owned(), text });
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    walk(root, root, &mut sources);
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

fn rust(sources: &[Source]) -> impl Iterator<Item = &Source> {
    sources.iter().filter(|source| source.path.ends_with(".rs"))
}

/// Whether a path is `src/…` of a package of the workspace.
fn is_module(path: &str) -> bool {
    LAYERS.iter().any(|(folder, _)| path.starts_with(&in_folder(folder, "src/")))
}

fn in_folder(folder: &str, path: &str) -> String {
    if folder.is_empty() { path.to_owned() } else { format!("{folder}/{path}") }
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}

fn has_word(text: &str, word: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word)
        .any(|(at, _)| !text[..at].ends_with(part_of_word) && !text[at + word.len()..].starts_with(part_of_word))
}

/// The source with comments, strings and characters blanked out, line for line.
fn code_only(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let at = |index: usize| chars.get(index).copied().unwrap_or('\0');
    let in_word = |index: usize| at(index).is_alphanumeric() || at(index) == '_';
    let mut code = String::with_capacity(text.len());
    let mut here = 0;
    while here < chars.len() {
        let end = match at(here) {
            '/' if at(here + 1) == '/' => (here..chars.len()).find(|&i| at(i) == '\n').unwrap_or(chars.len()),
            '/' if at(here + 1) == '*' => end_of_block_comment(&chars, here),
            '"' => end_of_string(&chars, here),
            'r' if at(here + 1) == '"' || at(here + 1) == '#' => {
                let hashes = chars[here + 1..].iter().take_while(|&&c| c == '#').count();
                let prefixed = here > 0 && matches!(at(here - 1), 'b' | 'c') && !(here > 1 && in_word(here - 2));
                let starts_word = here == 0 || !in_word(here - 1) || prefixed;
                if starts_word && at(here + 1 + hashes) == '"' { end_of_raw_string(&chars, here, hashes) } else { here }
            }
            '\'' if at(here + 1) == '\\' => {
                (here + 3..chars.len()).find(|&i| at(i) == '\'').map_or(chars.len(), |i| i + 1)
            }
            // Anything else after a single quote is a lifetime.
            '\'' if at(here + 2) == '\'' => here + 3,
            _ => here,
        };
        if end == here {
            code.push(at(here));
            here += 1;
        } else {
            code.extend(chars[here..end].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
            here = end;
        }
    }
    code
}

fn end_of_block_comment(chars: &[char], from: usize) -> usize {
    let (mut depth, mut here) = (0_usize, from);
    while here + 1 < chars.len() {
        match (chars[here], chars[here + 1]) {
            ('/', '*') => (depth, here) = (depth + 1, here + 2),
            ('*', '/') if depth == 1 => return here + 2,
            ('*', '/') => (depth, here) = (depth - 1, here + 2),
            _ => here += 1,
        }
    }
    chars.len()
}

fn end_of_string(chars: &[char], from: usize) -> usize {
    let mut here = from + 1;
    while here < chars.len() {
        match chars[here] {
            '\\' => here += 2,
            '"' => return here + 1,
            _ => here += 1,
        }
    }
    chars.len()
}

fn end_of_raw_string(chars: &[char], from: usize, hashes: usize) -> usize {
    let closes = |i: usize| chars[i] == '"' && chars[i + 1..].iter().take_while(|&&c| c == '#').count() >= hashes;
    (from + hashes + 2..chars.len()).find(|&i| closes(i)).map_or(chars.len(), |i| i + 1 + hashes)
}

mod rules_can_fail {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source { path: path.to_owned(), text: text.to_owned() }
    }

    fn lines(findings: &[Finding]) -> Vec<String> {
        findings.iter().map(|one| format!("{}:{}", one.path, one.line)).collect()
    }

    #[test]
    fn comments_strings_and_characters_are_not_code() {
        for hidden in [
            "// unsafe",
            "/* a /* nested */ unsafe */",
            "\"an \\\" unsafe\"",
            "r#\"raw \" unsafe\"#",
            "br\"unsafe\"",
            "('\\'', \"unsafe\")",
            "unsafe_code",
        ] {
            assert!(!has_word(&code_only(hidden), "unsafe"), "{hidden} was taken for code");
        }
        for shown in ["unsafe {}", "fn f<'a>() { unsafe {} }", "('\"', unsafe {})", "/* a */ unsafe", "r#fn(); unsafe"]
        {
            assert!(has_word(&code_only(shown), "unsafe"), "{shown} was taken for text");
        }
        assert_eq!(code_only("a /* b\nc */ d").lines().count(), 2);
    }

    #[test]
    fn an_unnamed_unsafe_and_a_name_without_unsafe_are_found() {
        let sources = [source("net/src/tcp.rs", "\nunsafe {}"), source("runtime/src/slot.rs", "// unsafe")];
        let findings = misplaced_unsafe(&sources, &["runtime/src/slot.rs", "runtime/src/gone.rs"]);
        assert_eq!(lines(&findings), ["net/src/tcp.rs:2", "runtime/src/slot.rs:1", "runtime/src/gone.rs:1"]);
    }

    #[test]
    fn a_crate_that_only_talks_of_forbidding_is_found() {
        let all = ["src/lib.rs", "actors/src/lib.rs", "supervisor/src/lib.rs", "net/src/lib.rs", "benches/src/main.rs"];
        let good = all.map(|path| source(path, "#![forbid(unsafe_code)]"));
        assert!(crates_without_forbid(&good).is_empty());
        let bad = all.map(|path| source(path, "// #![forbid(unsafe_code)]"));
        assert_eq!(crates_without_forbid(&bad).len(), all.len());
        assert_eq!(crates_without_forbid(&[]).len(), all.len());
    }

    #[test]
    fn a_lifted_ban_is_found_in_the_four_crates_only() {
        let text = "#![expect(clippy::disallowed_methods, reason = \"\")]";
        let paths = ["net/src/tcp.rs", "net/src/tcp/tests.rs", "runtime/src/env/os.rs", "examples/hello.rs"];
        let findings = lifted_bans(&paths.map(|path| source(path, text)), &["runtime/src/env/os.rs"]);
        assert_eq!(lines(&findings), ["net/src/tcp.rs:1"]);
    }

    #[test]
    fn each_banned_word_is_found() {
        for (word, ending, _) in BANNED {
            let path = format!("a{ending}");
            assert_eq!(lines(&banned_words(&[source(&path, &format!("\n\n{word}"))])), [format!("{path}:3")]);
        }
    }

    #[test]
    fn a_long_file_is_found_and_an_exception_only_shrinks() {
        let long = [source("a.rs", &"\n".repeat(MAX_LINES + 1))];
        assert_eq!(long_files(&long, &[]).len(), 1);
        assert_eq!(long_files(&long, &[("a.rs", MAX_LINES + 1)]).len(), 0);
        let longer = [source("a.rs", &"\n".repeat(MAX_LINES + 2))];
        assert_eq!(long_files(&longer, &[("a.rs", MAX_LINES + 1)]).len(), 1);
        let short = [source("a.rs", "\n")];
        assert_eq!(long_files(&short, &[("a.rs", MAX_LINES + 1), ("gone.rs", 900)]).len(), 2);
    }

    #[test]
    fn a_dependency_upwards_is_found_under_any_name() {
        let root = "[workspace.dependencies]\nactors = { package = \"laneway-actors\", path = \"actors\" }\n";
        for upwards in
            ["actors.workspace = true", "laneway-net = \"0.1\"", "x = { package = \"laneway-net\", path = \"../net\" }"]
        {
            for section in ["[dependencies]", "[dev-dependencies]", "[target.'cfg(loom)'.dependencies]"] {
                let manifest = source("runtime/Cargo.toml", &format!("{section}\nmio = \"1\"\n{upwards}\n"));
                let findings = wrong_layers(&[source("Cargo.toml", root), manifest]);
                assert_eq!(lines(&findings), ["runtime/Cargo.toml:3"], "{section} {upwards}");
            }
        }
        let downwards = source("net/Cargo.toml", "[dependencies]\nactors.workspace = true\n");
        assert!(wrong_layers(&[source("Cargo.toml", root), downwards]).is_empty());
        let stranger = source("new/Cargo.toml", "");
        assert_eq!(lines(&wrong_layers(&[source("Cargo.toml", root), stranger])), ["new/Cargo.toml:1"]);
    }

    #[test]
    fn a_module_without_header_is_found() {
        let header = "#![forbid(unsafe_code)]\n\n//! Owns nothing.\n";
        let sources = [
            source("net/src/lib.rs", header),
            source("net/src/tcp.rs", "use std::io;"),
            source("net/src/udp.rs", "//!\n"),
            source("net/src/tcp/tests.rs", "use super::*;"),
        ];
        assert_eq!(lines(&modules_without_header(&sources)), ["net/src/tcp.rs:1", "net/src/udp.rs:1"]);
    }

    #[test]
    fn a_path_that_is_gone_and_a_module_left_out_are_found() {
        let text = "`lost/before.rs`\n## Code map\n`net/src/tcp.rs` and `net/src/gone.rs`\n## Next\n`lost/after.rs`\n";
        let sources = [
            source("ARCHITECTURE.md", text),
            source("net/src/tcp.rs", ""),
            source("net/src/udp.rs", ""),
            source("net/src/tcp/inner.rs", ""),
        ];
        let findings = code_map_errors(&sources, &|path| path == "net/src/tcp.rs");
        assert_eq!(lines(&findings), ["ARCHITECTURE.md:3", "ARCHITECTURE.md:2"]);
        assert_eq!(code_map_errors(&[], &|_| true).len(), 1);
    }

    #[test]
    fn a_readme_that_shows_another_program_is_found() {
        let readme = source("README.md", "# It\n\n```rust\nfn main() {}\n```\n");
        let hello = source("examples/hello.rs", "//! Says hello.\n\nfn main() {}\n");
        assert!(readme_errors(&[readme, hello]).is_empty());
        let readme = source("README.md", "# It\n\n```rust\nfn main() { () }\n```\n");
        let hello = source("examples/hello.rs", "fn main() {}\n");
        assert_eq!(lines(&readme_errors(&[readme, hello])), ["README.md:3"]);
    }
}
