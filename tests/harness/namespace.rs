//! Two machines on one: network namespaces joined by a pair of virtual interfaces, with faults between them.
//!
//! A thread can live in a namespace: its sockets and the processes it starts are there. So a test takes a thread per
//! machine and needs no program that runs others elsewhere. The namespaces vanish when the test ends, also by a panic, and
//! their names carry the process id, so that suites do not meet.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::probe;

/// Which of the two machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Where the server runs.
    Near,
    /// Where the worker runs.
    Far,
}

/// The two machines.
#[derive(Debug)]
pub struct Wire {
    names: [String; 2],
}

/// Interface of either side; each namespace has its own.
const INTERFACE: &str = "wire0";

impl Wire {
    /// Builds both machines and the wire between them.
    ///
    /// # Errors
    /// A skip where the system cannot; a failure in CI when a tool is missing.
    pub fn lay() -> Result<Wire> {
        static LAID: AtomicU32 = AtomicU32::new(0);
        probe::tools(&[("ip", "iproute2"), ("nft", "nftables"), ("tc", "iproute2")])?;
        probe::root()?;
        let number = LAID.fetch_add(1, Ordering::Relaxed);
        let stem = format!("wl{}x{number}", std::process::id());
        let wire = Wire { names: [format!("{stem}a"), format!("{stem}b")] };
        // From here on the drop cleans up whatever is there.
        if let Err(error) = wire.build() {
            probe::skip(format!("no network namespaces here: {error}"))?;
        }
        Ok(wire)
    }

    fn build(&self) -> Result<()> {
        let [near, far] = &self.names;
        for name in [near, far] {
            probe::run("ip", &["netns", "add", name])?;
        }
        let pair = [
            "link", "add", INTERFACE, "netns", near, "type", "veth", "peer", "name", INTERFACE, "netns", far,
        ];
        probe::run("ip", &pair)?;
        for side in [Side::Near, Side::Far] {
            let name = self.name(side);
            let address = format!("{}/24", Wire::address(side));
            probe::run("ip", &["-n", name, "addr", "add", &address, "dev", INTERFACE])?;
            probe::run("ip", &["-n", name, "link", "set", INTERFACE, "up"])?;
            probe::run("ip", &["-n", name, "link", "set", "lo", "up"])?;
        }
        // Rules stand in the near machine alone: what comes in, and what goes out.
        self.nft("add table inet faults")?;
        self.nft("add chain inet faults in { type filter hook input priority 0; }")?;
        self.nft("add chain inet faults out { type filter hook output priority 0; }")
    }

    fn name(&self, side: Side) -> &str {
        &self.names[side as usize]
    }

    /// The address of a machine.
    #[must_use]
    pub fn address(side: Side) -> IpAddr {
        Ipv4Addr::new(10, 99, 0, if side == Side::Near { 1 } else { 2 }).into()
    }

    fn nft(&self, command: &str) -> Result<()> {
        let words = ["netns", "exec", self.name(Side::Near), "nft", command];
        probe::run("ip", &words)
    }

    /// Drops what comes to the near machine and matches, such as `meta l4proto udp`; nothing matches everything.
    ///
    /// # Errors
    /// When the rule cannot be set.
    pub fn drop_in(&self, matching: &str) -> Result<()> {
        self.nft(&format!("add rule inet faults in iifname {INTERFACE} {matching} drop"))
    }

    /// Drops what leaves the near machine and matches.
    ///
    /// # Errors
    /// When the rule cannot be set.
    pub fn drop_out(&self, matching: &str) -> Result<()> {
        self.nft(&format!("add rule inet faults out oifname {INTERFACE} {matching} drop"))
    }

    /// Refuses what leaves the near machine and matches, so that its sender is told; what comes in is dropped.
    ///
    /// # Errors
    /// When the rule cannot be set.
    pub fn reject(&self, matching: &str) -> Result<()> {
        self.nft(&format!("add rule inet faults out oifname {INTERFACE} {matching} reject"))?;
        self.drop_in(matching)
    }

    /// Lets everything through again.
    ///
    /// # Errors
    /// When the rules cannot be removed.
    pub fn heal(&self) -> Result<()> {
        self.nft("flush table inet faults")
    }

    /// Takes the far machine's interface down, or up again.
    ///
    /// # Errors
    /// When it cannot.
    pub fn link(&self, up: bool) -> Result<()> {
        let state = if up { "up" } else { "down" };
        probe::run("ip", &["-n", self.name(Side::Far), "link", "set", INTERFACE, state])
    }

    /// Sends what is for the far machine nowhere, or there again.
    ///
    /// # Errors
    /// When the route cannot be set.
    pub fn blackhole(&self, on: bool) -> Result<()> {
        let (verb, to) = (if on { "add" } else { "del" }, format!("{}/32", Wire::address(Side::Far)));
        probe::run("ip", &["-n", self.name(Side::Near), "route", verb, "blackhole", &to])
    }

    /// Makes the wire slow in both directions.
    ///
    /// # Errors
    /// A skip where the kernel has no such scheduler.
    pub fn slow(&self, rate: &str) -> Result<()> {
        for side in [Side::Near, Side::Far] {
            let shape = ["tbf", "rate", rate, "burst", "32kbit", "latency", "400ms"];
            let words = [
                &["netns", "exec", self.name(side), "tc", "qdisc", "add", "dev", INTERFACE, "root"],
                &shape[..],
            ];
            if let Err(error) = probe::run("ip", &words.concat()) {
                probe::skip(format!("no slow link here: {error}"))?;
            }
        }
        Ok(())
    }

    /// Moves the thread that calls into a machine, for good. A thread of a pool must not do that.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn enter(&self, side: Side) -> Result<()> {
        let path = format!("/run/netns/{}", self.name(side));
        let file = File::open(&path).with_context(|| path.clone())?;
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).context(path)
    }

    /// Does something on a machine, on a thread of its own; what it starts there stays there.
    ///
    /// # Errors
    /// Those of what is done.
    pub fn on<T: Send>(&self, side: Side, what: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let there = scope.spawn(|| {
                self.enter(side)?;
                what()
            });
            there.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        for name in &self.names {
            // One that was never made cannot be removed; everything in it goes with it.
            let _ = probe::run("ip", &["netns", "del", name]);
        }
    }
}
