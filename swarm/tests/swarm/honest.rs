//! Scripts of peers that play by the rules, and of those that nearly do.

use swarm::sim::{Heard, Line};
use wire::peer::{Bitfield, Message, Request};

/// A peer that says to have everything, lets everybody ask, and gives each request to `answer`.
pub(crate) fn seed(
    mut answer: impl FnMut(&mut Line<'_>, Request) + 'static,
) -> impl FnMut(&mut Line<'_>, Heard<'_>) {
    move |line, heard| match heard {
        Heard::Handshake(_) => {
            let all = Bitfield::with_all(line.content.torrent.geometry().piece_count());
            line.say(Message::Bitfield(all.as_bytes()));
        }
        Heard::Message(Message::Interested) => line.say(Message::Unchoke),
        Heard::Message(Message::Request(request)) => answer(line, request),
        _ => {}
    }
}
