//! One SQLite file: how contents are written whole, read back with every doubt, and changed in place.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params};

use super::contents::{Change, Contents, Table, Wrong};

/// Number of the layout below, kept as SQLite's `user_version`.
const SCHEMA: i64 = 2;
/// The oldest layout that is read: 1 has no attachments.
const OLDEST: i64 = 1;

const LAYOUT: &str = "
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE network (name TEXT PRIMARY KEY, spec TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE port (name TEXT PRIMARY KEY, spec TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE attachment (name TEXT PRIMARY KEY, spec TEXT NOT NULL) WITHOUT ROWID;
";
/// What leads from layout 1 to 2.
const FROM_1: &str = "CREATE TABLE attachment (name TEXT PRIMARY KEY, spec TEXT NOT NULL) WITHOUT ROWID;";

/// Why a file is not a good store.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// There is none.
    #[error("there is no such file")]
    Missing,
    /// The kernel said no.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// SQLite said no.
    #[error("{0}")]
    Sqlite(#[from] rusqlite::Error),
    /// Not a regular file.
    #[error("it is not a file")]
    NotAFile,
    /// SQLite's own check failed.
    #[error("the integrity check says: {0}")]
    Integrity(String),
    /// Its last page is not all there.
    #[error("it is cut short, at {0} bytes")]
    CutShort(u64),
    /// Written by another version.
    #[error("its layout has number {0}, this version reads {OLDEST} to {SCHEMA}")]
    Version(i64),
    /// A row of the table meta is missing.
    #[error("the table meta lacks \"{0}\"")]
    Meta(&'static str),
    /// The rows are not those that were written.
    #[error("{0}")]
    Wrong(#[from] Wrong),
}

impl FileError {
    /// Whether the file itself is at fault, and not the disk, a lock or a permission.
    pub(super) fn is_damage(&self) -> bool {
        use rusqlite::ErrorCode as Code;
        match self {
            Self::Missing | Self::Io(_) => false,
            Self::NotAFile
            | Self::Integrity(_)
            | Self::CutShort(_)
            | Self::Version(_)
            | Self::Meta(_)
            | Self::Wrong(_) => true,
            Self::Sqlite(e) => !matches!(
                e.sqlite_error_code(),
                Some(
                    Code::DatabaseBusy
                        | Code::DatabaseLocked
                        | Code::DiskFull
                        | Code::SystemIoFailure
                        | Code::CannotOpen
                        | Code::ReadOnly
                        | Code::PermissionDenied
                        | Code::OutOfMemory
                        | Code::NoLargeFileSupport
                )
            ),
        }
    }
}

/// An open store file.
#[derive(Debug)]
pub(super) struct File {
    connection: Connection,
    /// Device and inode, to see when somebody moved it away under us.
    identity: (u64, u64),
    /// Number of its layout.
    layout: i64,
}

impl File {
    /// Opens and checks a file; nothing is created, and an older layout stays as it is (see [`File::upgrade`]).
    pub(super) fn open(path: &Path) -> Result<(Self, Contents), FileError> {
        let meta = match fs::symlink_metadata(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(FileError::Missing),
            other => other?,
        };
        if !meta.is_file() {
            return Err(FileError::NotAFile);
        }
        let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let (layout, contents) = read(&connection)?;
        whole(path, &connection)?;
        Ok((Self { connection, identity: (meta.dev(), meta.ino()), layout }, contents))
    }

    /// Brings an older layout to the present one, in place and in one transaction. A file that cannot be written is
    /// left as it is: it is read all the same.
    pub(super) fn upgrade(mut self) -> Result<Self, FileError> {
        if self.layout == SCHEMA || self.is_read_only() {
            return Ok(self);
        }
        let transaction =
            self.connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        transaction.execute_batch(FROM_1)?;
        transaction.pragma_update(None, "user_version", SCHEMA)?;
        transaction.commit()?;
        tracing::info!(from = self.layout, to = SCHEMA, "the store's layout was brought up to date");
        self.layout = SCHEMA;
        Ok(self)
    }

    /// Writes contents as a new file under a passing name and moves it to `path` when it is complete and on disk.
    /// What was at `path` is replaced.
    pub(super) fn write(path: &Path, passing: &Path, contents: &Contents) -> Result<(), FileError> {
        remove(passing)?;
        remove(&journal(passing))?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let mut connection = connect(passing, flags)?;
        let transaction = connection.transaction()?;
        transaction.execute_batch(LAYOUT)?;
        transaction.pragma_update(None, "user_version", SCHEMA)?;
        for (table, name, json) in contents.rows() {
            put(&transaction, table, name, json)?;
        }
        put_meta(&transaction, contents)?;
        transaction.commit()?;
        connection.close().map_err(|(_, e)| e)?;
        fs::File::open(passing)?.sync_all()?;
        // An old journal beside the new file would be played back into it.
        remove(&journal(path))?;
        fs::rename(passing, path)?;
        sync_directory(path)
    }

    /// Makes the changes, after which the file holds `next`; durable when it returns.
    pub(super) fn commit(&mut self, changes: &[Change], next: &Contents) -> Result<(), FileError> {
        let transaction =
            self.connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        for change in changes {
            match change {
                Change::Put(table, name, json) => put(&transaction, *table, name, json)?,
                Change::Delete(table, name) => {
                    let sql = format!("DELETE FROM {} WHERE name = ?1", table.name());
                    transaction.prepare_cached(&sql)?.execute(params![name])?;
                }
            }
        }
        put_meta(&transaction, next)?;
        Ok(transaction.commit()?)
    }

    /// Whether it is still what `path` names.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        fs::symlink_metadata(path).is_ok_and(|meta| (meta.dev(), meta.ino()) == self.identity)
    }

    /// Whether nothing can be written: a read-only disk, or a file without write permission.
    pub(super) fn is_read_only(&self) -> bool {
        self.connection.is_readonly("main").unwrap_or(true)
    }
}

/// Name of SQLite's journal of a file.
pub(super) fn journal(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-journal");
    name.into()
}

pub(super) fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e.into()),
        _ => Ok(()),
    }
}

/// Makes renames and removals beside `path` durable.
pub(super) fn sync_directory(path: &Path) -> Result<(), FileError> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    Ok(fs::File::open(directory)?.sync_all()?)
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, FileError> {
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    // Somebody may be reading with the sqlite3 tool.
    connection.busy_timeout(Duration::from_secs(2))?;
    // DELETE and EXTRA: the journal, the file and the directory are synced before a commit returns, and the
    // one file holds everything (a write-ahead log would be a second one).
    connection.pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "EXTRA")?;
    connection.pragma_update(None, "trusted_schema", "OFF")?;
    connection.pragma_update(None, "cell_size_check", "ON")?;
    Ok(connection)
}

/// SQLite takes a last page that is cut short for one that ends in zeros; a table without rows would not notice.
fn whole(path: &Path, connection: &Connection) -> Result<(), FileError> {
    let page: u64 = connection.query_row("PRAGMA page_size", [], |row| row.get::<_, u32>(0))?.into();
    let length = fs::symlink_metadata(path)?.len();
    if length.is_multiple_of(page) { Ok(()) } else { Err(FileError::CutShort(length)) }
}

fn read(connection: &Connection) -> Result<(i64, Contents), FileError> {
    let verdict: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if verdict != "ok" {
        return Err(FileError::Integrity(verdict.replace('\n', " ")));
    }
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if !(OLDEST..=SCHEMA).contains(&version) {
        return Err(FileError::Version(version));
    }
    let meta = |key: &'static str| -> Result<String, FileError> {
        let mut statement = connection.prepare("SELECT value FROM meta WHERE key = ?1")?;
        let value = statement.query_row([key], |row| row.get(0)).optional()?;
        value.ok_or(FileError::Meta(key))
    };
    let mut contents = Contents::default();
    contents.instance = meta("instance")?;
    contents.generation = meta("generation")?.parse().map_err(|_| FileError::Meta("generation"))?;
    for table in Table::ALL {
        if table == Table::Attachment && version < 2 {
            continue;
        }
        let mut statement = connection.prepare(&format!("SELECT name, spec FROM {}", table.name()))?;
        for row in statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))? {
            let (name, json) = row?;
            contents.insert(table, name, json);
        }
    }
    let (found, stored) = (contents.digest(), meta("digest")?);
    if found != stored {
        return Err(Wrong::Digest { found, stored }.into());
    }
    contents.objects()?;
    Ok((version, contents))
}

fn put(connection: &Connection, table: Table, name: &str, json: &str) -> rusqlite::Result<()> {
    let sql = format!("INSERT OR REPLACE INTO {} (name, spec) VALUES (?1, ?2)", table.name());
    connection.prepare_cached(&sql)?.execute(params![name, json]).map(drop)
}

fn put_meta(connection: &Connection, contents: &Contents) -> rusqlite::Result<()> {
    let mut statement = connection.prepare("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)")?;
    statement.execute(params!["generation", contents.generation.to_string()])?;
    statement.execute(params!["instance", contents.instance])?;
    statement.execute(params!["digest", contents.digest()])?;
    Ok(())
}
