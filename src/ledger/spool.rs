//! Where rows wait that the ledger's store cannot take: an append-only file beside it, read again at the next start.
//!
//! A frame is its length, a CRC32 over length and bytes, and the bytes. What [`Spool::append`] answered for is on the disk.
//! Reading stops at the first frame that is not whole. It refuses to grow beyond its cap, to write on after a failed `fsync`,
//! and to delete what nobody has read: [`remove`] wants the reading, and bytes that no reading understood are kept in a file
//! of their own.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, ErrorKind, Read as _, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Length and checksum, four bytes each, little endian.
const HEAD: usize = 8;

/// An open spool. The file may have frames of an earlier run; new ones follow them.
#[derive(Debug)]
pub(super) struct Spool {
    file: File,
    /// Bytes of whole frames.
    length: u64,
    /// Whether the rest of a write that failed may stand behind them.
    torn: bool,
    cap: u64,
    /// After a failed `fsync` nobody knows what is on the disk, so nothing more is promised.
    failed: bool,
}

impl Spool {
    /// Opens or creates the spool in `path`, which may become `cap_bytes` long. What an earlier run left unreadable at its
    /// end is set aside first, so that new frames follow whole ones.
    pub(super) fn open(path: &Path, cap_bytes: u64) -> io::Result<Self> {
        let found = read(path)?;
        set_aside(path, &found)?;
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        if found.unreadable > 0 {
            file.set_len(found.length)?;
        }
        file.sync_all()?;
        sync_folder(path)?;
        Ok(Self { file, length: found.length, torn: false, cap: cap_bytes, failed: false })
    }

    /// Writes the first so many frames that fit below the cap, with one write and one `fsync`, and says how many they were.
    /// After an error none of them counts as written. A full disk may have room again later; a failed `fsync` is final.
    pub(super) fn append(&mut self, frames: &[Vec<u8>]) -> io::Result<usize> {
        if self.failed {
            return Err(io::Error::other("the spool stopped after a failed fsync; restart to continue"));
        }
        let room = self.cap.saturating_sub(self.length);
        let mut bytes = Vec::new();
        let mut taken = 0;
        for frame in frames {
            let end = bytes.len() + HEAD + frame.len();
            if end as u64 > room {
                break;
            }
            bytes.extend_from_slice(&head(frame)?);
            bytes.extend_from_slice(frame);
            taken += 1;
        }
        if taken > 0 {
            self.write(&bytes)?;
        }
        Ok(taken)
    }

    /// Bytes of whole frames.
    #[cfg(test)]
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.torn {
            self.file.set_len(self.length)?;
            self.torn = false;
        }
        if let Err(error) = self.file.write_all(bytes) {
            self.torn = self.file.set_len(self.length).is_err();
            return Err(error);
        }
        if let Err(error) = self.file.sync_data() {
            self.failed = true;
            return Err(error);
        }
        self.length += bytes.len() as u64;
        Ok(())
    }
}

fn head(frame: &[u8]) -> io::Result<[u8; HEAD]> {
    let too_long = |_| io::Error::new(ErrorKind::InvalidInput, "a frame is at most 4 GiB long");
    let length = u32::try_from(frame.len()).map_err(too_long)?.to_le_bytes();
    let mut head = [0; HEAD];
    head[..4].copy_from_slice(&length);
    head[4..].copy_from_slice(&checksum(length, frame).to_le_bytes());
    Ok(head)
}

/// The length is part of it: a stretch of zeros, as file systems leave them after a crash, is not an empty frame.
fn checksum(length: [u8; 4], bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length);
    hasher.update(bytes);
    hasher.finalize()
}

/// What a spool holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Read {
    /// The whole frames, in order.
    pub(super) frames: Vec<Vec<u8>>,
    /// Bytes of the whole frames.
    pub(super) length: u64,
    /// Bytes behind them that are no whole frame.
    pub(super) unreadable: u64,
}

/// Reads the spool in `path` up to its first frame that is not whole. A file that is missing is an empty spool.
pub(super) fn read(path: &Path) -> io::Result<Read> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Read::default()),
        opened => opened?,
    };
    let mut read = Read { unreadable: file.metadata()?.len(), ..Read::default() };
    let mut file = BufReader::new(file);
    while let Some(frame) = next(&mut file, read.unreadable)? {
        let bytes = HEAD as u64 + frame.len() as u64;
        read.length += bytes;
        read.unreadable -= bytes;
        read.frames.push(frame);
    }
    Ok(read)
}

/// The frame at the beginning of `remaining` bytes. `None`: there is no whole one.
fn next(file: &mut impl io::Read, remaining: u64) -> io::Result<Option<Vec<u8>>> {
    let Some(most) = remaining.checked_sub(HEAD as u64) else { return Ok(None) };
    let (mut length, mut sum) = ([0; 4], [0; 4]);
    file.read_exact(&mut length)?;
    file.read_exact(&mut sum)?;
    let size = u32::from_le_bytes(length);
    if u64::from(size) > most {
        return Ok(None);
    }
    let mut frame = Vec::new();
    file.take(size.into()).read_to_end(&mut frame)?;
    Ok((checksum(length, &frame) == u32::from_le_bytes(sum)).then_some(frame))
}

/// Deletes the spool in `path`, all of whose frames in `read` are now in the store. Unreadable bytes are kept beside it.
///
/// # Errors
/// When something was appended since it was read, and when the file system refuses.
pub(super) fn remove(path: &Path, read: &Read) -> io::Result<()> {
    let length = match path.metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        found => found?.len(),
    };
    if length != read.length + read.unreadable {
        return Err(io::Error::other("the spool changed since it was read; read it again"));
    }
    set_aside(path, read)?;
    std::fs::remove_file(path)?;
    sync_folder(path)
}

/// Where bytes are kept that no reading understood, for a person to look at: the spool's name and `.unreadable`.
pub(super) fn aside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".unreadable");
    PathBuf::from(name)
}

fn set_aside(path: &Path, read: &Read) -> io::Result<()> {
    if read.unreadable == 0 {
        return Ok(());
    }
    let mut from = File::open(path)?;
    from.seek(SeekFrom::Start(read.length))?;
    let mut to = OpenOptions::new().append(true).create(true).open(aside(path))?;
    io::copy(&mut from, &mut to)?;
    to.sync_all()?;
    sync_folder(path)
}

/// Makes a new or a deleted name durable.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests;
