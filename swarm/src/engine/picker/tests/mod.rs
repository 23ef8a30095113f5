mod cost;
mod endgame;
mod fixture;
mod padding;
mod pictures;
mod strands;
mod swarms;
