//! The program as its users run it: words in; text, files and exit statuses out.

mod apart;
mod choices;
mod config;
mod console;
mod create;
mod demo;
mod dht;
mod disks;
mod edit;
mod env;
mod fetch;
mod files;
mod foreign;
mod going_on;
mod light;
mod log;
mod magnet;
mod memory;
mod metadata;
mod resume;
mod rights;
mod scrape;
mod show;
mod status;
mod transfer;
mod verify;
