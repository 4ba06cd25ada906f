//! What the gateway promises, tried from outside on the real binary. One file per topic.

mod demo;
mod steps;
mod switching;
mod crashes;
mod stopping;
mod starting;
