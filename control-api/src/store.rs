//! The desired state on disk: `state.db` in the state directory, and copies of earlier good generations.
//!
//! Opening never fails: a damaged file is set aside and the newest good copy is taken, or nothing; a disk that
//! cannot be written leaves the objects readable and refuses changes. What [`Store::commit`] acknowledged survives
//! a kill and a power cut. Used under the lock of changes by threads that may block; docs/adr/0005-store.md says
//! why it is made so.

mod contents;
mod file;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use proto::v1;

pub use contents::{Change, Contents, Objects, Table, Wrong, attachment_row};
use file::File;
pub use file::FileError;

/// The newest copy is at most this much older than the last change.
const COPY_EVERY: Duration = Duration::from_secs(5);
/// Older copies are this far apart, so that a mistake of a minute ago does not push out the last good one.
const ROTATE_EVERY: Duration = Duration::from_secs(3600);
const COPIES: usize = 3;

/// A change that is not on disk. Nothing has changed then.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{path} cannot be written: {source}")]
pub struct StoreError {
    /// The file.
    pub path: PathBuf,
    /// Why; shared, because several requests can fail with one commit.
    pub source: Arc<FileError>,
}

/// The store of one daemon.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    /// What the file holds: the truth for every rebuild and copy.
    contents: Contents,
    /// `Err`: why the file cannot be used now; the next change tries again.
    file: Result<File, String>,
    /// Not empty: what was wrong at start, and what was done.
    note: String,
    recovered: bool,
    /// Generation of the newest copy.
    copied: Option<u64>,
    copied_at: Instant,
    rotated_at: Instant,
    copy_error: Option<String>,
}

impl Store {
    /// Opens the store of a state directory, whatever state it is in.
    #[must_use]
    pub fn open(directory: &Path) -> Self {
        let path = directory.join("state.db");
        let now = Instant::now();
        let mut store = Self {
            contents: Contents::new(),
            file: Err("not opened yet".into()),
            note: String::new(),
            recovered: false,
            copied: None,
            copied_at: now,
            rotated_at: now,
            copy_error: None,
            path,
        };
        match File::open(&store.path) {
            Ok((file, contents)) => {
                store.contents = contents;
                store.file = file.upgrade().map_err(|e| e.to_string());
            }
            Err(reason) => store.recover(&reason),
        }
        if let Ok((_, newest)) = File::open(&store.copy_path(1)) {
            store.copied = Some(newest.generation).filter(|_| newest == store.contents);
        }
        store.copy(true);
        store
    }

    /// The state file was not good: take the newest good copy, set the bad one aside and write a new file.
    fn recover(&mut self, reason: &FileError) {
        let missing = matches!(reason, FileError::Missing);
        let mut best: Option<(Contents, PathBuf)> = None;
        for path in self.candidates() {
            let Ok((_, contents)) = File::open(&path) else { continue };
            if best.as_ref().is_none_or(|(b, _)| contents.generation > b.generation) {
                best = Some((contents, path));
            }
        }
        let first_start = missing && best.is_none();
        let loaded = match best {
            Some((contents, path)) => {
                let text = format!("generation {} was loaded from {}", contents.generation, path.display());
                self.contents = contents;
                text
            }
            None => "there was no good copy: the switch started empty".into(),
        };
        let set_aside = match (missing, self.set_aside()) {
            (true, _) => "nothing was set aside".into(),
            (false, Ok(aside)) => format!("it was set aside as {}", aside.display()),
            (false, Err(e)) => format!("it could not be set aside ({e})"),
        };
        if !first_start {
            self.recovered = true;
            self.note = format!("{} was not usable ({reason}); {set_aside}; {loaded}", self.path.display());
            tracing::error!(store = %self.path.display(), "{}", self.note);
        }
        self.file = self.rebuild().map_err(|e| e.to_string());
        if let Err(reason) = &self.file {
            tracing::error!(store = %self.path.display(), "the store cannot be written, changes are refused: {reason}");
        }
    }

    fn candidates(&self) -> Vec<PathBuf> {
        let mut paths = vec![self.passing_path()];
        paths.extend((1..=COPIES).map(|n| self.copy_path(n)));
        paths
    }

    fn with_suffix(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(suffix);
        name.into()
    }

    fn copy_path(&self, number: usize) -> PathBuf {
        self.with_suffix(&format!(".{number}"))
    }

    fn passing_path(&self) -> PathBuf {
        self.with_suffix(".new")
    }

    /// Moves the file and its journal out of the way, and says where to.
    fn set_aside(&self) -> Result<PathBuf, FileError> {
        let seconds = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
        let aside = (0..)
            .map(|n| self.with_suffix(&format!(".damaged-{}", seconds + n)))
            .find(|path| std::fs::symlink_metadata(path).is_err())
            .expect("some number is free");
        std::fs::rename(&self.path, &aside)?;
        match std::fs::rename(file::journal(&self.path), file::journal(&aside)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e.into()),
            _ => {}
        }
        file::sync_directory(&self.path)?;
        Ok(aside)
    }

    /// Writes the state file anew from what we know to be in it.
    fn rebuild(&self) -> Result<File, FileError> {
        File::write(&self.path, &self.passing_path(), &self.contents)?;
        File::open(&self.path).map(|(file, _)| file)
    }

    /// The file, opened again or rebuilt if need be.
    fn ready(&mut self) -> Result<&mut File, FileError> {
        let good = self.file.as_ref().is_ok_and(|file| file.is_at(&self.path) && !file.is_read_only());
        if !good {
            self.file = Err("it is being opened again".into());
            let again = match File::open(&self.path) {
                Ok((file, contents)) if contents == self.contents && !file.is_read_only() => file.upgrade(),
                Ok(_) | Err(FileError::Missing) => self.rebuild(),
                Err(e) if !e.is_damage() => Err(e),
                Err(_) => self.set_aside().and_then(|_| self.rebuild()),
            };
            match again {
                Ok(file) => {
                    tracing::warn!(store = %self.path.display(), "the store was opened again");
                    self.file = Ok(file);
                }
                Err(e) => {
                    self.file = Err(e.to_string());
                    return Err(e);
                }
            }
        }
        Ok(self.file.as_mut().expect("just made good"))
    }

    /// What is stored.
    #[must_use]
    pub fn contents(&self) -> &Contents {
        &self.contents
    }

    /// Makes changes durable, all or none.
    ///
    /// # Errors
    /// [`StoreError`]; the store and [`Store::contents`] are as before then.
    pub fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        let next = self.contents.after(changes);
        match self.ready().and_then(|file| file.commit(changes, &next)) {
            Ok(()) => {
                self.contents = next;
                Ok(())
            }
            Err(source) => {
                // Whatever reached the disk, the next change starts from what we know.
                self.file = Err(source.to_string());
                Err(StoreError { path: self.path.clone(), source: Arc::new(source) })
            }
        }
    }

    /// Copies the present generation if it is not copied yet and the last copy is old enough, or `at_once`.
    pub fn copy_if_due(&mut self, at_once: bool) {
        if self.copied != Some(self.contents.generation)
            && (at_once || self.copied_at.elapsed() >= COPY_EVERY)
        {
            self.copy(self.rotated_at.elapsed() >= ROTATE_EVERY);
        }
    }

    fn copy(&mut self, rotate: bool) {
        if self.copied == Some(self.contents.generation) {
            return;
        }
        self.copied_at = Instant::now();
        if rotate {
            self.rotated_at = self.copied_at;
            for number in (1..COPIES).rev() {
                // One that is not there leaves a gap, which is no harm.
                let _ = std::fs::rename(self.copy_path(number), self.copy_path(number + 1));
            }
        }
        match File::write(&self.copy_path(1), &self.with_suffix(".copy"), &self.contents) {
            Ok(()) => {
                self.copied = Some(self.contents.generation);
                self.copy_error = None;
            }
            Err(e) => {
                if self.copy_error.is_none() {
                    tracing::warn!(store = %self.path.display(), "no copy could be made: {e}");
                }
                self.copy_error = Some(e.to_string());
            }
        }
    }

    /// Why changes are refused now, if they are.
    #[must_use]
    pub fn refuses(&self) -> Option<String> {
        match &self.file {
            Err(reason) => Some(format!("{} cannot be written: {reason}", self.path.display())),
            Ok(file) if file.is_read_only() => {
                Some(format!("{} is read-only: changes are refused", self.path.display()))
            }
            Ok(_) => None,
        }
    }

    /// For the node's status.
    #[must_use]
    pub fn status(&self) -> v1::StoreStatus {
        v1::StoreStatus {
            path: self.path.display().to_string(),
            generation: self.contents.generation,
            recovered: self.recovered,
            note: self.note.clone(),
        }
    }

    /// What an operator should look at.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.recovered {
            warnings.push(format!("the store was damaged: {}", self.note));
        }
        warnings.extend(self.refuses());
        if let Some(reason) = &self.copy_error {
            warnings.push(format!("no copy of {} could be made: {reason}", self.path.display()));
        }
        warnings
    }
}

#[cfg(test)]
mod tests;
