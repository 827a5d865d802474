//! The command line as its users meet it: the built binary, real servers on port 0, exit codes, JSON shapes.

mod bench;
mod cluster;
mod config;
mod dev;
mod docs;
mod doctor;
mod jobs;
mod shell_worker;
mod steer;
mod support;
mod tokens;
