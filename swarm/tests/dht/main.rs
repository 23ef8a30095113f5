//! Whole networks of DHT nodes on virtual time: how well lookups do, and what hostile nodes can do.

mod bootstrap;
mod churn;
mod families;
mod fuzzed;
mod hostile;
mod joining;
mod lookups;
mod manners;
mod memory;
mod net;
mod reflection;
mod slander;
mod storing;
mod sys_heap;
mod terse;
mod unverified;
