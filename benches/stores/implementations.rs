//! sled, fjall and redb, each asked for the same.

use std::{fs::File, io, os::unix::fs::FileExt as _, path::Path, thread, time::Duration};

use redb::{ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _};

use crate::{Result, asked};

/// The store forces what it has to the disk so often.
const SYNC_EVERY: Duration = Duration::from_millis(100);

fn cache_bytes() -> Result<u64> {
    asked("STORE_CACHE", 32 << 20)
}

/// A key and a value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// A store as the ledger uses one.
pub trait Store {
    /// Adds records that must not be there, and makes them survive the end of the process; returns how many were there.
    fn add(&self, records: &[Entry]) -> Result<usize>;
    /// Reads records and replaces their values, as durable; returns how many were not there.
    fn replace(&self, records: &[Entry]) -> Result<usize>;
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>>;
    /// Reads all records; returns how many there are.
    fn count(&self) -> Result<u64>;
}

struct Sled(sled::Db);

impl Sled {
    /// As the bridge opens it.
    fn open(folder: &Path) -> Result<Self> {
        let config = sled::Config::new().path(folder).cache_capacity(cache_bytes()?);
        let config = config.mode(sled::Mode::LowSpace).use_compression(false);
        Ok(Self(config.flush_every_ms(Some(SYNC_EVERY.as_millis().try_into()?)).open()?))
    }
}

impl Store for Sled {
    fn add(&self, records: &[Entry]) -> Result<usize> {
        let mut known = 0;
        for (key, value) in records {
            known += usize::from(self.0.compare_and_swap(key, None::<&[u8]>, Some(value.as_slice()))?.is_err());
        }
        self.0.flush()?;
        Ok(known)
    }

    fn replace(&self, records: &[Entry]) -> Result<usize> {
        let mut missing = 0;
        for (key, value) in records {
            let known = self.0.get(key)?;
            missing += usize::from(known.is_none());
            self.0
                .compare_and_swap(key, known, Some(value.as_slice()))?
                .map_err(|error| format!("changed: {error}"))?;
        }
        self.0.flush()?;
        Ok(missing)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.0.get(key)?.map(|value| value.to_vec()))
    }

    fn count(&self) -> Result<u64> {
        self.0.iter().try_fold(0, |count, entry| entry.map(|_| count + 1)).map_err(Into::into)
    }
}

struct Fjall {
    db: fjall::Database,
    records: fjall::Keyspace,
}

impl Fjall {
    fn open(folder: &Path) -> Result<Self> {
        let db = fjall::Database::builder(folder).cache_size(cache_bytes()?).open()?;
        let records = db.keyspace("records", fjall::KeyspaceCreateOptions::default)?;
        let synced = db.clone();
        thread::spawn(move || {
            while synced.persist(fjall::PersistMode::SyncAll).is_ok() {
                thread::sleep(SYNC_EVERY);
            }
        });
        Ok(Self { db, records })
    }

    /// Returns how many were there.
    fn write(&self, records: &[Entry], replaces: bool) -> Result<usize> {
        let mut batch = self.db.batch().durability(Some(fjall::PersistMode::Buffer));
        let mut known = 0;
        for (key, value) in records {
            let is_known = self.records.get(key)?.is_some();
            known += usize::from(is_known);
            if replaces || !is_known {
                batch.insert(&self.records, key.as_slice(), value.as_slice());
            }
        }
        batch.commit()?;
        Ok(known)
    }
}

impl Store for Fjall {
    fn add(&self, records: &[Entry]) -> Result<usize> {
        self.write(records, false)
    }

    fn replace(&self, records: &[Entry]) -> Result<usize> {
        Ok(records.len() - self.write(records, true)?)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.records.get(key)?.map(|value| value.to_vec()))
    }

    fn count(&self) -> Result<u64> {
        self.records.iter().try_fold(0, |count, entry| entry.into_inner().map(|_| count + 1)).map_err(Into::into)
    }
}

const RECORDS: redb::TableDefinition<'_, &[u8], &[u8]> = redb::TableDefinition::new("records");

/// A file that is written and never forced to the disk: it survives the end of the process.
#[derive(Debug)]
struct Unforced(File);

impl redb::StorageBackend for Unforced {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }
}

struct Redb(redb::Database);

impl Redb {
    fn open(folder: &Path, is_forced: bool) -> Result<Self> {
        let (file, mut builder) = (folder.join("records.redb"), redb::Builder::new());
        builder.set_cache_size(cache_bytes()?.try_into()?);
        let db = if is_forced {
            builder.create(file)?
        } else {
            let file = File::options().read(true).write(true).create(true).truncate(false).open(file)?;
            builder.create_with_backend(Unforced(file))?
        };
        let write = db.begin_write()?;
        write.open_table(RECORDS)?;
        write.commit()?;
        Ok(Self(db))
    }

    /// Returns how many were there.
    fn write(&self, records: &[Entry], replaces: bool) -> Result<usize> {
        let write = self.0.begin_write()?;
        let mut known = 0;
        {
            let mut table = write.open_table(RECORDS)?;
            for (key, value) in records {
                let is_known = table.get(key.as_slice())?.is_some();
                known += usize::from(is_known);
                if replaces || !is_known {
                    table.insert(key.as_slice(), value.as_slice())?;
                }
            }
        }
        write.commit()?;
        Ok(known)
    }
}

impl Store for Redb {
    fn add(&self, records: &[Entry]) -> Result<usize> {
        self.write(records, false)
    }

    fn replace(&self, records: &[Entry]) -> Result<usize> {
        Ok(records.len() - self.write(records, true)?)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.0.begin_read()?.open_table(RECORDS)?.get(key)?.map(|value| value.value().to_vec()))
    }

    fn count(&self) -> Result<u64> {
        let table = self.0.begin_read()?.open_table(RECORDS)?;
        let mut count = 0;
        for entry in table.iter()? {
            let _ = entry?;
            count += 1;
        }
        if table.len()? == count { Ok(count) } else { Err("redb has lost count".into()) }
    }
}

/// Opens a store by its name.
pub fn open(name: &str, folder: &Path) -> Result<Box<dyn Store>> {
    Ok(match name {
        "sled" => Box::new(Sled::open(folder)?),
        "fjall" => Box::new(Fjall::open(folder)?),
        "redb" => Box::new(Redb::open(folder, true)?),
        "redb-unforced" => Box::new(Redb::open(folder, false)?),
        name => return Err(format!("no store is called {name:?}").into()),
    })
}
