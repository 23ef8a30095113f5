mod endgame;
mod fixture;
mod pictures;
