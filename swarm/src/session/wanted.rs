//! What of a torrent is fetched, and in which order: the choices of its user.

use storage::record::Order;

use super::cold;
use super::files_error::FilesError;
use super::link::Unavailable;
use super::magnet::{self, Choice};
use super::selection::Selection;
use super::torrent::Torrent;
use crate::engine::picker::Priority;
use crate::engine::{Direction, PieceOrder};

impl Torrent {
    /// Chooses which files are wanted, instead of those that were. While it is only known by a magnet that is kept for
    /// later; if it has no such files then, it is refused.
    ///
    /// # Errors
    /// When it has no such files, or it or its session is gone.
    pub async fn select(&self, selection: &Selection) -> Result<(), FilesError> {
        self.choose(selection.clone().into()).await
    }

    /// Chooses how much some files are wanted, by their index in the torrent's layout; others are wanted as before. See
    /// [`Torrent::select`].
    ///
    /// # Errors
    /// When it has no such files, or it or its session is gone.
    pub async fn set_priorities(&self, changes: Vec<(usize, Priority)>) -> Result<(), FilesError> {
        self.open().await?;
        self.choose(self.entry.identity.chosen().files.with(changes)).await
    }

    /// Chooses in which order pieces are fetched that are wanted alike.
    ///
    /// # Errors
    /// When it or its session is gone.
    pub async fn set_order(&self, order: PieceOrder) -> Result<(), FilesError> {
        self.open().await?;
        let identity = self.entry.identity.clone();
        self.tell(move |engine, now, key| {
            identity.choose(|chosen| {
                chosen.order = order;
                chosen.as_before.order = false;
            });
            if identity.is_open() {
                engine.set_order(now, key, order);
            }
        })
        .await?;
        self.record(|choices| choices.order = recorded(order)).await;
        Ok(())
    }

    /// Limits its rates, in bytes per second; `None` lifts a limit.
    ///
    /// # Errors
    /// When it or its session is gone.
    pub async fn set_limits(&self, down: Option<u64>, up: Option<u64>) -> Result<(), Unavailable> {
        let identity = self.entry.identity.clone();
        self.tell(move |engine, now, key| {
            identity.choose(|chosen| {
                chosen.limits = [down, up];
                (chosen.as_before.down_limit, chosen.as_before.up_limit) = (false, false);
            });
            engine.set_torrent_limit(now, key, Direction::Read, down);
            engine.set_torrent_limit(now, key, Direction::Write, up);
        })
        .await?;
        self.record(|choices| (choices.down_limit, choices.up_limit) = (down, up)).await;
        Ok(())
    }

    /// Stops it but keeps it, in later runs too, until it is to [go on](Self::unpause).
    ///
    /// # Errors
    /// When it or its session is gone.
    pub async fn pause(&self) -> Result<(), Unavailable> {
        self.set_paused(true).await
    }

    /// Lets it go on after a [pause](Self::pause).
    ///
    /// # Errors
    /// When it or its session is gone.
    pub async fn unpause(&self) -> Result<(), Unavailable> {
        self.set_paused(false).await
    }

    async fn set_paused(&self, paused: bool) -> Result<(), Unavailable> {
        let identity = self.entry.identity.clone();
        self.tell(move |engine, now, key| {
            identity.choose(|chosen| chosen.paused = paused);
            if paused {
                engine.pause(now, key);
            } else {
                engine.resume(now, key);
            }
        })
        .await?;
        if let Some(kept) = self.entry.identity.kept() {
            kept.set_paused(paused);
        }
        self.record(|_| ()).await;
        if !paused {
            self.link.cold.unpaused(self.id());
        }
        Ok(())
    }

    async fn choose(&self, choice: Choice) -> Result<(), FilesError> {
        self.open().await?;
        let identity = self.entry.identity.clone();
        let selection = identity.meta().map(|meta| choice.decide(meta)).transpose()?;
        self.give_up(selection.as_ref()).await?;
        if let (Some(meta), Some(selection), Some((_, files))) =
            (identity.meta(), &selection, identity.place())
        {
            let left_out = selection.left_out(meta);
            let kept = tokio::task::spawn_blocking(move || {
                files.upgrade().map_or(Ok(()), |files| files.set_skipped(&left_out))
            });
            // What could not be moved into a file is still served, and moved when the torrent is added next.
            if let Ok(Err(error)) = kept.await {
                tracing::warn!(%error, "files stay in the part file");
            }
        }
        let chosen = selection.clone();
        self.tell(move |engine, now, key| {
            if let Some(meta) = identity.meta().filter(|_| identity.is_open())
                && let Some(selection) = chosen.or_else(|| choice.decide(meta).ok())
            {
                engine.set_priorities(now, key, selection.pieces(meta));
            }
            identity.choose(|chosen| {
                chosen.files = choice;
                chosen.as_before.files = false;
            });
        })
        .await?;
        let known = self.meta().zip(selection);
        self.record(|choices| {
            if let Some((meta, selection)) = known {
                choices.priorities = selection.encode(meta);
            }
        })
        .await;
        Ok(())
    }

    /// Fetches no more of what is not wanted by this choice, before the files follow it: what they need for those that are newly
    /// wanted waits for a move that is under way. Not if all that stays wanted is there: that would count as complete.
    async fn give_up(&self, new: Option<&Selection>) -> Result<(), Unavailable> {
        let identity = self.entry.identity.clone();
        let (Some(meta), Some(new)) = (identity.meta(), new) else { return Ok(()) };
        let Ok(old) = identity.chosen().files.decide(meta) else { return Ok(()) };
        let (old, new) = (old.pieces(meta), new.pieces(meta));
        let is_wanted = |priority: &Priority| *priority != Priority::Skip;
        let stays: Vec<_> = old
            .iter()
            .zip(&new)
            .filter(|((_, old), (_, new))| is_wanted(old) && is_wanted(new))
            .map(|(_, (piece, _))| *piece)
            .collect();
        let given_up: Vec<_> = new.into_iter().filter(|(_, priority)| !is_wanted(priority)).collect();
        self.tell(move |engine, now, key| {
            let have = engine.resume_state(now, key).map(|state| state.have);
            let is_open = identity.is_open();
            if have.is_some_and(|have| is_open && stays.iter().any(|piece| !have.get(piece.get()))) {
                engine.set_priorities(now, key, given_up);
            }
        })
        .await
    }

    /// Has a choice recorded: soon, or at once while it is only known by a magnet.
    pub(super) async fn record(&self, choose: impl FnOnce(&mut storage::record::Choices)) {
        match self.entry.identity.kept() {
            Some(kept) => {
                kept.choose(choose);
                self.link.saver.changed(self.id());
            }
            None if self.entry.identity.is_cold() => {
                cold::remember(self.link.clone(), vec![self.id()]).await;
            }
            None => magnet::note(&self.link, self.id()).await,
        }
    }
}

/// As it is recorded.
pub(super) fn recorded(order: PieceOrder) -> Order {
    match order {
        PieceOrder::Rarest => Order::Rarest,
        PieceOrder::Sequential => Order::Sequential,
        PieceOrder::FirstLast => Order::FirstLast,
    }
}

/// As it was recorded.
pub(super) fn order(recorded: Order) -> PieceOrder {
    match recorded {
        Order::Rarest => PieceOrder::Rarest,
        Order::Sequential => PieceOrder::Sequential,
        Order::FirstLast => PieceOrder::FirstLast,
    }
}
