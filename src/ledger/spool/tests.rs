//! The spool, proved on real files: whatever happens to its end, nothing before that is lost and nothing broken is accepted.

use std::fs;

use proptest::collection::vec;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

const ROOMY: u64 = 1 << 20;

fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("plimsoll.db.spool");
    (folder, path)
}

fn frames(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|n| vec![u8::try_from(n % 251).expect("a byte"); n * 7 % 90]).collect()
}

fn spooled(path: &Path, frames: &[Vec<u8>]) -> Spool {
    let mut spool = Spool::open(path, ROOMY).expect("a spool");
    assert_eq!(spool.append(frames).expect("room"), frames.len());
    spool
}

/// A cheap generator, the same in every run.
fn noise(state: &mut u64) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    usize::try_from(*state >> 33).expect("31 bits")
}

#[test]
fn frames_come_back_in_order_across_appends_and_openings() {
    let (_folder, path) = place();
    let all = frames(40);
    drop(spooled(&path, &all[..15]));
    let mut spool = spooled(&path, &all[15..30]);
    assert_eq!(spool.append(&all[30..]).expect("room"), 10);
    let found = read(&path).expect("a readable file");
    assert_eq!((found.frames, found.unreadable, found.length), (all, 0, spool.length()));
}

#[test]
fn the_cap_takes_the_first_frames_and_says_how_many() {
    let (_folder, path) = place();
    let mut spool = Spool::open(&path, 3 * 18).expect("a spool");
    let ten = |byte| vec![byte; 10];
    assert_eq!(spool.append(&[ten(1), ten(2), ten(3), ten(4)]).expect("room for three"), 3);
    assert_eq!(spool.append(&[vec![], ten(5)]).expect("no room"), 0);
    assert_eq!(read(&path).expect("a readable file").frames, [ten(1), ten(2), ten(3)]);
    assert_eq!(Spool::open(&path, 3 * 18).expect("the spool").append(&[ten(4)]).expect("no room"), 0);
    assert_eq!(Spool::open(&path, 4 * 18).expect("the spool").append(&[ten(4)]).expect("room"), 1);
}

// Mutations: no check of the sum; a frame that ends behind the file's end is accepted; reading goes on behind a bad frame.
#[test]
fn d5_a_flipped_bit_is_never_accepted_and_nothing_before_it_is_lost() {
    let (_folder, path) = place();
    let all = frames(60);
    drop(spooled(&path, &all));
    let sound = fs::read(&path).expect("the file");
    let ends: Vec<usize> = all
        .iter()
        .scan(0, |end, frame| {
            *end += HEAD + frame.len();
            Some(*end)
        })
        .collect();
    let mut state = 7;
    for round in 0..10_000 {
        let at = if round < sound.len() { round } else { noise(&mut state) % sound.len() };
        let mut broken = sound.clone();
        broken[at] ^= 1 << (noise(&mut state) % 8);
        // Every third file is cut as well, somewhere behind the flipped bit.
        if round % 3 == 0 {
            broken.truncate(at + 1 + noise(&mut state) % (sound.len() - at));
        }
        fs::write(&path, &broken).expect("a broken file");
        let found = read(&path).expect("a readable file");
        let whole = ends.iter().take_while(|end| **end <= at).count();
        assert_eq!(found.frames, all[..whole], "bit flipped in byte {at}");
        assert_eq!(found.length + found.unreadable, broken.len() as u64);
    }
}

#[test]
fn d5_a_file_cut_anywhere_gives_every_frame_before_the_cut() {
    let (_folder, path) = place();
    let all = frames(20);
    drop(spooled(&path, &all));
    let sound = fs::read(&path).expect("the file");
    let mut whole = 0;
    let mut end = HEAD + all[0].len();
    for cut in 0..=sound.len() {
        if whole < all.len() && cut == end {
            whole += 1;
            end += HEAD + all.get(whole).map_or(0, Vec::len);
        }
        fs::write(&path, &sound[..cut]).expect("a torn file");
        assert_eq!(read(&path).expect("a readable file").frames, all[..whole], "cut at {cut}");
    }
}

proptest! {
    #[test]
    fn any_file_is_read_without_a_panic(bytes in vec(prop_oneof![Just(0_u8), 0_u8..12, any::<u8>()], 0..200)) {
        let (_folder, path) = place();
        fs::write(&path, &bytes).expect("a file");
        let found = read(&path).expect("a readable file");
        prop_assert_eq!(found.length + found.unreadable, bytes.len() as u64);
        Spool::open(&path, ROOMY).expect("a spool").append(&[b"next".to_vec()]).expect("room");
        let after = read(&path).expect("a readable file");
        prop_assert_eq!(after.frames.len(), found.frames.len() + 1);
        prop_assert_eq!(after.unreadable, 0);
    }
}

// Mutation: a checksum over the bytes alone, which is 0 for an empty frame.
#[test]
fn a_stretch_of_zeros_is_no_frame() {
    let (_folder, path) = place();
    fs::write(&path, [0; 4_096]).expect("a file");
    let found = read(&path).expect("a readable file");
    assert_eq!((found.frames.len(), found.unreadable), (0, 4_096));
}

// Mutation: `open` appends behind the tail without taking it away.
#[test]
fn a_torn_tail_is_set_aside_and_new_frames_follow_whole_ones() {
    let (_folder, path) = place();
    let all = frames(9);
    drop(spooled(&path, &all));
    let sound = fs::read(&path).expect("the file");
    fs::write(&path, &sound[..sound.len() - 3]).expect("a torn file");
    let torn = HEAD + all[8].len() - 3;
    let spool = spooled(&path, &[b"after".to_vec()]);
    let found = read(&path).expect("a readable file");
    assert_eq!((found.frames.len(), found.unreadable, found.length), (9, 0, spool.length()));
    assert_eq!(found.frames[8], b"after");
    assert_eq!(fs::read(aside(&path)).expect("the tail"), sound[sound.len() - 3 - torn..sound.len() - 3]);
}

#[test]
fn it_is_deleted_only_as_it_was_read_and_its_unreadable_end_is_kept() {
    let (_folder, path) = place();
    assert_eq!(read(&path).expect("no file is an empty spool"), Read::default());
    remove(&path, &Read::default()).expect("nothing to delete");
    let mut spool = spooled(&path, &frames(3));
    let found = read(&path).expect("a readable file");
    spool.append(&[b"late".to_vec()]).expect("room");
    assert!(remove(&path, &found).is_err(), "a frame that nobody read");
    let mut bytes = fs::read(&path).expect("the file");
    bytes.extend_from_slice(b"torn");
    fs::write(&path, bytes).expect("a torn file");
    let found = read(&path).expect("a readable file");
    remove(&path, &found).expect("a deleted spool");
    assert_eq!((found.frames.len(), found.unreadable, path.exists()), (4, 4, false));
    assert_eq!(fs::read(aside(&path)).expect("the tail"), b"torn");
}

#[test]
fn a_disk_without_room_takes_nothing_and_says_so() {
    let file = OpenOptions::new().write(true).open("/dev/full").expect("Linux has one");
    let mut spool = Spool { file, length: 0, torn: false, cap: ROOMY, failed: false };
    let refusal = spool.append(&[b"row".to_vec()]).expect_err("no room");
    assert_eq!((refusal.kind(), spool.length()), (ErrorKind::StorageFull, 0));
    assert_eq!(spool.append(&[]).expect("nothing to write"), 0);
}

// Mutation: the rest of a failed write stays where it is.
#[test]
fn the_rest_of_a_failed_write_is_taken_back_before_the_next() {
    let (_folder, path) = place();
    let mut spool = spooled(&path, &frames(3));
    OpenOptions::new().append(true).open(&path).expect("the file").write_all(b"half a fra").expect("a torn write");
    spool.torn = true;
    assert_eq!(spool.append(&[b"after".to_vec()]).expect("room"), 1);
    let found = read(&path).expect("a readable file");
    assert_eq!((found.frames.len(), found.unreadable), (4, 0));
}

#[test]
fn after_a_failed_fsync_nothing_is_promised_any_more() {
    let (_folder, path) = place();
    let mut spool = spooled(&path, &frames(3));
    spool.failed = true;
    assert!(spool.append(&[b"late".to_vec()]).expect_err("a failed spool").to_string().contains("failed fsync"));
    assert_eq!(read(&path).expect("a readable file").frames, frames(3));
}
