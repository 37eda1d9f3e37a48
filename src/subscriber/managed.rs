//! One attempt of a managed callback, which opens its own transaction.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::attempt::{
    Attempt, TransactionMisuse, callback_fault, delete_leftovers, delete_received,
    of_callback_error, of_database_error, of_fault, panicked,
};
use crate::backend::Backend;
use crate::callback::payload::{Duplicate, Payload, Proof};
use crate::db::Fault;
use crate::error::BoxError;
use crate::error::{Error, causes};

/// What is wrong with the proof that a managed callback returned.
#[derive(Debug, thiserror::Error)]
enum ProofError {
    #[error(
        "the callback returned its proof, but the message is not in the inbox: commit the transaction in which it was saved"
    )]
    NotSaved,
    #[error(
        "the callback returned while its transaction was open; it was rolled back: commit it before the callback returns"
    )]
    Open,
    #[error("the callback returned the proof of another message, or of an earlier attempt")]
    Other,
    #[error(
        "the callback says that the message is a duplicate, but it is not in the inbox: it saved the message twice in one transaction, or another message"
    )]
    NotDuplicate,
}

/// Makes one attempt. `before` attempts have failed by the message's own fault.
pub(super) fn attempt<C: Backend>(
    conn: &mut C,
    call: impl Fn(&mut C, &Payload) -> Result<Proof, BoxError>,
    payload: &Payload,
    before: u32,
) -> Attempt {
    if let Err(attempt) = delete_leftovers(conn, payload) {
        return attempt;
    }
    match is_received(conn, payload) {
        Ok(false) => {}
        Ok(true) => return Attempt::Duplicate,
        Err(attempt) => return attempt,
    }
    let open = match conn.open_transactions() {
        Ok(open) => open,
        Err(error) => return of_database_error(error.into()),
    };
    let whole = payload.for_attempt(before, false);
    let attempt = call_once(conn, &call, &whole, open);
    if matches!(attempt, Attempt::Failed { .. }) && whole.was_unfit() {
        tracing::debug!(
            id = payload.msg_id(),
            "called again, to be stored without headers and body"
        );
        return call_once(conn, &call, &payload.for_attempt(before, true), open);
    }
    attempt
}

/// Calls the callback, and checks what is committed after its open transactions are rolled back.
fn call_once<C: Backend>(
    conn: &mut C,
    call: &impl Fn(&mut C, &Payload) -> Result<Proof, BoxError>,
    payload: &Payload,
    open: u32,
) -> Attempt {
    let returned = catch_unwind(AssertUnwindSafe(|| call(conn, payload)));
    // Before any other statement on the connection.
    let fault = match &returned {
        Ok(Err(error)) if !is_duplicate(&**error) => callback_fault(conn, error),
        _ => Fault::Own,
    };
    let was_open = conn.end_inbox(open);
    match returned {
        Ok(Ok(proof)) => proven(conn, payload, &proof, was_open),
        Ok(Err(error)) if fault != Fault::Own => of_fault(fault, error),
        Ok(Err(error)) => failed(conn, payload, error),
        Err(panic) => failed(conn, payload, panicked(&*panic)),
    }
}

fn proven<C: Backend>(conn: &mut C, payload: &Payload, proof: &Proof, was_open: bool) -> Attempt {
    if !payload.is_proven_by(proof) {
        return failed(conn, payload, ProofError::Other.into());
    }
    if !proof.was_saved {
        return match delete_saved(conn, payload) {
            Ok(_) => Attempt::Discarded("the callback gave it up".to_owned()),
            Err(attempt) => attempt,
        };
    }
    match is_received(conn, payload) {
        // What it did in the open transaction is rolled back.
        Ok(true) if was_open => failed(conn, payload, ProofError::Open.into()),
        Ok(true) => Attempt::Done,
        Ok(false) if was_open => Attempt::failed(ProofError::Open),
        Ok(false) => Attempt::failed(ProofError::NotSaved),
        Err(attempt) => attempt,
    }
}

/// The callback failed, so the message does not count as received. If it has committed work nevertheless, a
/// person has to check it.
fn failed<C: Backend>(conn: &mut C, payload: &Payload, error: BoxError) -> Attempt {
    if conn.is_broken() || conn.ping().is_err() {
        // Its COMMIT may have taken effect with only the answer lost. The next attempt finds the row, or
        // does the work.
        return Attempt::Unavailable(error);
    }
    match delete_saved(conn, payload) {
        Ok(true) => return TransactionMisuse::Committed(Some(error)).into(),
        Ok(false) => {}
        Err(attempt) => return attempt,
    }
    if !is_duplicate(&*error) {
        return Attempt::failed(error);
    }
    match is_received(conn, payload) {
        Ok(true) => Attempt::Duplicate,
        Ok(false) => Attempt::failed(ProofError::NotDuplicate),
        Err(attempt) => attempt,
    }
}

/// Deletes the row that this attempt has saved, if it was committed.
fn delete_saved<C: Backend>(conn: &mut C, payload: &Payload) -> Result<bool, Attempt> {
    match payload.take_saved() {
        None => Ok(false),
        Some(id) => {
            delete_received(conn, payload, id).map_err(|error| of_database_error(error.into()))
        }
    }
}

fn is_received<C: Backend>(conn: &mut C, payload: &Payload) -> Result<bool, Attempt> {
    conn.is_received(payload.msg_id(), payload.consumer())
        .map_err(|error| of_callback_error(error.into()))
}

fn is_duplicate(error: &(dyn std::error::Error + 'static)) -> bool {
    causes(error).any(|error| {
        error.is::<Duplicate>() || matches!(error.downcast_ref(), Some(Error::Duplicate(_)))
    })
}
