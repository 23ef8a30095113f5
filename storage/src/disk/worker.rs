//! One disk thread.

use super::Shared;
use super::crew::Rest;
use crate::plan::Order;
use crate::{Operation, StorageError};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

/// Starts the thread of this index.
pub(super) fn start(index: usize, shared: Arc<Shared>) -> io::Result<JoinHandle<()>> {
    let thread = {
        // The lock keeps the new thread from its first turn until the crew knows it.
        let locked = shared.clone();
        let mut crew = locked.crew();
        let thread =
            std::thread::Builder::new().name(format!("disk-{index}")).spawn(move || work(index, &shared))?;
        crew.join(thread.thread().clone());
        thread
    };
    Ok(thread)
}

fn work(index: usize, shared: &Shared) {
    let mut scratch = Vec::new();
    let mut done = None;
    loop {
        match turn(index, shared, done.take()) {
            Ok(mut order) => {
                execute(&mut order, shared, &mut scratch);
                done = Some(order);
            }
            Err(Rest::UntilCalled) => std::thread::park(),
            Err(Rest::AtMost(time)) => std::thread::park_timeout(time),
            Err(Rest::Over) => return,
        }
    }
}

/// Hands in what was done and takes what is next, under one lock.
fn turn(index: usize, shared: &Shared, done: Option<Order>) -> Result<Order, Rest> {
    let mut crew = shared.crew();
    crew.wake_up(index);
    if let Some(order) = done {
        crew.plan.done(order);
    }
    crew.watch_clock(shared.linger);
    let next = crew.plan.next_order().ok_or_else(|| crew.rest(index));
    let closed = crew.plan.take_closed();
    let is_news = shared.note_answers(&crew, matches!(next, Ok(Order::Write(_)))) && !crew.is_stopping();
    let helpers = match next {
        // The last one out wakes the others, so that they see that it is over.
        Err(Rest::Over) => crew.stop(),
        Ok(_) => crew.call_helpers(),
        Err(_) => Vec::new(),
    };
    drop(crew);
    shared.close(&closed);
    helpers.into_iter().for_each(|helper| helper.unpark());
    if is_news {
        (shared.wake)();
    }
    next
}

/// Does an order. A panic on the way, in a backend for instance, is an error of the jobs it was about.
fn execute(order: &mut Order, shared: &Shared, scratch: &mut Vec<u8>) {
    let find = |id| shared.stores().get(&id).cloned();
    while catch_unwind(AssertUnwindSafe(|| order.execute(find, scratch))).is_err() {
        let cause = io::Error::other("the storage backend panicked");
        if !order.fail(&StorageError::new(Operation::Open, "storage backend", None, cause)) {
            return;
        }
    }
}
