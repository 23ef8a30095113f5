//! How other threads reach the reactor.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};

use mio::Waker;

use super::plane::Plane;

/// Commands that may wait; a sender that finds the queue full waits for the reactor.
pub(super) const QUEUE: usize = 1024;

/// Something to do on the reactor's thread.
pub(super) type Command = Box<dyn FnOnce(&mut Plane) + Send>;

/// Sends commands to a reactor.
#[derive(Clone)]
pub struct Handle {
    // Dropped before `wake`: when the loop wakes, the last sender is gone.
    pub(super) commands: SyncSender<Command>,
    pub(super) wake: Wake,
}

/// Wakes the loop, and once more when it is dropped.
#[derive(Clone)]
pub(super) struct Wake(pub(super) Arc<Waker>);

impl Wake {
    fn wake(&self) {
        // Fails only when the poll is gone, and then the next send tells.
        let _ = self.0.wake();
    }
}

impl Drop for Wake {
    fn drop(&mut self) {
        self.wake();
    }
}

/// The reactor has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the reactor has stopped")
    }
}

impl std::error::Error for Gone {}

impl Handle {
    /// Runs `command` on the reactor's thread soon, in the order of sending. Waits while the queue is full.
    ///
    /// # Errors
    /// When the reactor has stopped.
    pub fn run(&self, command: impl FnOnce(&mut Plane) + Send + 'static) -> Result<(), Gone> {
        match self.commands.try_send(Box::new(command)) {
            Ok(()) => {}
            Err(TrySendError::Full(command)) => {
                self.wake.wake();
                self.commands.send(command).map_err(|_| Gone)?;
            }
            Err(TrySendError::Disconnected(_)) => return Err(Gone),
        }
        self.wake.wake();
        Ok(())
    }

    /// Runs `ask` on the reactor's thread and waits for what it returns. Not for use on an async thread.
    ///
    /// # Errors
    /// When the reactor has stopped.
    pub fn ask<R: Send + 'static>(
        &self,
        ask: impl FnOnce(&mut Plane) -> R + Send + 'static,
    ) -> Result<R, Gone> {
        let (reply, answer) = std::sync::mpsc::sync_channel(1);
        self.run(move |plane| {
            // The asker may have given up; its answer is then of no use to anybody.
            let _ = reply.send(ask(plane));
        })?;
        answer.recv().map_err(|_| Gone)
    }
}
