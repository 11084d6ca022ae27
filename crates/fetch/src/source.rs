//! The two places of a repository.

use outrigger_api::fetch::{Cause, Place};

use crate::channel::{Channel, Failure};
use crate::confine::Grants;
use crate::folder::Folder;
use crate::http::{Client, Url};

/// Where the files come from.
#[derive(Debug)]
pub(crate) struct Source {
    metadata: Base,
    targets: Base,
    client: Option<Client>,
}

#[derive(Debug)]
enum Base {
    Url(Url),
    Folder(Folder),
}

impl Source {
    /// Opens folders, and reads what a client of the network needs of this machine. Asks the network for
    /// nothing.
    pub(crate) fn open(metadata: &str, targets: &str, silence_ms: u32) -> Result<Self, String> {
        let [metadata, targets] = [Base::open(metadata)?, Base::open(targets)?];
        let urls: Vec<&Url> = [&metadata, &targets].into_iter().filter_map(Base::url).collect();
        let client = match urls.as_slice() {
            [] => None,
            urls => Some(Client::new(urls.iter().all(|url| url.is_https()), silence_ms)?),
        };
        Ok(Self { metadata, targets, client })
    }

    /// What it needs of this machine from here on.
    pub(crate) fn grants(&self) -> Grants<'_> {
        let bases = [&self.metadata, &self.targets];
        let mut ports: Vec<u16> =
            bases.iter().filter_map(|base| base.url()).map(Url::port).collect();
        if let Some(client) = &self.client {
            ports.extend(client.ports());
        }
        let folders = bases.iter().filter_map(|base| match base {
            Base::Folder(folder) => Some(folder.root()),
            Base::Url(_) => None,
        });
        Grants { folders: folders.collect(), network: self.client.is_some(), ports }
    }

    /// Sends the file to the updater, without the frame that ends it; `false` if there is none.
    pub(crate) fn fetch(
        &mut self,
        place: Place,
        path: &str,
        limit: u64,
        channel: &mut Channel,
    ) -> Result<bool, Failure> {
        let base = match place {
            Place::Metadata => &self.metadata,
            Place::Targets => &self.targets,
        };
        match (base, &self.client) {
            (Base::Folder(folder), _) => folder.fetch(path, limit, channel),
            (Base::Url(base), Some(client)) => {
                client.fetch(&base.file(place, path), limit, channel)
            }
            (Base::Url(_), None) => Err((Cause::Refused, "there is no client".to_owned())),
        }
    }
}

impl Base {
    fn open(given: &str) -> Result<Self, String> {
        match Url::parse(given)? {
            Some(url) => Ok(Self::Url(url)),
            None => Ok(Self::Folder(Folder::open(given)?)),
        }
    }

    const fn url(&self) -> Option<&Url> {
        match self {
            Self::Url(url) => Some(url),
            Self::Folder(_) => None,
        }
    }
}
