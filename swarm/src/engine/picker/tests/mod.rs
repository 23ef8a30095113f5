mod endgame;
mod fixture;
mod pictures;
mod swarms;
