//! pcap files, written for a pod to send and read back from what it recorded.

use std::io::{BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

const MICROSECONDS: u32 = 0xa1b2_c3d4;
const NANOSECONDS: u32 = 0xa1b2_3c4d;
const ETHERNET: u32 = 1;

/// Writes frames to a new file.
pub fn write(path: &Path, frames: &[Vec<u8>]) {
    let mut file = BufWriter::new(std::fs::File::create(path).unwrap());
    let mut word = |value: u32| file.write_all(&value.to_le_bytes()).unwrap();
    word(MICROSECONDS);
    word(2 | 4 << 16);
    word(0);
    word(0);
    word(u32::from(u16::MAX));
    word(ETHERNET);
    for (number, frame) in (0_u32..).zip(frames) {
        let length = u32::try_from(frame.len()).unwrap();
        for value in [number / 1_000_000, number % 1_000_000, length, length] {
            file.write_all(&value.to_le_bytes()).unwrap();
        }
        file.write_all(frame).unwrap();
    }
    file.flush().unwrap();
}

/// Reads all whole frames; a file that is not there holds none.
#[must_use]
pub fn read(path: &Path) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    Tail::new(path.to_path_buf()).each(|frame| frames.push(frame.to_vec()));
    frames
}

/// A file that grows, read from where the last reading ended.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    offset: u64,
}

impl Tail {
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, offset: 0 }
    }

    /// Shows each whole frame that was added; a last one that is still being written is left for the next time.
    pub fn each(&mut self, mut show: impl FnMut(&[u8])) {
        let Ok(file) = std::fs::File::open(&self.path) else { return };
        let mut file = BufReader::with_capacity(1 << 20, file);
        if self.offset == 0 {
            let mut header = [0; 24];
            if file.read_exact(&mut header).is_err() {
                return;
            }
            let magic = little(&header, 0);
            assert!(magic == MICROSECONDS || magic == NANOSECONDS, "{}: {magic:#x}", self.path.display());
            self.offset = 24;
        }
        file.seek(SeekFrom::Start(self.offset)).unwrap();
        let (mut record, mut frame) = ([0; 16], Vec::new());
        while file.read_exact(&mut record).is_ok() {
            let (kept, length) = (little(&record, 8), little(&record, 12));
            assert_eq!(kept, length, "{}: a frame was cut", self.path.display());
            frame.resize(length as usize, 0);
            if file.read_exact(&mut frame).is_err() {
                break;
            }
            self.offset += 16 + u64::from(length);
            show(&frame);
        }
    }

    /// Gives the disk back what was read; the recorder goes on at its own place.
    pub fn forget(&self) {
        if self.offset == 0 {
            return;
        }
        let length = self.offset.to_string();
        let punch = ["--punch-hole", "--offset", "0", "--length", &length];
        let status = Command::new("fallocate").args(punch).arg(&self.path).status().unwrap();
        assert!(status.success());
    }
}

fn little(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}
