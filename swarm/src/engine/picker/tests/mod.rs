mod endgame;
mod fixture;
mod pictures;
mod strands;
mod swarms;
