//! The return addresses in a copy of a stack, found by the unwind tables of the files that are mapped.
//!
//! Reads nothing of the process but the list of what is mapped; the tables come from the files themselves.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::ops::Range;

use framehop::{
    CacheNative, ExplicitModuleSectionInfo, MayAllocateDuringUnwind, Module, UnwindRegsNative, Unwinder, UnwinderNative,
};
use object::{Object, ObjectSection, ObjectSegment, ReadCache, SegmentFlags, elf};
use parking_lot::Mutex;

use super::snapshot::Snapshot;

/// Frames beyond these are left out.
const FRAMES_MAX: usize = 128;

/// The files that were mapped when a stack was unwound last, with their tables.
static KNOWN: Mutex<Option<(Mapped, Tables)>> = Mutex::new(None);

type Tables = UnwinderNative<Vec<u8>, MayAllocateDuringUnwind>;

/// Files with code that are mapped: where the first of their code begins, its place in the file, and where they end.
type Mapped = BTreeMap<String, (u64, u64, u64)>;

/// The addresses of the frames, innermost first: that of the instruction, and those within the calls.
pub(super) fn addresses(snapshot: &Snapshot) -> Vec<usize> {
    let mapped = mapped();
    let mut known = KNOWN.lock();
    if known.as_ref().is_none_or(|(known, _)| *known != mapped) {
        *known = Some((mapped.clone(), tables(&mapped)));
    }
    let Some((_, unwinder)) = &*known else { return Vec::new() };
    let mut read = |address: u64| {
        let at = address.checked_sub(snapshot.stack_pointer).ok_or(())? as usize;
        let bytes = snapshot.stack.get(at..).and_then(|rest| rest.first_chunk()).ok_or(())?;
        Ok(u64::from_ne_bytes(*bytes))
    };
    let mut cache = CacheNative::new();
    let mut frames = unwinder.iter_frames(snapshot.instruction, registers(snapshot), &mut cache, &mut read);
    let mut addresses = Vec::new();
    while let Ok(Some(frame)) = frames.next()
        && addresses.len() < FRAMES_MAX
    {
        addresses.push(frame.address_for_lookup() as usize);
    }
    addresses
}

#[cfg(target_arch = "x86_64")]
fn registers(snapshot: &Snapshot) -> UnwindRegsNative {
    UnwindRegsNative::new(snapshot.instruction, snapshot.stack_pointer, snapshot.frame_pointer)
}

#[cfg(target_arch = "aarch64")]
fn registers(snapshot: &Snapshot) -> UnwindRegsNative {
    UnwindRegsNative::new(snapshot.link, snapshot.stack_pointer, snapshot.frame_pointer)
}

/// A line reads `begin-end flags place device number path`.
fn mapped() -> Mapped {
    let mut mapped = Mapped::new();
    for line in fs::read_to_string("/proc/self/maps").unwrap_or_default().lines() {
        let mut words = line.split_ascii_whitespace();
        let (Some(range), Some(flags), Some(place)) = (words.next(), words.next(), words.next()) else { continue };
        let Some(path) = line.find('/').map(|at| line[at..].to_owned()) else { continue };
        let number = |text: &str| u64::from_str_radix(text, 16).unwrap_or(0);
        let Some((begin, end)) = range.split_once('-').map(|(begin, end)| (number(begin), number(end))) else {
            continue;
        };
        if flags.contains('x') {
            mapped.entry(path).or_insert((begin, number(place), end)).2 = end;
        }
    }
    mapped
}

fn tables(mapped: &Mapped) -> Tables {
    let mut unwinder = UnwinderNative::new();
    for (path, (begin, place, end)) in mapped {
        if let Some(module) = module(path, *begin, *place, *end) {
            unwinder.add_module(module);
        }
    }
    unwinder
}

/// The tables of one file; `None` where it is not what it was, or nothing that we read.
fn module(path: &str, begin: u64, place: u64, end: u64) -> Option<Module<Vec<u8>>> {
    let cache = ReadCache::new(File::open(path).ok()?);
    let file = object::File::parse(&cache).ok()?;
    let is_code = |flags| matches!(flags, SegmentFlags::Elf { p_flags, .. } if p_flags.0 & elf::PF_X.0 != 0);
    let code = file.segments().find(|segment| is_code(segment.flags()))?;
    // Where the address 0 of the file came to lie.
    let base_avma = begin.wrapping_sub(place).wrapping_add(code.file_range().0).wrapping_sub(code.address());
    let range = |name: &str| -> Option<Range<u64>> {
        let section = file.section_by_name(name)?;
        Some(section.address()..section.address().checked_add(section.size())?)
    };
    let data = |name: &str| Some(file.section_by_name(name)?.uncompressed_data().ok()?.into_owned());
    let sections = ExplicitModuleSectionInfo {
        base_svma: 0,
        text_svma: range(".text"),
        got_svma: range(".got"),
        eh_frame_svma: range(".eh_frame"),
        eh_frame: data(".eh_frame"),
        eh_frame_hdr_svma: range(".eh_frame_hdr"),
        eh_frame_hdr: data(".eh_frame_hdr"),
        ..ExplicitModuleSectionInfo::default()
    };
    Some(Module::new(path.to_owned(), begin..end, base_avma, sections))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of one segment with code, and a section of it that begins at `address` and is two bytes long.
    fn file(address: u64) -> Vec<u8> {
        let half = u16::to_ne_bytes;
        let word = u32::to_ne_bytes;
        let long = u64::to_ne_bytes;
        let machine = if cfg!(target_arch = "x86_64") { 62 } else { 183 };
        let names = b"\0.text\0.shstrtab\0";
        let (segments, sections, names_at) = (64_u64, 120_u64, 120 + 3 * 64_u64);
        let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        for bytes in [&half(3)[..], &half(machine), &word(1), &long(0), &long(segments), &long(sections), &word(0)] {
            file.extend(bytes);
        }
        [64, 56, 1, 64, 3, 2].iter().for_each(|number| file.extend(half(*number)));
        file.extend([word(1), word(5)].concat());
        [0, 0, 0, 4096, 4096, 4096].iter().for_each(|number| file.extend(long(*number)));
        let mut section = |name: u32, kind: u32, numbers: [u64; 4]| {
            file.extend([word(name), word(kind)].concat());
            numbers.iter().for_each(|number| file.extend(long(*number)));
            file.extend([long(0), long(1), long(0)].concat());
        };
        section(0, 0, [0; 4]);
        section(1, 1, [6, address, 0, 2]);
        section(7, 3, [0, 0, names_at, names.len() as u64]);
        file.extend(names);
        file
    }

    #[test]
    fn a_file_whose_code_would_go_round_the_end_of_memory_does_no_harm() {
        let path = std::env::temp_dir().join(format!("laneway-unwind-{}", std::process::id()));
        let read = |address| {
            fs::write(&path, file(address)).expect("a file");
            module(path.to_str().expect("a path in words"), 0x1000, 0, 0x2000).is_some()
        };
        let said = [read(0x100), read(u64::MAX)];
        let _ = fs::remove_file(&path);
        assert_eq!(said, [true, true]);
    }
}
