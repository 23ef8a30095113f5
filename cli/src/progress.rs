//! Progress of work on data that are here: a bar on a terminal, nothing elsewhere.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use storage::Progress;

use crate::output::Console;

/// A bar on standard error.
pub(crate) struct Bar(ProgressBar);

impl Bar {
    /// A bar that says `what` is going on.
    pub(crate) fn new(console: &Console, what: &'static str) -> Self {
        let target =
            if console.is_live() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target).with_message(what);
        let template = "{msg} {bar:30} {percent:>3}%  {binary_bytes} of {binary_total_bytes}  {binary_bytes_per_sec}  {eta} left";
        // The template is ours and right.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("━╸ "));
        }
        Self(bar)
    }

    /// Shows how far it is. May be called from several threads.
    pub(crate) fn show(&self, progress: Progress) {
        self.0.set_length(progress.total);
        self.0.set_position(progress.done);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
