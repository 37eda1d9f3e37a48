//! A claimed row.

use bytes::Bytes;
use tokio::time::Instant;
use uuid::Uuid;

use crate::backend::{Claimed, RowKey};
use crate::runtime::lease_clock;

use super::leases::Lease;
use super::memory::{Memory, Share};
use super::signatures::Refusal;

/// A row under a lease of this process.
#[derive(Debug)]
pub(crate) struct Row {
    /// The row without its body.
    pub(crate) claimed: Claimed,
    /// The body as JSON text; copies of it share its memory.
    pub(crate) body: Bytes,
    /// Why it is not delivered, if its signature was verified and is not valid.
    pub(crate) refusal: Option<Refusal>,
    /// Its share of the relay's memory.
    pub(crate) _share: Share,
    /// The token of the lease.
    pub(crate) token: Uuid,
    /// The end of the lease by [`lease_clock`], which was read before the claim: never later than the end in
    /// the database.
    pub(crate) deadline: Instant,
    /// When it was claimed.
    pub(crate) claimed_at: Instant,
    /// When its delivery started.
    pub(crate) started: Option<Instant>,
}

impl Row {
    /// A claimed row.
    pub(crate) fn new(mut claimed: Claimed, lease: Lease, memory: &Memory) -> Self {
        let body = Bytes::from(std::mem::take(&mut claimed.body));
        let call = claimed.call.as_ref();
        let payload = call
            .and_then(|call| call.payload.as_ref())
            .map_or(0, Vec::len);
        Self {
            _share: memory.share(body.len() + claimed.headers.len() + payload),
            claimed,
            body,
            refusal: None,
            token: lease.token,
            deadline: lease.ends,
            claimed_at: Instant::now(),
            started: None,
        }
    }

    /// The key of the row in its table.
    pub(crate) fn row(&self) -> RowKey {
        self.claimed.row()
    }

    pub(crate) fn id(&self) -> Uuid {
        self.claimed.id
    }

    pub(crate) fn key(&self) -> Option<&str> {
        self.claimed.key.as_deref()
    }

    /// The end of the lease by the runtime's clock: no part of the row is delivered after it.
    pub(crate) fn send_before(&self) -> Instant {
        lease_clock::to_runtime(self.deadline)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::backend::Wait;

    /// A row for tests.
    pub(crate) fn row(seq: i64, key: Option<&str>, destination: &str) -> Row {
        let claimed = Claimed {
            seq,
            id: Uuid::from_u128(u128::try_from(seq).unwrap()),
            bad_id: None,
            destination: destination.to_owned(),
            body: "{}".to_owned(),
            headers: "{}".to_owned(),
            key: key.map(str::to_owned),
            stream: None,
            signature: None,
            retry: 0,
            expired: false,
            too_large: None,
            call: None,
            wait: Wait::default(),
        };
        let lease = Lease {
            token: Uuid::nil(),
            ends: Instant::now() + std::time::Duration::from_secs(60),
        };
        Row::new(claimed, lease, &Memory::new(1_000))
    }
}
